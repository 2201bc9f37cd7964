"""Kernels for channelwise polynomials (:mod:`coset.ops.polynomial`): values, first and second derivatives.

Three stages, channels in blocks of V, nodes sorted by species:

1. ``mix``: the slots of each species, ``a[s, slot] = sum_t k_t w[s, p_t]``, packed block by block: what depends on the weights
   alone is done once per species, not once per node; ``unmix`` is its transpose;
2. the polynomials at each node by Horner's rule, straight-line code: one multiply-add per slot;
3. the derivative sweeps the same tree from the root: a branch ``x_v * b`` under the cotangent ``t`` gives ``t * b`` to ``x_v``
   and passes ``t * x_v`` on; a slot collects what reaches it.

The second derivative is the first one on *dual numbers* ``value + tangent * eps``: with ``E = <g, P(x; a)>`` the cotangents of
``(h_x, h_a) . grad E`` with respect to ``(x, a, g)`` are, by the symmetry of the Hessian, the tangents of
``(dE/dx, dE/da, dE/dg)`` along ``(h_x, h_a, 0)``. Same generator, same code, numbers with two parts.

Each block of channels belongs to one thread, so sums over nodes have one order and need neither copies nor atomics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from coset.ops.backends.llvm.builder import INT, INTS, READ, WRITE, Builder, Integer, Pointer, Vector, fma
from coset.ops.polynomial import Horner, Polynomials

TILE = 16
"""Nodes that stay in the cache while all blocks of channels pass."""
PIECE = 200
"""Operations that stand in one loop over these nodes; longer code is cut, so that compilers and caches can digest it."""


@dataclass(frozen=True)
class Number:
    """A value, and its tangent along the direction of differentiation (None: zero)."""

    value: Vector
    tangent: Vector | None = None

    def __mul__(self, other: Number) -> Number:
        return multiply_add(self, other, None)


def multiply_add(a: Number, b: Number, c: Number | None) -> Number:
    """``a * b + c``; None is zero."""
    tangent = _join(a.tangent, b.value, None if c is None else c.tangent)
    tangent = _join(b.tangent, a.value, tangent)
    return Number(a.value * b.value if c is None else fma(a.value, b.value, c.value), tangent)


def _join(tangent: Vector | None, factor: Vector, total: Vector | None) -> Vector | None:
    if tangent is None:
        return total
    return tangent * factor if total is None else fma(tangent, factor, total)


@dataclass(frozen=True)
class Rows:
    """Numbers of V channels, ``step`` apart: the rows of a node, or the packed slots of a species; with their tangents."""

    start: Pointer
    step: int
    tangent: Pointer | None = None

    def __getitem__(self, row: int) -> Number:
        place = row * self.step
        return Number(self.start[place], None if self.tangent is None else self.tangent[place])

    def add(self, row: int, value: Vector | None, *, fresh: bool) -> None:
        """Add to a row, or write it first if it is ``fresh``; None is zero."""
        place = row * self.step
        if fresh:
            self.start[place] = self.start.builder.constant(0.0) if value is None else value
        elif value is not None:
            self.start[place] = self.start[place] + value


class Sweep:
    """Horner's rule and its reverse at one node with variables ``x`` and coefficients ``a``."""

    def __init__(self, x: Rows, a: Rows, slots: SlotGradient | None = None) -> None:
        self.x, self.a, self.slots = x, a, slots
        self.gradient: dict[int, Number] = {}

    def value(self, tree: Horner) -> Number:
        """The polynomial."""
        total = self.a[tree.slot] if tree.slot >= 0 else None
        for v, branch in tree.branches:
            total = multiply_add(self.x[v], self.value(branch), total)
        return cast(Number, total)

    def reverse(self, tree: Horner, cotangent: Number) -> Number:
        """The polynomial; its derivatives times the cotangent are added to :attr:`gradient` and :attr:`slots`."""
        total = self.a[tree.slot] if tree.slot >= 0 else None
        if self.slots is not None and tree.slot >= 0:
            self.slots.add(tree.slot, cotangent, None)
        for v, branch in tree.branches:
            x = self.x[v]
            if branch.is_leaf:
                inner = self.a[branch.slot]
                if self.slots is not None:
                    self.slots.add(branch.slot, cotangent, x)
            else:
                inner = self.reverse(branch, cotangent * x)
            self.gradient[v] = multiply_add(cotangent, inner, self.gradient.get(v))
            total = multiply_add(x, inner, total)
        return cast(Number, total)


