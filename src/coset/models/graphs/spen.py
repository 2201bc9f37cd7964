"""SPEN: a graph classifier beyond message passing whose memory grows with the ego networks, not with n^2.

The closed ``k``-hop neighbourhood of every node is an ego network; layers of the 15-map basis act on all of them, with one
set of weights per bucket of sizes, and average where networks overlap (:mod:`coset.nn.subgraph`). So a pair of nodes up to
2k steps apart carries a feature, while neighbourhoods remain those of the original edges. Order 0 of every ego network is
averaged over the graph and read by an MLP. Mitton & Murray-Smith, Subgraph Permutation Equivariant Networks, 2021, arXiv
2111.11840. Contract: S("N") exact, on batches of ragged graphs. Differs from the paper: edges taken in either direction make
the neighbourhoods, so that directed graphs are welcome; ``x`` and edge features have channels of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.graph_input import graph_fields
from coset.nn.subgraph import SubgraphClassifier
from coset.topology.ego import is_symmetric, k_hop_ego

BUCKETS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 32, 64)  #: the largest size of each


class SPEN(SubgraphClassifier):
    """``x (N, features)``, ``edge_index (2, E)``, ``batch (N,)``, ``edge_attr (E, edge_features)`` to logits ``(B, classes)``.

    ``widths`` are those of the input layer, the hidden layers and the output layer; a layer gives twice its width, but for
    the first. ``buckets`` say which sizes of ego networks share weights, by the largest size of each; larger networks are
    refused unless ``cap`` lets them share the last one's. ``undirected`` refuses edges without their reverse. Raises
    InputError for ``k < 1``, sizes below 1 and graphs that do not fit.
    """

    def __init__(
        self,
        features: int = 1,
        classes: int = 2,
        *,
        k: int = 1,
        widths: Sequence[int] = (32, 32, 32, 32, 64),
        edge_features: int = 0,
        buckets: Sequence[int] = BUCKETS,
        cap: bool = False,
        head: Sequence[int] = (256, 128),
        dropout: float = 0.5,
        undirected: bool = False,
    ) -> None:
        if k < 1:
            raise InputError(f"SPEN: neighbourhoods reach k >= 1 steps, got k = {k}")
        shared: dict[str, Any] = {"edge_features": edge_features, "buckets": list(buckets), "cap": cap, "head": list(head)}
        super().__init__(features, classes, widths, dropout=dropout, **shared)
        self.config: dict[str, Any] = {"features": features, "classes": classes, "k": k, "widths": list(widths), **shared}
        self.config |= {"dropout": dropout, "undirected": undirected}
        self.k, self.undirected = k, undirected
        self.contracts = (Contract(S("N"), graph_fields(features, edge_features), f"B x {classes} x scalar"),)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor | None = None, edge_attr: Tensor | None = None) -> Tensor:
        """Logits of every graph."""
        batch = self.check(x, edge_index, batch, edge_attr)
        if self.undirected and not is_symmetric(edge_index, len(x)):
            raise InputError("SPEN: undirected=True, but an edge lacks its reverse; add both directions to edge_index")
        return self.classify(x, edge_index, batch, edge_attr, k_hop_ego(edge_index, len(x), self.k))
