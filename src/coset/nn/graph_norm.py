"""GraphNorm: features of a graph are centred by a learned share of their mean and scaled by their deviation.

    y_i = gamma (x_i - alpha mean_G x) / sqrt(mean_G (x - alpha mean_G x)^2 + eps) + beta,    per channel, i in graph G.

Cai, Luo, Xu, He, Liu & Wang, GraphNorm: A Principled Approach to Accelerating Graph Neural Network Training, ICML 2021,
arXiv 2009.03294. Contract: S("N") exact, whatever stands at N (nodes, pairs of nodes), graphs not seeing one another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.ops.scatter import scatter_mean


class GraphNorm(nn.Module):
    """``x (N, channels)``, ``batch (N,)`` to ``(N, channels)``; InputError for channels below 1 and wrong shapes."""

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        if channels < 1:
            raise InputError(f"GraphNorm: channels are at least 1, got {channels}")
        self.config: dict[str, Any] = {"channels": channels, "eps": eps}
        self.eps = eps
        self.share = nn.Parameter(torch.ones(channels))  #: alpha
        self.scale = nn.Parameter(torch.ones(channels))  #: gamma
        self.shift = nn.Parameter(torch.zeros(channels))  #: beta
        field = f"N x {channels} x scalar"
        self.contracts = (Contract(S("N"), {"x": field, "batch": "N -> B"}, field),)

    def forward(self, x: Tensor, batch: Tensor) -> Tensor:
        """Normalised features, graph by graph."""
        if x.ndim != 2 or x.shape[1] != len(self.scale) or batch.shape != x.shape[:1]:
            raise InputError(
                f"GraphNorm: expected x (N, {len(self.scale)}) and batch (N,), got {tuple(x.shape)} and {tuple(batch.shape)}"
            )
        count = int(batch.max()) + 1 if len(batch) else 0
        centered = x - self.share * scatter_mean(x, batch, count)[batch]
        deviation = torch.sqrt(scatter_mean(centered.square(), batch, count) + self.eps)
        return self.scale * centered / deviation[batch] + self.shift
