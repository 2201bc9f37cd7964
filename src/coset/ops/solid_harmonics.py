"""Real solid harmonics as polynomials of x, y, z, for anything that can be added and multiplied.

With the polar axis y and ``m = -l..l``, so that degree 1 is (x, y, z) up to its norm,

    r^l Y_lm(x, y, z) = k_lm Q_lm(y, r^2) * (Re (z + i x)^m  if m >= 0,  Im (z + i x)^|m|  if m < 0)

where ``r^(l-m) Q_lm(y / r, 1)`` is the m-th derivative of the Legendre polynomial of degree l, made monic. Two ways to evaluate
them: :func:`solid_harmonics` by the recursion

    Q_mm = 1,   Q_(m+1)m = y,   Q_lm = y Q_(l-1)m - ((l-1)^2 - m^2) / ((2l-1)(2l-3)) r^2 Q_(l-2)m,

and :func:`explicit_harmonics` by the sums of binomials that textbooks give, the oracle. Both have no pole and no branch.
Sources: Legendre functions in any table (DLMF 14.7, 18.5); the Cartesian recursion as in Drautz, Phys. Rev. B 102, 024104
(2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

NORMALIZATIONS = ("component", "integral", "norm")
SHORTEST = {"float32": 1e-12, "float64": 1e-100}  #: shorter vectors have no direction; of longer ones 1 / r^3 is finite

Kind = tuple[tuple[int, ...], bool, str]  # degrees, normalize, normalization


@lru_cache(maxsize=512)
def width(kind: Kind) -> int:
    """How many harmonics a kind has."""
    return sum(2 * l + 1 for l in kind[0])


def scale(l: int, m: int, normalization: str) -> float:
    """The factor ``k_lm`` of a monic ``Q_lm``, ``m >= 0``.

    ``"component"``: every harmonic has mean square 1 over the sphere; ``"integral"``: its square integrates to 1;
    ``"norm"``: the squares of one degree sum to 1.
    """
    leading = math.factorial(2 * l) // (2**l * math.factorial(l)) / math.factorial(l - m)
    square = (1 if m == 0 else 2) * math.factorial(l - m) / math.factorial(l + m)
    square *= {"component": 2 * l + 1, "integral": (2 * l + 1) / (4 * math.pi), "norm": 1}[normalization]
    return leading * math.sqrt(square)


def solid_harmonics(degrees: Sequence[int], x: Any, y: Any, z: Any, normalization: str = "component") -> list[Any]:
    """The harmonics of all ``degrees`` in turn, ``m = -l..l`` in each; that of degree 0 is a Python number.

    The coordinates may be tensors, numbers or symbols: only sums and products are taken.
    """
    top = max(degrees, default=0)
    square = x * x + y * y + z * z if top > 1 else 0.0
    cosine: Any = 1.0  # Re (z + i x)^m
    sine: Any = 0.0
    found: dict[tuple[int, int], Any] = {}
    for m in range(top + 1):
        if m == 1:
            cosine, sine = z, x
        elif m > 1:
            cosine, sine = z * cosine - x * sine, z * sine + x * cosine
        before: Any = 0.0
        now: Any = 1.0
        for l in range(m, top + 1):
            if l == m + 1:
                before, now = now, y
            elif l > m + 1:
                share = ((l - 1) ** 2 - m * m) / ((2 * l - 1) * (2 * l - 3))
                before, now = now, y * now - share * before * square
            if l in degrees:
                profile = scale(l, m, normalization) * now
                found[l, m] = profile * cosine
                found[l, -m] = profile * sine if m else found[l, 0]
    return [found[l, m] for l in degrees for m in range(-l, l + 1)]


def explicit_harmonics(degrees: Sequence[int], x: Any, y: Any, z: Any, normalization: str = "component") -> list[Any]:
    """The same from explicit sums, term by term; loses about ``2^l`` roundings to cancellation (1e-12 at l = 12)."""
    square = x * x + y * y + z * z
    return [
        scale(l, abs(m), normalization) * _profile(l, abs(m), y, square) * _azimuth(m, z, x)
        for l in degrees
        for m in range(-l, l + 1)
    ]


def _profile(l: int, m: int, y: Any, square: Any) -> Any:
    """The monic ``Q_lm``: derivatives of ``P_l(t) = 2^-l sum_k (-1)^k C(l, k) C(2l - 2k, l) t^(l - 2k)``, homogeneous."""

    def coefficient(k: int) -> int:
        return (-1) ** k * math.comb(l, k) * math.comb(2 * l - 2 * k, l) * math.perm(l - 2 * k, m)

    return sum(coefficient(k) / coefficient(0) * y ** (l - m - 2 * k) * square**k for k in range((l - m) // 2 + 1))


def _azimuth(m: int, z: Any, x: Any) -> Any:
    """The real (m >= 0) or imaginary part of ``(z + i x)^|m|`` by the binomial theorem."""
    first, n = (0 if m >= 0 else 1), abs(m)
    return sum((-1) ** (k // 2) * math.comb(n, k) * z ** (n - k) * x**k for k in range(first, n + 1, 2))
