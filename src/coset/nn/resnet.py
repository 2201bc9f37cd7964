"""Residual networks for images, from 32 pixels up: features ``(B, width * 2^(stages - 1))`` by mean pooling.

He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385: stages of two-convolution
blocks, each stage but the first at half the resolution and twice the width; the last norm of a block starts at 0
(Goyal et al., arXiv 1706.02677). ``ResNet(64, (2, 2, 2, 2), stem="large")`` is ResNet-18. It promises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError

Stem = Literal["small", "half", "large"]
STEMS = ("small", "half", "large")


class ResNet(nn.Module):
    """Images ``(B, channels, H, W)`` to features ``(B, features)``.

    ``stem``: ``small`` keeps the resolution (3 x 3), ``half`` halves it (3 x 3, stride 2), ``large`` is the original
    (7 x 7 with stride 2, then a pooling by 2). Raises InputError for sizes below 1, and for images of other channels.
    """

    def __init__(
        self, width: int = 32, blocks: Sequence[int] = (1, 1, 1, 1), *, channels: int = 3, stem: Stem = "half"
    ) -> None:
        super().__init__()
        if min(width, channels, *blocks) < 1:
            raise InputError(f"ResNet: sizes are at least 1, got width {width}, channels {channels}, blocks {tuple(blocks)}")
        if stem not in STEMS:
            raise InputError(f"ResNet: stem is one of {', '.join(STEMS)}, got {stem!r}")
        self.config: dict[str, Any] = {"width": width, "blocks": list(blocks), "channels": channels, "stem": stem}
        self.contracts = ()
        self.channels, self.features = channels, width * 2 ** (len(blocks) - 1)
        kernel, stride = (7, 2) if stem == "large" else (3, 1 + (stem == "half"))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1) if stem == "large" else nn.Identity(),
        )  # fmt: skip
        layers, inputs = [], width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            for place in range(count):
                layers.append(Block(inputs, outputs, stride=2 if stage and not place else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if width % 8 == 0:  # a quarter faster on a CPU; at width 4 oneDNN (torch 2.13) writes out of bounds
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Features, the mean over the last map."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(f"ResNet: images are (B, {self.channels}, H, W), got {tuple(x.shape)}")
        return self.blocks(self.stem(x)).mean((-2, -1))


class Block(nn.Module):
    """``relu(skip(x) + norm(conv(relu(norm(conv(x))))))``; the last norm starts at 0, so the block starts as its skip."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        same = stride == 1 and inputs == outputs
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        return F.relu(self.skip(x) + self.layers(x))


def resnet18(channels: int = 3) -> ResNet:
    """ResNet-18, 512 features; for 224 or 256 pixels."""
    return ResNet(64, (2, 2, 2, 2), channels=channels, stem="large")
