import pytest
import torch

from coset.errors import ContractError
from coset.groups.finite import D
from coset.groups.matrix import SO, Lorentz
from coset.nn.norm import NormNonlinearity, RepresentationNorm, SummandNorms
from coset.reps.defining import Trivial, Vector
from coset.reps.induced import Regular
from coset.testing import check

REPS = [2 * Vector(SO(3)) + 3 * Trivial(SO(3)), Vector(SO(3)) * Vector(SO(3)), 2 * Regular(D(3)) + Vector(D(3))]


@pytest.mark.parametrize("rep", REPS, ids=str)
@pytest.mark.parametrize("kind", [SummandNorms, NormNonlinearity, RepresentationNorm])
def test_layers_are_equivariant(rep, kind, generator):
    layer = kind(rep).double()
    for p in layer.parameters():
        torch.nn.init.uniform_(p, -0.5, 1.0)
    x = torch.randn(4, rep.dim, generator=generator, dtype=torch.float64)
    assert max(check(layer, x).errors.values()) < 1e-10


def test_norms_are_those_of_the_summands(generator):
    rep = Vector(SO(3)) + Trivial(SO(3))
    x = torch.randn(4, generator=generator)
    want = torch.stack([(x[:3].square().sum() + 1e-6).sqrt(), (x[3] ** 2 + 1e-6).sqrt()])
    assert torch.allclose(SummandNorms(rep)(x), want)


def test_zero_is_kept_with_a_finite_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    y = NormNonlinearity(Vector(SO(3)))(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert torch.isfinite(x.grad).all()


def test_norms_need_orthogonal_matrices():
    with pytest.raises(ContractError, match="not orthogonal"):
        NormNonlinearity(Vector(Lorentz(1, 3)))
