"""Complex matrices of SU(2) for every spin, whole and half: homogeneous polynomials in the entries of the group element.

For ``U = [[a, b], [-b*, a*]]`` and the basis ``u^(j+m) v^(j-m) / sqrt((j+m)! (j-m)!)``, m = j, ..., -j,

    D^j_{m'm}(U) = sum_k sqrt((j+m')! (j-m')! / ((j+m)! (j-m)!)) C(j+m, k) C(j-m, j+m'-k) a^k U_21^(j+m-k) b^(j+m'-k) U_22^(..),

so spin 1/2 is the group itself, products are kept, and all derivatives exist (Wigner, Group Theory, chapter 15). The terms
are up to 200 times the result at j = 12: entries are good to 2e-13 there, to 1e-14 at j = 8. Conjugating by
:func:`real_basis` turns whole spins into the real matrices of :mod:`coset.reps.wigner`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb, factorial

import torch
from torch import Tensor

from coset.errors import InputError
from coset.reps.clebsch_gordan import root


def spin_matrix(j: float | Fraction, u: Tensor) -> Tensor:
    """``D^j`` of elements of SU(2) ``(..., 2, 2)`` complex: ``(..., 2j + 1, 2j + 1)``, orders m = j, ..., -j.

    Differentiable; InputError for a spin that is neither whole nor half, or another shape.
    """
    twice = int(2 * j)
    if twice != 2 * j or twice < 0:
        raise InputError(f"spin_matrix: a spin is 0, 1/2, 1, ..., got {j}")
    if u.shape[-2:] != (2, 2) or not u.is_complex():
        raise InputError(f"spin_matrix: expected complex (..., 2, 2), got {u.dtype} {tuple(u.shape)}")
    exponents, coefficients, place = _terms(twice)
    powers = [torch.ones_like(u)]
    for _ in range(twice):
        powers.append(powers[-1] * u)
    table = torch.stack(powers).flatten(-2)  # (power, ..., entry)
    exponents, place = exponents.to(u.device), place.to(u.device)
    term = coefficients.to(u) * table[exponents[0], ..., 0].movedim(0, -1)
    for entry in (1, 2, 3):
        term = term * table[exponents[entry], ..., entry].movedim(0, -1)
    out = term.new_zeros(*term.shape[:-1], (twice + 1) ** 2).index_add(-1, place, term)
    return out.unflatten(-1, (twice + 1, twice + 1))


def spin_from_quaternion(q: Tensor) -> Tensor:
    """Quaternions ``(w, x, y, z)`` ``(..., 4)``, not zero, to SU(2): ``w - i (x s_2 + y s_3 + z s_1)``, Pauli matrices s.

    The third Pauli matrix belongs to the polar axis y, so that a diagonal element turns about y.
    """
    if q.shape[-1:] != (4,) or q.is_complex():
        raise InputError(f"spin_from_quaternion: expected real (..., 4), got {q.dtype} {tuple(q.shape)}")
    w, x, y, z = (q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)).unbind(-1)
    entries = [torch.complex(w, -y), torch.complex(-x, -z), torch.complex(x, -z), torch.complex(w, y)]
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def rotation_from_spin(u: Tensor) -> Tensor:
    """The rotation ``(..., 3, 3)`` that belongs to ``u`` and ``-u`` of SU(2), ``(..., 2, 2)``."""
    basis = real_basis(1).to(u)
    return (basis @ spin_matrix(1, u) @ basis.mH).real


def real_basis(l: int) -> Tensor:
    """The unitary ``q`` ``(2l + 1, 2l + 1)`` with ``D_real = q D_complex q^H``; columns m = l, ..., -l, rows -l, ..., l.

    ``y_0 = Y_0``, ``y_m = ((-1)^m Y_m + Y_-m) / sqrt(2)``, ``y_-m = ((-1)^m Y_m - Y_-m) / (i sqrt(2))``.
    """
    q = torch.zeros(2 * l + 1, 2 * l + 1, dtype=torch.complex128)
    q[l, l] = 1
    for m in range(1, l + 1):
        sign, half = (-1) ** m, 0.5**0.5
        q[l + m, l - m], q[l + m, l + m] = sign * half, half
        q[l - m, l - m], q[l - m, l + m] = 1j * sign * half, -1j * half
    return q


@lru_cache(maxsize=64)
def _terms(twice: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exponents ``(4, terms)`` of U_11, U_12, U_21, U_22, coefficients and places in the flat matrix."""
    exponents, coefficients, place = [], [], []
    for row in range(twice + 1):
        for column in range(twice + 1):
            up, to = twice - column, twice - row  # powers of u before and after: j + m and j + m'
            ratio = Fraction(factorial(to) * factorial(row), factorial(up) * factorial(column))
            for k in range(max(0, to - column), min(up, to) + 1):
                exponents.append((k, to - k, up - k, column - to + k))
                coefficients.append(root(1, ratio * (comb(up, k) * comb(column, to - k)) ** 2))
                place.append(row * (twice + 1) + column)
    return torch.tensor(exponents).T.contiguous(), torch.tensor(coefficients, dtype=torch.float64), torch.tensor(place)
