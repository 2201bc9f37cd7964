"""Exact kernels of convolutions on the square lattice: every tap is a weight of its own, moved by permutations.

For the groups that map the lattice to itself (C(1), C(2), C(4), D(1), D(2), D(4)) an element permutes the taps of a filter, so
that nothing needs to be band-limited: ``tap_basis`` is what ``steered_basis`` is for other angles, and the kernels of
:mod:`coset.ops.group_conv` are made from either. Between fields of values in a representation ``rho`` of the group,
``(g . f)(x) = rho(g) f(g^{-1} x)``, and regular features ``h(x, g)``,

    lifting  h(x, g) = sum_y < psi(g^{-1} (y - x)), rho(g)^{-1} f(y) >,        readout  f(x) = 1/|G| sum_g rho(g) W h(x, g)

are equivariant. Cohen & Welling, ICML 2016, arXiv 1602.07576.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.group import FiniteGroup
from coset.ops.group_conv import plane_matrices
from coset.reps.action import Kind


def tap_basis(group: FiniteGroup, kernel: int) -> Tensor:
    """The single taps moved by every element: float64 ``(order, kernel^2, kernel, kernel)`` of zeros and ones.

    ``out[g, b]`` is tap b, counted along rows, at the place where g takes it. InputError for an even kernel and for a group
    that does not keep the square lattice.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"lattice convolution: the kernel is odd, got {kernel}; an even one has no central site")
    matrices = plane_matrices(group)
    if bool((matrices != matrices.round()).any()):
        raise InputError(
            f"lattice convolution: {group} does not map the square lattice to itself; use C(1), C(2), C(4) or D(n)"
        )
    radius = kernel // 2
    row, column = torch.meshgrid(torch.arange(kernel), torch.arange(kernel), indexing="ij")
    place = torch.stack([column - radius, radius - row], -1).flatten(0, 1).to(matrices)  # x to the right, y up
    x, y = (place @ matrices.mT).to(torch.int64).unbind(-1)  # (order, taps)
    target = (radius - y) * kernel + (x + radius)
    return F.one_hot(target, kernel**2).to(torch.float64).unflatten(-1, (kernel, kernel))


def site_matrices(site: Kind, group: FiniteGroup) -> Tensor:
    """``rho(g)`` of the values at one site, float64 ``(order, d, d)``, for a kind of at most one axis. InputError else."""
    if site.axes > 1:
        raise InputError(f"lattice field: the values at a site are numbers or one axis (scalar, vector), got {site}")
    elements = group.elements()
    if site.axes == 0:
        return site.move(group, elements, torch.ones(len(elements), dtype=torch.float64), {})[:, None, None]
    unit = torch.eye(*site.shape(2), dtype=torch.float64)
    return site.move(group, elements, unit[None], {}).mT  # row k is rho(g) e_k


def circular_conv(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` ``(B, inputs, H, W)`` on the torus with ``kernel`` ``(outputs, inputs, k, k)``: ``(B, outputs, H, W)``."""
    reach = kernel.shape[-1] // 2
    return F.conv2d(F.pad(x, (reach,) * 4, mode="circular") if reach else x, kernel, bias)


__all__ = ["circular_conv", "site_matrices", "tap_basis"]
