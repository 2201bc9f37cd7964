"""Layers over the affine group of the plane: lifting, group convolution, norm and pools of maps (B, C, S, H, W).

A map holds one image per channel and per sample of H = GL+(2) or SL(2); samples are handed from layer to layer and may
change between any two of them, from one forward pass to the next, and in number. Kernels are :class:`coset.nn.siren.Siren`
functions of ``h^-1 (x' - x)`` and of the log-polar coordinates of ``h^-1 h'``, over pi. Formulas: :mod:`coset.ops.lie_conv`.

What holds: moving the image and the samples by an A that keeps the pixels (a quarter turn) moves the result, exactly; an A
near the identity moves it up to the grid and, where the samples stay where they were, up to the spread of their mean.
Differs from the code released with the paper: weights of the samples sum to one, determinants stand with the samples that
are summed, coordinates of ``h^-1 h'`` are divided by pi (an option there), norms take the mean of every channel by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.decompose import Draw, LogPolar
from coset.nn.constant import Constant
from coset.nn.siren import Siren
from coset.ops import lie_conv


class LieLift(nn.Module):
    """Images (B, inputs, H, W) to maps (B, outputs, S, H', W') at the samples given, without padding unless asked for.

    ``radius`` pixels reach the unit circle of the kernel (``kernel / 2``). InputError for an even ``kernel`` or one of a
    single pixel, a group that is not of the plane, and channels below one.
    """

    def __init__(
        self, inputs: int, outputs: int, *, chart: LogPolar, kernel: int = 5, radius: float | None = None, padding: int = 0,
        hidden: int = 60, frequency: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_layer(chart, inputs, outputs)
        self.chart, self.padding, self.shape = chart, padding, (outputs, inputs)
        self.offsets = Constant(lie_conv.window_offsets(kernel, radius=radius))
        self.kernel = Siren(2, inputs * outputs, hidden=hidden, frequency=frequency, terms=inputs * kernel * kernel)

    def expanded(self, outputs: Draw, dtype: Tensor) -> Tensor:
        """Values of the kernel ``(S, O, I, k, k)``, in the type of a tensor."""
        points = lie_conv.kernel_points(outputs, self.offsets.like(outputs.inverses))
        kept = lie_conv.window(self.chart, points)
        values = self.kernel(points.to(dtype)) * kept.to(dtype)[..., None]
        return values.unflatten(-1, self.shape).permute(0, 3, 4, 1, 2)

    def forward(self, x: Tensor, outputs: Draw) -> Tensor:
        """Maps at the samples ``outputs``."""
        return lie_conv.lift(x, self.expanded(outputs, x), outputs, padding=self.padding)


class LieConv(nn.Module):
    """Maps (B, inputs, S_in, H, W) at one set of samples to maps (B, outputs, S_out, H', W') at another or the same.

    ``padding`` of ``kernel // 2`` (the default) keeps the size. Errors as for :class:`LieLift`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, chart: LogPolar, kernel: int = 5, radius: float | None = None,
        padding: int | None = None, hidden: int = 60, frequency: float = 10.0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_layer(chart, inputs, outputs)
        self.chart, self.shape = chart, (outputs, inputs)
        self.padding = kernel // 2 if padding is None else padding
        self.offsets = Constant(lie_conv.window_offsets(kernel, radius=radius))
        self.kernel = Siren(2 + chart.dim, inputs * outputs, hidden=hidden, frequency=frequency, terms=inputs * kernel * kernel)

    def expanded(self, inputs: Draw, outputs: Draw, dtype: Tensor) -> Tensor:
        """Values of the kernel ``(S_out, S_in, O, I, k, k)``, in the type of a tensor."""
        points = lie_conv.kernel_points(outputs, self.offsets.like(outputs.inverses))  # (S_out, k, k, 2)
        related = lie_conv.relations(self.chart, outputs, inputs) / math.pi  # (S_out, S_in, dim), as wide as the window
        k = points.shape[1]
        both = [points[:, None].expand(-1, related.shape[1], -1, -1, -1), related[:, :, None, None].expand(-1, -1, k, k, -1)]
        kept = lie_conv.window(self.chart, points)[:, None, ..., None]
        values = self.kernel(torch.cat(both, -1).to(dtype)) * kept.to(dtype)
        return values.unflatten(-1, self.shape).permute(0, 1, 4, 5, 2, 3)

    def forward(self, x: Tensor, inputs: Draw, outputs: Draw) -> Tensor:
        """Maps at the samples ``outputs`` from maps at the samples ``inputs``."""
        return lie_conv.group_conv(x, self.expanded(inputs, outputs, x), inputs, padding=self.padding)


