"""Coupling coefficients: every entry against exact arithmetic of another package, invariance, signs, errors."""

import itertools
import random
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from sympy import Rational
from sympy.physics.wigner import clebsch_gordan as sympy_cg

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.reps.clebsch_gordan import (
    clebsch_gordan_complex,
    coupling,
    exact_clebsch_gordan,
    root,
    wigner_3j,
    wigner_3j_complex,
)
from coset.reps.spin import real_basis
from coset.reps.wigner import wigner_blocks


def triples(lmax):
    for a, b in itertools.product(range(lmax + 1), repeat=2):
        for c in range(abs(a - b), min(lmax, a + b) + 1):
            yield a, b, c


def test_the_root_is_correctly_rounded():
    draw = random.Random(0)
    for _ in range(300):
        square = Fraction(draw.randrange(1, 10 ** draw.randrange(1, 60)), draw.randrange(1, 10 ** draw.randrange(1, 60)))
        x = root(1, square)
        below, above = Fraction(float(np.nextafter(x, 0))), Fraction(float(np.nextafter(x, np.inf)))
        assert ((below + Fraction(x)) / 2) ** 2 <= square <= ((above + Fraction(x)) / 2) ** 2
    assert root(1, Fraction(9, 4)) == 1.5
    assert root(-1, Fraction(1, 10**80)) == -1e-40
    assert root(0, Fraction(0)) == 0


def test_coefficients_agree_with_sympy_to_the_last_digit():
    draw = random.Random(1)
    for _ in range(60):
        j1, j2 = draw.randrange(25), draw.randrange(25)  # twice the spins: up to 12
        j3 = draw.randrange(abs(j1 - j2), j1 + j2 + 1, 2)
        m1, m2 = draw.randrange(-j1, j1 + 1, 2), draw.randrange(-j2, j2 + 1, 2)
        want = sympy_cg(*(Rational(n, 2) for n in (j1, j2, j3, m1, m2, m1 + m2))) if abs(m1 + m2) <= j3 else 0
        sign, square = exact_clebsch_gordan(j1, m1, j2, m2, j3, m1 + m2)
        assert Rational(square.numerator, square.denominator) == want**2
        assert sign == (want.is_positive if want else 0) - (want.is_negative if want else 0)


def test_every_real_entry_is_within_one_ulp():
    """Against the change of basis of the module's formula, carried out on exact coefficients with 40 digits."""
    import mpmath

    for l1, l2, l3 in [(1, 1, 1), (1, 2, 3), (2, 2, 3), (3, 3, 4), (4, 2, 5)]:
        with mpmath.workdps(40):
            half = mpmath.sqrt(mpmath.mpf(1) / 2)
            q = []
            for l in (l1, l2, l3):  # [mu, r] = conjugate of real_basis, with orders ascending
                own = np.full((2 * l + 1, 2 * l + 1), mpmath.mpc(0), dtype=object)
                own[l, l] = mpmath.mpc(1)
                for m in range(1, l + 1):
                    s = (-1) ** m
                    own[l + m, l + m], own[l + m, l - m] = s * half, mpmath.mpc(0, s) * half
                    own[l - m, l + m], own[l - m, l - m] = half, mpmath.mpc(0, -1) * half
                q.append(own)
            cg = np.full((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1), mpmath.mpf(0), dtype=object)
            for a, b in itertools.product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
                if abs(a + b) <= l3:
                    sign, square = exact_clebsch_gordan(2 * l1, 2 * a, 2 * l2, 2 * b, 2 * l3, 2 * (a + b))
                    size = mpmath.sqrt(mpmath.mpf(square.numerator) / square.denominator / (2 * l3 + 1))
                    cg[l1 + a, l2 + b, l3 + a + b] = sign * size
            full = np.einsum("abc,ai->ibc", cg, q[0])
            full = np.einsum("ibc,bj->ijc", full, q[1])
            full = np.einsum("ijc,ck->ijk", full, np.conjugate(q[2])) * mpmath.mpc(0, -1) ** (l1 + l2 - l3)
            got = wigner_3j(l1, l2, l3).numpy()
            for place in np.ndindex(*got.shape):
                assert abs(mpmath.im(full[place])) < mpmath.mpf(10) ** -35
                want = mpmath.re(full[place])
                assert abs(mpmath.mpf(got[place]) - want) <= np.spacing(abs(got[place])) * 0.5001 or abs(want) < 1e-35
                assert abs(want) > 1e-35 or got[place] == 0


