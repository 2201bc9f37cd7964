"""Graphs as every graph classifier takes them: fields, and what is refused at the edge.

A batch of graphs is one graph without edges between its members: node features ``x (N, F)``, ``edge_index (2, E)`` as
(source, target), ``batch (N,)`` naming the graph of every node, and edge features ``edge_attr (E, D)`` where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from coset.errors import InputError

GRAPHS = {"x": "N x F x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"}  #: of any number of features
LOGITS = "B x C x scalar"


def graph_fields(features: int, edge_features: int = 0) -> Mapping[str, str]:
    """The input of a classifier of graphs with this many features per node and per edge."""
    fields = {**GRAPHS, "x": f"N x {features} x scalar"}
    return {**fields, "edge_attr": f"E x {edge_features} x scalar"} if edge_features else fields


def check_graphs(
    name: str,
    x: Tensor,
    edge_index: Tensor,
    batch: Tensor | None,
    edge_attr: Tensor | None,
    *,
    features: int,
    edge_features: int = 0,
) -> Tensor:
    """``batch`` of well-formed graphs; InputError says which of the four tensors does not fit, and how."""
    if batch is None:
        raise InputError(f"{name}: several graphs in one batch need batch (N,), the graph of every node; zeros for one graph")
    if x.ndim != 2 or x.shape[1] != features or not len(x):
        raise InputError(f"{name}: expected node features (N, {features}) with N >= 1, got {tuple(x.shape)}")
    if batch.shape != x.shape[:1] or batch.is_floating_point():
        raise InputError(f"{name}: batch is an integer for each of {len(x)} nodes, got {batch.dtype} {tuple(batch.shape)}")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        raise InputError(f"{name}: edge_index is (2, E) integers, got {edge_index.dtype} {tuple(edge_index.shape)}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(x):
        raise InputError(f"{name}: edge_index points outside the nodes 0..{len(x) - 1}")
    if bool((batch[edge_index[0]] != batch[edge_index[1]]).any()):
        raise InputError(f"{name}: an edge joins two graphs of the batch; shift each graph's edge_index by its first node")
    width = 0 if edge_attr is None else edge_attr.shape[-1]
    if width != edge_features or (edge_attr is not None and edge_attr.shape[:-1] != edge_index.shape[1:]):
        got = "none" if edge_attr is None else f"{tuple(edge_attr.shape)}"
        raise InputError(f"{name}: expected edge_attr ({edge_index.shape[1]}, {edge_features}), got {got}")
    return batch
