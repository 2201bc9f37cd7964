"""Exact colour refinement: what message passing, order-2 networks and subgraph networks can tell apart at best.

Every function takes some graphs and returns one label per graph: two graphs with equal labels look the same to the test, and
so to every network that it bounds. Colours are compared exactly, as nested tuples renamed by integers, never as hashes.

- :func:`wl1`, colour refinement: bounds message passing (Xu et al., 2019) and, without further structure, global order-2
  networks (Chen, Chen, Villar & Bruna, 2020).
- :func:`wl2`, the folklore 2-dimensional test on pairs: bounds networks of order 3.
- :func:`ego_refinement`, the layers of :mod:`coset.nn.subgraph` on k-hop ego networks with every sum and mean replaced by
  the multiset of its terms: bounds SPEN with any weights and depth. Where it is silent, SPEN is; where it speaks, SPEN can.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor

from coset.errors import InputError
from coset.topology.ego import k_hop_pairs

Graph = tuple[Tensor, int]  #: edge_index (2, E) and the number of nodes; an edge in one direction counts for both


def wl1(graphs: Sequence[Graph]) -> list[int]:
    """Labels by colour refinement (1-WL), all nodes starting alike."""
    union = _union(graphs)
    colors = [0] * len(union.owner)
    while True:
        signs = [(color, _bag(colors[j] for j in union.around[i])) for i, color in enumerate(colors)]
        colors, grown = _rename(signs, colors)
        if not grown:
            return _labels(union.owner, colors)


def wl2(graphs: Sequence[Graph]) -> list[int]:
    """Labels by the folklore 2-dimensional Weisfeiler-Leman test; ``n^3`` work per round."""
    union = _union(graphs)
    pairs = [(i, j) for i, g in enumerate(union.owner) for j in union.members[g]]
    colors = _rename([(i == j, j in union.around[i]) for i, j in pairs], [])[0]
    while True:
        at = dict(zip(pairs, colors, strict=True))
        signs = [(at[i, j], _bag((at[i, w], at[w, j]) for w in union.members[union.owner[i]])) for i, j in pairs]
        colors, grown = _rename(signs, colors)
        if not grown:
            return _labels([union.owner[i] for i, _ in pairs], colors)


def ego_refinement(graphs: Sequence[Graph], k: int = 1) -> list[int]:
    """Labels by refinement of colours at pairs and nodes inside ``k``-hop ego networks, as a subgraph network refines them.

    InputError for ``k < 1``.
    """
    union = _union(graphs)
    egos = _ego_networks(graphs, k)
    places = sorted({(a, b) for members in egos for a in members for b in members})
    at2 = dict(zip(places, _rename([(a == b, b in union.around[a]) for a, b in places], [])[0], strict=True))
    at1 = dict.fromkeys(range(len(union.owner)), 0)
    while True:
        seen2, seen1 = defaultdict(list), defaultdict(list)
        for members in egos:
            whole, rows = _views(members, at2, at1)
            for a in members:
                seen1[a].append((whole, rows[a]))
                for b in members:
                    seen2[a, b].append((whole, rows[a], rows[b], at2[a, b], at2[b, a]))
        new2, grown2 = _rename([(at2[p], _bag(seen2[p])) for p in places], list(at2.values()))
        new1, grown1 = _rename([(at1[i], _bag(seen1[i])) for i in at1], list(at1.values()))
        at2, at1 = dict(zip(places, new2, strict=True)), dict(zip(at1, new1, strict=True))
        if not (grown2 or grown1):
            wholes = _rename([_views(members, at2, at1)[0] for members in egos], [])[0]
            return _labels(union.owner, wholes)


def _views(members: list[int], at2: dict, at1: dict) -> tuple[Hashable, dict[int, Hashable]]:
    """What the order-2 basis sees of one ego network: as a whole, and from each member."""
    diagonal = _bag(at2[a, a] for a in members)
    whole: Hashable = (_bag(at2[a, b] for a in members for b in members), diagonal, _bag(at1[a] for a in members))
    rows: dict[int, Hashable] = {
        a: (_bag(at2[a, b] for b in members), _bag(at2[b, a] for b in members), at2[a, a], at1[a]) for a in members
    }
    return whole, rows


class _Union:
    """Graphs side by side: the graph of every node, the nodes of every graph, the neighbours of every node."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.owner: list[int] = []
        self.members: list[range] = []
        self.around: list[set[int]] = []
        for g, (edge_index, n) in enumerate(graphs):
            start = len(self.owner)
            self.owner += [g] * n
            self.members.append(range(start, start + n))
            self.around += [set() for _ in range(n)]
            for i, j in (edge_index + start).T.tolist():
                self.around[i].add(j)
                self.around[j].add(i)


def _union(graphs: Sequence[Graph]) -> _Union:
    for edge_index, n in graphs:
        if n < 1 or edge_index.ndim != 2 or edge_index.shape[0] != 2 or (edge_index.numel() and int(edge_index.max()) >= n):
            raise InputError(f"refinement: a graph is (edge_index (2, E), nodes >= 1), got {tuple(edge_index.shape)} and {n}")
    return _Union(graphs)


def _ego_networks(graphs: Sequence[Graph], k: int) -> list[list[int]]:
    """The members of every ego network, nodes counted through all graphs."""
    found, start = [], 0
    for edge_index, n in graphs:
        owner, member = k_hop_pairs(edge_index, n, k)
        found += [(part + start).tolist() for part in member.split(torch.bincount(owner, minlength=n).tolist())]
        start += n
    return found


def _bag(terms: Iterable[Hashable]) -> Hashable:
    """A multiset as a value."""
    return frozenset(Counter(terms).items())


def _rename(signs: Sequence[Hashable], before: Sequence[int]) -> tuple[list[int], bool]:
    """Signs as integers, and whether there are more of them than colours before (refinement has not come to rest)."""
    names: dict[Hashable, int] = {}
    colors = [names.setdefault(sign, len(names)) for sign in signs]
    return colors, len(names) > len(set(before))


def _labels(owner: Sequence[int], colors: Sequence[int]) -> list[int]:
    """One label per graph: graphs with the same multiset of colours share it."""
    bags: dict[int, Counter[int]] = defaultdict(Counter)
    for g, color in zip(owner, colors, strict=True):
        bags[g][color] += 1
    return _rename([_bag(bags[g].elements()) for g in sorted(bags)], [])[0]
