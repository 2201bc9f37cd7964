"""Clebsch-Gordan coefficients, 3j symbols and the real invariant tensors, exact in float64.

Racah's formula as a sum of products of binomials over integers (``a = j1 + j2 - j3``, ``b = j1 - j2 + j3``,
``c = -j1 + j2 + j3``, ``J = j1 + j2 + j3``),

    <j1 m1 j2 m2 | j3 m3> = sqrt( (2 j3 + 1) prod_i (ji + mi)! (ji - mi)! / ((J + 1)! a! b! c!) )
                            sum_k (-1)^k C(a, k) C(b, j1 - m1 - k) C(c, j2 + m2 - k),

so that every coefficient is a sign times the root of a rational number; the root is rounded once, correctly.

**Phase convention.** With the real harmonics of this package as columns of ``q`` (complex ``Y_mu`` by Condon-Shortley,
``Y_mu = sum_r q[mu, r] y_r``, ``q[mu, |mu|] = s / sqrt(2)``, ``q[mu, -|mu|] = ± i s / sqrt(2)`` for ``±mu > 0``, where
``s = (-1)^mu`` for ``mu > 0`` and 1 below),

    w[r1, r2, r3] = (-i)^(l1 + l2 - l3) / sqrt(2 l3 + 1)  sum_mu q1[mu1, r1] q2[mu2, r2] q3*[mu3, r3] <l1 mu1 l2 mu2 | l3 mu3>,

which is real, of unit Frobenius norm, and has the signs of e3nn 0.6. ``w`` is invariant: moving its three indices by
``D^l1(R)``, ``D^l2(R)``, ``D^l3(R)`` leaves it as it is. Since ``mu`` and ``-mu`` have equal moduli, no entry is a sum of
different numbers: it is a complex coefficient times 1 or ``1 / sqrt(2)`` (Edmonds, Angular Momentum in Quantum Mechanics).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import comb, factorial, isqrt

import torch
from torch import Tensor

from coset.errors import InputError

Exact = tuple[int, Fraction]  #: sign and square of a coefficient


def wigner_3j(l1: int, l2: int, l3: int) -> Tensor:
    """The real invariant tensor ``(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)``, float64, of unit Frobenius norm; see the module.

    Every entry is correctly rounded. Raises InputError where the triangle rule ``|l1 - l2| <= l3 <= l1 + l2`` fails.
    """
    return _real(l1, l2, l3).clone()


def coupling(l1: int, l2: int, l3: int) -> tuple[Tensor, Tensor]:
    """The entries of :func:`wigner_3j` that are not zero: indices ``(n, 3)`` int64, sorted, and values ``(n,)`` float64."""
    dense = _real(l1, l2, l3)
    indices = dense.nonzero()
    return indices, dense[tuple(indices.T)]


def clebsch_gordan_complex(j1: float, j2: float, j3: float) -> Tensor:
    """``<j1 m1 j2 m2 | j3 m3>`` (Condon-Shortley) as ``(2 j1 + 1, 2 j2 + 1, 2 j3 + 1)`` float64, m ascending.

    Spins are whole or half: 1, 0.5, ``Fraction(1, 2)``. Raises InputError where the triangle rule fails.
    """
    return _table(*_triangle(j1, j2, j3), symbol=False).clone()


def wigner_3j_complex(j1: float, j2: float, j3: float) -> Tensor:
    """The 3j symbols ``(j1 j2 j3; m1 m2 m3)`` of the complex basis, same shape and errors as above."""
    return _table(*_triangle(j1, j2, j3), symbol=True).clone()


# ---------------------------------------------------------------------- exact values; spins and orders count halves


def exact_clebsch_gordan(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> Exact:
    """Sign and square of ``<j1 m1 j2 m2 | j3 m3>``; all arguments are *twice* the spin or order."""
    if m1 + m2 != m3 or abs(m1) > j1 or abs(m2) > j2 or abs(m3) > j3:
        return 0, Fraction(0)
    a, b, c, total = (j1 + j2 - j3) // 2, (j1 - j2 + j3) // 2, (j2 - j1 + j3) // 2, (j1 + j2 + j3) // 2
    low, high = (j1 - m1) // 2, (j2 + m2) // 2
    least, most = max(0, low - b, high - c), min(a, low, high)
    whole = sum((-1) ** k * comb(a, k) * comb(b, low - k) * comb(c, high - k) for k in range(least, most + 1))
    weight = j3 + 1
    for j, m in ((j1, m1), (j2, m2), (j3, m3)):
        weight *= factorial((j + m) // 2) * factorial((j - m) // 2)
    below = factorial(total + 1) * factorial(a) * factorial(b) * factorial(c)
    return (whole > 0) - (whole < 0), Fraction(whole * whole * weight, below)


def root(sign: int, square: Fraction) -> float:
    """``sign * sqrt(square)``, correctly rounded: an integer root of at least 64 bits, its remainder kept as a last bit."""
    if not sign:
        return 0.0
    shift = max(0, 70 + (square.denominator.bit_length() - square.numerator.bit_length()) // 2)
    scaled, left = divmod(square.numerator << 2 * shift, square.denominator)
    whole = isqrt(scaled)
    sticky = 2 * whole + bool(left or whole * whole != scaled)
    return sign * (sticky / (1 << shift + 1))


def exact_wigner_3j(l1: int, l2: int, l3: int) -> Iterator[tuple[tuple[int, int, int], Exact]]:
    """The entries of :func:`wigner_3j` that are not zero, as (orders ``r1, r2, r3``), (sign, square)."""
    mirror = 2 * (l1 + l2 - l3)  # <-mu1 -mu2 | -mu3> = (-1)^(l1 + l2 - l3) <mu1 mu2 | mu3>, in powers of i
    for mu1, mu2 in product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
        mu = (mu1, mu2, mu1 + mu2)
        if abs(mu[2]) > l3 or mu < (0, 0, 0):
            continue  # one of mu and -mu stands for both
        sign, square = exact_clebsch_gordan(2 * l1, 2 * mu1, 2 * l2, 2 * mu2, 2 * l3, 2 * mu[2])
        if not sign:
            continue
        size = square / (2 * l3 + 1) / (2 if all(mu) else 1)
        for r in product(*({abs(m), -abs(m)} for m in mu)):
            one = _phase(mu, r) - (l1 + l2 - l3)
            if any(mu) and (_phase(tuple(-m for m in mu), r) - _phase(mu, r) + mirror) % 4:
                continue  # the two terms cancel
            yield (r[0], r[1], r[2]), (sign * (1, 0, -1, 0)[one % 4], size)


def _phase(mu: tuple[int, ...], r: tuple[int, ...]) -> int:
    """The power of i in ``q1[mu1, r1] q2[mu2, r2] q3*[mu3, r3]``."""
    powers = [(2 * m if m > 0 else 0) + (0 if k >= 0 else 1 if m > 0 else 3) for m, k in zip(mu, r, strict=True)]
    return powers[0] + powers[1] - powers[2]


# ---------------------------------------------------------------------- tables


@lru_cache(maxsize=4096)
def _real(l1: int, l2: int, l3: int) -> Tensor:
    if any(isinstance(l, bool) or not isinstance(l, int) or l < 0 for l in (l1, l2, l3)):
        raise InputError(f"wigner_3j: degrees are whole numbers of at least 0, got {(l1, l2, l3)}")
    _triangle(l1, l2, l3)
    out = torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.float64)
    found = {r: root(*exact) for r, exact in exact_wigner_3j(l1, l2, l3)}
    places = torch.tensor(list(found)) + torch.tensor([l1, l2, l3])
    out[tuple(places.T)] = torch.tensor(list(found.values()), dtype=torch.float64)
    return out


@lru_cache(maxsize=512)
def _table(j1: int, j2: int, j3: int, *, symbol: bool) -> Tensor:
    out = torch.zeros(j1 + 1, j2 + 1, j3 + 1, dtype=torch.float64)
    for a, b in product(range(j1 + 1), range(j2 + 1)):
        m1, m2 = 2 * a - j1, 2 * b - j2
        if abs(m1 + m2) > j3:
            continue
        sign, square = exact_clebsch_gordan(j1, m1, j2, m2, j3, m1 + m2)
        if symbol:  # (j1 j2 j3; m1 m2 -m) = (-1)^(j1 - j2 + m) <j1 m1 j2 m2 | j3 m> / sqrt(2 j3 + 1)
            odd = (j1 - j2 + m1 + m2) // 2 % 2
            out[a, b, (j3 - m1 - m2) // 2] = root(-sign if odd else sign, square / (j3 + 1))
        else:
            out[a, b, (j3 + m1 + m2) // 2] = root(sign, square)
    return out


def _triangle(*spins: float) -> tuple[int, int, int]:
    """Twice the spins; InputError unless they are whole or half, not negative, and form a triangle of whole perimeter."""
    twice = tuple(int(2 * j) for j in spins)
    if any(2 * j != t or t < 0 for j, t in zip(spins, twice, strict=True)):
        raise InputError(f"spins are 0, 1/2, 1, ..., got {spins}")
    if not abs(twice[0] - twice[1]) <= twice[2] <= twice[0] + twice[1] or sum(twice) % 2:
        raise InputError(
            f"no coupling of {spins[0]} and {spins[1]} to {spins[2]}: the third is |l1 - l2|, |l1 - l2| + 1, ..., l1 + l2"
        )
    return twice  # type: ignore[return-value]
