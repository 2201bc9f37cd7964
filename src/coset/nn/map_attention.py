"""Attention on maps of tokens (B, H, W, C): global, in windows, and with subsampled keys; each behind its polyphase anchor.

A block is ``x + attention(norm(x))``, then ``x + mlp(norm(x))``. Windows of w x w and keys from patches of r x r break the
symmetry under shifts of one token; an anchor modulo w or r before the block restores it, and the whole residual stream is
rolled with it. Global attention needs none. Vaswani et al. 2017; windows and subsampled keys as in Twins (Chu et al., 2021,
arXiv 2104.13840); anchors: Ding et al., 2023, arXiv 2306.07470.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError, unknown
from coset.nn.polyphase import AnchoredConv2d, Rolls, anchor, check_stride

ATTENTION = ("global", "window", "subsampled")


class Attention(nn.Module):
    """Multi-head attention of queries ``x`` (B, N, C) to ``source`` (B, M, C), themselves where None is given.

    ``bias`` (heads, N, M) is added to the logits. InputError where heads do not divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"Attention: heads divide the width, got {heads} heads and width {width}")
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """What every query gathers, (B, N, C)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(x if source is None else source).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(-2))


class WindowBias(nn.Module):
    """A learned logit for every displacement inside a window of w x w tokens: (heads, w w, w w)."""

    index: Tensor

    def __init__(self, window: int, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        place = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        gap = place[:, None] - place + window - 1
        self.register_buffer("index", gap[..., 0] * (2 * window - 1) + gap[..., 1], persistent=False)

    def forward(self) -> Tensor:
        """The bias."""
        return self.table[self.index].movedim(-1, 0)


def windows(x: Tensor, size: int) -> Tensor:
    """``x`` (B, H, W, C) cut into windows, (B h w, size size, C)."""
    return x.unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3).flatten(3, 4).flatten(0, 2)


def unwindowed(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """The inverse of :func:`windows`."""
    cut = x.view(-1, height // size, width // size, size, size, x.shape[-1])
    return cut.transpose(2, 3).reshape(-1, height, width, x.shape[-1])


class MapAttention(nn.Module):
    """Attention of one of the kinds in :data:`ATTENTION` over a map (B, H, W, C) and, if global, tokens beside it (B, n, C).

    ``size`` is the side of a window or of the patches that keys are made from; ``relative`` gives windows a bias that is
    learned for every displacement.
    """

    def __init__(self, width: int, heads: int, *, kind: str = "global", size: int = 4, relative: bool = True) -> None:
        super().__init__()
        if kind not in ATTENTION:
            raise unknown("attention", kind, ATTENTION)
        if size < 1:
            raise InputError(f"MapAttention: the size of windows or patches is at least 1, got {size}")
        self.kind, self.size = kind, size
        self.attend = Attention(width, heads)
        self.bias = WindowBias(size, heads) if kind == "window" and relative else None
        self.reduce = nn.Conv2d(width, width, size, size) if kind == "subsampled" else None
        self.norm = nn.LayerNorm(width) if kind == "subsampled" else None

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map and tokens beside it after attention."""
        height, width = x.shape[1:3]
        if self.kind != "global":
            check_stride(x, self.size, f"{self.kind} attention")
            if self.kind == "window":
                bias = None if self.bias is None else self.bias()
                return unwindowed(self.attend(windows(x, self.size), bias=bias), self.size, height, width), extra
            source = self.reduce(x.movedim(-1, 1)).flatten(2).mT  # type: ignore[misc]
            return self.attend(x.flatten(1, 2), self.norm(source)).view(x.shape), extra  # type: ignore[misc]
        if extra is None:
            return self.attend(x.flatten(1, 2)).view(x.shape), None
        out = self.attend(torch.cat([extra, x.flatten(1, 2)], 1))
        return out[:, extra.shape[1] :].reshape(x.shape), out[:, : extra.shape[1]]


class MapBlock(nn.Module):
    """A transformer block on a map, anchored first where ``anchored`` and its attention is not global.

    ``mlp`` is the width of the hidden layer over that of the tokens; ``drop`` the probability that a sample skips a branch in
    training (stochastic depth). Other arguments as :class:`MapAttention`.
    """

    def __init__(
        self, width: int, heads: int, *, kind: str = "global", size: int = 4, mlp: float = 2.0, drop: float = 0.0,
        relative: bool = True, anchored: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= drop < 1:
            raise InputError(f"MapBlock: drop is a probability below 1, got {drop}")
        self.attention = MapAttention(width, heads, kind=kind, size=size, relative=relative)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        hidden = round(mlp * width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.stride = size if anchored and kind != "global" else 1
        self.drop = drop

    def forward(
        self, x: Tensor, extra: Tensor | None = None, rolls: Rolls | None = None, pixels: int = 1
    ) -> tuple[Tensor, Tensor | None]:
        """Map (B, H, W, C) and tokens beside it; ``rolls`` notes what an anchor did, ``pixels`` apart."""
        if self.stride > 1:
            found = anchor(x, self.stride, order=4, layer=f"{self.attention.kind} attention")
            x = found.x if rolls is None else rolls.add(found, pixels)
        gain = self._gain(x)
        moved, beside = self.attention(self.norm1(x), None if extra is None else self.norm1(extra))
        x = x + self._kept(moved, gain)
        x = x + self._kept(self.mlp(self.norm2(x)), gain)
        if extra is not None and beside is not None:
            extra = extra + self._kept(beside, gain)
            extra = extra + self._kept(self.mlp(self.norm2(extra)), gain)
        return x, extra

    def _gain(self, x: Tensor) -> Tensor | None:
        """For every sample 0 or ``1 / (1 - drop)``, in training."""
        if not (self.training and self.drop):
            return None
        return (torch.rand(len(x), dtype=x.dtype, device=x.device) >= self.drop) / x.new_tensor(1 - self.drop)

    @staticmethod
    def _kept(branch: Tensor, gain: Tensor | None) -> Tensor:
        return branch if gain is None else branch * gain.view(-1, *[1] * (branch.ndim - 1))


class PatchEmbedding(nn.Module):
    """Patches of ``stride`` x ``stride`` as tokens: a convolution without overlap, then a norm; anchored unless told not to.

    ``x`` (B, C, H, W) to (B, H / s, W / s, width).
    """

    def __init__(
        self, inputs: int, width: int, stride: int, *, order: int = 2, anchored: bool = True, layer: str = "patch embedding"
    ) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Conv2d(inputs, width, stride, stride)
        if anchored:
            self.proj = AnchoredConv2d(self.proj, order=order, layer=layer)  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(width)
        self.stride, self.layer = stride, layer

    def forward(self, x: Tensor, rolls: Rolls | None = None, pixels: int = 1) -> Tensor:
        """Tokens; ``rolls`` notes what the anchor did, input pixels ``pixels`` apart."""
        if isinstance(self.proj, AnchoredConv2d):
            return self.norm(self.proj(x, rolls, pixels).movedim(1, -1))
        check_stride(x.movedim(1, -1), self.stride, self.layer)
        return self.norm(self.proj(x).movedim(1, -1))