@dataclass(frozen=True)
class SlotGradient:
    """Where the cotangents of the slots are summed over nodes; with ``tangents`` their tangents are."""

    start: Pointer
    lanes: int
    tangents: bool = False

    def add(self, slot: int, cotangent: Number, x: Number | None) -> None:
        """``cotangent * x`` to ``slot`` (None stands for 1)."""
        total = self.start[slot * self.lanes]
        if x is None:
            part = cotangent.tangent if self.tangents else cotangent.value
            total = total if part is None else total + part
        elif self.tangents:
            total = _join(x.tangent, cotangent.value, _join(cotangent.tangent, x.value, total))
        else:
            total = fma(cotangent.value, x.value, total)
        self.start[slot * self.lanes] = total


@dataclass(frozen=True)
class Visit:
    """One node at one block of channels: where its rows and the slots of its species are, and what to compute there."""

    walk: Walk
    node: Integer
    channel: Integer
    block: Integer
    trees: list[tuple[int, Horner]]
    first: bool

    def rows(self, tensor: Pointer, count: int, tangent: Pointer | None = None) -> Rows:
        """The node's rows in a tensor ``(nodes, count, channels)``, and in one of the same shape with their tangents."""
        channels = self.walk.channels
        start = self.node * (count * channels) + self.channel
        return Rows(tensor + start, channels, None if tangent is None else tangent + start)

    def slots(self, packed: Pointer, tangent: Pointer | None = None) -> Rows:
        """The slots of the node's species."""
        lanes = self.walk.k.lanes
        start = self.block * (len(self.walk.p.slots) * lanes)
        return Rows(packed + start, lanes, None if tangent is None else tangent + start)

    def finish(self, rows: Rows, count: int, values: Mapping[int, Vector | None]) -> None:
        """Write ``values`` to all ``count`` rows (0 where there is none), or add them if others have written before."""
        for row in range(count) if self.first else values:
            rows.add(row, values.get(row), fresh=self.first)


@dataclass(frozen=True)
class Walk:
    """The loops that all kernels share: species, tiles of nodes, blocks of channels, bundles of code, nodes."""

    k: Builder
    p: Polynomials
    channels: int
    first: Integer
    last: Integer
    species: Integer
    blocks: Integer
    pointer: Pointer
    order: Pointer

    def visits(self, *, clear: Pointer | None = None) -> Iterator[Visit]:
        """Every node of every species; sums over the nodes of a species, in ``clear``, start at zero."""
        k, bundles = self.k, self.p.bundles(PIECE)
        for s in k.range(0, self.species):
            if clear is not None:
                size = len(self.p.slots)
                for i in k.range((s * self.blocks + self.first) * size, (s * self.blocks + self.last) * size):
                    clear[i * k.lanes] = k.constant(0.0)
            begin, end = self.pointer[s], self.pointer[s + 1]
            for start in k.range(begin, end, TILE):
                stop = (start + TILE).at_most(end)
                for block in k.range(self.first, self.last):
                    # the last block begins early enough to be full: some channels are done twice, with equal results
                    channel = (block * k.lanes).at_most(self.channels - k.lanes)
                    for place, trees in enumerate(bundles):
                        for n in k.range(start, stop):
                            yield Visit(self, self.order[n], channel, s * self.blocks + block, trees, place == 0)


def write_forward(k: Builder, p: Polynomials, channels: int) -> None:
    """``forward(first, last, species, blocks, pointer, order, x, a, out)`` for the blocks of channels first..last-1."""
    for *sizes, x, a, out in k.function("forward", **_SIZES, x=READ, a=READ, out=WRITE):
        for here in Walk(k, p, channels, *sizes).visits():
            sweep = Sweep(here.rows(x, p.variables), here.slots(a))
            values = {row: sweep.value(tree).value for row, tree in here.trees}
            here.finish(here.rows(out, p.outputs), p.outputs, values)


