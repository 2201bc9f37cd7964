"""Networks around exchangeable products keep their promises; only odd paths tell mirror images apart."""

import pytest
import torch

from coset.data.nbody import sample
from coset.data.tetris import pieces
from coset.errors import InputError
from coset.models.points.product_net import ParticleNet, TetrisNet
from coset.testing import check


def tetris_net(product, **options):
    torch.manual_seed(0)
    return TetrisNet(product, channels=4, **options).double()


@pytest.mark.parametrize("product", ["cg", "gaunt", "gaunt+vector", "matrix"])
def test_tetris_nets_keep_their_promises(product):
    net = tetris_net(product, lmax=1, layers=2)
    assert max(check(net, pieces(torch.float64)[:3]).errors.values()) < 1e-10


@pytest.mark.parametrize("product", ["cg", "gaunt", "gaunt+vector"])
def test_particle_nets_keep_their_promises(product):
    torch.manual_seed(0)
    drawn = sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    systems = {name: drawn[name] for name in ("pos", "vel", "charge")}
    assert max(check(ParticleNet(product, channels=4, lmax=1).double(), systems).errors.values()) < 1e-10


@pytest.mark.parametrize(("product", "both"), [("gaunt", True), ("gaunt", False), ("cg", False)])
def test_without_odd_paths_or_odd_features_mirror_images_are_tied(product, both):
    y = tetris_net(product, both=both)(pieces(torch.float64))
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.allclose(y[0], y[1], atol=1e-12)


@pytest.mark.parametrize("product", ["cg", "gaunt+vector", "matrix"])
def test_with_odd_paths_they_differ(product):
    y = tetris_net(product)(pieces(torch.float64))
    assert (y[0] - y[1]).abs().max() > 1e-6


@pytest.mark.parametrize("product", ["cg", "gaunt+vector"])
def test_a_reflection_exchanges_the_first_two_classes(product):
    net, x = tetris_net(product), pieces(torch.float64)
    y, mirrored = net(x), net(-x)
    assert torch.allclose(mirrored, y[:, [1, 0, *range(2, 8)]], atol=1e-12)
    assert (y[2:, 0] - y[2:, 1]).abs().max() < 1e-12  # the other pieces are their own mirror images


def test_blocks_out_of_reach_do_not_talk():
    net, x = tetris_net("cg"), pieces(torch.float64)
    lone = net(x[:, :1])
    assert torch.allclose(net(10 * x), lone.expand(8, -1), atol=1e-12)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match=r"clouds \(B, N, 3\)"):
        tetris_net("gaunt")(torch.randn(4, 3))
    with pytest.raises(InputError, match="layers 0"):
        TetrisNet("gaunt", layers=0)
    with pytest.raises(InputError, match="unknown product"):
        ParticleNet("cp")
