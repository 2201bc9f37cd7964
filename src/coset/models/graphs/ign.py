"""Global order-2 network: the 15-map basis on whole graphs, the dense control of subgraph networks.

The layers of SPEN (:mod:`coset.nn.subgraph`) with every graph as its one subgraph and one set of weights for all sizes: all
n^2 pairs of a graph carry features, and two graphs that colour refinement cannot tell apart get equal logits (Chen et al.,
2020: order-2 invariant networks are bounded by it on graphs without further structure). Maron, Ben-Hamu, Shamir & Lipman,
Invariant and Equivariant Graph Networks, ICLR 2019, arXiv 1812.09902. Contract: S("N") exact. Differs from the paper:
features of order 1 beside those of order 2, GraphNorm, means for sums; so only locality differs from SPEN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from coset.contract import Contract
from coset.groups.permutation import S
from coset.nn.graph_input import graph_fields
from coset.nn.subgraph import SubgraphClassifier
from coset.topology.ego import whole_graphs


class IGN(SubgraphClassifier):
    """``x (N, features)``, ``edge_index (2, E)``, ``batch (N,)`` to logits ``(B, classes)``; memory n^2 for every graph.

    Raises InputError for sizes below 1 and graphs that do not fit.
    """

    def __init__(
        self,
        features: int = 1,
        classes: int = 2,
        *,
        widths: Sequence[int] = (32, 32, 32, 32, 64),
        edge_features: int = 0,
        head: Sequence[int] = (256, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(features, classes, widths, edge_features=edge_features, head=head, dropout=dropout)
        self.config: dict[str, Any] = {"features": features, "classes": classes, "widths": list(widths)}
        self.config |= {"edge_features": edge_features, "head": list(head), "dropout": dropout}
        self.contracts = (Contract(S("N"), graph_fields(features, edge_features), f"B x {classes} x scalar"),)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, edge_attr: Tensor | None = None) -> Tensor:
        """Logits of every graph."""
        batch = self.check(x, edge_index, batch, edge_attr)
        return self.classify(x, edge_index, batch, edge_attr, whole_graphs(batch))
