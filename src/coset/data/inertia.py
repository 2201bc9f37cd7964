"""Inertia tensors of five point masses, with the symmetry broken about axes of one's choice.

    I(m, r) = sum_i m_i (|r_i|^2 1 - r_i r_i^T),    y = I + noise * sum_a sign_a (I e_a) e_a^T

Masses are softplus(normal), positions normal about the origin. Without noise y is a rank-2 tensor under O(3); with noise on
one axis only the O(2) about that axis is left; on several axes with signs the symmetries mix. Kim, Lee, Yang & Lee,
Regularizing Towards Soft Equivariance Under Mixed Symmetries, ICML 2023, arXiv 2306.00356 (there signs -1, 1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from coset.errors import InputError

BODIES = 5
AXES = ("x", "y", "z")


def inertia(mass: Tensor, pos: Tensor) -> Tensor:
    """Inertia tensors ``(..., 3, 3)`` of masses ``(..., n)`` at ``pos`` ``(..., n, 3)``, about the origin."""
    square = (mass * pos.square().sum(-1)).sum(-1)
    outer = torch.einsum("...n,...ni,...nj->...ij", mass, pos, pos)
    return square[..., None, None] * torch.eye(3, dtype=pos.dtype, device=pos.device) - outer


def disturb(tensor: Tensor, noise: Mapping[str, float]) -> Tensor:
    """``tensor`` plus ``noise[axis] * (tensor e) e^T`` for every axis named; a negative value is the sign -1."""
    for axis in noise:
        if axis not in AXES:
            raise InputError(f"inertia: an axis is x, y or z, got {axis!r}")
    scale = tensor.new_tensor([noise.get(axis, 0.0) for axis in AXES])
    return tensor + tensor * scale


def bodies(
    n: int, *, noise: Mapping[str, float] | None = None, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """``n`` samples: ``mass`` (n, 5), ``pos`` (n, 5, 3) and the target ``y`` (n, 3, 3); ``noise`` as in :func:`disturb`.

    Raises InputError for no samples, an unknown axis, or noise that is not finite.
    """
    if n < 1:
        raise InputError(f"inertia: n >= 1 samples, got {n}")
    noise = {"z": 0.3} if noise is None else dict(noise)
    if not all(math.isfinite(value) for value in noise.values()):
        raise InputError(f"inertia: noise is a finite number for each axis, got {noise}")
    mass = torch.nn.functional.softplus(torch.randn(n, BODIES, generator=generator, dtype=torch.float64))
    pos = torch.randn(n, BODIES, 3, generator=generator, dtype=torch.float64)
    y = disturb(inertia(mass, pos), noise)
    return {"mass": mass.to(dtype), "pos": pos.to(dtype), "y": y.to(dtype)}
