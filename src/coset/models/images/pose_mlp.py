"""Pose by a plain network: pooled features of a map, then an MLP with one logit for each rotation of a grid.

The control for models that carry the map to the rotations: ``p(R | image)`` over the same HEALPix grid of SO(3), but every
rotation is a class of its own, and that neighbors are near, or what a turn of the image does, has to be learned from
examples. Loss and measures are those of Klee et al., Image to Sphere, ICLR 2023, arXiv 2302.13926. Contract: C(4) on images
and the grid, claimed broken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.nn.in_plane import GridValues
from coset.nn.map_encoder import PlainEncoder, halved
from coset.ops.healpix import RotationGrid
from coset.reps.fields import Field
from coset.reps.image import Image


class PoseMLP(nn.Module):
    """``img`` (B, colors, size, size) to logits (B, 72 * 8^level) on ``RotationGrid(level)``.

    The last map is pooled to ``cells`` x ``cells`` means (1: all of it). InputError for sizes that do not fit.
    """

    def __init__(
        self,
        level: int = 2,
        widths: tuple[int, ...] = (16, 32, 64),
        *,
        hidden: int = 256,
        cells: int = 1,
        size: int = 32,
        colors: int = 3,
    ) -> None:
        super().__init__()
        if hidden < 1 or not 1 <= cells <= halved(size, len(widths)):
            raise InputError(f"PoseMLP: hidden >= 1 and cells between 1 and the side of the map, got {hidden} and {cells}")
        self.config: dict[str, Any] = {
            "level": level, "widths": list(widths), "hidden": hidden, "cells": cells, "size": size, "colors": colors
        }  # fmt: skip
        self.grid, self.size, self.colors, self.cells = RotationGrid(level), size, colors, cells
        self.encoder = PlainEncoder(widths, colors=colors)
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * cells**2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden,
            len(self.grid))
        )  # fmt: skip
        inputs = {"img": Field(("B", str(colors)), Image(size=size))}
        self.contracts = (Contract(C(4), inputs, Field(("B",), GridValues()), "broken", 1e-3),)

    def forward(self, img: Tensor) -> Tensor:
        """Logits."""
        if img.shape[1:] != (self.colors, self.size, self.size):
            raise InputError(f"PoseMLP: expected images (B, {self.colors}, {self.size}, {self.size}), got {tuple(img.shape)}")
        return self.head(F.adaptive_avg_pool2d(self.encoder(img), self.cells).flatten(1))

    def predict(self, img: Tensor) -> Tensor:
        """The most probable rotation of the grid, (B, 3, 3)."""
        with torch.no_grad():
            return self.grid.mode(self(img))
