"""Torus(h, w): circular shifts of periodic images, the product of two cyclic groups.

Element ``i`` moves everything by ``i // w`` pixels down and ``i % w`` pixels right; what leaves the image at one side comes
back at the other. It moves fields of the kind ``periodic_image`` (:mod:`coset.reps.torus`); vectors stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import natural
from coset.groups.subgroups import Tabulated


@dataclass(frozen=True)
class Torus(Tabulated):
    """``Z_h x Z_w``: the shifts of an ``h x w`` image by whole pixels, wrapping around at its border."""

    h: int
    w: int

    def __post_init__(self) -> None:
        for n in (self.h, self.w):
            natural("Torus", n)

    def __str__(self) -> str:
        return f"Torus({self.h}, {self.w})"

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.h * self.w

    @property
    def table(self) -> Tensor:
        g = torch.arange(self.h * self.w)
        return self.compose(g[:, None], g)

    @property
    def matrices(self) -> Tensor:
        return self.linear(self.elements())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{down} down, {right} right" for down in range(self.h) for right in range(self.w))

    def steps(self, g: Tensor) -> Tensor:
        """Pixels ``(down, right)`` of each element, int64 ``(*batch, 2)``, from 0 to ``h - 1`` and ``w - 1``."""
        return torch.stack([g // self.w, g % self.w], -1)

    def shifts(self, steps: Tensor) -> Tensor:
        """The elements that move by whole pixels ``(down, right)``, ``(*batch, 2)`` of any sign; int64 ``(*batch,)``.

        Raises InputError for another last axis or for fractions of a pixel.
        """
        if steps.shape[-1:] != (2,) or bool((steps != steps.round()).any()):
            raise InputError(f"{self}.shifts: expected whole pixels (down, right) on the last axis, got {tuple(steps.shape)}")
        down, right = steps.to(torch.int64).unbind(-1)
        return down % self.h * self.w + right % self.w

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return (g // self.w + h // self.w) % self.h * self.w + (g % self.w + h % self.w) % self.w

    def inverse(self, g: Tensor) -> Tensor:
        return -(g // self.w) % self.h * self.w + -g % self.w

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """One pixel down, one pixel right."""
        return torch.tensor([i for n, i in ((self.h, self.w), (self.w, 1)) if n > 1], dtype=torch.int64, device=device)

    def linear(self, g: Tensor) -> Tensor:
        return torch.eye(2, dtype=torch.float64, device=g.device).expand(*g.shape, 2, 2)

    def shift(self, g: Tensor) -> Tensor:
        raise ContractError(f"{self} wraps around and so moves no points of the plane; declare a 'periodic_image' instead")

    def grid(self, n: int = 0, *, dtype=None, device=None) -> Tensor:
        """About ``n`` elements at equal distances along both axes, the identity first; all of them for ``n = 0``."""
        if n <= 0 or n >= self.order:
            return self.elements().to(device)
        rows = min(self.h, max(1, round(math.sqrt(n * self.h / self.w))))
        columns = min(self.w, max(1, n // rows))
        down, right = (torch.arange(k, device=device) * size // k for k, size in ((rows, self.h), (columns, self.w)))
        return (down[:, None] * self.w + right).flatten()
