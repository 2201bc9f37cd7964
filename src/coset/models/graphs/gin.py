"""GIN: the message-passing baseline of graph classification, as strong as colour refinement and no stronger.

    h'_i = MLP((1 + eps) h_i + sum_{j -> i} m_j),    m_j = h_j,    or relu(h_j + W e_ji) with edge features,

and logits summed over linear read-outs of every layer's graph sums. Xu, Hu, Leskovec & Jegelka, How Powerful are Graph Neural
Networks?, ICLR 2019, arXiv 1810.00826; edge features as in Hu et al., Strategies for Pre-training Graph Neural Networks, ICLR
2020. Contract: S("N") exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.graph_input import check_graphs, graph_fields
from coset.ops.scatter import scatter_sum


class GIN(nn.Module):
    """``x (N, features)``, ``edge_index (2, E)``, ``batch (N,)``, ``edge_attr (E, edge_features)`` to logits ``(B, classes)``.

    Raises InputError for sizes below 1 and graphs that do not fit.
    """

    def __init__(
        self,
        features: int = 1,
        classes: int = 2,
        *,
        hidden: int = 32,
        layers: int = 4,
        edge_features: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(features, classes, hidden, layers) < 1 or edge_features < 0:
            raise InputError(f"GIN: sizes are positive, got {features=}, {classes=}, {hidden=}, {layers=}, {edge_features=}")
        self.config: dict[str, Any] = {"features": features, "classes": classes, "hidden": hidden, "layers": layers}
        self.config |= {"edge_features": edge_features, "dropout": dropout}
        self.features, self.edge_features = features, edge_features
        widths = [features] + [hidden] * layers
        self.eps = nn.Parameter(torch.zeros(layers))
        self.layers = nn.ModuleList(_mlp(width, hidden) for width in widths[:-1])
        self.edges = nn.ModuleList(nn.Linear(edge_features, width) for width in widths[:-1]) if edge_features else None
        self.reads = nn.ModuleList(nn.Linear(width, classes) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.contracts = (Contract(S("N"), graph_fields(features, edge_features), f"B x {classes} x scalar"),)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, edge_attr: Tensor | None = None) -> Tensor:
        """Logits of every graph."""
        sizes = {"features": self.features, "edge_features": self.edge_features}
        batch = check_graphs("GIN", x, edge_index, batch, edge_attr, **sizes)
        source, target = edge_index
        count, h = int(batch.max()) + 1, x
        logits = self.reads[0](scatter_sum(h, batch, count))
        for i, layer in enumerate(self.layers):
            message = h[source] if self.edges is None else torch.relu(h[source] + self.edges[i](edge_attr))
            h = layer((1 + self.eps[i]) * h + scatter_sum(message, target, len(h)))
            logits = logits + self.dropout(self.reads[i + 1](scatter_sum(h, batch, count)))
        return logits


def _mlp(inputs: int, hidden: int) -> nn.Sequential:
    norms = [nn.BatchNorm1d(hidden) for _ in range(2)]
    return nn.Sequential(nn.Linear(inputs, hidden), norms[0], nn.ReLU(), nn.Linear(hidden, hidden), norms[1], nn.ReLU())
