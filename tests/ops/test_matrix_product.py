"""The matrix product: an algebra of operators behind it, equivariant, with all paths, differentiable."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.matrix_product import MatrixProduct
from coset.reps.wigner import wigner_blocks


def signal(lmax, *lead, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64)


def turned(lmax):
    rotation = SO(3).sample(1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)[0]
    return torch.block_diag(*wigner_blocks(lmax, rotation))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 2), (2, 3, 4), (4, 4, 4), (3, 0, 3)])
def test_it_is_equivariant(degrees):
    l1, l2, l3 = degrees
    product, x, y = MatrixProduct(l1, l2, l3), signal(l1, 3), signal(l2, 3, seed=1)
    want = turned(l3) @ product(x, y)
    assert (product(turned(l1) @ x, turned(l2) @ y) - want).norm() < 1e-12 * want.norm()


def test_operators_turn_by_conjugation():
    product, x = MatrixProduct(2, 2), signal(2, 3)
    d = turned(product.space)
    want = torch.einsum("ij,njkc,lk->nilc", d, product.operator(x, 2), d)
    assert torch.allclose(product.operator(turned(2) @ x, 2), want, atol=1e-12)


def test_reading_off_inverts_writing_down():
    product, x = MatrixProduct(3, 2), signal(3, 4)
    assert torch.allclose(product.symbol(product.operator(x, 3), 3), x, atol=1e-13)


def test_the_scalar_one_is_the_identity():
    product, x = MatrixProduct(2, 2, 2), signal(2, 4)
    one = torch.zeros_like(x)
    one[:, 0] = 1
    assert torch.allclose(product(one, x), x, atol=1e-13)
    assert torch.allclose(product(x, one), x, atol=1e-13)
    eye = torch.eye((product.space + 1) ** 2, dtype=torch.float64)
    assert torch.allclose(product.operator(one, 2)[0, ..., 0], eye, atol=1e-14)


def test_vectors_have_a_commutator_along_their_cross_product():
    product, x, y = MatrixProduct(1, 1, 1), signal(1, 3, channels=1), signal(1, 3, channels=1, seed=1)
    x[:, 0], y[:, 0] = 0, 0
    commutator = (product(x, y) - product(y, x))[:, 1:, 0]
    cross = torch.linalg.cross(x[:, 1:, 0], y[:, 1:, 0])
    ratio = commutator / cross
    assert (ratio - ratio[0, 0]).abs().max() < 1e-12
    assert ratio[0, 0].abs() > 0.1


def test_derivatives():
    inputs = (signal(1, 2).requires_grad_(), signal(2, 2, seed=1).requires_grad_())
    assert gradcheck(MatrixProduct(1, 2, 2), inputs)
    assert gradgradcheck(MatrixProduct(1, 2, 2), inputs)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="reach 2, asked for 3"):
        MatrixProduct(1, 1, 3)
    with pytest.raises(InputError, match="have 4 rows"):
        MatrixProduct(1, 1)(signal(2), signal(1))
