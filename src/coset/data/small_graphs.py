"""Small graphs with a reputation: pairs that one test of isomorphism tells apart and another does not.

Cycles and their unions, the prism and K_{3,3}, decalin and bicyclopentyl, circular skip links (Murphy et al., 2019), the
rook's graph and Shrikhande's graph (both strongly regular with parameters (16, 6, 2, 2)). :data:`PAIRS` names them; graphs
have no features but a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from coset.errors import InputError


@dataclass(frozen=True, eq=False)
class SmallGraph:
    """A simple undirected graph: every edge stands in ``edge_index`` ``(2, E)`` in both directions."""

    name: str
    nodes: int
    edge_index: Tensor

    @staticmethod
    def of(name: str, nodes: int, edges: list[tuple[int, int]]) -> SmallGraph:
        """From edges given once each; InputError for loops and edges outside."""
        once = {(min(edge), max(edge)) for edge in edges}
        if nodes < 1 or any(not 0 <= i < j < nodes for i, j in once):
            raise InputError(f"{name}: edges join two different nodes of 0..{nodes - 1}, got {sorted(once)}")
        both = sorted(once | {(j, i) for i, j in once})
        return SmallGraph(name, nodes, torch.tensor(both, dtype=torch.int64).view(-1, 2).T)

    def __add__(self, other: SmallGraph) -> SmallGraph:
        """Disjoint union."""
        edge_index = torch.cat([self.edge_index, other.edge_index + self.nodes], 1)
        return SmallGraph(f"{self.name}+{other.name}", self.nodes + other.nodes, edge_index)

    def relabel(self, order: Tensor) -> SmallGraph:
        """The same graph with node i called ``order[i]``."""
        return SmallGraph(self.name, self.nodes, order[self.edge_index])

    def adjacency(self) -> Tensor:
        """``(nodes, nodes)`` of zeros and ones, int64."""
        out = torch.zeros(self.nodes, self.nodes, dtype=torch.int64)
        out[self.edge_index[0], self.edge_index[1]] = 1
        return out

    def triangles(self) -> int:
        """How many there are."""
        a = self.adjacency()
        return int((a @ a * a).sum()) // 6

    def sample(self, label: int = 0) -> dict[str, Tensor]:
        """As a batch of one graph with the constant feature 1: ``y, x, edge_index, batch``."""
        batch = torch.zeros(self.nodes, dtype=torch.int64)
        return {"y": torch.tensor([label]), "x": torch.ones(self.nodes, 1), "edge_index": self.edge_index, "batch": batch}


def circulant(n: int, *steps: int) -> SmallGraph:
    """Node i joined to i + s for every step s, around a circle of n; InputError for steps outside 1 .. n / 2."""
    if n < 3 or not steps or any(not 1 <= s <= n // 2 for s in steps):
        raise InputError(f"circulant: expected n >= 3 and steps of 1..n/2, got {n} and {steps}")
    name = f"C{n}" if steps == (1,) else f"C{n}({','.join(map(str, steps))})"
    return SmallGraph.of(name, n, [(i, (i + s) % n) for i in range(n) for s in steps])


def cycle(n: int) -> SmallGraph:
    """The cycle C_n."""
    return circulant(n, 1)


def skip_link(n: int, step: int) -> SmallGraph:
    """A circular skip link graph: a cycle with chords of one length, 4-regular."""
    return circulant(n, 1, step)


def rook(side: int = 4) -> SmallGraph:
    """Squares of a board, joined along rows and columns."""
    squares = [(i, j) for i in range(side) for j in range(side)]
    return _on_torus("rook", squares, lambda d: 0 in d, side)


def shrikhande() -> SmallGraph:
    """Z4 x Z4, joined by the differences +-(1, 0), +-(0, 1), +-(1, 1)."""
    squares = [(i, j) for i in range(4) for j in range(4)]
    return _on_torus("Shrikhande", squares, lambda d: d in {(1, 0), (3, 0), (0, 1), (0, 3), (1, 1), (3, 3)}, 4)


def _on_torus(name: str, squares: list[tuple[int, int]], joined, side: int) -> SmallGraph:
    edges = [
        (i, j) for (i, a), (j, b) in combinations(enumerate(squares), 2) if joined(((a[0] - b[0]) % side, (a[1] - b[1]) % side))
    ]
    return SmallGraph.of(name, len(squares), edges)


def prism() -> SmallGraph:
    """Two triangles joined node by node: 3-regular with triangles."""
    return SmallGraph.of("prism", 6, [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)])


def utility() -> SmallGraph:
    """K_{3,3}: 3-regular without triangles."""
    return SmallGraph.of("K33", 6, [(i, j) for i in range(3) for j in range(3, 6)])


def decalin() -> SmallGraph:
    """Two hexagons that share an edge."""
    return SmallGraph.of("decalin", 10, [*((i, (i + 1) % 10) for i in range(10)), (0, 5)])


def bicyclopentyl() -> SmallGraph:
    """Two pentagons joined by an edge."""
    rings = [(i, (i + 1) % 5) for i in range(5)]
    return SmallGraph.of("bicyclopentyl", 10, [*rings, *((i + 5, j + 5) for i, j in rings), (0, 5)])


#: pairs of graphs that are not isomorphic, by name
PAIRS: Mapping[str, tuple[SmallGraph, SmallGraph]] = {
    "2 C3 | C6": (cycle(3) + cycle(3), cycle(6)),
    "2 C4 | C8": (cycle(4) + cycle(4), cycle(8)),
    "2 C5 | C10": (cycle(5) + cycle(5), cycle(10)),
    "prism | K33": (prism(), utility()),
    "decalin | bicyclopentyl": (decalin(), bicyclopentyl()),
    "C11(1,2) | C11(1,3)": (skip_link(11, 2), skip_link(11, 3)),
    "rook | Shrikhande": (rook(), shrikhande()),
}
