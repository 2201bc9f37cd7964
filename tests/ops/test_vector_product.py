"""Products of vector fields: the odd paths and only those for a cross product, exact, equivariant under O(3)."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.audits.expressivity import expressivity
from coset.errors import InputError
from coset.groups.matrix import SO, O
from coset.ops.s2grid import S2Grid
from coset.ops.vector_product import VectorProduct, vector_harmonics
from coset.reps.wigner import wigner_blocks


def signal(lmax, *lead, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64)


def rotation():
    return SO(3).sample(1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)[0]


@pytest.mark.parametrize("kind", ["cross", "dot"])
@pytest.mark.parametrize("degrees", [(0, 1, 1), (1, 1, 1), (2, 3, 4), (4, 4, 8), (8, 8, 8)])
def test_it_is_equivariant(degrees, kind):
    l1, l2, l3 = degrees
    product, x, y = VectorProduct(l1, l2, l3, kind), signal(l1, 2), signal(l2, 2, seed=1)
    weights = [torch.rand(degree + 1, 2, dtype=torch.float64) for degree in (l1, l2)]
    turns = [torch.block_diag(*wigner_blocks(degree, rotation())) for degree in degrees]
    want = turns[2] @ product(x, y, *weights)
    assert (product(turns[0] @ x, turns[1] @ y, *weights) - want).norm() <= 1e-12 * want.norm() + 1e-15


def test_the_cross_product_of_two_constant_fields_is_the_cross_product():
    x, y = signal(1, 4), signal(1, 4, seed=1)
    only = torch.zeros(2, 2, dtype=torch.float64)
    only[1, 0] = 1  # degree 1 as the field of degree 0
    product = VectorProduct(1, 1, 1)
    z = product(x, y, only, only, only)
    want = torch.linalg.cross(x[:, 1:], y[:, 1:], dim=1)
    ratio = z[:, 1:] / want
    assert (ratio - ratio[0, 0, 0]).abs().max() < 1e-12
    assert z[:, 0].abs().max() < 1e-14


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_cross_reaches_exactly_the_odd_paths_and_dot_the_even_ones(lmax):
    plain = "+".join(f"{degree}{'eo'[degree % 2]}" for degree in range(lmax + 1))
    for kind, parity in (("cross", 1), ("dot", 0)):
        found = expressivity(VectorProduct(lmax, lmax, lmax, kind), plain, plain, plain)
        for i, j, k in zip(*found.allowed.nonzero(), strict=True):
            assert found.interacts[i, j, k] == ((i + j + k) % 2 == parity and not (kind == "cross" and 0 in (i, j, k)))


def test_it_has_the_parity_it_claims():
    found = expressivity(VectorProduct((1, 2), (1, 2), (1, 2)), "1o+2e", "1o+2e", "1e+2o", group=O(3))
    assert found.equivariance_error < 1e-12
    assert not found.flags
    mixed = VectorProduct(2, 2, (1, 2), sides=(-1, 0, 1))
    shapes = [(3, 3), (3, 3), (2, 3)]
    assert expressivity(mixed, "0e+1o+2e", "0e+1o+2e", "1e+2o", group=O(3), weights=shapes).flags
    assert not expressivity(mixed, "0e+1o+2e", "0e+1o+2e", "1e+2o", weights=shapes).flags


def test_fields_are_orthonormal():
    grid = S2Grid(4)
    fields = torch.cat([vector_harmonics(grid, 3, side) for side in (-1, 0, 1)], -1)
    fields = fields[..., fields.abs().amax((0, 1)) > 0]
    mean = torch.einsum("p,pai,paj->ij", grid.weights.flatten() / (4 * torch.pi), fields, fields)
    assert torch.allclose(mean, torch.eye(len(mean), dtype=torch.float64), atol=1e-13)


@pytest.mark.parametrize("kind", ["cross", "dot"])
def test_derivatives(kind):
    inputs = (signal(1, 2).requires_grad_(), signal(2, 2, seed=1).requires_grad_())
    assert gradcheck(VectorProduct(1, 2, 2, kind), inputs)
    assert gradgradcheck(VectorProduct(1, 2, 2, kind), inputs)


def test_irreps_are_checked():
    assert VectorProduct.from_irreps("0e+1o", "0e+1o", "0o+1e") == VectorProduct(1, 1, 1)
    assert VectorProduct.from_irreps("0e+1o", "0e+1o", "0e+1o", "dot") == VectorProduct(1, 1, 1, "dot")
    with pytest.raises(InputError, match="parity"):
        VectorProduct.from_irreps("0e+1o", "0e+1o", "0e+1o")
    with pytest.raises(InputError, match="mixed parity"):
        VectorProduct.from_irreps("0e+1e", "0e+1o", "0o+1e")


def test_bad_input_is_refused():
    for arguments, message in (((1, 1, 3), "reach 2"), ((1, 1, 1, "wedge"), "vector product")):
        with pytest.raises(InputError, match=message):
            VectorProduct(*arguments)
    with pytest.raises(InputError, match="sides"):
        VectorProduct(1, 1, 1, sides=(2,))
    with pytest.raises(InputError, match="have 4 rows"):
        VectorProduct(1, 1, 1)(signal(2), signal(1))
    with pytest.raises(InputError, match="2 degrees, 2 sides"):
        VectorProduct(1, 1, 1)(signal(1), signal(1), torch.ones(3))