class LieNorm(nn.Module):
    """Every channel less its mean over (S, H, W), over the root mean square of all; then one scale and bias per channel.

    Layer norm over (C, S, H, W), as in the paper, subtracts one mean for all channels. A smooth kernel answers to a constant
    more than to anything else, and constants that differ by channel then grow from layer to layer until little else is left.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x - x.mean((2, 3, 4), keepdim=True)
        size = torch.sqrt(x.square().mean((1, 2, 3, 4), keepdim=True) + self.eps)
        weight, bias = (p[:, None, None, None] for p in (self.weight, self.bias))
        return x * (weight / size) + bias


class HalvePool(nn.Module):
    """The maximum of every 2 x 2 pixels of maps (..., H, W); even sides keep turns of the grid exact (InputError)."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., H, W) to (..., H / 2, W / 2)."""
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise InputError(
                f"HalvePool: height and width must be even, got {tuple(x.shape[-2:])}; change the size of the image"
            )
        return F.max_pool2d(x.flatten(1, -3), 2).unflatten(1, x.shape[1:-2])


class GroupMax(nn.Module):
    """The maximum over samples and pixels, whatever the samples: maps (B, C, S, H, W) to invariants (B, C)."""

    def forward(self, x: Tensor, samples: Draw | None = None) -> Tensor:
        """Invariants."""
        return x.amax((2, 3, 4))


class GroupMean(nn.Module):
    """The integral over H and the plane, a mean: maps (B, C, S, H, W) at ``samples`` to invariants (B, C).

    ``sum_h w_h |det h|^-1`` of the means over pixels, normalised.
    """

    def forward(self, x: Tensor, samples: Draw) -> Tensor:
        """Invariants."""
        measure = (samples.weights / lie_conv.volumes(samples)).to(x)
        return x.mean((3, 4)) @ (measure / measure.sum())


@dataclass(frozen=True)
class Sampler:
    """The law of a network's samples of H: ``count`` of them, with :meth:`LogPolar.sample`'s ``variance`` and weights."""

    chart: LogPolar
    count: int
    variance: float = 0.1
    haar_weights: bool = False

    def draw(self, sets: int = 1, *, count: int | None = None, generator: torch.Generator | None = None) -> tuple[Draw, ...]:
        """Independent sets in orbits of the turns of the pixel grid, with equidistant angles from one random angle on.

        The angle is that of all sets, so that between any two samples there lies nearly a multiple of ``2 pi / count``: a
        kernel has to be smooth in the stretches, and need not be in the angle.
        """
        start = 2 * math.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
        count = self.count if count is None else count
        return tuple(
            self.chart.sample(
                count, self.variance, haar_weights=self.haar_weights, turns="orbits", start=start, generator=generator
            )
            for _ in range(sets)
        )


def check_layer(chart: LogPolar, inputs: int, outputs: int) -> None:
    """InputError unless the group acts on the plane and there are channels."""
    if chart.group.n != 2:
        raise InputError(f"Lie convolution: images need a group of the plane such as SL(2), got {chart.group}")
    if inputs < 1 or outputs < 1:
        raise InputError(f"Lie convolution: channels are >= 1, got {inputs} and {outputs}")
