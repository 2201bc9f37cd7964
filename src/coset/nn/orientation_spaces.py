"""Where the features of a position-orientation network live: a grid of orientations at every node, its edges, or its nodes.

===============  ==================================  ==============================================  ====================
space            places                              invariants of a pair                            motions that commute
===============  ==================================  ==============================================  ====================
:class:`Fibre`   node x grid ``o_1 .. o_M``          ``r.o, |r - (r.o) o|`` and ``o.o'``, apart      those of the grid
:class:`Edges`   edge, direction ``o = r / |r|``     ``r.o, |r - (r.o) o|, o.o'`` together           all
:class:`Nodes`   node                                ``|r|``                                         all
===============  ==================================  ==============================================  ====================

``r = x_source - x_target``; scalars of an edge, where given, stand beside the invariants (0 on loops). In the plane
``|r - (r.o) o|`` is the signed ``r.o_perp``, ``o_perp`` being ``o`` turned by a right angle, so that mirror images differ; in
space nothing changes under inversion. Norms are ``sqrt(x^2 + eps^2)`` with ``eps`` 1e-6 of the radius (of the unit of length
without one): forces in a loss are differentiated twice, and a norm has a kink at 0.

Bekkers et al., ICLR 2024, arXiv 2310.02970. Differs from the paper: an edge near the cutoff fades as a place, and ``Nodes``
gives vectors along edges, ``v_i = sum_j w(s_i, s_j, |r|) r_ij``, where the paper has none without orientations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.groups.orientations import Orientations
from coset.nn.constant import Constant
from coset.nn.orientation_conv import CloudConv, KernelBasis, SeparableConv
from coset.ops.radial import polynomial_envelope
from coset.ops.scatter import scatter_sum

EPS = 1e-6  #: of the radius, or of the unit of length: below it a norm is smooth
RANK = 8  #: products of features of both ends that weigh an edge in the vectors of ``Nodes``


class Geometry(NamedTuple):
    """What one sample's geometry says: the bases that all layers share, and how places hang together."""

    bases: tuple[Tensor, ...]
    edge_index: Tensor  #: (2, E') between places, (source, target)
    r: Tensor  #: (E', n), the way from target to source
    home: Tensor  #: the node of every place
    orientation: Tensor  #: (M, n) the grid, (places, n) one each, or empty
    weight: Tensor  #: how much each place counts


