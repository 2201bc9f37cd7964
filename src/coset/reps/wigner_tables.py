"""The constants behind Wigner matrices: ``d^j(pi / 2)`` exact, its Fourier series, and the algebra; whole and half spins.

    d^j_{mn}(pi / 2) = 2^-j sqrt( (j+n)! (j-n)! / ((j+m)! (j-m)!) )  sum_k (-1)^k C(j + m, j + n - k) C(j - m, k) (-1)^(n - m)

and, since a turn about y is one about z seen from the side,

    d^j_{mn}(beta) = i^(n - m) sum_mu exp(-i mu beta) d^j_{m mu}(pi / 2) d^j_{n mu}(pi / 2).

(Here z is polar and signs are Condon and Shortley's; :func:`series` speaks of the real basis of the package.)
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb, factorial

import torch
from torch import Tensor

from coset.reps.clebsch_gordan import root


@lru_cache(maxsize=64)
def quarter_turn(twice: int) -> Tensor:
    """``d^j_{mn}(pi / 2)`` of spin ``j = twice / 2``, ``(2j + 1, 2j + 1)`` float64, orders ascending, correctly rounded."""
    out = torch.zeros(twice + 1, twice + 1, dtype=torch.float64)
    for m in range(twice + 1):  # m and n stand for j + m and j + n
        for n in range(twice + 1):
            total = sum((-1) ** (n + m + k) * comb(m, n - k) * comb(twice - m, k) for k in range(max(0, n - m), n + 1))
            ratio = Fraction(factorial(n) * factorial(twice - n), factorial(m) * factorial(twice - m) * 2**twice)
            out[m, n] = root((total > 0) - (total < 0), total * total * ratio)
    return out


@lru_cache(maxsize=64)
def series(l: int) -> Tensor:
    """The real ``d^l(beta)``, a turn about x, as a series: ``((2l + 1)^2, 2l + 1)``.

    Columns belong to ``1, cos beta, ..., cos l beta, sin beta, ..., sin l beta``. Orders of different signs (cosines and sines
    about the axis) do not mix, because the mirror x -> -x commutes with turns about x.
    """
    size = 2 * l + 1
    out = torch.zeros(size, size, size, dtype=torch.float64)  # (m, n, wave)
    waves = _waves(l)
    sign = torch.tensor([(-1.0) ** m for m in range(l + 1)], dtype=torch.float64)
    same = (sign[:, None] * sign)[..., None] * waves[l:, l:]  # between Y_m and Y_n
    cross = sign[:, None, None] * waves[l:, : l + 1].flip(1)  # between Y_m and Y_-n
    weight = torch.ones(l + 1, l + 1, dtype=torch.float64)  # y_0 = Y_0, y_m = ((-1)^m Y_m + Y_-m) / sqrt(2)
    weight[0], weight[:, 0], weight[0, 0] = 0.5**0.5, 0.5**0.5, 0.5
    out[l:, l:] = (same + cross) * weight[..., None]
    out[:l, :l] = (same - cross)[1:, 1:].flip(0, 1)  # y_-m = ((-1)^m Y_m - Y_-m) / (i sqrt(2))
    return out.flatten(0, 1)


def _waves(l: int) -> Tensor:
    """The series of ``d^l_{mn}(beta)`` in the complex basis, ``(2l + 1, 2l + 1, 2l + 1)``: cosines where n - m is even."""
    quarter = quarter_turn(2 * l)
    fourier = torch.einsum("mk,nk->mnk", quarter, quarter)[..., l:]  # mu = 0, ..., l; -mu adds the same
    orders = torch.arange(-l, l + 1)
    gap = (orders - orders[:, None]) % 4
    cosine = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)[gap]  # i^gap
    sine = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64)[gap]  # -i i^gap
    once = cosine[..., None] * fourier[..., :1]
    return torch.cat([once, 2 * cosine[..., None] * fourier[..., 1:], 2 * sine[..., None] * fourier[..., 1:]], -1)


@lru_cache(maxsize=64)
def algebra(l: int) -> Tensor:
    """``rho(e_k)``, the derivative of ``D^l`` at the identity along turns about x, y, z: ``(3, 2l + 1, 2l + 1)``."""
    slope = torch.tensor([0.0] * (l + 1) + list(range(1, l + 1)), dtype=torch.float64)  # of the waves at beta = 0
    about_x = (series(l) @ slope).view(2 * l + 1, 2 * l + 1)
    about_y = torch.diag(torch.arange(l, -l - 1, -1, dtype=torch.float64)).flip(1)
    return torch.stack([about_x, about_y, about_x @ about_y - about_y @ about_x])
