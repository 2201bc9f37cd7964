"""Fourteen image operations with 31 strengths, a family to augment with: pure torch, batched, no torchvision.

An element is a pair (operation, strength) of integers. Geometric strengths run from -max to max and pixel strengths from
weak to strong; both spaces of Hounie et al. (arXiv 2209.15031, after TrivialAugment) are given: the standard one and
``wide``. Images are floating, in [0, 1], of shape (..., channels, H, W); augment before normalising.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.errors import ContractError, InputError
from coset.groups.group import Family
from coset.reps.image import Image, resample

STRENGTHS = 31
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
ENHANCING = ("color", "contrast", "brightness", "sharpness")
OPERATIONS = ("identity", "autocontrast", "equalize", *GEOMETRIC, *ENHANCING, "posterize", "solarize")


@dataclass(frozen=True)
class ImageOps(Family):
    """The operations named, uniformly, each at a uniform strength; ``wide`` has the larger ranges.

    Rotations within 30 degrees (wide 135), shears 0.3 (0.99), shifts ``pixels`` (default 10, wide 32), color, contrast,
    brightness and sharpness 0.1 to 1.9 (0.01 to 2), 4 to 8 bits (2 to 8). Raises InputError for an unknown operation.
    """

    operations: tuple[str, ...] = OPERATIONS
    wide: bool = False
    pixels: float | None = None

    element_shape = (2,)

    def __post_init__(self) -> None:
        if not self.operations or (bad := [name for name in self.operations if name not in OPERATIONS]):
            raise InputError(
                f"ImageOps: unknown operation {bad[0] if self.operations else ''!r} (known: {', '.join(OPERATIONS)})"
            )

    def __str__(self) -> str:
        return f"{len(self.operations)} image operations{', wide' if self.wide else ''}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Operations are what acceptance is counted by."""
        return self.operations

    def label(self, g: Tensor) -> Tensor:
        """The operation of every element."""
        return g[..., 0]

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        """``(n, 2)`` int64."""
        which = torch.randint(len(self.operations), (n,), generator=generator)
        strength = torch.randint(STRENGTHS, (n,), generator=generator)
        return torch.stack([which, strength], 1).to(device)

    def move(self, g: Tensor, field: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if field.still:
            return x
        if not isinstance(field.kind, Image):
            raise ContractError(f"{self} acts on images, not on {field}")
        if g.ndim == 1:
            return self._apply(self.operations[int(g[0])], g[1:], x.unsqueeze(0)).squeeze(0)
        out = x.expand(len(g), *x.shape[1:]).clone()
        for index in g[:, 0].unique().tolist():
            rows = (g[:, 0] == index).nonzero().squeeze(1).to(x.device)
            out[rows] = self._apply(self.operations[index], g[rows.to(g.device), 1], out[rows])
        return out

    def _apply(self, name: str, strength: Tensor, x: Tensor) -> Tensor:
        """One operation on images ``(n, ..., H, W)`` at strengths ``(n,)``."""
        level = (strength.to(x) / (STRENGTHS - 1)).view(-1, *[1] * (x.ndim - 1))
        if name in GEOMETRIC:
            matrix, shift = self._geometry(name, 2 * level.flatten().double() - 1, x.shape[-1], x.shape[-2])
            return resample(x, matrix, shift)
        if name in ENHANCING:
            low, high = (0.01, 2.0) if self.wide else (0.1, 1.9)
            return _blend(FADED[name](x), x, low + (high - low) * level)
        if name == "posterize":
            levels = 2.0 ** (8 - (6 if self.wide else 4) * level).round()
            return (x * 255 / (256 / levels)).floor() * (256 / levels) / 255
        if name == "solarize":
            return torch.where(x >= 1 - level, 1 - x, x)
        return {"identity": lambda t: t, "autocontrast": _autocontrast, "equalize": _equalize}[name](x)

    def _geometry(self, name: str, way: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
        """Matrix and shift for signed levels ``way`` in [-1, 1]; coordinates of images, x right, y up, half-width 1."""
        matrix, shift = torch.eye(2, dtype=way.dtype).repeat(len(way), 1, 1), way.new_zeros(len(way), 2)
        if name == "rotate":
            angle = way * math.radians(135 if self.wide else 30)
            matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
        elif name.startswith("shear"):
            row, column = (0, 1) if name == "shear_x" else (1, 0)
            matrix[:, row, column] = way * (0.99 if self.wide else 0.3)
        else:
            pixels = self.pixels if self.pixels is not None else (32.0 if self.wide else 10.0)
            axis, size = (0, width) if name == "translate_x" else (1, height)
            shift[:, axis] = way * pixels * 2 / size
        return matrix, shift


def _blend(base: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    return (base + factor * (x - base)).clamp(0, 1)


def _gray(x: Tensor) -> Tensor:
    """Luminance, channels kept (axis -3); one channel is gray already."""
    if x.shape[-3] != 3:
        return x.mean(-3, keepdim=True).expand_as(x) if x.shape[-3] > 1 else x
    weights = x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (x * weights).sum(-3, keepdim=True).expand_as(x)


def _smooth(x: Tensor) -> Tensor:
    """The 3x3 smoothing against which sharpness is measured; the border stays."""
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    out = x.clone()
    inner = F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), kernel.view(1, 1, 3, 3))
    out[..., 1:-1, 1:-1] = inner.view(*x.shape[:-2], *inner.shape[-2:])
    return out


#: what each enhancing operation moves away from as its factor grows
FADED: dict[str, Callable[[Tensor], Tensor]] = {
    "color": _gray,
    "contrast": lambda x: _gray(x).mean((-3, -2, -1), keepdim=True).expand_as(x),
    "brightness": torch.zeros_like,
    "sharpness": _smooth,
}


def _autocontrast(x: Tensor) -> Tensor:
    """Every channel stretched to [0, 1]; a constant one stays."""
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-12), x)


def _equalize(x: Tensor) -> Tensor:
    """Every channel's 256-bin histogram made flat; a constant one stays."""
    flat = (x.clamp(0, 1) * 255).round().to(torch.int64).flatten(-2).flatten(0, -2)
    counts = torch.zeros(len(flat), 256, device=x.device).scatter_add_(1, flat, torch.ones(flat.shape, device=x.device))
    total = counts.cumsum(1)
    first = counts.gather(1, flat.amin(1, keepdim=True))
    span = (total[:, -1:] - first).clamp(min=1)
    out = ((total.gather(1, flat) - first) / span).to(x.dtype).view_as(x)
    constant = x.amax((-2, -1), keepdim=True) == x.amin((-2, -1), keepdim=True)
    return torch.where(constant, x, out)
