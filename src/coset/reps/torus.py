"""Periodic images: circular shifts of the last two axes.

``Torus(h, w)`` moves an image of any size that covers the same periods: a shift by a of h rows is one by ``a H / h`` of H
rows. So tokens at stride s move by ``steps / s``, and ``Torus(8, 8)`` moves an image of 32 x 32 by multiples of four pixels.
Whole steps only move entries; fractions follow the Fourier shift theorem (exact but for the highest frequency of an even
length). Translations of the plane, ``T(2)``, move it too, one period being the square of :mod:`coset.reps.image`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.torus import Torus
from coset.reps.action import Kind
from coset.reps.sequence import shift_sequence


def roll_image(x: Tensor, steps: Tensor) -> Tensor:
    """``x`` ``(*batch, ..., H, W)`` rolled by ``steps`` ``(*batch, 2)`` = (down, right): ``y[i, j] = x[i - down, j - right]``.

    The batch axes of ``steps`` broadcast against the leading axes of ``x``. Steps are in pixels, of any sign and size, whole
    or not; whole ones move entries exactly. Differentiable in both; steps that carry a gradient are always interpolated.
    Raises InputError where the shapes do not fit.
    """
    if steps.shape[-1:] != (2,) or x.ndim < steps.ndim + 1:
        raise InputError(
            f"roll_image: expected x (*batch, ..., H, W) and steps (*batch, 2), got {tuple(x.shape)} and {tuple(steps.shape)}"
        )
    down, right = steps.unbind(-1)
    return shift_sequence(shift_sequence(x, right).mT, down).mT


@dataclass(frozen=True)
class PeriodicImage(Kind):
    """An image whose borders meet, on the last two axes ``(H, W)``, moved by circular shifts (see the module).

    ``size`` states its pixels where they are known (a number or a pair): other sizes are refused.
    """

    size: int | tuple[int, int] | None = None

    axes = 2

    def __post_init__(self) -> None:
        sizes = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(sizes) != 2 or any(n is not None and (not isinstance(n, int) or n < 1) for n in sizes):
            raise InputError(f"periodic_image: size is a number of pixels, a pair (H, W) or None; got {self.size!r}")

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        return roll_image(x, self._steps(group, g, x))

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """``|g^-1 . (g . x) - x| / |x|``: 0 for whole steps."""
        steps = self._steps(group, g, x)
        back = roll_image(roll_image(x, steps), -steps)
        gap, norm = (v.to(torch.float64).flatten(steps.ndim - 1).norm(dim=-1) for v in (back - x, x))
        return torch.where(gap == 0, gap, gap / norm)

    def _steps(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """Pixels ``(down, right)`` of this image, float64 ``(*batch, 2)``."""
        if self.size is not None and tuple(x.shape[-2:]) != self.shape(2):
            raise InputError(f"{self}: expected {self.shape(2)} pixels on the last two axes, got shape {tuple(x.shape)}")
        if isinstance(group, Torus):
            periods = g.new_tensor([group.h, group.w], dtype=torch.float64)
            pixels = group.steps(g) * g.new_tensor(x.shape[-2:], dtype=torch.float64) / periods
        else:
            pixels = _plane_steps(group, g, x)
        near = pixels.detach().round()
        return torch.where((pixels - near).abs() <= 1e-9 * near.abs().clamp(min=1), near, pixels)

    def shape(self, space: int) -> tuple[int, ...]:
        """The declared size, else 16 x 16."""
        return self.size if isinstance(self.size, tuple) else (self.size or 16,) * 2

    def __str__(self) -> str:
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size
        return f"periodic_image(size={size})" if size else "periodic_image"


def _plane_steps(group: Any, g: Any, x: Tensor) -> Tensor:
    """Pixels ``(down, right)`` of a translation in the coordinates of images: x to the right, y up, 2 for a whole period."""
    matrix = group.linear(g)
    if matrix.shape[-1] != 2 or not bool(((matrix - torch.eye(2).to(matrix)).abs() <= 1e-9).all()):
        raise ContractError(
            f"{group} turns or scales; a periodic image is moved by shifts, Torus({x.shape[-2]}, {x.shape[-1]})"
        )
    right, up = (group.shift(g).to(torch.float64) / 2).unbind(-1)
    return torch.stack([-up * x.shape[-2], right * x.shape[-1]], -1)
