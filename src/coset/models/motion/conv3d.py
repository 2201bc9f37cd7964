"""A network of space-time convolutions, the baseline that meets a velocity only by having seen it.

Three circular 3 x 3 x 3 convolutions with batch norm, pooled over space and time. Contract: shifts of the whole sequence,
exact; nothing about flows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.groups.torus import Torus
from coset.nn.flow_rnn import check_frames
from coset.reps.fields import Field
from coset.reps.frames import Frames


class SpaceTimeCNN(nn.Module):
    """``frames (B, T, C, H, H)`` to logits ``(B, classes)``; wraps around in space, zero outside in time."""

    def __init__(self, channels: int = 1, hidden: int = 16, *, size: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": channels, "hidden": hidden, "size": size, "classes": classes}
        self.convs = nn.ModuleList(nn.Conv3d(width, hidden, 3, bias=False) for width in (channels, hidden, hidden))
        self.norms = nn.ModuleList(nn.BatchNorm3d(hidden) for _ in self.convs)
        self.head = nn.Linear(hidden, classes)
        inputs = {"frames": Field(("B",), Frames(size=size))}
        self.contracts = (Contract(Torus(size, size), inputs, "B x classes x scalar"),)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits."""
        check_frames(frames)
        x = frames.movedim(2, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            wide = nn.functional.pad(x, (1, 1, 1, 1, 0, 0), mode="circular")
            x = torch.relu(norm(conv(nn.functional.pad(wide, (0, 0, 0, 0, 1, 1)))))
        return self.head(x.mean((-3, -2, -1)))
