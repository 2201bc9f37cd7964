"""Graphs that differ in short cycles only: two short cycles against one long, regular graphs with and without triangles.

Colour refinement sees nothing but the degree here, and both classes hold as many graphs of every degree and size, so that a
network bounded by it is right half of the time, exactly. Nodes are numbered at random; the only feature is a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coset.data.graphs import Graphs
from coset.data.small_graphs import SmallGraph, cycle
from coset.errors import InputError
from coset.recipe import Data, Request

#: pairs of each kind of cycle, pairs of regular graphs of each degree; for training, validation and test
SIZES = {"smoke": (1, 2), "cpu": (10, 60), "full": (50, 400)}
SHORT = (3, 4)  #: lengths of the short cycles; neighbourhoods of one step do not tell 2 C5 from C10
NODES = {3: (8, 10, 12, 14, 16), 4: (12, 14, 16)}  #: of regular graphs, by degree
DRAWS = 256  #: pairings drawn at once


def random_regular(n: int, degree: int, *, triangles: bool, generator: torch.Generator) -> SmallGraph:
    """A simple ``degree``-regular graph on ``n`` nodes with at least one triangle, or with none.

    Half-edges are paired at random until the graph is simple; to lose its triangles, ends of two edges are exchanged as long
    as none is added. Raises InputError where no such graph exists (odd ``n degree``, ``degree >= n``, or more than n / 2
    neighbours without a triangle).
    """
    if n * degree % 2 or not 1 <= degree < n or (not triangles and 2 * degree > n) or (triangles and degree < 2):
        raise InputError(f"random_regular: no such graph with {n} nodes, degree {degree}, triangles={triangles}")
    while True:
        a = _simple(n, degree, generator)
        if not triangles:
            _exchange(a, generator)
        if (_triangles(a) > 0) == triangles:
            return SmallGraph(f"{degree}-regular", n, torch.nonzero(a).T.contiguous())


def _simple(n: int, degree: int, generator: torch.Generator) -> Tensor:
    """The adjacency ``(n, n)`` of a random simple regular graph, by pairing half-edges."""
    while True:
        halves = torch.rand(DRAWS, n * degree, generator=generator).argsort(-1) // degree
        place = halves[:, ::2] * n + halves[:, 1::2]
        a = torch.zeros(DRAWS, n * n).scatter_add_(1, place, torch.ones(place.shape)).view(DRAWS, n, n)
        a = a + a.mT  # a loop counts twice, as does a double edge
        simple = torch.nonzero(a.flatten(1).amax(1) == 1).flatten()
        if len(simple):
            return a[simple[0]]


def _exchange(a: Tensor, generator: torch.Generator, steps: int = 500) -> None:
    """Edges (i, j), (k, l) become (i, l), (k, j), in place, where the graph stays simple and gains no triangle."""
    count = _triangles(a)
    for first, second in torch.randint(int(a.sum()), (steps, 2), generator=generator).tolist():
        if not count:
            return
        (i, j), (k, l) = torch.nonzero(a)[[first, second]].tolist()
        if len({i, j, k, l}) < 4 or a[i, l] or a[k, j]:
            continue
        old, new = [i, j, k, l], [j, i, l, k]
        a[old, new] = 0
        a[[i, l, k, j], [l, i, j, k]] = 1
        after = _triangles(a)
        if after > count:
            a[[i, l, k, j], [l, i, j, k]] = 0
            a[old, new] = 1
        count = min(after, count)


def _triangles(a: Tensor) -> int:
    return int((a @ a * a).sum()) // 6


def shuffled(graph: SmallGraph, generator: torch.Generator) -> SmallGraph:
    """The same graph, its nodes numbered at random."""
    return graph.relabel(torch.randperm(graph.nodes, generator=generator))


def sample(cycles: int, regular: int, *, generator: torch.Generator) -> dict[str, Graphs]:
    """``cycles`` pairs of each length of cycle, ``regular`` pairs of each degree; label 1 has the short cycles."""
    rings, others = [], []
    for length in SHORT:
        long, short = cycle(2 * length), cycle(length) + cycle(length)
        rings += [(shuffled(graph, generator), y) for _ in range(cycles) for y, graph in enumerate((long, short))]
    for degree, sizes in NODES.items():
        for i in range(regular):
            pair = (random_regular(sizes[i % len(sizes)], degree, triangles=y, generator=generator) for y in (False, True))
            others += [(graph, y) for y, graph in enumerate(pair)]
    return {"cycles": _graphs(rings), "regular": _graphs(others), "all": _graphs(rings + others)}


def _graphs(labeled: list[tuple[SmallGraph, int]]) -> Graphs:
    return Graphs([graph.sample(label) for graph, label in labeled])


def cycles(request: Request) -> Data:
    """Train and valid hold all kinds; ``test`` is a mapping ``cycles``, ``regular``, ``all``. InputError for a data file."""
    if request.files:
        raise InputError(f"cycle pairs are generated; they take no data file, got {request.files[0][0]!r}")
    generator = torch.Generator().manual_seed(4000 + request.seed)
    train, valid, test = (sample(*SIZES[request.size], generator=generator) for _ in range(3))
    seen = test["all"].subset(range(0, len(test["all"]), 4)).joined(16)
    audit: dict[str, Tensor] = {name: seen[name] for name in ("x", "edge_index", "batch")}
    return Data(train["all"], test, audit, valid["all"], {"features": 1, "classes": 2})
