"""Functions of a distance: bases to expand it in, and envelopes that switch an interaction off at ``r_max``.

================================  ==========================================================================================
:func:`bessel_basis`              ``sqrt(2 / r_max) sin(w_n r) / r``, ``w_n = n pi / r_max``
:func:`gaussian_basis`            ``exp(-(r - c_n)^2 / (2 s^2))``
:func:`polynomial_envelope`       a polynomial from 1 to 0 with ``p - 1`` flat derivatives at 0 and two at ``r_max``
:func:`exponential_envelope`      1 to 0.8 ``r_max``, then down; three derivatives vanish at ``r_max``
:func:`smooth_envelope`           the same with all derivatives continuous and zero at ``r_max``
:func:`cosine_envelope`           ``(1 + cos(pi r / r_max)) / 2``; only the first derivative vanishes at ``r_max``
================================  ==========================================================================================

All take distances of any shape, keep dtype and device, and are differentiable twice with finite derivatives everywhere, at
``r = 0``, at ``r_max`` and beyond included. Lengths are in any one unit. Splines and tables: :mod:`coset.ops.bspline`,
:mod:`coset.ops.radial_table`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coset.errors import InputError

EXPONENT = 0.1  #: the constant of the exponential envelope


def bessel_basis(r: Tensor, r_max: float, frequencies: int | Tensor = 8) -> Tensor:
    """Spherical Bessel functions of order 0, ``(..., n)`` of distances ``(...)``: orthonormal for ``r^2 dr`` on [0, r_max].

    ``frequencies`` is their number or a tensor ``(n,)`` of ``w_n`` in 1 / length, through which gradients flow. The limit
    ``w_n sqrt(2 / r_max)`` at zero is reached by a series, so derivatives are exact there too. Source: Gasteiger, Gross &
    Gunnemann, ICLR 2020, arXiv 2003.03123, eq. 7. InputError if ``r_max`` is not positive.
    """
    _check(r, r_max)
    if isinstance(frequencies, int):
        w = torch.arange(1, frequencies + 1, dtype=r.dtype, device=r.device) * (math.pi / r_max)
    else:
        w = frequencies.to(r.dtype)
    return math.sqrt(2 / r_max) * w * _sinc(r.unsqueeze(-1) * w)


def _sinc(x: Tensor) -> Tensor:
    """``sin(x) / x``, by its series below 1/2, where the quotient and its derivatives cancel."""
    square = x * x
    near = square < 0.25
    small = torch.where(near, square, torch.zeros_like(x))
    series = torch.ones_like(x)
    for k in range(8, 0, -1):
        series = 1 - small * series / (2 * k * (2 * k + 1))
    far = torch.where(near, torch.ones_like(x), x)
    return torch.where(near, series, torch.sin(far) / far)


def gaussian_basis(r: Tensor, centers: Tensor, width: float | Tensor) -> Tensor:
    """Gaussians ``(..., n)`` of distances ``(...)`` around ``centers`` ``(n,)``; their ``width`` is a number or ``(n,)``."""
    return torch.exp(-0.5 * ((r.unsqueeze(-1) - centers.to(r)) / width).square())


def gaussian_grid(r_max: float, count: int, *, overlap: float = 2.0) -> tuple[Tensor, float]:
    """Evenly spaced centers ``(count,)`` from 0 to ``r_max``, float64, and a width of ``overlap`` spacings."""
    if count < 2 or not r_max > 0:
        raise InputError(f"a grid of Gaussians needs r_max > 0 and at least 2 centers, got r_max = {r_max}, {count} centers")
    return torch.linspace(0, r_max, count, dtype=torch.float64), overlap * r_max / (count - 1)


def polynomial_envelope(r: Tensor, r_max: float, p: int = 6) -> Tensor:
    """``1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)`` of ``x = r / r_max``, and 0 beyond.

    Computed as ``(1 - x)^3 sum_(k<p) (k+1)(k+2)/2 x^k``, the same polynomial without cancellation near ``r_max``. Source:
    Gasteiger, Gross & Gunnemann, arXiv 2003.03123, eq. 8, times ``x``. InputError unless ``p`` is at least 1.
    """
    _check(r, r_max)
    if p < 1:
        raise InputError(f"polynomial_envelope: p is at least 1, got {p}")
    x = (r / r_max).clamp(max=1.0)
    total = torch.full_like(x, p * (p + 1) / 2)
    for k in range(p - 2, -1, -1):
        total = total * x + (k + 1) * (k + 2) / 2
    rest = 1 - x
    return rest * rest * rest * total


def exponential_envelope(r: Tensor, r_max: float, start: float = 0.8) -> Tensor:
    """1 up to ``start * r_max``, then a smooth step built of ``f(x) = expm1(c x) / expm1(c) * x^2 sin(pi x / 2)``, c = 0.1.

    With ``t`` the way from ``start * r_max`` to ``r_max``, ``1 - f(2 t) / 2`` up to the middle and ``f(2 - 2 t) / 2`` after it.
    Three derivatives vanish at both ends; in the middle the second derivative jumps, which no smoother ``f`` was given for:
    :func:`smooth_envelope` has no such place. Source: Miklaucic et al., arXiv 2509.08418 (official code).
    """
    t = _way(r, r_max, start)
    first = t < 0.5
    x = torch.where(first, 2 * t, 2 - 2 * t)
    half = torch.expm1(EXPONENT * x) / math.expm1(EXPONENT) * x * x * torch.sin(math.pi / 2 * x) / 2
    return torch.where(first, 1 - half, half)


def smooth_envelope(r: Tensor, r_max: float, start: float = 0.8) -> Tensor:
    """1 up to ``start * r_max``, then ``1 / (1 + exp(1 / (1 - t) - 1 / t))`` down to 0 at ``r_max``: infinitely differentiable.

    It is ``b(1 - t) / (b(t) + b(1 - t))`` with the bump ``b(t) = exp(-1 / t)``. Within 1 % of the ends it is constant, where it
    differs from 1 or 0 by less than 1e-42.
    """
    t = _way(r, r_max, start)
    inside = (t > 0.01) & (t < 0.99)
    safe = torch.where(inside, t, torch.full_like(t, 0.5))
    return torch.where(inside, torch.sigmoid(1 / safe - 1 / (1 - safe)), (t < 0.5).to(t.dtype))


def cosine_envelope(r: Tensor, r_max: float) -> Tensor:
    """``(1 + cos(pi r / r_max)) / 2`` and 0 beyond; the second derivative jumps at ``r_max``. Source: Behler, 2011."""
    _check(r, r_max)
    return 0.5 * (1 + torch.cos((r / r_max).clamp(max=1.0) * math.pi))


def _way(r: Tensor, r_max: float, start: float) -> Tensor:
    """How far ``r`` is on the way from ``start * r_max`` to ``r_max``, from 0 to 1."""
    _check(r, r_max)
    if not 0 <= start < 1:
        raise InputError(f"an envelope starts to fall at a share of r_max from 0 to 1, got {start}")
    return ((r / r_max - start) / (1 - start)).clamp(0.0, 1.0)


def _check(r: Tensor, r_max: float) -> None:
    if not r_max > 0:
        raise InputError(f"r_max is a positive length, got {r_max}")
    if not r.is_floating_point():
        raise InputError(f"distances are real floating-point numbers, got {r.dtype}; convert with .float()")
