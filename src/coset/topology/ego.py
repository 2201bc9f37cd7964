"""Ego networks in dense batches: for every node the nodes within k steps, networks of equal size stacked.

:func:`k_hop_ego` gives the networks of all nodes of a (batch of) graph(s), :func:`whole_graphs` takes every graph as one
network of its own, the dense limit. Both return :class:`Subgraphs`: batches of equal size with pointers into the nodes and
into one list of ordered pairs, the union of ``members x members`` over all networks. A feature of order 2 lives on that list,
so memory grows with the sum of the squared sizes, not with n^2. Everything is sorted and joined as arrays; the only loop is
over the different sizes.

>>> path = torch.tensor([[0, 1], [1, 2]])
>>> networks = k_hop_ego(path, 3)
>>> [(batch.size, batch.nodes.tolist()) for batch in networks.batches]
[(2, [[0, 1], [1, 2]]), (3, [[0, 1, 2]])]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.scatter import scatter_mean


@dataclass(frozen=True, eq=False)
class SubgraphBatch:
    """Subgraphs of one size m, side by side; members stand in increasing order."""

    owner: Tensor  #: (B,) a node that names the subgraph: the centre of an ego network, the first node of a graph
    nodes: Tensor  #: (B, m) members
    pairs: Tensor  #: (B, m, m) places of (row member, column member) in the list of pairs

    @property
    def size(self) -> int:
        """m."""
        return self.nodes.shape[1]


@dataclass(frozen=True, eq=False)
class Subgraphs:
    """Subgraphs of ``count`` nodes and the pairs of nodes that stand in at least one of them, sorted by row, then column."""

    count: int
    pairs: Tensor  #: (2, P)
    batches: tuple[SubgraphBatch, ...]  #: in order of size

    @property
    def diagonal(self) -> Tensor:
        """Places of the pairs (i, i), ``(count,)``."""
        nodes = torch.arange(self.count, device=self.pairs.device)
        return self.places(torch.stack([nodes, nodes]))

    def places(self, pairs: Tensor) -> Tensor:
        """Where ordered pairs ``(2, E)`` stand in the list; InputError for one that is in no subgraph."""
        known, wanted = _keys(self.pairs, self.count), _keys(pairs, self.count)
        found = torch.searchsorted(known, wanted).clamp(max=max(len(known) - 1, 0))
        if len(wanted) and not (len(known) and torch.equal(known[found], wanted)):
            raise InputError(
                "a pair of nodes lies in no subgraph; pairs are those of the edges that the subgraphs were made of"
            )
        return found

    def pool_pairs(self, values: list[Tensor]) -> Tensor:
        """The mean over subgraphs at every pair: batch by batch ``(B, m, m, c)`` to ``(P, c)``."""
        return _mean([(batch.pairs, value) for batch, value in zip(self.batches, values, strict=True)], self.pairs.shape[1])

    def pool_nodes(self, values: list[Tensor]) -> Tensor:
        """The mean over subgraphs at every node: batch by batch ``(B, m, c)`` to ``(count, c)``."""
        return _mean([(batch.nodes, value) for batch, value in zip(self.batches, values, strict=True)], self.count)


def _mean(parts: list[tuple[Tensor, Tensor]], length: int) -> Tensor:
    """Values with channels last, averaged at the places that stand beside them; every place is hit."""
    at = torch.cat([place.flatten() for place, _ in parts])
    return scatter_mean(torch.cat([value.reshape(-1, value.shape[-1]) for _, value in parts]), at, length)


def is_symmetric(edge_index: Tensor, count: int) -> bool:
    """Whether every edge ``(i, j)`` has its ``(j, i)``."""
    return torch.equal(_keys(edge_index, count).unique(), _keys(edge_index.flip(0), count).unique())


def neighbor_pairs(edge_index: Tensor, count: int) -> Tensor:
    """Ordered pairs ``(2, P)`` of neighbours in either direction, sorted, each once, without loops."""
    both = torch.cat([edge_index, edge_index.flip(0)], 1)
    return _pairs(_keys(both[:, both[0] != both[1]], count).unique(), count)


def k_hop_pairs(edge_index: Tensor, count: int, k: int = 1) -> Tensor:
    """Ordered pairs ``(2, P)`` of nodes at most ``k`` steps apart along edges of either direction, (i, i) included.

    Sorted by the first. Raises InputError for ``k < 1`` and edges outside ``0 .. count - 1``.
    """
    if k < 1:
        raise InputError(f"neighbourhoods reach k >= 1 steps, got k = {k}")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < count:
        raise InputError(f"edge_index points outside 0..{count - 1}: {int(edge_index.min())}..{int(edge_index.max())}")
    step = neighbor_pairs(edge_index, count)
    degree = torch.bincount(step[0], minlength=count)
    start = degree.cumsum(0) - degree
    nodes = torch.arange(count, device=edge_index.device)
    reached = torch.stack([nodes, nodes])
    for _ in range(k):
        ego, member = reached
        times = degree[member]  # every member brings its neighbours
        within = torch.arange(int(times.sum()), device=ego.device) - (times.cumsum(0) - times).repeat_interleave(times)
        news = step[1][start[member].repeat_interleave(times) + within]
        further = torch.stack([ego.repeat_interleave(times), news])
        reached = _pairs(_keys(torch.cat([reached, further], 1), count).unique(), count)
    return reached


def k_hop_ego(edge_index: Tensor, count: int, k: int = 1) -> Subgraphs:
    """The ego networks of all ``count`` nodes: closed neighbourhoods of ``k`` steps, edges taken in either direction.

    A node without neighbours is a network of size 1. Raises InputError as :func:`k_hop_pairs` does.
    """
    owner, members = k_hop_pairs(edge_index, count, k)
    return _stacked(owner, members, count)


def whole_graphs(batch: Tensor) -> Subgraphs:
    """Every graph of ``batch`` ``(N,)`` as one subgraph: all ordered pairs inside a graph, n^2 of them."""
    order = torch.argsort(batch, stable=True)
    sizes = torch.bincount(batch)
    start = sizes.cumsum(0) - sizes
    first = order[start[sizes > 0]]
    return _stacked(first.repeat_interleave(sizes[sizes > 0]), order, len(batch))


def _stacked(owner: Tensor, members: Tensor, count: int) -> Subgraphs:
    """Subgraphs from the list (owner, member), equal owners together and members in order."""
    owners, sizes = torch.unique_consecutive(owner, return_counts=True)
    start = sizes.cumsum(0) - sizes
    groups, keys = [], []
    for size in torch.unique(sizes).tolist():
        own = torch.nonzero(sizes == size).flatten()
        nodes = members[start[own].unsqueeze(-1) + torch.arange(size, device=owner.device)]
        groups.append((owners[own], nodes))
        keys.append((nodes.unsqueeze(-1) * count + nodes.unsqueeze(-2)).flatten())
    listed, at = torch.unique(torch.cat(keys), return_inverse=True)
    split = at.split([len(key) for key in keys])
    batches = (
        SubgraphBatch(own, nodes, place.view(*nodes.shape, nodes.shape[1]))
        for (own, nodes), place in zip(groups, split, strict=True)
    )
    return Subgraphs(count, _pairs(listed, count), tuple(batches))


def buckets_of(sizes: Tensor, rare: int = 20) -> tuple[int, ...]:
    """Weight buckets for subgraphs of these ``sizes``: the largest size of each bucket, in order.

    Buckets are closed as soon as they hold ``rare`` subgraphs, from the small sizes up; what is left joins the last one.
    """
    if not len(sizes):
        raise InputError("buckets_of: no sizes given")
    found: list[int] = []
    held = 0
    for size, number in zip(*(part.tolist() for part in torch.unique(sizes, return_counts=True)), strict=True):
        held += number
        if held >= rare:
            found.append(size)
            held = 0
    if held or not found:
        found[-1:] = [int(sizes.max())]
    return tuple(found)


def _keys(pairs: Tensor, count: int) -> Tensor:
    return pairs[0] * count + pairs[1]


def _pairs(keys: Tensor, count: int) -> Tensor:
    return torch.stack([keys // max(count, 1), keys % max(count, 1)])