@pytest.mark.parametrize("triple", [(1, 1, 0), (1, 1, 1), (2, 1, 2), (3, 2, 4), (6, 6, 6), (12, 12, 12), (12, 5, 9)], ids=str)
def test_unit_norm_and_invariance(triple, generator):
    w = wigner_3j(*triple)
    assert abs(w.norm().item() - 1) <= 1e-15 * 4
    blocks = [wigner_blocks([l], SO(3).sample(3, generator=generator.manual_seed(2)))[0] for l in triple]
    moved = torch.einsum("ijk,nai,nbj,nck->nabc", w, *blocks)
    assert (moved - w).abs().max() <= 5e-15
    indices, values = coupling(*triple)
    assert torch.equal(w[tuple(indices.T)], values)
    assert len(values) == torch.count_nonzero(w)
    assert (values != 0).all()


def test_small_cases_are_the_products_of_vectors():
    dot, cross = wigner_3j(1, 1, 0), wigner_3j(1, 1, 1)
    assert torch.equal(dot[..., 0], torch.eye(3, dtype=torch.float64) * 3**-0.5)
    a, b = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(torch.einsum("ijk,i,j->k", cross, a, b), torch.linalg.cross(a, b) / 6**0.5, atol=1e-15)


def test_signs_are_those_of_e3nn_six():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="a peer to compare with")
        for l1, l2, l3 in [*triples(4), (6, 5, 4), (8, 7, 6), (12, 11, 10)]:
            assert (wigner_3j(l1, l2, l3) - o3.wigner_3j(l1, l2, l3, dtype=torch.float64)).abs().max() <= 1e-14


def test_exchange_of_indices_gives_the_sign_of_the_perimeter():
    for l1, l2, l3 in triples(4):
        sign = (-1) ** (l1 + l2 + l3)
        assert torch.equal(wigner_3j(l2, l1, l3).transpose(0, 1), sign * wigner_3j(l1, l2, l3))
        assert torch.equal(wigner_3j(l1, l3, l2).transpose(1, 2), sign * wigner_3j(l1, l2, l3))
        if sign > 0:
            assert wigner_3j(l1, l2, l3)[l1, l2, l3] > 0


def test_complex_tables_are_unitary_and_belong_to_the_real_one():
    parts = [clebsch_gordan_complex(1.5, 2, j) for j in (0.5, 1.5, 2.5, 3.5)]
    whole = torch.cat(parts, -1).flatten(0, 1)
    assert (whole @ whole.T - torch.eye(20)).abs().max() <= 1e-15 * 4
    symbol = wigner_3j_complex(2, 3, 4)
    assert abs(symbol.norm().item() - 1) <= 1e-14
    # the real tensor is, up to a phase, the invariant of three harmonics
    q = [real_basis(l).flip(1) for l in (2, 3, 4)]  # columns m ascending
    real = torch.einsum("abc,ia,jb,kc->ijk", symbol.to(torch.complex128), *(m.conj() for m in q))
    want = wigner_3j(2, 3, 4)
    phase = (real * want).sum()
    assert abs(abs(phase) - 1) <= 1e-14
    assert (real - phase * want).abs().max() <= 1e-15 * 4


def test_what_does_not_couple_is_refused():
    for bad in [(1, 1, 3), (2, 0, 1)]:
        with pytest.raises(InputError, match="no coupling"):
            wigner_3j(*bad)
    with pytest.raises(InputError, match="whole numbers"):
        wigner_3j(1, 1, -1)
    with pytest.raises(InputError, match="spins"):
        clebsch_gordan_complex(0.3, 1, 1)
    with pytest.raises(InputError, match="no coupling"):
        clebsch_gordan_complex(0.5, 0.5, 0.5)


def test_the_tensor_returned_is_ones_own():
    wigner_3j(1, 1, 1).zero_()
    assert wigner_3j(1, 1, 1).norm() > 0.9
