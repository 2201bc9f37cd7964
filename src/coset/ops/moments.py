"""Orthogonal moments of images and their invariants under rotation, reflection and (by centring) translation.

    A_pq = (p + 1) / pi * sum_pixels f(x, y) conj(V_pq(x, y)) dA,      V_pq = R_pq(r) e^{i q phi},  dA = (2 / N)^2

Turning the image by ``a`` multiplies ``A_pq`` by ``e^{-i q a}``: a moment is a feature of frequency q. Reflection in a line
conjugates it, up to a phase. Invariant under rotations are the magnitudes ``|A_pq|``, the phase-cancelled products
``A_pq conj(A_p'q)`` and the triple products ``A_{p,q} A_{p',s} conj(A_{p'',q+s})``; under reflections too, magnitudes and
the real parts. The function is recovered as ``f = sum_pq A_pq V_pq`` over q of both signs. Exact for the symmetries of the
pixel grid; in between the error is that of the quadrature, about 1e-3 at 28 x 28 and order 8.

Source: J. Singh & C. Singh, Learning Invariant Representations for Equivariant Neural Networks Using Orthogonal Moments,
2022, arXiv 2209.10944; Teague 1980 (Zernike), Teh & Chin 1988 (pseudo-Zernike), Sheng & Shen 1994 (Fourier-Mellin).
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.circular import CircularBasis, circular_basis, circular_harmonic, circular_indices, pixel_centers

MOMENTS = ("zernike", "pseudo-zernike", "fourier-mellin")
TINY = 1e-12  #: under the root of a magnitude, whose gradient at 0 is otherwise NaN


def moment_basis(kind: str, order: int, size: int, *, subpixels: int = 5, angular: int | None = None) -> CircularBasis:
    """The basis of the moments q >= 0 up to ``order`` on a ``size`` x ``size`` map (of negative q: the conjugates).

    InputError for an unknown kind or an order above ``size``; a warning above ``size / 2``, where pixels undersample it.
    """
    if kind not in MOMENTS:
        from coset.errors import unknown

        raise unknown("moment", kind, MOMENTS)
    basis = circular_basis(kind, order, size, subpixels=subpixels, angular=angular)
    if 2 * order > size:
        warnings.warn(f"{kind} moments of order {order} on a {size} x {size} map: above {size // 2} they alias", stacklevel=2)
    return basis


def projection(basis: CircularBasis) -> Tensor:
    """``(p + 1) / pi * conj(V) * dA``, complex128 ``(n, N, N)``: its product with an image is the moments."""
    size = basis.values.shape[-1]
    weight = (basis.radial + 1) / math.pi * (2 / size) ** 2
    return basis.values.conj() * weight.view(-1, 1, 1)


def moments(f: Tensor, basis: CircularBasis) -> Tensor:
    """Moments ``(..., n)``, complex, of real maps ``(..., N, N)``. InputError for complex, non-square or unfit maps."""
    check_map(f, basis.values.shape[-1])
    if not bool(torch.isfinite(f).all()):
        raise InputError(f"moments: {int((~torch.isfinite(f)).sum())} of {f.numel()} values are NaN or infinite")
    weight = projection(basis).to(f.device, torch.complex128 if f.dtype == torch.float64 else torch.complex64)
    return torch.complex(
        torch.einsum("...hw,nhw->...n", f.to(weight.real.dtype), weight.real),
        torch.einsum("...hw,nhw->...n", f.to(weight.real.dtype), weight.imag),
    )


def check_map(f: Tensor, size: int) -> None:
    """InputError unless ``f`` is a real ``(..., size, size)`` tensor."""
    if f.is_complex():
        raise InputError("moments: expected a real map, got complex; give real and imaginary parts as two channels")
    if f.ndim < 2 or f.shape[-1] != f.shape[-2]:
        raise InputError(f"moments: maps are square (H = W), got shape {tuple(f.shape)}; pad or crop them")
    if f.shape[-1] != size:
        raise InputError(f"moments: the basis is {size} x {size}, the map {tuple(f.shape[-2:])}; rebuild the basis")


def turn(a: Tensor, angular: Tensor, angle: Tensor) -> Tensor:
    """The phase law: moments ``(..., n)`` of the image turned by ``angle`` (radians, counter-clockwise, ``(...)``)."""
    phase = -torch.as_tensor(angle, dtype=torch.float64).unsqueeze(-1) * angular
    return a * torch.polar(torch.ones_like(phase), phase).to(a)


def magnitude(a: Tensor) -> Tensor:
    """``sqrt(re^2 + im^2 + 1e-12)``, real: invariant under rotation and reflection, with a gradient at 0."""
    return torch.sqrt(a.real.square() + a.imag.square() + TINY)


def phase_pairs(indices: tuple[tuple[int, int], ...]) -> Tensor:
    """Positions (i, j) with equal q > 0 and different p, int64 ``(k, 2)``: whose relative phase is invariant."""
    n = len(indices)
    found = [(i, j) for i in range(n) for j in range(i) if indices[i][1] == indices[j][1] > 0]
    return torch.tensor(found, dtype=torch.int64).view(-1, 2)


def phase_triples(indices: tuple[tuple[int, int], ...], *, frequencies: int = 5, choices: int = 2) -> Tensor:
    """Positions (i, j, k) with ``q_i + q_j = q_k``, int64 ``(k, 3)``, from the lowest radial orders of each frequency.

    They tie different frequencies together, which pairs cannot; ``choices`` members of frequency q_i are tried.
    """
    at: dict[int, list[int]] = {}
    for n, (_, q) in enumerate(indices):
        at.setdefault(q, []).append(n)
    found = [
        (i, at[s][0], at[q + s][0])
        for q in range(1, frequencies + 1)
        for s in range(q, frequencies + 1)
        if q in at and s in at and q + s in at
        for i in at[q][:choices]
    ]
    return torch.tensor(found, dtype=torch.int64).view(-1, 3)


def relative_phases(a: Tensor, pairs: Tensor, triples: Tensor) -> Tensor:
    """Phase-cancelled pair and triple products, real and imaginary parts: ``(..., 2 k_pairs + 2 k_triples)``.

    Each is divided by a power of the magnitudes that makes it scale like one moment. The real parts are invariant under
    O(2), the imaginary ones change sign under reflection.
    """
    size = magnitude(a)
    i, j = pairs.to(a.device).unbind(-1)
    two = a[..., i] * a[..., j].conj() / torch.sqrt(size[..., i] * size[..., j])
    i, j, k = triples.to(a.device).unbind(-1)
    three = a[..., i] * a[..., j] * a[..., k].conj() / (size[..., i] * size[..., j] * size[..., k]).pow(2 / 3)
    return torch.cat([two.real, two.imag, three.real, three.imag], -1)


def reconstruct(a: Tensor, basis: CircularBasis) -> Tensor:
    """The image ``(..., N, N)`` inside the disc from its moments ``(..., n)`` with q >= 0."""
    values = basis.values.to(a)
    double = torch.where(basis.angular > 0, 2.0, 1.0).to(a.device)
    return torch.einsum("...n,nhw->...hw", a * double, values).real


def centroid(f: Tensor) -> Tensor:
    """The centre of the energy ``sum_channels f^2`` of maps ``(..., C, N, N)``, as ``(..., 2)`` = (x, y); 0 for empty maps.

    Differentiable; equivariant under motions of the image, whence moments about it are invariant under shifts.
    """
    x, y = (c.to(f) for c in pixel_centers(f.shape[-1]))
    energy = f.square().sum(-3)
    total = energy.sum((-1, -2)).clamp(min=torch.finfo(f.dtype).tiny)
    return torch.stack([(energy * x).sum((-1, -2)), (energy * y).sum((-1, -2))], -1) / total.unsqueeze(-1)


def moments_about(f: Tensor, kind: str, order: int, center: Tensor) -> Tensor:
    """Moments ``(..., C, n)`` of maps ``(..., C, N, N)`` about ``center`` (..., 2): the basis is evaluated there.

    Differentiable in ``f`` and ``center``; slower than :func:`moments`, since every image has a basis of its own. Pixels
    outside the shifted disc are dropped, so what is to be invariant must lie inside it.
    """
    check_map(f, f.shape[-1])
    x, y = (c.to(f) for c in pixel_centers(f.shape[-1]))
    x, y = x - center[..., 0, None, None], y - center[..., 1, None, None]
    inside = (x * x + y * y <= 1).to(f)
    area = (2 / f.shape[-1]) ** 2
    columns = []
    for p, q in circular_indices(kind, order):
        v = circular_harmonic(kind, p, q, x, y).conj() * inside
        columns.append((p + 1) / math.pi * area * (f * v.unsqueeze(-3)).sum((-1, -2)))
    return torch.stack(columns, -1)


__all__ = [
    "MOMENTS", "centroid", "check_map", "magnitude", "moment_basis", "moments", "moments_about", "phase_pairs",
    "phase_triples", "projection", "reconstruct", "relative_phases", "turn",
]  # fmt: skip
