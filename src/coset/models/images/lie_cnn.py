"""Networks that know affine maps: convolutions over GL+(2) or SL(2) at random samples of the group, by polar decomposition.

A lifting convolution, residual blocks of two group convolutions on one set of samples, a last convolution onto a second
set, the maximum over group and image, a small classifier. Layers and formulas: :mod:`coset.nn.lie_conv`.
Mironenco and Forré, Lie Group Decompositions for Equivariant Neural Networks, ICLR 2024, arXiv 2310.11366.
Contract: approximate for GL+(2) near the identity (samples, pixels); exact for the turns of the pixel grid, C(4), C(2) or
none as 4, 2 or 1 is the greatest common divisor with the number of samples.

Differs from the paper: samples come in orbits of those turns and from a random angle on; they are drawn anew in every
training step (``resampled``), while evaluation takes one fixed draw unless others are given, in any number; determinants
and weights as in :mod:`coset.ops.lie_conv`. ``SO(2)`` is the restriction to rotations, for comparison.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.decompose import Draw, LogPolar
from coset.groups.finite import C
from coset.groups.matrix import GL, SL
from coset.nn.lie_conv import GroupMax, GroupMean, HalvePool, LieConv, LieLift, LieNorm, Sampler
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.symmetrizers.augment import Jitter

POOLS: dict[str, type[nn.Module]] = {"max": GroupMax, "mean": GroupMean}
GROUPS = ("GL+(2)", "SL(2)", "SO(2)")
NEAR = 0.2  #: radius of the ball of GL+(2) in which the approximate promise is made
#: relative error of the logits there, with fresh weights on smoothed white noise; .32 to .36 was measured
BOUND = 0.5
Draws = tuple[Draw, ...]  #: samples of the lifted maps, samples of the last convolution


class _Layout(nn.Module):
    """What both networks share: ``x`` (B, channels, size, size) through maps (B, C, S, H, W) to logits (B, classes)."""

    config: dict[str, Any]

    def __init__(self, width: int, blocks: int, kernel: int, head: int, dropout: float, size: int, channels: int, classes: int):
        super().__init__()
        if (size - kernel + 1) % 2**blocks or size <= kernel:
            raise InputError(
                f"{type(self).__name__}: {size} pixels less {kernel - 1} (lifts are not padded) cannot be halved {blocks} times"
            )
        self.kernel_size, self.channels = kernel, channels
        self.lift, self.lifted = self._lift(channels, width), LieNorm(width)
        self.blocks = nn.ModuleList(_Block(self._conv(width), self._conv(width), width) for _ in range(blocks))
        self.last, self.normed = self._conv(width), LieNorm(width)
        self.pool: nn.Module = GroupMax()
        self.classify = nn.Sequential(
            nn.Linear(width, head), nn.LayerNorm(head), nn.GELU(), nn.Dropout(dropout), nn.Linear(head, classes)
        )

    def _lift(self, inputs: int, outputs: int) -> nn.Module:
        raise InputError(f"{type(self).__name__} is a layout without layers; use LieCNN or PlainCNN")

    def _conv(self, width: int) -> nn.Module:
        return self._lift(width, width)

    def _features(self, x: Tensor, first: Any, second: Any) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(f"{type(self).__name__}: expected (B, {self.channels}, H, W), got {tuple(x.shape)}")
        maps = F.gelu(self.lifted(self.lift(x, first)))
        for block in self.blocks:
            maps = block(maps, first)
        return self.pool(F.gelu(self.normed(self.last(maps, first, second))), second)


class LieCNN(_Layout):
    """``x`` (B, channels, H, W) to logits (B, classes); ``group`` is GL+(2), SL(2) or SO(2).

    ``samples`` elements with normal log-stretches of ``variance``; ``haar_weights`` weighs them towards Haar measure.
    ``pool`` is the maximum over H and the image, or the mean with respect to the invariant measure.
    ``size`` is that of the images promised about; less ``kernel - 1`` it is divisible by ``2^blocks`` (InputError).
    """

    def __init__(
        self, group: str = "GL+(2)", width: int = 12, *, samples: int = 6, blocks: int = 1, kernel: int = 5, hidden: int = 60,
        frequency: float = 10.0, variance: float = 0.1, haar_weights: bool = False, resampled: bool = True, pool: str = "max",
        head: int = 256, dropout: float = 0.3, size: int = 20, channels: int = 1, classes: int = 10, seed: int = 0,
    ) -> None:  # fmt: skip
        if group not in GROUPS:
            raise unknown("group", group, GROUPS)
        if pool not in POOLS:
            raise unknown("pool", pool, POOLS)
        chart = LogPolar(GL(2, positive=True) if group == "GL+(2)" else SL(2))
        self.chart, self.resampled = chart, resampled
        self.layer: dict[str, Any] = {"chart": chart, "kernel": kernel, "hidden": hidden, "frequency": frequency}
        super().__init__(width, blocks, kernel, head, dropout, size, channels, classes)
        self.config = {
            "group": group, "width": width, "samples": samples, "blocks": blocks, "kernel": kernel, "hidden": hidden,
            "frequency": frequency, "variance": variance, "haar_weights": haar_weights, "resampled": resampled, "pool": pool,
            "head": head, "dropout": dropout, "size": size, "channels": channels, "classes": classes, "seed": seed,
        }  # fmt: skip
        self.pool = POOLS[pool]()
        self.sampler = Sampler(chart, samples, 0.0 if group == "SO(2)" else variance, haar_weights)
        self.fixed = self.draw(seed)
        self.contracts = self._contracts(size, classes)

    def _contracts(self, size: int, classes: int) -> tuple[Contract, ...]:
        image, logits = Field(("B", str(self.channels)), Image(size=size)), f"B x {classes} x scalar"
        turns = math.gcd(self.sampler.count, 4)
        exact = Contract(C(turns), image, logits)
        near = Contract(Jitter(GL(2, positive=True), NEAR), image, logits, "approximate", BOUND)
        return (exact, near) if turns > 1 else (near,)

    def _lift(self, inputs: int, outputs: int) -> nn.Module:
        return LieLift(inputs, outputs, **self.layer)

    def _conv(self, width: int) -> nn.Module:
        return LieConv(width, width, **self.layer)

    def draw(self, seed: int | None = None, *, samples: int | None = None) -> Draws:
        """Two sets of samples (from torch's global state without a seed), by default as many as the network trains with."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return self.sampler.draw(2, count=samples, generator=generator)

    def features(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """The invariants that the classifier reads, (B, width)."""
        if draws is None:
            draws = self.draw() if self.training and self.resampled else self.fixed
        return self._features(x, *draws)

    def forward(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """Logits, at the samples ``draws`` where they are given."""
        return self.classify(self.features(x, draws))


class PlainCNN(_Layout):
    """The same layout with ordinary convolutions: what LieCNN is measured against, at a ``width`` of equal parameters.

    Contract: GL+(2) near the identity, claimed broken.
    """

    def __init__(
        self, width: int = 27, *, blocks: int = 1, kernel: int = 5, head: int = 256, dropout: float = 0.3, size: int = 20,
        channels: int = 1, classes: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(width, blocks, kernel, head, dropout, size, channels, classes)
        self.config = {
            "width": width, "blocks": blocks, "kernel": kernel, "head": head, "dropout": dropout, "size": size,
            "channels": channels, "classes": classes,
        }  # fmt: skip
        image, logits = Field(("B", str(channels)), Image(size=size)), f"B x {classes} x scalar"
        self.contracts = (Contract(Jitter(GL(2, positive=True), NEAR), image, logits, "broken", 1e-2),)

    def _lift(self, inputs: int, outputs: int) -> nn.Module:
        return _Convolution(inputs, outputs, self.kernel_size, padding=self.kernel_size // 2 if inputs == outputs else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self._features(x, None, None))


class _Convolution(nn.Conv2d):
    """A convolution of maps with a single sample, (B, C, 1, H, W), or of images into such maps."""

    def forward(self, x: Tensor, *samples: Any) -> Tensor:
        return super().forward(x.flatten(1, -3)).unsqueeze(2)


class _Block(nn.Module):
    """``pool(gelu(norm(x + norm(conv(gelu(norm(conv(x))))))))``, all on one set of samples."""

    def __init__(self, first: nn.Module, second: nn.Module, width: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.norms = nn.ModuleList(LieNorm(width) for _ in range(3))
        self.pool = HalvePool()

    def forward(self, x: Tensor, samples: Any) -> Tensor:
        y = F.gelu(self.norms[0](self.first(x, samples, samples)))
        y = self.norms[1](self.second(y, samples, samples))
        return self.pool(F.gelu(self.norms[2](x + y)))


def parameters_of(model: nn.Module) -> int:
    """The number of trained numbers."""
    return sum(p.numel() for p in model.parameters())