def write_gradient(k: Builder, p: Polynomials, channels: int, *, weights: bool) -> None:
    """``gradient(first, ..., order, x, a, g, gx, ga)``: the cotangents of ``x`` and, if ``weights``, of the slots."""
    for *sizes, x, a, g, gx, ga in k.function("gradient", **_SIZES, x=READ, a=READ, g=READ, gx=WRITE, ga=WRITE):
        for here in Walk(k, p, channels, *sizes).visits(clear=ga if weights else None):
            summed = SlotGradient(here.slots(ga).start, k.lanes) if weights else None
            sweep = Sweep(here.rows(x, p.variables), here.slots(a), summed)
            above = here.rows(g, p.outputs)
            for row, tree in here.trees:
                sweep.reverse(tree, above[row])
            values = {v: number.value for v, number in sweep.gradient.items()}
            here.finish(here.rows(gx, p.variables), p.variables, values)


def write_second(k: Builder, p: Polynomials, channels: int, *, weights: bool) -> None:
    """``second(first, ..., order, x, a, g, dx, da, hx, ha, out)``: tangents of ``(gx, ga, out)`` along ``(dx, da)``.

    ``weights`` False: ``da`` is zero and is not read.
    """
    tensors = {"x": READ, "a": READ, "g": READ, "dx": READ, "da": READ, "hx": WRITE, "ha": WRITE, "out": WRITE}
    for *sizes, x, a, g, dx, da, hx, ha, out in k.function("second", **_SIZES, **tensors):
        for here in Walk(k, p, channels, *sizes).visits(clear=ha):
            summed = SlotGradient(here.slots(ha).start, k.lanes, tangents=True)
            sweep = Sweep(here.rows(x, p.variables, dx), here.slots(a, da if weights else None), summed)
            above = here.rows(g, p.outputs)
            values = {row: sweep.reverse(tree, above[row]).tangent for row, tree in here.trees}
            slopes = {v: number.tangent for v, number in sweep.gradient.items()}
            here.finish(here.rows(out, p.outputs), p.outputs, values)
            here.finish(here.rows(hx, p.variables), p.variables, slopes)


def write_mix(k: Builder, channels: int) -> None:
    """``mix``: packed slots from weights; ``unmix``: the weights' cotangents from those of the slots.

    Both take ``(first, ..., order, terms, rows, others, into, places, factors, source, target)``: term ``t`` adds
    ``factors[t]`` times row ``places[t]`` of the source's ``others`` rows to row ``into[t]`` of the target's ``rows``.
    """
    table = {"terms": INT, "rows": INT, "others": INT, "into": INTS, "places": INTS, "factors": READ}
    for name in ("mix", "unmix"):
        for first, last, species, blocks, pointer, _, terms, rows, others, into, places, factors, source, target in k.function(
            name, **_SIZES, **table, source=READ, target=WRITE
        ):

            def packed(s: Integer, block: Integer, count: Integer, row: Integer, blocks: Integer = blocks) -> Integer:
                return ((s * blocks + block) * count + row) * k.lanes

            def plain(s: Integer, block: Integer, count: Integer, row: Integer) -> Integer:
                return (s * count + row) * channels + (block * k.lanes).at_most(channels - k.lanes)

            of, to = (plain, packed) if name == "mix" else (packed, plain)
            for s in k.range(0, species):
                for _present in k.when(pointer[s] < pointer[s + 1]):
                    # the last two blocks may overlap in an unpacked tensor, so each is finished before the next
                    for block in k.range(first, last):
                        for row in k.range(0, rows):
                            target[to(s, block, rows, row)] = k.constant(0.0)
                        for t in k.range(0, terms):
                            there = to(s, block, rows, into[t])
                            target[there] = fma(factors.broadcast(t), source[of(s, block, others, places[t])], target[there])


_SIZES = {"first": INT, "last": INT, "species": INT, "blocks": INT, "pointer": INTS, "order": INTS}
"""The parameters that all kernels begin with."""
