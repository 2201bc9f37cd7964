"""What all layers of a foreign model derive from the same graph, found by the first and used by the others.

An undirected pair of atoms is two edges, from j to i and from i to j, of one length: radial functions need only be evaluated
once for both. Partners are found from the harmonics of degree 1, the directions: the partner of an edge exchanges its ends, has
its length and the opposite direction, also where several images of an atom are neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from coset.ops.index import Edges, Index

Made = TypeVar("Made")
CLOSE = 1e-3  #: between directions and features of partners; images of atoms are much further apart
WORTH = 0.75  #: pairs are used if they and what is left without a partner are fewer than this part of the edges


@dataclass(frozen=True, eq=False)
class Pairs:
    """Edges by twos: ``first`` and ``second`` ``(pairs,)``, equal where an edge is alone; ``index`` is from edges to pairs."""

    first: Tensor
    second: Tensor
    index: Index

    def mean(self, x: Tensor) -> Tensor:
        """One row per pair. Partners have equal rows: the mean lets gradients return to both."""
        return 0.5 * (x.index_select(0, self.first) + x.index_select(0, self.second))


class Once:
    """Something made from a tensor, kept while that very tensor lives and is not written to."""

    def __init__(self) -> None:
        self._tensor: ReferenceType[Tensor] | None = None
        self._state: tuple[Any, ...] = ()
        self._made: Any = None

    def get(self, tensor: Tensor, make: Callable[[], Made], *also: Any) -> Made:
        """``make()``, or what it gave for this tensor and the same ``also`` before."""
        if torch.compiler.is_compiling() or tensor.is_inference():
            return make()
        state = (tensor._version, *also)
        if self._tensor is None or self._tensor() is not tensor or self._state != state:
            self._made = make()
            self._tensor, self._state = ref(tensor), state
        return self._made


class Graph:
    """Indices of the edges and species of the nodes, one graph at a time."""

    def __init__(self, *, paired: bool = True) -> None:
        self.paired = paired  #: whether radial functions may be shared by the two edges of a pair
        self._edges, self._species, self._present, self._pairs, self._confirmed = (Once() for _ in range(5))
        self._lengths: tuple[ReferenceType[Tensor], Tensor] | None = None
        self.embedding: Any = None  #: the module that gave the radial features

    def edges(self, edge_index: Tensor, nodes: int) -> Edges:
        """``edge_index`` ``(2, E)``, (source, target), as indices."""
        return self._edges.get(edge_index, lambda: Edges(edge_index, nodes), nodes)

    def species(self, attributes: Tensor) -> Tensor | None:
        """The species of one-hot attributes ``(nodes, elements)`` as integers, None if they are not known to be one-hot."""
        return self._species.get(attributes, lambda: _species(attributes))

    def present(self, attributes: Tensor) -> Tensor | None:
        """The columns of ``attributes`` that are not zero everywhere; None if that is all of them."""
        return self._present.get(attributes, lambda: _present(attributes))

    def pairs(self, edge_index: Tensor, directions: Tensor, features: Tensor) -> Pairs | None:
        """The pairs of edges with directions ``(E, 3)`` and radial features ``(E, n)``; None if there are too few."""
        if not self.paired or torch.compiler.is_compiling():
            return None
        values = directions.detach(), features.detach()

        def confirmed() -> Pairs | None:
            pairs = self._pairs.get(edge_index, lambda: find_pairs(edge_index, *values))
            if pairs is not None and not _partners(pairs, *values):  # the same neighbour list with other images
                self._pairs = Once()
                pairs = self._pairs.get(edge_index, lambda: find_pairs(edge_index, *values))
            return pairs

        return self._confirmed.get(features, confirmed)

    def remember(self, embedding: Any, features: Tensor, lengths: Tensor) -> None:
        """These radial features were made by this module from edges of these lengths ``(E, 1)``."""
        self.embedding, self._lengths = embedding, (ref(features), lengths)

    def lengths(self, features: Tensor) -> Tensor | None:
        """The lengths ``(E,)`` of the edges with these features, None if they are not known."""
        known = self._lengths
        return known[1].squeeze(-1) if known is not None and known[0]() is features else None

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return memo.setdefault(id(self), Graph(paired=self.paired))


def find_pairs(edge_index: Tensor, directions: Tensor, features: Tensor) -> Pairs | None:
    """Edges sorted so that partners are neighbours; a group of two that are opposite to each other is a pair."""
    source, target = edge_index
    count = len(source)
    axis = directions.new_tensor([1.0, 0.6180339887, 0.4142135624])  # no lattice direction is orthogonal to it
    upward = torch.where(source == target, (directions * axis).sum(1) > 0, source < target)
    sign = torch.where(upward, 1.0, -1.0).to(directions)
    oriented = torch.cat([sign.unsqueeze(1) * directions, features], dim=1)
    weights = torch.cat([axis, torch.linspace(0.3, 0.7, features.shape[1]).to(axis)])
    order = torch.argsort(oriented @ weights)
    ends = torch.minimum(source, target) * (int(edge_index.max()) + 1) + torch.maximum(source, target) if count else source
    order = order[torch.argsort(ends[order], stable=True)]
    a, b = order[:-1], order[1:]
    alike = (ends[a] == ends[b]) & _close(oriented[a], oriented[b])
    lone = torch.ones(1, dtype=torch.bool, device=alike.device)
    isolated = alike & torch.cat([lone, ~alike[:-1]]) & torch.cat([~alike[1:], lone]) if count > 1 else alike
    paired = isolated & (upward[a] != upward[b])
    first, second = a[paired], b[paired]
    single = torch.ones(count, dtype=torch.bool, device=source.device)
    single[first] = single[second] = False
    rest = single.nonzero().flatten()
    if len(first) + len(rest) > WORTH * count:
        return None
    first, second = torch.cat([first, rest]), torch.cat([second, rest])
    values = torch.empty_like(source)
    values[first] = values[second] = torch.arange(len(first), device=source.device)
    return Pairs(first, second, Index(values, len(first)))


def _partners(pairs: Pairs, directions: Tensor, features: Tensor) -> bool:
    """Whether these are still pairs: opposite and of one length, where they are two."""
    two = (pairs.first != pairs.second).unsqueeze(1)
    opposite = torch.where(two, directions[pairs.first] + directions[pairs.second], torch.zeros_like(directions[:1]))
    return bool((opposite.abs() < CLOSE).all() & _close(features[pairs.first], features[pairs.second]).all())


def _close(x: Tensor, y: Tensor) -> Tensor:
    return ((x - y).abs() < CLOSE * (1.0 + x.abs())).all(1)


def _species(attributes: Tensor) -> Tensor | None:
    if torch.compiler.is_compiling() or attributes.requires_grad:
        return None
    one_hot = ((attributes == 0) | (attributes == 1)).all() & (attributes.sum(-1) == 1).all()
    return attributes.argmax(-1) if one_hot else None


def _present(attributes: Tensor) -> Tensor | None:
    if torch.compiler.is_compiling():
        return None
    present = torch.nonzero((attributes != 0).any(0)).flatten()
    return None if len(present) == attributes.shape[1] else present
