"""Expanded kernels of group convolutions over C(n) and D(n), from band-limited steerable coefficients.

A filter is ``psi = sum_b w_b B_b`` with ``B_b`` the real and imaginary parts of rings ``R_p(r) e^{i m phi}``. An element g
moves it by arithmetic, ``B(g^{-1} x)``, at any angle: no patch of pixels is ever turned. With fields ``f(y, h)`` on the
pixels and the group, acted on by ``(k f)(y, h) = f(k^{-1} y, k^{-1} h)``,

    lifting  (f * psi)(x, g) = sum_y       f(y)    psi(g^{-1} (y - x))
    regular  (f * psi)(x, g) = sum_{y, h}  f(y, h) psi(g^{-1} (y - x), g^{-1} h)

are equivariant: exactly for the elements that keep the pixel grid (quarter turns, flips), approximately for others.
Cohen & Welling, ICML 2016, arXiv 1602.07576; Weiler, Hamprecht & Storath, CVPR 2018, arXiv 1711.07289.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.group import FiniteGroup
from coset.ops.circular import circular_harmonic, pixel_centers


def ring_indices(kernel: int) -> tuple[tuple[int, int], ...]:
    """Pairs (radius in pixels, frequency) for an odd ``kernel``; the outermost ring keeps one frequency less per pixel.

    Frequencies stop where the pixels of a ring no longer tell them apart from lower ones: 0, 2, 3, 4, ... for radii
    0, 1, 2, 3, ...
    """
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"steerable kernel: the size is odd, got {kernel}; even kernels have no centre pixel")
    return tuple((p, m) for p in range(kernel // 2 + 1) for m in range((p + 1 if p else 0) + 1))


def steered_basis(group: FiniteGroup, kernel: int) -> Tensor:
    """The real basis moved by every element: float64 ``(order, nb, kernel, kernel)``, of unit norm at the identity.

    ``out[g, b]`` is ``B_b(g^{-1} x)``. InputError unless ``group`` acts on the plane.
    """
    matrices = plane_matrices(group)
    inverse = matrices.mT  # orthogonal
    x, y = pixel_centers(kernel)
    # coordinates of g^{-1} x; the frequencies are integers, so this is the steering equation evaluated at the pixels
    u = inverse[:, 0, 0, None, None] * x + inverse[:, 0, 1, None, None] * y
    v = inverse[:, 1, 0, None, None] * x + inverse[:, 1, 1, None, None] * y
    parts = []
    for p, m in ring_indices(kernel):
        value = circular_harmonic("rings", p, m, u, v, unit=kernel / 2)
        parts += [value.real] if m == 0 else [value.real, value.imag]
    basis = torch.stack(parts, 1)
    unit = plane_identity_norm(basis, group)
    return basis / unit


def plane_identity_norm(basis: Tensor, group: FiniteGroup) -> Tensor:
    """Norms of the unmoved functions, ``(nb, 1, 1)``."""
    return basis[int(group.identity())].flatten(1).norm(dim=1)[:, None, None]


def plane_matrices(group: FiniteGroup) -> Tensor:
    """The 2 x 2 matrices of all elements, float64; entries of quarter turns exactly 0 and 1. InputError elsewhere."""
    if not isinstance(group, FiniteGroup):
        raise InputError(f"group convolution: expected C(n) or D(n), got {group}; SO(2) has HarmonicConv2d")
    matrices = group.linear(group.elements()).to(torch.float64)
    if matrices.shape[-2:] != (2, 2):
        raise InputError(f"group convolution: {group} acts on R^{matrices.shape[-1]}, images need the plane: C(n) or D(n)")
    whole = matrices.round()
    return torch.where((matrices - whole).abs() < 1e-12, whole, matrices)


def regular_shift(group: FiniteGroup) -> Tensor:
    """``out[g, h] = g^{-1} h``, int64 ``(order, order)``."""
    elements = group.elements()
    return group.compose(group.inverse(elements)[:, None], elements[None, :])


def lifting_kernel(weight: Tensor, basis: Tensor) -> Tensor:
    """Coefficients ``(out, in, nb)`` and ``steered_basis`` to ``(out, order, in, k, k)``."""
    return torch.einsum("oib,gbhw->ogihw", weight, basis)


def regular_kernel(weight: Tensor, basis: Tensor, shift: Tensor) -> Tensor:
    """Coefficients ``(out, in, order, nb)``, ``steered_basis``, ``regular_shift`` to ``(out, order, in, order, k, k)``."""
    moved = weight[:, :, shift]  # (out, in, g, h, nb): the filter's sheet g^{-1} h
    return torch.einsum("oighb,gbyx->ogihyx", moved, basis)


__all__ = ["lifting_kernel", "plane_matrices", "regular_kernel", "regular_shift", "ring_indices", "steered_basis"]
