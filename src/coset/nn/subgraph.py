"""Layers that act on all subgraphs of a graph at once: linear on each, averaged where they overlap.

Features of order 2 stand at ordered pairs of nodes, ``t2``, those of order 1 at nodes, ``t1``. On every subgraph of m nodes

    T2' = concat(L22 T2, L12 T1),    T1' = concat(L21 T2, L11 T1),

with the maps of :mod:`coset.nn.perm_linear` and one set of weights per bucket of sizes; then every pair and every node takes
the mean over the subgraphs that contain it, ELU, and GraphNorm per graph. Mitton & Murray-Smith, Subgraph Permutation
Equivariant Networks, 2021, arXiv 2111.11840; on whole graphs these are the layers of Maron et al., ICLR 2019. Contract: S("N")
on dense pairs, exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.graph_input import check_graphs
from coset.nn.graph_norm import GraphNorm
from coset.nn.perm_linear import PermLinear
from coset.ops.scatter import scatter_mean, scatter_sum
from coset.topology.ego import SubgraphBatch, Subgraphs, k_hop_ego

#: GraphNorm's: on a graph whose nodes all look alike it divides rounding errors by the root of this, layer after layer
EPS = 1e-2


class Update(nn.Module):
    """The linear maps of one bucket: orders (2, 1) with channels ``c2, c1`` to order 2 and 1, or to order 0 (``last``)."""

    def __init__(self, c2: int, c1: int, width: int, *, last: bool = False) -> None:
        super().__init__()
        outputs = (0,) if last else (2, 1)
        self.from_pairs = nn.ModuleList(PermLinear(c2, width, 2, k, bias=not last) for k in outputs)
        self.from_nodes = nn.ModuleList(PermLinear(c1, width, 1, k, bias=not last) for k in outputs) if c1 else None

    def forward(self, t2: Tensor, t1: Tensor | None) -> tuple[Tensor, ...]:
        """``(B, m, m, c2)``, ``(B, m, c1)`` to ``(T2', T1')``, or to ``(T0',)``."""
        if self.from_nodes is None:
            return tuple(linear(t2) for linear in self.from_pairs)
        both = zip(self.from_pairs, self.from_nodes, strict=True)
        return tuple(torch.cat([pairs(t2), nodes(t1)], -1) for pairs, nodes in both)


class SubgraphBlock(nn.Module):
    """One :class:`Update` for each bucket of subgraph sizes; ``buckets`` are the largest sizes, in increasing order.

    Larger subgraphs are refused, or with ``cap`` take the weights of the last bucket. Empty ``buckets`` share all weights.
    """

    def __init__(
        self, c2: int, c1: int, width: int, *, buckets: Sequence[int] = (), cap: bool = False, last: bool = False
    ) -> None:
        super().__init__()
        self.buckets, self.cap = check_buckets(buckets), cap
        self.c2, self.c1 = c2, c1
        self.width = width * (2 if c1 else 1)  #: of the output, per order
        self.updates = nn.ModuleList(Update(c2, c1, width, last=last) for _ in range(max(len(self.buckets), 1)))

    def bucket(self, batch: SubgraphBatch) -> int:
        """Which weights a batch takes; InputError names the first node of too large a subgraph."""
        if not self.buckets:
            return 0
        place = bisect_left(self.buckets, batch.size)
        if place == len(self.buckets) and not self.cap:
            raise InputError(
                f"the subgraph of node {int(batch.owner[0])} has {batch.size} nodes, the largest bucket holds "
                f"{self.buckets[-1]}; name a larger one in buckets, or share the last one's weights with cap=True"
            )
        return min(place, len(self.buckets) - 1)

    def forward(self, t2: Tensor, t1: Tensor | None, subgraphs: Subgraphs) -> list[tuple[Tensor, ...]]:
        """For every batch of subgraphs what its update returns; ``t2 (P, c2)``, ``t1 (N, c1)``."""
        if t2.shape[-1] != self.c2 or (0 if t1 is None else t1.shape[-1]) != self.c1:
            got = f"{t2.shape[-1]} and {0 if t1 is None else t1.shape[-1]}"
            raise InputError(f"subgraph layer: expected {self.c2} channels at pairs and {self.c1} at nodes, got {got}")
        return [
            self.updates[self.bucket(batch)](_take(t2, batch.pairs), None if t1 is None else _take(t1, batch.nodes))
            for batch in subgraphs.batches
        ]


class SubgraphLayer(nn.Module):
    """A whole layer: block, mean over overlapping subgraphs, ELU, GraphNorm; ``2 width`` channels (``width`` without t1)."""

    def __init__(self, c2: int, c1: int, width: int, *, buckets: Sequence[int] = (), cap: bool = False, k: int = 1) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"c2": c2, "c1": c1, "width": width, "buckets": tuple(buckets), "cap": cap, "k": k}
        self.block = SubgraphBlock(c2, c1, width, buckets=buckets, cap=cap)
        self.width, self.k = self.block.width, k
        self.norms = nn.ModuleList(GraphNorm(self.width, eps=EPS) for _ in range(2))
        inputs = {"t2": f"N x N x {c2} x scalar", "t1": f"N x {c1} x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"}
        outputs = {"t2": f"N x N x {self.width} x scalar", "t1": f"N x {self.width} x scalar"}
        if not c1:
            del inputs["t1"]
        self.contracts = (Contract(S("N"), inputs, outputs),)

    def update(self, t2: Tensor, t1: Tensor | None, subgraphs: Subgraphs, batch: Tensor) -> tuple[Tensor, Tensor]:
        """``t2 (P, c2)`` on the pairs of ``subgraphs``, ``t1 (N, c1)``: both orders after the layer."""
        parts = self.block(t2, t1, subgraphs)
        t2, t1 = self.pool(subgraphs, [part[0] for part in parts], [part[1] for part in parts])
        return self.norms[0](F.elu(t2), batch[subgraphs.pairs[0]]), self.norms[1](F.elu(t1), batch)

    def pool(self, subgraphs: Subgraphs, t2: list[Tensor], t1: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Back from subgraphs to the graph: the mean over those that contain a pair, or a node."""
        return subgraphs.pool_pairs(t2), subgraphs.pool_nodes(t1)

    def forward(self, t2: Tensor, edge_index: Tensor, batch: Tensor, t1: Tensor | None = None) -> dict[str, Tensor]:
        """The layer on its own, on the ``k``-hop ego networks of ``edge_index``: ``t2 (N, N, c2)`` dense, zero elsewhere."""
        if t2.ndim != 3 or not t2.shape[0] == t2.shape[1] == len(batch):
            raise InputError(f"subgraph layer: expected t2 (N, N, c) for {len(batch)} nodes, got {tuple(t2.shape)}")
        subgraphs = k_hop_ego(edge_index, len(batch), self.k)
        row, column = subgraphs.pairs
        t2, t1 = self.update(t2[row, column], t1, subgraphs, batch)
        dense = t2.new_zeros(len(batch), len(batch), t2.shape[-1]).index_put((row, column), t2)
        return {"t2": dense, "t1": t1}


class SubgraphClassifier(nn.Module):
    """Node and edge features to logits: layers of ``widths``, order 0 per subgraph, mean over each graph, a small MLP.

    Which subgraphs, a subclass says in its ``forward``. ``x`` stands on the diagonal, ``edge_attr`` (or 1) at the pairs of
    ``edge_index``, summed where an edge is repeated. Raises InputError for sizes below 1 and fewer than 2 widths.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        widths: Sequence[int],
        *,
        edge_features: int = 0,
        buckets: Sequence[int] = (),
        cap: bool = False,
        head: Sequence[int] = (256, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        name, sizes = type(self).__name__, [features, classes, *widths, *head]
        if len(widths) < 2 or min(sizes) < 1 or edge_features < 0:
            raise InputError(
                f"{name}: expected positive sizes and at least 2 widths, got {sizes}, edge features {edge_features}"
            )
        self.features, self.edge_features = features, edge_features
        c2, c1 = features + max(edge_features, 1), 0
        layers = []
        for width in widths[:-1]:
            layers.append(SubgraphLayer(c2, c1, width, buckets=buckets, cap=cap))
            c2 = c1 = layers[-1].width
        self.layers = nn.ModuleList(layers)
        self.last = SubgraphBlock(c2, c1, widths[-1], buckets=buckets, cap=cap, last=True)
        self.head = _head([self.last.width, *head], classes, dropout)

    def classify(self, x: Tensor, edge_index: Tensor, batch: Tensor, edge_attr: Tensor | None, subgraphs: Subgraphs) -> Tensor:
        """Logits of every graph, ``(B, classes)``, by these subgraphs, none of them across two graphs."""
        t2, t1 = self.embed(x, edge_index, edge_attr, subgraphs), None
        for layer in self.layers:
            t2, t1 = layer.update(t2, t1, subgraphs, batch)  # type: ignore[operator]
        values = torch.cat([part[0] for part in self.last(t2, t1, subgraphs)])
        graphs = batch[torch.cat([one.owner for one in subgraphs.batches])]
        return self.head(scatter_mean(values, graphs, int(batch.max()) + 1))

    def check(self, x: Tensor, edge_index: Tensor, batch: Tensor | None, edge_attr: Tensor | None) -> Tensor:
        """``batch``, after :func:`~coset.nn.graph_input.check_graphs`."""
        sizes = {"features": self.features, "edge_features": self.edge_features}
        return check_graphs(type(self).__name__, x, edge_index, batch, edge_attr, **sizes)

    def embed(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None, subgraphs: Subgraphs) -> Tensor:
        """The input as features of pairs ``(P, features + edge features)``."""
        if edge_attr is None or not edge_attr.shape[-1]:
            edge_attr = x.new_ones(edge_index.shape[1], 1)
        count = subgraphs.pairs.shape[1]
        nodes = scatter_sum(x, subgraphs.diagonal, count)
        edges = scatter_sum(edge_attr.to(x), subgraphs.places(edge_index), count)
        return torch.cat([nodes, edges], -1)


def _head(widths: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    steps: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        steps += [nn.Linear(inner, outer), nn.ELU(), nn.Dropout(dropout)]
    return nn.Sequential(*steps, nn.Linear(widths[-1], classes))


def check_buckets(buckets: Sequence[int]) -> tuple[int, ...]:
    """The largest size of each bucket; InputError unless these are positive and increase."""
    sizes = tuple(buckets)
    if any(size < 1 for size in sizes) or any(a >= b for a, b in pairwise(sizes)):
        raise InputError(f"buckets are the largest subgraph size of each, positive and increasing; got {sizes}")
    return sizes


def _take(x: Tensor, at: Tensor) -> Tensor:
    """``x[at]`` for rows; index_select, whose derivative is the faster one."""
    return x.index_select(0, at.flatten()).view(*at.shape, -1)
