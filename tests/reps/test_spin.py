"""Matrices of SU(2): homomorphism, the rotations below, derivatives, accuracy."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import SU
from coset.groups.rotations import multiply_quaternions, rotation_from_quaternion
from coset.reps.spin import real_basis, rotation_from_spin, spin_from_quaternion, spin_matrix
from coset.reps.wigner import wigner_matrix


@pytest.mark.parametrize("twice", [0, 1, 2, 3, 5, 8])
def test_homomorphism_unitarity_and_sign(twice, generator):
    g, h = SU(2).sample(2, generator=generator)
    d = spin_matrix(twice / 2, g)
    assert (d @ spin_matrix(twice / 2, h) - spin_matrix(twice / 2, g @ h)).abs().max() <= 1e-14 * (twice + 1)
    assert (d @ d.mH - torch.eye(twice + 1)).abs().max() <= 1e-14 * (twice + 1)
    assert torch.allclose(spin_matrix(twice / 2, -g), (-1) ** twice * d, atol=1e-15)


def test_spin_one_half_is_the_group(generator):
    g = SU(2).sample(4, generator=generator)
    assert torch.equal(spin_matrix(0.5, g), g)


@pytest.mark.parametrize("l", [0, 1, 2, 4, 8, 12])
def test_whole_spins_are_the_real_matrices(l, generator):
    q = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    u, basis = spin_from_quaternion(q), real_basis(l)
    real = basis @ spin_matrix(l, u) @ basis.mH
    bound = 2e-13 if l == 12 else 2e-14  # as the module says
    assert (real - wigner_matrix(l, rotation_from_quaternion(q))).abs().max() <= bound
    assert (rotation_from_spin(u) - rotation_from_quaternion(q)).abs().max() <= 1e-14


def test_quaternions_multiply_as_the_group(generator):
    p, q = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    p, q = (x / x.norm(dim=-1, keepdim=True) for x in (p, q))
    product = spin_from_quaternion(multiply_quaternions(p, q))
    assert torch.allclose(spin_from_quaternion(p) @ spin_from_quaternion(q), product, atol=1e-14)


def test_derivatives_at_the_identity_and_at_minus_one():
    for q in ([1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0]):
        start = torch.tensor(q, dtype=torch.float64, requires_grad=True)
        f = lambda q: torch.view_as_real(spin_matrix(1.5, spin_from_quaternion(q)))  # noqa: E731
        assert torch.autograd.gradcheck(f, (start,), atol=1e-7)
        assert torch.autograd.gradgradcheck(f, (start,), atol=1e-6)


def test_bad_input():
    with pytest.raises(InputError, match="spin"):
        spin_matrix(0.3, torch.eye(2, dtype=torch.complex128))
    with pytest.raises(InputError, match="complex"):
        spin_matrix(1, torch.eye(2))
    with pytest.raises(InputError, match="real"):
        spin_from_quaternion(torch.zeros(3))
