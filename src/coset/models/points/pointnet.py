"""PointNet: one network for every point, a maximum over points, a classifier.

Qi, Su, Mo & Guibas, CVPR 2017, arXiv 1612.00593, without its learned alignment networks (aligning is what canonicalizers
and frames are compared at here); layer norm in place of batch norm, so that a batch equals its members.
Contract: S("N") exact; nothing about rotations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S

INPUTS = "B x N x position"


class PointNet(nn.Module):
    """Clouds ``(B, N, 3)`` to logits ``(B, classes)``.

    Raises InputError for sizes below 1 and for clouds that are empty or not in space.
    """

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        if classes < 1 or width < 1:
            raise InputError(f"PointNet: sizes are at least 1, got {classes} classes and width {width}")
        self.config: dict[str, Any] = {"classes": classes, "width": width}
        self.contracts = (Contract(S("N"), INPUTS, f"B x {classes} x scalar"),)
        sizes = (3, width, width, 2 * width, 4 * width)
        self.points = nn.Sequential(
            *(
                layer
                for inputs, outputs in pairwise(sizes)
                for layer in (nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU())
            )
        )
        self.head = nn.Sequential(nn.Linear(4 * width, 2 * width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(2 * width, classes))

    def forward(self, pos: Tensor) -> Tensor:
        """Logits; the order of the points does not matter."""
        if pos.ndim < 2 or pos.shape[-1] != 3 or pos.shape[-2] == 0:
            raise InputError(f"PointNet: a cloud is (..., N, 3) with N > 0, got {tuple(pos.shape)}")
        return self.head(self.points(pos).amax(-2))
