"""Layer norms for features of irreps: divided by root mean squares, which no rotation changes.

One-dimensional channels lose their mean over channels first (all others have none that is equivariant). Then blocks of one
group of blocks are divided by a common size and get a learned gain per channel, trivial ones a learned bias:

    n = mean over blocks of the group, their 2l+1 components and channels, of x^2,      y = gain x / sqrt(n + eps) + bias

- :class:`DegreeLayerNorm`: every block by itself (Equiformer).
- :class:`MergedLayerNorm`: one size for all blocks, so that degrees keep their proportions (EquiformerV3, arXiv 2604.09130).
- :class:`SplitLayerNorm`: one for one-dimensional blocks and one for all others (Facet, arXiv 2509.08418).

Sizes are computed in float32 at least, also inside autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, join_blocks, split_blocks
from coset.reps.irreps import Irreps

EPS = 1e-5


class _LayerNorm(nn.Module):
    """``groups`` lists the blocks that share one size."""

    def __init__(self, irreps: Irreps, groups: Sequence[Sequence[int]], gain: float) -> None:
        super().__init__()
        if not irreps.dim:
            raise InputError(f"{type(self).__name__}: there is nothing to normalize in {irreps!r}")
        self.irreps, self.groups = irreps, [list(group) for group in groups if group]
        self.gain = nn.Parameter(torch.full((irreps.num_irreps,), gain))
        self.bias = nn.Parameter(torch.zeros(sum(mul for mul, ir in irreps if ir.is_scalar())))
        self.contracts = (Contract(irreps.group, irreps, irreps),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., irreps.dim)`` to the same, in the dtype of ``x``."""
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            return self._normalize(wide).to(x.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        parts = [
            part - part.mean(-1, keepdim=True) if ir.dim == 1 else part
            for part, (_, ir) in zip(split_blocks(x, self.irreps), self.irreps, strict=True)
        ]
        for group in self.groups:
            square = torch.stack([parts[place].square().mean((-2, -1), keepdim=True) for place in group]).mean(0)
            size = torch.rsqrt(square + EPS)
            for place in group:
                parts[place] = parts[place] * size
        gains = self.gain.to(x.dtype).split([mul for mul, _ in self.irreps])
        biases = iter(self.bias.to(x.dtype).split([mul for mul, ir in self.irreps if ir.is_scalar()]))
        out = [
            part * gain + next(biases) if ir.is_scalar() else part * gain
            for part, gain, (_, ir) in zip(parts, gains, self.irreps, strict=True)
        ]
        return join_blocks(out)


class DegreeLayerNorm(_LayerNorm):
    """Every block divided by its own size. ``gain`` is the learned scale's first value (0: a residual starts as identity)."""

    def __init__(self, irreps: IrrepsLike, *, gain: float = 1.0) -> None:
        irreps = as_irreps(irreps)
        super().__init__(irreps, [[place] for place in range(len(irreps))], gain)


class MergedLayerNorm(_LayerNorm):
    """All blocks divided by one size."""

    def __init__(self, irreps: IrrepsLike, *, gain: float = 1.0) -> None:
        irreps = as_irreps(irreps)
        super().__init__(irreps, [range(len(irreps))], gain)


class SplitLayerNorm(_LayerNorm):
    """One size for one-dimensional blocks and one for all others."""

    def __init__(self, irreps: IrrepsLike, *, gain: float = 1.0) -> None:
        irreps = as_irreps(irreps)
        flat = [place for place, (_, ir) in enumerate(irreps) if ir.dim == 1]
        super().__init__(irreps, [flat, [place for place in range(len(irreps)) if place not in flat]], gain)
