"""Dropout that keeps equivariance: a channel goes with all its components, a path with all of its sample.

A channel of an irrep kept or dropped as a whole is multiplied by a number, which commutes with every matrix; the mask does not
depend on the input. So the layers are equivariant for every draw; in eval mode they are the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.nn.irreps_blocks import IrrepsLike, as_irreps
from coset.reps.irreps import Irreps


class IrrepsDropout(nn.Module):
    """Drops each copy of each irrep with probability ``p`` and divides the rest by ``1 - p``. InputError for ``p`` outside
    0..1."""

    def __init__(self, irreps: IrrepsLike, p: float) -> None:
        super().__init__()
        self.irreps: Irreps = as_irreps(irreps)
        self.p = _probability("IrrepsDropout", p)
        self.contracts = (Contract(self.irreps.group, self.irreps, self.irreps),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., irreps.dim)`` to the same."""
        if not self.training or self.p == 0:
            return x
        kept = _kept(x.new_empty(*x.shape[:-1], self.irreps.num_irreps), self.p)
        masks = kept.split([mul for mul, _ in self.irreps], -1)
        return x * torch.cat(
            [mask.repeat(*[1] * (mask.ndim - 1), ir.dim) for mask, (_, ir) in zip(masks, self.irreps, strict=True)], -1
        )


class DropPath(nn.Module):
    """Drops what a residual branch adds, for whole samples: ``x + drop_path(branch(x), batch)`` (stochastic depth).

    Huang et al., ECCV 2016, arXiv 1603.09382. Without ``batch``, the graph of every node, each leading entry is a sample.
    """

    def __init__(self, irreps: IrrepsLike, p: float) -> None:
        super().__init__()
        irreps = as_irreps(irreps)
        self.p = _probability("DropPath", p)
        self.contracts = (Contract(irreps.group, irreps, irreps),)

    def forward(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """``x`` ``(N, dim)``, ``batch`` ``(N,)`` or None, to ``(N, dim)``."""
        if not self.training or self.p == 0:
            return x
        samples = len(x) if batch is None else int(batch.max()) + 1 if batch.numel() else 0
        kept = _kept(x.new_empty(samples), self.p)
        kept = kept if batch is None else kept[batch]
        return x * kept.view(-1, *[1] * (x.ndim - 1))


def _probability(layer: str, p: float) -> float:
    if not 0 <= p < 1:
        raise InputError(f"{layer}: p is a probability from 0 to below 1, got {p}")
    return p


def _kept(like: Tensor, p: float) -> Tensor:
    """1 / (1 - p) with probability 1 - p, else 0."""
    return torch.bernoulli(like.fill_(1 - p)) / (1 - p)
