"""Circular harmonics on a pixel grid: functions ``R(r) e^{i m phi}``, the basis of moments and of steerable kernels.

Turning the plane by ``a`` multiplies such a function by a phase, ``V(R_a^{-1} x) = e^{-i m a} V(x)``, so whatever is built
from them follows rotations by arithmetic instead of resampling. Radial profiles, by ``kind`` (``q = |m|``):

- ``zernike``: ``r^q P_k^(0,q)(2 r^2 - 1)``, ``k = (p - q) / 2``, for ``q <= p`` and ``p - q`` even;
- ``pseudo-zernike``: ``r^q P_{p-q}^(0,2q+1)(2 r - 1)`` for ``q <= p``;
- ``fourier-mellin``: ``P_p^(0,1)(2 r - 1)`` for every ``q``;
- ``rings``: Gaussian rings ``exp(-(r - p)^2 / (2 s^2))`` at radii of ``p`` pixels, ``q <= 2 p`` (what a ring of that
  circumference can carry), the family of steerable kernels.

``P_k^(0,b)`` are Jacobi polynomials by their three-term recursion, which stays accurate where factorial sums cancel. The
first three families are orthogonal on the unit disc, ``<V_pq, V_p'q> = pi / (p + 1) delta``. Sources: Zernike 1934; Bhatia
& Wolf 1954; Sheng & Shen 1994; steerable rings: Weiler, Hamprecht & Storath, arXiv 1711.07289.

Pixel ``(i, j)`` of an N x N grid sits at ``x = (2j + 1 - N) / N``, ``y = -(2i + 1 - N) / N``: y points up, positive angles
turn counter-clockwise, and the disc touches the border of the square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError, unknown

KINDS = ("zernike", "pseudo-zernike", "fourier-mellin", "rings")
RING_WIDTH = 0.6  #: standard deviation of a Gaussian ring, in pixels
_CENTER = 1e-9  #: nearer to the origin than this a pixel has no angle


@dataclass(frozen=True, eq=False)
class CircularBasis:
    """Sampled functions ``V_n = R_{p_n}(r) e^{i q_n phi}``: ``values`` is complex ``(n, N, N)``, indices are pairs (p, q)."""

    kind: str
    indices: tuple[tuple[int, int], ...]
    values: Tensor
    subpixels: int = 1

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def radial(self) -> Tensor:
        """The radial indices p, int64 ``(n,)``."""
        return torch.tensor([p for p, _ in self.indices], dtype=torch.int64)

    @property
    def angular(self) -> Tensor:
        """The angular indices (frequencies) q, int64 ``(n,)``."""
        return torch.tensor([q for _, q in self.indices], dtype=torch.int64)


def circular_indices(kind: str, order: int, *, angular: int | None = None) -> tuple[tuple[int, int], ...]:
    """All pairs (p, q) with q >= 0 up to ``order``; ``angular`` bounds q for Fourier-Mellin (default: ``order``).

    Counts: Zernike (P//2 + 1)((P+1)//2 + 1), pseudo-Zernike (P+1)(P+2)/2, Fourier-Mellin (P+1)(Q+1). For rings, ``order``
    is the largest radius in pixels. InputError for an unknown kind or a negative order.
    """
    if order < 0:
        raise InputError(f"circular basis: order is >= 0, got {order}")
    top = order if angular is None else angular
    if kind == "zernike":
        return tuple((p, q) for p in range(order + 1) for q in range(p % 2, min(p, top) + 1, 2))
    if kind == "pseudo-zernike":
        return tuple((p, q) for p in range(order + 1) for q in range(min(p, top) + 1))
    if kind == "fourier-mellin":
        return tuple((p, q) for p in range(order + 1) for q in range(top + 1))
    if kind == "rings":
        top = 2 * order if angular is None else angular
        return tuple((p, q) for p in range(order + 1) for q in range(min(2 * p, top) + 1))
    raise unknown("circular basis", kind, KINDS)


def check_index(kind: str, p: int, q: int) -> None:
    """InputError unless (p, q) names a function of this kind."""
    if kind not in KINDS:
        raise unknown("circular basis", kind, KINDS)
    if p < 0:
        raise InputError(f"{kind}: the radial index is >= 0, got p = {p}")
    if kind in ("zernike", "pseudo-zernike") and abs(q) > p:
        raise InputError(f"{kind}: |q| <= p, got p = {p}, q = {q}")
    if kind == "zernike" and (p - q) % 2:
        raise InputError(f"zernike: p - q is even, got p = {p}, q = {q}; pseudo-zernike takes such pairs")


def pixel_centers(size: int, *, subpixels: int = 1) -> tuple[Tensor, Tensor]:
    """``x`` (right) and ``y`` (up), float64 ``(M, M)`` with ``M = size * subpixels``, in (-1, 1)."""
    if size < 1 or subpixels < 1:
        raise InputError(f"circular basis: size and subpixels are >= 1, got {size} and {subpixels}")
    fine = size * subpixels
    line = (2 * torch.arange(fine, dtype=torch.float64) + 1 - fine) / fine
    return line.expand(fine, fine), -line[:, None].expand(fine, fine)


def jacobi(degree: int, b: int, x: Tensor) -> Tensor:
    """The Jacobi polynomial ``P_degree^(0, b)`` (1 at x = 1) by its three-term recursion; differentiable in ``x``."""
    before, now = torch.ones_like(x), 1 + (b + 2) * (x - 1) / 2
    if degree == 0:
        return before
    for n in range(2, degree + 1):
        s = 2 * n + b
        scale = 2 * n * (n + b) * (s - 2)
        before, now = now, ((s - 1) * (s * (s - 2) * x - b * b) * now - 2 * (n - 1) * (n + b - 1) * s * before) / scale
    return now


def circular_harmonic(kind: str, p: int, q: int, x: Tensor, y: Tensor, *, unit: float = 1.0) -> Tensor:
    """``R_p(r) e^{i q phi}`` at points of the plane, complex, differentiable; not cut off outside the disc.

    ``x`` and ``y`` have equal shapes; for rings, ``unit`` is the number of pixels per unit length. At the centre the
    angle is undefined and the value is 0 for q != 0, without which even quarter turns fail on odd grids.
    """
    check_index(kind, p, q)
    square = x * x + y * y
    at_center = square < _CENTER**2
    r = torch.sqrt(torch.where(at_center, torch.ones_like(square), square))
    r = torch.where(at_center, torch.zeros_like(r), r)
    m = abs(q)
    z = torch.complex(x, y if q >= 0 else -y)
    if kind == "zernike":
        return _power(z, m) * jacobi((p - m) // 2, m, 2 * square - 1)
    if kind == "pseudo-zernike":
        return _power(z, m) * jacobi(p - m, 2 * m + 1, 2 * r - 1)
    direction = torch.where(at_center, torch.zeros_like(z), z / torch.where(at_center, torch.ones_like(r), r))
    phase = _power(direction, m)
    if kind == "fourier-mellin":
        return phase * jacobi(p, 1, 2 * r - 1)
    return phase * torch.exp(-((r * unit - p) ** 2) / (2 * RING_WIDTH**2))


def _power(z: Tensor, m: int) -> Tensor:
    """``z ** m`` by multiplication: exact under quarter turns, and without the pole that ``pow`` has at 0."""
    out = torch.ones_like(z)
    for _ in range(m):
        out = out * z
    return out


def circular_basis(
    kind: str,
    order: int,
    size: int,
    *,
    subpixels: int = 1,
    angular: int | None = None,
    indices: tuple[tuple[int, int], ...] = (),
) -> CircularBasis:
    """The functions of ``kind`` up to ``order`` on a ``size`` x ``size`` grid, zero outside the disc; complex128.

    With ``subpixels`` s every pixel holds the mean over s x s points inside it, which reduces the error of the pixel grid
    at no cost later. ``indices`` selects pairs (p, q), q of either sign. For rings the order is the largest radius in
    pixels and values are points, not normalised. InputError for an unknown kind, an impossible pair, or an order above
    ``size``, which the grid cannot carry.
    """
    indices = indices or circular_indices(kind, order, angular=angular)
    if order > size:
        raise InputError(f"circular basis: order {order} exceeds the {size} x {size} grid; use at most {size // 2}")
    x, y = pixel_centers(size, subpixels=subpixels)
    inside = (x * x + y * y) <= 1 + 1e-12
    if not bool(inside.any()):
        raise InputError(f"circular basis: no pixel of a {size} x {size} grid lies inside the disc")
    values = torch.stack([circular_harmonic(kind, p, q, x, y, unit=size / 2) for p, q in indices]) * inside
    blocks = values.view(len(indices), size, subpixels, size, subpixels)
    return CircularBasis(kind, tuple(indices), blocks.mean(dim=(2, 4)), subpixels)


def factorial_radial(kind: str, p: int, q: int, r: Tensor) -> Tensor:
    """The radial polynomial by the published factorial sum: a reference for tests, unstable above order 20."""
    check_index(kind, p, q)
    f, q = math.factorial, abs(q)
    if kind == "zernike":
        terms = [
            (p - 2 * k, (-1) ** k * f(p - k) // (f(k) * f((p + q) // 2 - k) * f((p - q) // 2 - k)))
            for k in range((p - q) // 2 + 1)
        ]
    elif kind == "pseudo-zernike":
        terms = [(p - k, (-1) ** k * f(2 * p + 1 - k) // (f(k) * f(p + q + 1 - k) * f(p - q - k))) for k in range(p - q + 1)]
    elif kind == "fourier-mellin":
        terms = [(k, (-1) ** (p + k) * f(p + k + 1) // (f(p - k) * f(k) * f(k + 1))) for k in range(p + 1)]
    else:
        raise InputError(f"{kind} has no factorial sum; known: zernike, pseudo-zernike, fourier-mellin")
    return sum((float(c) * r**power for power, c in terms), torch.zeros_like(r))


__all__ = [
    "KINDS", "CircularBasis", "check_index", "circular_basis", "circular_harmonic", "circular_indices",
    "factorial_radial", "jacobi", "pixel_centers",
]  # fmt: skip
