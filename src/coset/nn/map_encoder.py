"""Small encoders from images to feature maps for models that read a map as a whole; every stage halves the image.

Convolution, batch norm, ReLU and a 2 x 2 mean, which is centered between pixels and so commutes with quarter turns on even
sides; the last map may be odd (224 pixels and five stages leave 7 x 7). :class:`GroupEncoder` keeps regular features of C(n),
whose convolutions are exact for the quarter turns in C(n); :class:`PlainEncoder` promises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.nn.feature_map import grid_subgroup, image_field, regular_field
from coset.nn.group_conv import GroupConv2d, LiftingConv2d, RegularBatchNorm2d


def halved(size: int, stages: int) -> int:
    """The side of the last map; InputError for a side that cannot be halved so often or no stage at all."""
    if stages < 1 or size < 2**stages or size % 2**stages:
        raise InputError(f"encoder: {stages} halvings need a side divisible by {2**stages}, got {size}; pad or crop the images")
    return size // 2**stages


class PlainEncoder(nn.Module):
    """Images ``(B, colors, H, H)`` to maps ``(B, widths[-1], h, h)`` with ``h = H / 2^len(widths)``."""

    def __init__(self, widths: Sequence[int], *, colors: int = 3, kernel: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(zip((colors, *widths), widths, strict=False)):
            size = kernel if place == 0 else 3
            layers += [nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.AvgPool2d(2)]
        self.layers = nn.Sequential(*layers)
        self.contracts = (Contract(C(4), image_field(colors), image_field(widths[-1]), "broken", 1e-3),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.layers(x)


class GroupEncoder(nn.Module):
    """Images ``(B, colors, H, H)`` to regular maps ``(B, widths[-1], n, h, h)`` of ``C(n)``."""

    def __init__(self, widths: Sequence[int], *, group: C | None = None, colors: int = 3, kernel: int = 5) -> None:
        super().__init__()
        self.group = group or C(4)
        self.layers = nn.ModuleList()
        for place, (inputs, outputs) in enumerate(zip((colors, *widths), widths, strict=False)):
            convolution = GroupConv2d if place else LiftingConv2d
            layers = convolution(inputs, outputs, group=self.group, kernel=kernel if place == 0 else 3)
            self.layers.append(nn.Sequential(layers, RegularBatchNorm2d(outputs, self.group), nn.ReLU()))
        out = regular_field(widths[-1], self.group)
        self.contracts = (Contract(grid_subgroup(self.group), image_field(colors), out),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for layer in self.layers:
            x = layer(x)
            x = F.avg_pool2d(x.flatten(1, 2), 2).unflatten(1, x.shape[1:3])
        return x
