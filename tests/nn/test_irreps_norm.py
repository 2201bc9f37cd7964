import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_norm import DegreeLayerNorm, MergedLayerNorm, SplitLayerNorm
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

KINDS = [DegreeLayerNorm, MergedLayerNorm, SplitLayerNorm]
F64 = torch.float64


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("irreps", ["8x0e+4x1o+2x2e", "3x0e+2x0o+3x1e", "4x1o", Irreps("4x0+4x1", SO(3))], ids=str)
def test_norms_are_equivariant(kind, irreps, generator):
    torch.manual_seed(0)
    norm = kind(irreps)
    torch.nn.init.normal_(norm.gain)
    torch.nn.init.normal_(norm.bias)
    check(norm, norm.irreps.randn(5, generator=generator))


def test_what_is_divided_by_what(generator):
    irreps = Irreps("8x0e+8x1o+8x2e")
    x = 3 * irreps.randn(4, generator=generator) + 1
    blocks = [slice(0, 8), slice(8, 32), slice(32, 72)]
    centered = torch.cat([x[:, :8] - x[:, :8].mean(1, keepdim=True), x[:, 8:]], 1)
    square = torch.stack([centered[:, b].square().mean(1) for b in blocks], 1)
    for norm, size in (
        (DegreeLayerNorm(irreps), square),
        (MergedLayerNorm(irreps), square.mean(1, keepdim=True).expand(4, 3)),
        (SplitLayerNorm(irreps), torch.stack([square[:, 0], square[:, 1:].mean(1), square[:, 1:].mean(1)], 1)),
    ):
        y = norm.double()(x)
        for place, b in enumerate(blocks):
            assert torch.allclose(y[:, b], centered[:, b] / (size[:, place, None] + 1e-5).sqrt(), atol=1e-12)


def test_a_gain_of_zero_silences(generator):
    norm = SplitLayerNorm("4x0e+2x1o", gain=0.0)
    assert torch.equal(norm(norm.irreps.randn(3, generator=generator).float()), torch.zeros(3, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_features_have_finite_derivatives_twice(kind, generator):
    norm = kind("2x0e+2x1o").double()
    zero = torch.zeros(2, 8, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(norm(zero).sum(), zero, create_graph=True)
    assert torch.isfinite(slope).all()
    x = norm.irreps.randn(2, generator=generator).requires_grad_()
    assert torch.autograd.gradcheck(norm, (x,))
    assert torch.autograd.gradgradcheck(norm, (x,))


def test_autocast_computes_in_float32(generator):
    norm = MergedLayerNorm("4x0e+2x1o")
    x = norm.irreps.randn(3, generator=generator).float() * 1000
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(norm(x), norm(x))
        assert norm(x).dtype == torch.float32
        low = norm(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), norm(x.bfloat16().float()), rtol=1e-2)


def test_state_is_kept_and_bad_input_named(generator):
    norm, twin = DegreeLayerNorm("4x0e+2x1o"), DegreeLayerNorm("4x0e+2x1o")
    torch.nn.init.normal_(norm.gain)
    twin.load_state_dict(norm.state_dict())
    x = norm.irreps.randn(2, generator=generator).float()
    assert torch.equal(norm(x), twin(x))
    with pytest.raises(InputError, match="expected features"):
        norm(x[:, 1:])
    with pytest.raises(InputError, match="nothing to normalize"):
        MergedLayerNorm("")


class Centered(MergedLayerNorm):
    """A broken twin: vectors lose a mean over components."""

    def forward(self, x):
        return super().forward(x - x.mean(-1, keepdim=True))


def test_the_broken_twin_is_caught():
    with pytest.raises(Broken):
        check(Centered("4x0e+2x1o"))