class Space(nn.Module, ABC):
    """Base: kernels of ``basis`` functions, from networks of width ``hidden``, of invariants and ``given`` edge scalars."""

    def __init__(self, space: int, hidden: int, basis: int, degree: int, radius: float | None, given: int) -> None:
        super().__init__()
        if space not in (2, 3):
            raise InputError(f"positions have 2 or 3 coordinates, got {space}")
        if radius is not None and not radius > 0:
            raise InputError(f"radius is a positive length, or None for no cutoff; got {radius}")
        self.space, self.sizes, self.given = space, (hidden, basis, degree), given
        self.radius, self.eps = radius, EPS * (radius or 1.0)

    def network(self, inputs: int) -> KernelBasis:
        """A basis of functions of ``inputs`` invariants."""
        hidden, basis, degree = self.sizes
        return KernelBasis(inputs, hidden, basis, degree=degree)

    def length(self, x: Tensor) -> Tensor:
        """``|x|`` along the last axis, smooth at zero."""
        return torch.sqrt(x.square().sum(-1) + self.eps**2)

    def fade(self, r: Tensor) -> Tensor:
        """1 near, 0 from the radius on, along the leading axes of ``r``."""
        return torch.ones_like(r[..., 0]) if self.radius is None else polynomial_envelope(self.length(r), self.radius)

    def along_across(self, r: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
        """``r.o`` and what is left of ``r``: its length in space, ``r.o_perp`` in the plane."""
        along = (r * o).sum(-1)
        if self.space == 2:
            return along, r[..., 1] * o[..., 0] - r[..., 0] * o[..., 1]
        return along, self.length(r - along.unsqueeze(-1) * o)

    @abstractmethod
    def forward(self, r: Tensor, edge_index: Tensor, count: int, scalars: Tensor) -> Geometry:
        """The geometry of ``count`` nodes: edge vectors ``(E, n)``, ``edge_index`` (source, target), scalars ``(E, d)``."""

    @abstractmethod
    def lift(self, scalars: Tensor, vectors: Tensor, at: Geometry) -> Tensor:
        """Features of places from ``(N, a)`` and ``(N, b, n)`` of nodes."""

    @abstractmethod
    def project(self, y: Tensor, at: Geometry, count: int, scalars: int) -> tuple[Tensor, Tensor]:
        """Scalars ``(N, scalars)`` and vectors ``(N, m, n)`` of nodes from features of places."""

    def conv(self, channels: int) -> nn.Module:
        """A convolution that takes features, bases and edges."""
        return CloudConv(channels, self.sizes[1])

    def readout(self, scalars: int, vectors: int) -> int:
        """How many numbers :meth:`project` needs at every place."""
        return scalars + vectors


class Fibre(Space):
    """The same ``count`` orientations at every node: features ``(N, M, channels)``."""

    def __init__(
        self, space: int, hidden: int, basis: int, degree: int, radius: float | None, given: int = 0, *, count: int
    ) -> None:
        super().__init__(space, hidden, basis, degree, radius, given)
        self.grid = Constant(Orientations(space, count).points)
        self.spatial, self.angular = self.network(2 + given), self.network(1)

    def conv(self, channels: int) -> nn.Module:
        return SeparableConv(channels, self.sizes[1])

    def forward(self, r: Tensor, edge_index: Tensor, count: int, scalars: Tensor) -> Geometry:
        """Bases ``(E, M, basis)`` and ``(M, M, basis)``."""
        edge_index, r, scalars = with_loops(edge_index, r, scalars, count)
        o = self.grid.like(r)
        invariants = torch.stack(self.along_across(r.unsqueeze(-2), o), -1)
        invariants = torch.cat([invariants, scalars.unsqueeze(1).expand(-1, len(o), -1)], -1)
        spatial = self.spatial(invariants) * self.fade(r)[:, None, None]
        angular = self.angular((o @ o.T).unsqueeze(-1))
        home = torch.arange(count, device=r.device)
        return Geometry((spatial, angular), edge_index, r, home, o, r.new_ones(count))

    def lift(self, scalars: Tensor, vectors: Tensor, at: Geometry) -> Tensor:
        """Scalars the same in every direction, vectors as ``v.o``."""
        repeated = scalars.unsqueeze(1).expand(-1, len(at.orientation), -1)
        return torch.cat([repeated, torch.einsum("nbd,md->nmb", vectors, at.orientation)], -1)

    def project(self, y: Tensor, at: Geometry, count: int, scalars: int) -> tuple[Tensor, Tensor]:
        """Means over orientations, of the first ``scalars`` numbers as they are, of the others times ``o``."""
        own, lengths = y.split([scalars, y.shape[-1] - scalars], -1)
        return own.mean(1), torch.einsum("nmc,md->ncd", lengths, at.orientation) / y.shape[1]


class Edges(Space):
    """Every edge is a place at its target, looking at its source: features ``(edges, channels)``.

    ``extra`` adds ``r.o'``, without which pairs of places that no motion exchanges look alike (in the plane, the signed angle
    from ``o'`` to ``o``); ``chiral`` adds ``det(r, o, o')``, whose sign tells mirror images apart. Places exchange messages
    where their nodes are joined by an edge or are one. Raises InputError for an edge of length zero.
    """

    def __init__(
        self,
        space: int,
        hidden: int,
        basis: int,
        degree: int,
        radius: float | None,
        given: int = 0,
        *,
        extra: bool = False,
        chiral: bool = False,
    ) -> None:
        super().__init__(space, hidden, basis, degree, radius, given)
        if chiral and space == 2:
            raise InputError("chirality=True: in the plane invariants are signed, mirror images differ already")
        self.extra, self.chiral = extra, chiral
        self.pairs = self.network(3 + extra + chiral + given)

    def forward(self, r: Tensor, edge_index: Tensor, count: int, scalars: Tensor) -> Geometry:
        """A basis ``(pairs of places, basis)``."""
        square = r.square().sum(-1)
        if bool((square == 0).any()):
            place = int((square == 0).nonzero()[0])
            ends = edge_index[:, place].tolist()
            raise InputError(
                f"edge {place} from node {ends[0]} to node {ends[1]} has length zero and hence no direction; separate or merge "
                f"the nodes, or use a grid of orientations"
            )
        o, fade, home = r / square.sqrt().unsqueeze(-1), self.fade(r), edge_index[1]
        joined, *longer = with_loops(edge_index, r, scalars, count)
        pairs, base = self._pairs(joined, home, count)
        apart, scalars = (x.index_select(0, base) for x in longer)
        of, to = o.index_select(0, pairs[0]), o.index_select(0, pairs[1])
        basis = self.pairs(torch.cat([torch.stack(self._invariants(apart, to, of), -1), scalars], -1))
        basis = basis * (self.fade(apart) * fade.index_select(0, pairs[0])).unsqueeze(-1)
        return Geometry((basis,), pairs, apart, home, o, fade)

    def _invariants(self, r: Tensor, o: Tensor, other: Tensor) -> list[Tensor]:
        found = [*self.along_across(r, o), (o * other).sum(-1)]
        if self.extra:
            found.append((r * other).sum(-1) if self.space == 3 else other[..., 0] * o[..., 1] - other[..., 1] * o[..., 0])
        if self.chiral:
            found.append((r * torch.linalg.cross(o, other)).sum(-1))
        return found

    @staticmethod
    def _pairs(edge_index: Tensor, home: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Pairs of places (source, target) at the ends of an edge or loop and, of each pair, the number of that edge."""
        source, target = edge_index
        order = home.argsort(stable=True)
        degree = torch.bincount(home, minlength=count)
        start = degree.cumsum(0) - degree
        base, within = ragged(degree[source] * degree[target])
        width = degree[target[base]].clamp(min=1)
        first = order[start[source[base]] + within // width]
        second = order[start[target[base]] + within % width]
        return torch.stack([first, second]), base

    def lift(self, scalars: Tensor, vectors: Tensor, at: Geometry) -> Tensor:
        """Features of the node, vectors as ``v.o``."""
        v = vectors.index_select(0, at.home)
        return torch.cat([scalars.index_select(0, at.home), (v * at.orientation.unsqueeze(1)).sum(-1)], -1)

    def project(self, y: Tensor, at: Geometry, count: int, scalars: int) -> tuple[Tensor, Tensor]:
        """Sums over the places of a node over 1 + their number, faded ones counting less; 0 at a node without edges."""
        y = y * at.weight.unsqueeze(-1)
        own, lengths = y.split([scalars, y.shape[-1] - scalars], -1)
        number = 1 + scatter_sum(at.weight, at.home, count).unsqueeze(-1)
        vectors = scatter_sum(lengths.unsqueeze(-1) * at.orientation.unsqueeze(1), at.home, count)
        return scatter_sum(own, at.home, count) / number, vectors / number.unsqueeze(-1)


class Nodes(Space):
    """No orientations: features ``(N, channels)``, kernels of the distance alone."""

    def __init__(
        self, space: int, hidden: int, basis: int, degree: int, radius: float | None, given: int = 0, *, out_vectors: int
    ) -> None:
        super().__init__(space, hidden, basis, degree, radius, given)
        self.distance = self.network(1 + given)
        self.pull = nn.Linear(basis, RANK * out_vectors, bias=False) if out_vectors else None

    def forward(self, r: Tensor, edge_index: Tensor, count: int, scalars: Tensor) -> Geometry:
        """A basis ``(E, basis)``."""
        edge_index, r, scalars = with_loops(edge_index, r, scalars, count)
        basis = self.distance(torch.cat([self.length(r).unsqueeze(-1), scalars], -1)) * self.fade(r).unsqueeze(-1)
        home = torch.arange(count, device=r.device)
        return Geometry((basis,), edge_index, r, home, r.new_zeros(0, self.space), r.new_ones(count))

    def lift(self, scalars: Tensor, vectors: Tensor, at: Geometry) -> Tensor:
        """Scalars as they are."""
        return scalars

    def readout(self, scalars: int, vectors: int) -> int:
        return scalars + 2 * RANK * vectors

    def project(self, y: Tensor, at: Geometry, count: int, scalars: int) -> tuple[Tensor, Tensor]:
        """The first ``scalars`` numbers as they are; the others weigh the edges whose sum is a vector."""
        own, ends = y.split([scalars, y.shape[-1] - scalars], -1)
        if self.pull is None:
            return own, y.new_zeros(count, 0, self.space)
        there, here = ends.chunk(2, -1)
        source, target = at.edge_index
        weight = self.pull(at.bases[0]) * there.index_select(0, source) * here.index_select(0, target)
        weight = weight.unflatten(-1, (-1, RANK)).sum(-1, keepdim=True)
        return own, scatter_sum(weight * at.r.unsqueeze(1), target, count)


# ---------------------------------------------------------------------- graphs


def ragged(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For rows of ``counts`` members each, the row of every member and its number in the row."""
    row = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return row, torch.arange(len(row), device=counts.device) - (counts.cumsum(0) - counts)[row]


def pairs_within(batch: Tensor) -> Tensor:
    """``edge_index`` (2, E) of all ordered pairs of different nodes of one graph, ``batch`` ``(N,)`` in any order."""
    order, size = batch.argsort(stable=True), torch.bincount(batch)
    target, within = ragged(size[batch])
    source = order[(size.cumsum(0) - size)[batch[target]] + within]
    return torch.stack([source, target])[:, source != target]


def with_loops(edge_index: Tensor, r: Tensor, scalars: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges, their vectors and scalars, every node joined to itself besides (with zeros)."""
    node = torch.arange(count, device=edge_index.device)
    r, scalars = (torch.cat([x, x.new_zeros(count, x.shape[1])]) for x in (r, scalars))
    return torch.cat([edge_index, node.expand(2, -1)], 1), r, scalars
