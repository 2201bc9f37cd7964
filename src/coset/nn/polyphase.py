"""Polyphase anchoring: roll a map so that its strongest phase modulo the stride starts at the origin.

    n_ij = |x[i::s, j::s]|,     (i*, j*) = argmax n,     anchor(x, s) = roll(x, -i*, -j*)

For every circular shift t there is an integer vector m with ``anchor(roll(x, t)) = roll(anchor(x), s m)``: whatever follows
with stride s sees a shift by whole strides. Exact where the largest norm is unique; the relative margin to the second largest
is returned. The choice is piecewise constant: gradients are those of the roll, and outputs jump where two phases tie.

Ding, Soselia, Armstrong, Su & Huang, Reviving Shift Equivariance in Vision Transformers, 2023, arXiv 2306.07470. Added here:
norms in float64, ties broken by the 4-norm, then by the lowest index; images need not be square; ``full`` takes the *patch*
of largest norm where the paper takes one pixel of the phase (pixels saturate, and then tie); token maps are anchored by their
4-norm, ``order=4``, because after a layer norm all tokens have the same 2-norm and the largest is a matter of rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError

#: relative difference below which two norms count as equal, so that the norm of twice the order decides
TIE = {torch.float64: 1e-12}
TIE_SINGLE = 1e-6


#: margin below which a sample counts as a near tie, by the precision that a network computes in
NEAR = {torch.float64: 1e-9}
NEAR_SINGLE = 1e-5


class Anchored(NamedTuple):
    """An anchored map ``x`` (B, H, W, C), ``steps`` (B, 2) that lead back to the input, and the margin (B,), float64.

    ``roll_tokens(x, steps)`` is the input. The margin is ``(n1 - n2) / n1`` of the two largest norms, 0 where they tie.
    """

    x: Tensor
    steps: Tensor
    margin: Tensor


def roll_tokens(x: Tensor, steps: Tensor) -> Tensor:
    """``x`` (B, H, W, C) rolled by whole ``steps`` (B, 2) = (down, right), each member by its own: one gather of rows."""
    batch, height, width, channels = x.shape
    down, right = steps.unbind(-1)
    rows = (torch.arange(height, device=x.device) - down[:, None]) % height
    columns = (torch.arange(width, device=x.device) - right[:, None]) % width
    first = torch.arange(0, batch * height, height, device=x.device)
    index = (rows + first[:, None])[:, :, None] * width + columns[:, None, :]
    return x.reshape(-1, channels).index_select(0, index.flatten()).view(x.shape)


def check_stride(x: Tensor, stride: int, layer: str) -> None:
    """InputError, naming ``layer``, unless both sides of ``x`` (B, H, W, C) are multiples of ``stride``."""
    height, width = x.shape[1:3]
    if height % stride or width % stride:
        raise InputError(
            f"{layer}: a map of {height} x {width} is not divisible by {stride}; take another size, or pad by "
            f"{-height % stride} rows and {-width % stride} columns (which costs exactness)"
        )


def anchor(x: Tensor, stride: int, *, order: int = 2, full: bool = False, layer: str = "anchor") -> Anchored:
    """``x`` (B, H, W, C) anchored modulo ``stride`` by norms of ``order`` 2 or 4; with ``full`` to its strongest patch.

    Under ``full`` the result depends on the orbit of ``x`` alone, not on its place in it. ``layer`` names the caller in
    errors. Raises InputError for sizes that the stride does not divide, and for NaN or infinite values.
    """
    check_stride(x, stride, layer)
    if order not in (2, 4):
        raise InputError(f"{layer}: norms of order 2 or 4 decide, got {order}")
    if stride == 1 and not full:
        return Anchored(x, x.new_zeros(len(x), 2, dtype=torch.int64), x.new_ones(len(x), dtype=torch.float64))
    steps, margin = _strongest(x, _phases, stride, order, layer)
    if full and x.shape[1:3] != (stride, stride):
        patches, second = _strongest(roll_tokens(x, -steps), _patches, stride, order, layer)
        steps, margin = steps + stride * patches, torch.minimum(margin, second)
    return Anchored(roll_tokens(x, -steps), steps, margin)


def _powers(x: Tensor, order: int) -> Tensor:
    """Sums over channels of the entries to an even ``order`` (a power of two), (B, H, W); added up in float64.

    An entry's power is the same number wherever the entry stands, so that only the sums need more digits.
    """
    power = x.detach().to(torch.promote_types(x.dtype, torch.float32)).square()
    while order > 2:
        power, order = power.square_(), order // 2
    return power.sum(-1, dtype=torch.float64)


def _phases(power: Tensor, stride: int) -> Tensor:
    """Sums over each phase, (B, s, s): ``power`` is (B, H, W)."""
    return power.unflatten(2, (-1, stride)).unflatten(1, (-1, stride)).sum((1, 3))


def _patches(power: Tensor, stride: int) -> Tensor:
    """Sums over each patch of s x s, (B, H / s, W / s)."""
    return power.unflatten(2, (-1, stride)).unflatten(1, (-1, stride)).sum((2, 4))


def _strongest(x: Tensor, parts: Callable[[Tensor, int], Tensor], stride: int, order: int, layer: str) -> tuple[Tensor, Tensor]:
    """Row and column (B, 2) of the strongest part, and its margin (B,); the norm of twice the order decides where it ties."""
    sums = parts(_powers(x, order), stride)
    columns, norms, close = sums.shape[2], sums.flatten(1).pow(1 / order), 1 - TIE.get(x.dtype, TIE_SINGLE)
    if not bool(torch.isfinite(norms).all()):
        raise InputError(f"{layer}: the norms hold NaN or infinite values; look at the input, or at overflow in half precision")
    best, second = norms.topk(2, 1).values.unbind(1)
    tied = norms >= best[:, None] * close
    if bool((tied.sum(1) > 1).any()):
        higher = parts(_powers(x, 2 * order), stride).flatten(1).pow(0.5 / order)
        higher = torch.where(tied, higher, -1.0)
        tied &= higher >= higher.amax(1, keepdim=True) * close
    place = tied.to(torch.int8).argmax(1)  # the first of those left
    return torch.stack([place // columns, place % columns], -1), torch.where(best > 0, (best - second) / best, 0.0)


class Rolls:
    """What a network's anchors did to one batch: the way back in input pixels (B, 2), and the smallest margin (B,)."""

    def __init__(self) -> None:
        self.steps: Tensor | None = None
        self.margin: Tensor | None = None

    def add(self, found: Anchored, pixels: int) -> Tensor:
        """Note an anchor on a map whose positions are ``pixels`` input pixels apart; the anchored map."""
        steps = found.steps * pixels
        self.steps = steps if self.steps is None else self.steps + steps
        self.margin = found.margin if self.margin is None else torch.minimum(self.margin, found.margin)
        return found.x


