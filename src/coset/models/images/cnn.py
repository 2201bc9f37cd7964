"""The plain convolutional network that every symmetric one is compared with.

5 x 5 convolution, mean pooling, two 3 x 3 convolutions, mean pooling, a linear map of all that is left; batch norm and
ReLU after each convolution. It promises no rotation symmetry, and says so.
Contract: SO(2) on images, claimed broken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.reps.fields import Field
from coset.reps.image import Image


class CNN(nn.Module):
    """``x`` (B, channels, size, size) to logits (B, classes); 33.9 thousand parameters at 16 pixels.

    ``size`` is divisible by four (InputError).
    """

    def __init__(
        self, widths: tuple[int, int, int] = (16, 32, 64), *, size: int = 16, channels: int = 1, classes: int = 10
    ) -> None:
        super().__init__()
        if size < 4 or size % 4:
            raise InputError(f"CNN: two poolings by two need a size divisible by 4, got {size}")
        self.config: dict[str, Any] = {"widths": list(widths), "size": size, "channels": channels, "classes": classes}
        first, second, third = widths
        self.layers = nn.Sequential(
            *_block(channels, first, 5), nn.AvgPool2d(2),
            *_block(first, second, 3), *_block(second, third, 3), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(third * (size // 4) ** 2, classes),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
        field = Field(("B", str(channels)), Image(size=size, disc=True))
        self.contracts = (Contract(SO(2), field, f"B x {classes} x scalar", "broken", 1e-3),)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.layers(x)


def _block(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
