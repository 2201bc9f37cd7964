import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import O
from coset.nn.irreps_dropout import DropPath, IrrepsDropout
from coset.reps.irreps import Irreps
from coset.testing import check


@pytest.mark.parametrize("layer", [IrrepsDropout("4x0e+3x1o", 0.5), DropPath("4x0e+3x1o", 0.5)], ids=["channels", "path"])
def test_the_identity_in_eval_mode(layer, generator):
    x = Irreps("4x0e+3x1o").randn(5, generator=generator)
    check(layer, x)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("kind", [IrrepsDropout, DropPath])
def test_equivariant_for_every_draw(kind, generator):
    irreps = Irreps("4x0e+3x1o+2x2e")
    layer, x = kind(irreps, 0.4).train(), irreps.randn(50, generator=generator)
    g = O(3).sample(1, generator=generator, dtype=torch.float64)[0]
    torch.manual_seed(3)
    y = layer(x)
    torch.manual_seed(3)
    assert torch.allclose(layer(irreps.transform(g, x)), irreps.transform(g, y), atol=1e-12)


def test_channels_go_whole_and_the_mean_stays(generator):
    torch.manual_seed(0)
    layer = IrrepsDropout("2x0e+3x1o", 0.25)
    y = layer(torch.ones(20000, 11))
    vectors = y[:, 2:].view(-1, 3, 3)
    assert bool((vectors == vectors[:, :1]).all())
    assert y.mean() == pytest.approx(1, abs=0.02)
    assert (y == 0).float().mean() == pytest.approx(0.25, abs=0.02)


def test_paths_go_graph_by_graph():
    torch.manual_seed(0)
    layer, batch = DropPath("1x0e+1x1o", 0.5), torch.arange(1000).repeat_interleave(3)
    y = layer(torch.ones(3000, 4), batch).view(1000, -1)
    assert bool((y == y[:, :1]).all())
    assert 0.45 < float((y[:, 0] == 0).float().mean()) < 0.55
    assert layer(torch.ones(0, 4), batch[:0]).shape == (0, 4)


def test_bad_input_is_named():
    for kind in (IrrepsDropout, DropPath):
        with pytest.raises(InputError, match="probability"):
            kind("1x0e", 1.0)