def clear(margin: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether margins (B,) are beyond what rounding in ``dtype`` can turn round."""
    return margin > NEAR.get(dtype, NEAR_SINGLE)


class AnchoredConv2d(nn.Module):
    """A strided convolution ``conv`` behind an anchor: a shift of its input by any number of pixels moves whole outputs.

    ``x`` (B, C, H, W); the weights are those of ``conv``, whose kernel and stride are equal (non-overlapping patches). With
    ``full`` the output is the same for all shifts. ``rolls``, if given to :meth:`forward`, notes what was done. Raises
    InputError for another convolution, and for sizes that the stride does not divide.
    """

    def __init__(self, conv: nn.Conv2d, *, order: int = 2, full: bool = False, layer: str = "patch embedding") -> None:
        super().__init__()
        stride = conv.stride[0]
        if conv.stride != conv.kernel_size or conv.stride != (stride, stride) or any(_padding(conv)) or conv.dilation != (1, 1):
            raise InputError(
                f"{layer}: expected a convolution of square patches, kernel = stride and no padding; got kernel "
                f"{conv.kernel_size}, stride {conv.stride}, padding {conv.padding}"
            )
        self.conv, self.order, self.full, self.layer = conv, order, full, layer
        self.rolls: Rolls | None = None  #: where anchors are noted that nobody hands a record to

    @property
    def stride(self) -> int:
        """Pixels per output."""
        return self.conv.stride[0]

    def forward(self, x: Tensor, rolls: Rolls | None = None, pixels: int = 1) -> Tensor:
        """``conv`` of the anchored map, (B, C', H / s, W / s)."""
        found = anchor(x.movedim(1, -1), self.stride, order=self.order, full=self.full, layer=self.layer)
        rolls = self.rolls if rolls is None else rolls
        anchored = found.x if rolls is None else rolls.add(found, pixels)
        return self.conv(anchored.movedim(-1, 1))


def _padding(conv: nn.Conv2d) -> tuple[int, ...]:
    return (0, 0) if conv.padding == "valid" else (1,) if isinstance(conv.padding, str) else tuple(conv.padding)


class PositionConv(nn.Module):
    """``x + conv(x)`` with a depthwise 3 x 3 convolution around the border: where a token stands, told by its neighbors.

    ``x`` (B, H, W, C), at least ``kernel // 2`` tokens a side; ``kernel`` is odd.
    """

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv, self.reach = nn.Conv2d(width, width, kernel, groups=width), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Tokens with what they learned of their neighbors."""
        return x + self.conv(wrapped(x, self.reach).movedim(-1, 1)).movedim(1, -1)


def wrapped(x: Tensor, reach: int) -> Tensor:
    """``x`` (B, H, W, C) with ``reach`` tokens from the other side at every border; a third of the time of ``F.pad``."""
    x = torch.cat([x[:, -reach:], x, x[:, :reach]], 1)
    return torch.cat([x[:, :, -reach:], x, x[:, :, :reach]], 2)


def circular(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, sharing its weights, with a border that wraps around instead of zeros."""
    twin = copy(conv)
    twin.padding_mode = "circular"
    return twin


def unshuffle_tokens(x: Tensor, stride: int) -> Tensor:
    """Tokens (B, h, w, s s C) as the pixels they stand for, (B, C, s h, s w)."""
    return F.pixel_shuffle(x.movedim(-1, 1), stride)
