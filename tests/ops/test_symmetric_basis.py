import math

import numpy as np
import pytest

from coset.ops.symmetric_basis import Block, symmetric_basis
from coset.reps.irreps import Irrep


def natural(lmax):
    return blocks([(l, (-1) ** l) for l in range(lmax + 1)])


def blocks(irreps):
    found, start = [], 0
    for l, p in irreps:
        found.append(Block(Irrep(l, p), tuple(range(start, start + 2 * l + 1))))
        start += 2 * l + 1
    return found


def multiplicity(irreps, order, l, p):
    """How often (l, p) occurs among the symmetric powers: the character of Sym^n by Newton's identities, averaged over O(3)."""
    angles = (np.arange(200) + 0.5) * np.pi / 200
    weight = (1 - np.cos(angles)) / 200

    def character(degree, theta):
        return sum(np.cos(m * theta) for m in range(-degree, degree + 1))

    total = 0.0
    for sign in (1, -1):  # proper elements, and their products with the inversion
        powers = [sum(character(d, k * angles) * (q**k if sign < 0 else 1) for d, q in irreps) for k in range(1, order + 1)]
        symmetric = [np.ones_like(angles)]
        for n in range(1, order + 1):
            symmetric.append(sum(powers[k - 1] * symmetric[n - k] for k in range(1, n + 1)) / n)
        total += (weight * character(l, angles) * (p if sign < 0 else 1) * symmetric[order]).sum() / 2
    return round(total)


@pytest.mark.parametrize(
    ("lmax", "order"), [(0, 3), (1, 1), (1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 2), (3, 3), (3, 4), (6, 2)]
)
def test_it_has_as_many_elements_as_the_character_of_the_symmetric_power_says(lmax, order):
    wanted = [Irrep(l, p) for l in (0, 1, 2) for p in (1, -1)]
    basis = symmetric_basis(natural(lmax), wanted, order)
    irreps = [(l, (-1) ** l) for l in range(lmax + 1)]
    assert {ir: len(basis[ir]) for ir in wanted} == {ir: multiplicity(irreps, order, ir.l, ir.p) for ir in wanted}


@pytest.mark.parametrize("irreps", [[(1, -1), (1, 1)], [(0, -1), (1, 1)], [(1, -1), (1, -1)]])
def test_parities_and_repeated_irreps_count_too(irreps):
    wanted = [Irrep(l, p) for l in (0, 1) for p in (1, -1)]
    basis = symmetric_basis(blocks(irreps), wanted, 3)
    assert {ir: len(basis[ir]) for ir in wanted} == {ir: multiplicity(irreps, 3, ir.l, ir.p) for ir in wanted}


def test_every_component_of_the_basis_is_orthonormal():
    for irrep, covariants in symmetric_basis(natural(2), [Irrep(0, 1), Irrep(1, -1), Irrep(2, 1)], 3).items():
        for m in range(irrep.dim):
            gram = np.array([[product(a[m], b[m]) for b in covariants] for a in covariants])
            np.testing.assert_allclose(gram, np.eye(len(covariants)), atol=1e-13)


def product(a, b):
    def norm(monomial):
        return math.prod(math.factorial(monomial.count(v)) for v in set(monomial)) / math.factorial(len(monomial))

    return sum(value * b.get(monomial, 0.0) * norm(monomial) for monomial, value in a.items())


def test_it_is_the_same_at_every_call():
    first = symmetric_basis(natural(2), [Irrep(1, -1)], 3)
    assert symmetric_basis(natural(2), [Irrep(1, -1)], 3) == first
