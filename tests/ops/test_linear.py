"""Linear maps between irreps: e3nn's numbers, equivariance, one map per species, errors."""

import warnings

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import O
from coset.ops.linear import linear
from coset.reps.conventions import to_ir_mul
from coset.reps.irreps import Irreps

IN, OUT = "8x0e+4x1o+3x0e", "6x1o+2x0e+2x0e+1x2e"


@pytest.mark.parametrize("normalization", ["element", "path"])
def test_equals_e3nn(normalization, generator):
    ours = linear(IN, OUT, path_normalization=normalization)
    x = Irreps(IN).randn(5, generator=generator)
    w = torch.randn(ours.weight_numel, generator=generator, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="compares with e3nn 0.6 (extra 'peers')")
        peer = o3.Linear(IN, OUT, internal_weights=False, shared_weights=True, path_normalization=normalization)
        assert peer.weight_numel == ours.weight_numel
        expected = to_ir_mul(Irreps(OUT), peer(x, w))
    torch.testing.assert_close(ours(to_ir_mul(Irreps(IN), x), w), expected, rtol=0, atol=1e-14)


def test_equivariance_and_variance(generator):
    layer = linear("64x0e+64x1o", "32x0e+32x1o")
    rotations = O(3).sample(200, generator=generator).double()
    x = layer.irreps_in.randn(200, generator=generator)
    w = torch.randn(layer.weight_numel, generator=generator, dtype=torch.float64)
    out = layer(x, w)
    moved = layer(layer.irreps_in.transform(rotations, x), w)
    assert (moved - layer.irreps_out.transform(rotations, out)).abs().max() <= 1e-12
    assert abs(out.square().mean() - 1) < 0.1


def test_every_species_has_its_map(generator):
    layer = linear(IN, OUT)
    x = Irreps(IN).randn(2, 4, generator=generator)
    w = torch.randn(3, layer.weight_numel, generator=generator, dtype=torch.float64)
    species = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1]])  # the third kind is absent
    out = layer(x, w, species)
    for place in torch.cartesian_prod(torch.arange(2), torch.arange(4)).tolist():
        torch.testing.assert_close(out[*place], layer(x[*place], w[species[*place]]), rtol=0, atol=1e-14)
    assert layer(x[:0], w, species[:0]).shape == (0, 4, layer.irreps_out.dim)
    compiled = torch.compile(lambda *a: layer(*a), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, w, species), out)


def test_second_derivatives(generator):
    layer = linear("2x0e+2x1o", "1x0e+2x1o")
    x = layer.irreps_in.randn(3, generator=generator).requires_grad_()
    w = torch.randn(2, layer.weight_numel, generator=generator, dtype=torch.float64).requires_grad_()
    species = torch.tensor([1, 0, 1])
    assert torch.autograd.gradcheck(lambda x, w: layer(x, w, species), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: layer(x, w, species), (x, w))


def test_errors():
    layer = linear(IN, OUT)
    with pytest.raises(InputError, match=r"x is \(..., 23\)"):
        layer(torch.ones(2, 22), torch.ones(layer.weight_numel))
    with pytest.raises(InputError, match=r"weights are \(\d+\) for matrices \[\(8, 2\)"):
        layer(torch.ones(2, 23), torch.ones(3))
    with pytest.raises(InputError, match=r"species are 0\.\.1, got 0\.\.2"):
        layer(torch.ones(2, 23), torch.ones(2, layer.weight_numel), torch.tensor([0, 2]))
    with pytest.raises(InputError, match="unknown path_normalization"):
        linear(IN, OUT, path_normalization="elements")
