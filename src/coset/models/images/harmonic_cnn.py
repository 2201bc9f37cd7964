"""A convolutional network of SO(2) by circular harmonics: features turn by phases, no group is sampled.

Three harmonic convolutions with frequencies up to ``order``, norm nonlinearities, blurred pooling, a disc mask, and as
invariants the spatial means of the scalars and of the magnitudes, and the magnitudes of the spatial means. Exact at quarter
turns; in between the pixel grid breaks what the layers promise. Worrall et al., Harmonic Networks, arXiv 1612.04642.
Contract: C(4) exact, SO(2) approximate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.groups.matrix import SO
from coset.nn.feature_map import harmonic_field
from coset.nn.pool import BlurPool, DiscMask
from coset.nn.steerable import HarmonicConv2d, NormNonlinearity2d, frequency_norm, split_frequencies
from coset.reps.fields import Field
from coset.reps.image import Image


class HarmonicCNN(nn.Module):
    """``x`` (B, channels, size, size) to logits (B, classes); frequencies 0..``order``. InputError for an odd size."""

    def __init__(
        self,
        widths: tuple[int, int, int] = (8, 12, 12),
        order: int = 2,
        *,
        kernel: int = 5,
        hidden: int = 64,
        blur: float = 1.0,
        size: int = 16,
        channels: int = 1,
        classes: int = 10,
    ) -> None:
        super().__init__()
        if size % 2:
            raise InputError(f"HarmonicCNN: pooling keeps quarter turns on even sizes only, got {size}")
        self.config: dict[str, Any] = {
            "widths": list(widths), "order": order, "kernel": kernel, "hidden": hidden, "blur": blur, "size": size,
            "channels": channels, "classes": classes,
        }  # fmt: skip
        first, second, third = widths
        self.body = nn.Sequential(
            HarmonicConv2d(channels, first, order_in=0, order_out=order, kernel=kernel), NormNonlinearity2d(first, order),
            BlurPool(harmonic_field(first, order), C(4), width=blur),
            HarmonicConv2d(first, second, order_in=order, order_out=order, kernel=kernel), NormNonlinearity2d(second, order),
            HarmonicConv2d(second, third, order_in=order, order_out=order, kernel=kernel), NormNonlinearity2d(third, order),
            DiscMask(size // 2, harmonic_field(third, order), C(4)),
        )  # fmt: skip
        features = third * (1 + 2 * order)
        self.classify = nn.Sequential(
            nn.BatchNorm1d(features), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )
        field, out = Field(("B", str(channels)), Image(size=size, disc=True)), f"B x {classes} x scalar"
        # measured on digits: .25 trained upright, .13 augmented, relative to centred logits
        self.contracts = (Contract(C(4), field, out), Contract(SO(2), field, out, "approximate", 1.0))

    def features(self, x: Tensor) -> Tensor:
        """The invariants that the classifier reads, (B, F)."""
        scalars, others = split_frequencies(self.body(x.unsqueeze(2)))
        sizes = frequency_norm(others).mean((-1, -2)).flatten(1)
        mean = others.mean((-1, -2), keepdim=True)
        return torch.cat([scalars.mean((-1, -2)), sizes, frequency_norm(mean).flatten(1)], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.features(x))
