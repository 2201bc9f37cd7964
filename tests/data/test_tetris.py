"""Eight pieces of four blocks, all different, one pair of mirror images; the test set is the pieces turned."""

import itertools

import pytest
import torch

from coset.data.tetris import PIECES, pieces, tetris
from coset.errors import InputError
from coset.groups.finite import Octahedral
from coset.recipe import Request


def same(a, b, *, mirror):
    """Whether a rotation of the lattice (times -1 with ``mirror``) takes the blocks of a to those of b."""
    wanted = {tuple(block) for block in (b * 4).round().int().tolist()}
    turned = torch.einsum("gij,nj->gni", Octahedral().matrices, -a if mirror else a)
    return any({tuple(block) for block in blocks} == wanted for blocks in (turned * 4).round().int().tolist())


def test_pieces_are_connected_unit_blocks():
    x = pieces(torch.float64)
    assert x.shape == (len(PIECES), 4, 3)
    assert x.mean(1).abs().max() < 1e-12
    near = (torch.cdist(x, x) - 1).abs() < 1e-9
    reach = torch.linalg.matrix_power(near.double() + torch.eye(4).double(), 3) > 0
    assert reach.all()


def test_exactly_one_pair_are_mirror_images():
    x = pieces(torch.float64)
    for i, j in itertools.combinations(range(8), 2):
        assert not same(x[i], x[j], mirror=False)
        assert same(x[i], x[j], mirror=True) == ((i, j) == (0, 1))
    assert not same(x[0], x[0], mirror=True)
    assert same(x[2], x[2], mirror=True)


def test_the_test_set_is_turned_and_keeps_hands():
    data = tetris(Request("smoke", 0))
    x, upright = data.test["x"].double(), data.test["upright"].double()
    assert torch.allclose(torch.cdist(x, x), torch.cdist(upright, upright), atol=1e-5)
    volume = lambda p: torch.linalg.det(p[:, 1:] - p[:, :1])  # noqa: E731
    assert torch.allclose(volume(x), volume(upright), atol=1e-5)
    assert (x - upright).abs().amax((1, 2)).min() > 1e-2
    assert torch.equal(data.test["y"], torch.arange(8).repeat(2))


def test_a_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data file"):
        tetris(Request("smoke", 0, (("mine", tmp_path),)))
