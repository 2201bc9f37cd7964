"""What the forward and the backward kernel share: arguments, the walk over items, and the matrix M of a tile of items.

Items are visited receiver by receiver, in tiles of at most T. For a tile, s is transposed to (rows, T) and

    M[m, l] = sum_j c_{mj} s[j, l]

is computed for V items at once; then each item l reads its M[:, l] one number at a time, for all channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from coset.ops.backends.llvm.builder import INT, INTS, READ, Builder, Condition, Integer, Pointer, Vector, fma
from coset.ops.backends.llvm.structure import Path, Structure
from coset.ops.plan import ITEM, SHARED, Plan

#: of every kernel: a range of receivers, their items (absent if the output is per item), then the operands by role
ARGUMENTS = {
    "first": INT,
    "last": INT,
    "pointer": INTS,
    "order": INTS,
    **{f"index_{role}": INTS for role in "xstw"},
    "stride_x": INT,
    "stride_w": INT,
    **dict.fromkeys("xstw", READ),
}


@dataclass(frozen=True)
class Setting:
    """What is compiled: a plan and its arrangement, the number of channels, and the sizes of tiles and blocks."""

    plan: Plan
    structure: Structure
    channels: int
    tile: int
    rows: int
    terms: int

    @cached_property
    def by_item(self) -> bool:
        """Whether every item has its own row of the output."""
        return self.plan.output.index == ITEM

    def size(self, role: str) -> int:
        """Rows of the operand in a role, 0 if there is none."""
        place = self.structure.places[role]
        return 0 if place is None else self.plan.inputs[place].rows

    def index(self, role: str) -> str:
        """How the operand in a role is read."""
        place = self.structure.places[role]
        return SHARED if place is None else self.plan.inputs[place].index


@dataclass(frozen=True)
class Tile:
    """Items ``start <= . < start + count`` of the walk; ``row`` is their receiver, ``fresh`` says that they are its first."""

    start: Integer
    count: Integer
    row: Integer | None = None
    fresh: Condition | None = None


class Walk:
    """The arguments of a kernel being written, and its loops over tiles and items."""

    def __init__(self, k: Builder, setting: Setting, arguments: tuple[Any, ...]) -> None:
        self.k, self.setting = k, setting
        self.given: dict[str, Any] = dict(zip(ARGUMENTS, arguments, strict=False))
        self._matrix = k.array(max(len(setting.structure.columns), 1) * setting.tile)
        self._filters = k.array(max(setting.size("s"), 1) * setting.tile)
        self._begins = {role: k.integers(setting.tile) for role in "xw"}
        if setting.size("s"):  # lanes beyond the count of a tile are computed too, so let them be numbers
            for place in k.range(0, setting.size("s") * setting.tile, k.lanes):
                self._filters[place] = k.constant(0.0)

    def tiles(self) -> Iterator[Tile]:
        """All tiles between ``first`` and ``last``, with M computed; a receiver without items gives one empty tile."""
        k, given, tile = self.k, self.given, self.setting.tile
        if self.setting.by_item:
            for start in k.range(given["first"], given["last"], tile):
                yield self._prepared(Tile(start, (given["last"] - start).at_most(tile)))
            return
        for row in k.range(given["first"], given["last"]):
            begin, end = given["pointer"][row], given["pointer"][row + 1]
            for start in k.range(begin, end.at_least(begin + 1), tile):
                yield self._prepared(Tile(start, (end - start).at_most(tile), row, start.equals(begin)))

    def _prepared(self, tile: Tile) -> Tile:
        """M for the items of a tile, and where their operands begin."""
        k, size, step = self.k, self.setting.size("s"), self.setting.tile
        for place in k.range(0, tile.count):
            item = self.item(tile.start + place)
            for role in "xw":
                if self.setting.size(role):
                    self._begins[role][place] = self.lead(role, item) * self.given[f"stride_{role}"]
            if size:
                filters = self.row("s", item, size)
                for j in range(size):
                    self._filters[place + j * step] = filters.scalar(j)
        if not size:
            return tile
        for place in k.range(0, tile.count, k.lanes):
            s: dict[int | None, Vector] = {j: self._filters[place + j * step] for j in range(size)}
            for m, ((first, factor), *rest) in enumerate(self.setting.structure.columns):
                entry = s[first] * factor
                for row, c in rest:
                    entry = fma(s[row], c, entry)
                self._matrix[place + m * step] = entry
        return tile

    def item(self, position: Integer) -> Integer:
        """The number of the item at a position of the walk."""
        return position if self.setting.by_item else self.given["order"][position]

    def begin(self, role: str, place: Integer) -> Pointer:
        """Where x or w of the item at ``place`` of the tile begins (for an operand that there is)."""
        return self.given[role] + self._begins[role][place]

    def entry(self, m: int, place: Integer) -> Vector:
        """M[m] of the item at ``place``, in all lanes."""
        if not self.setting.size("s"):
            return self.k.constant(sum(c for _, c in self.setting.structure.columns[m]))
        return self._matrix.broadcast(place + m * self.setting.tile)

    def lead(self, role: str, item: Integer) -> Integer:
        """Which row set of the operand the item reads."""
        index = self.setting.index(role)
        return item * 0 if index == SHARED else item if index == ITEM else self.given[f"index_{role}"][item]

    def row(self, role: str, item: Integer, stride: Integer | int, of: Pointer | None = None) -> Pointer:
        """Where that row set begins, in the operand itself or in an array ``of`` the same kind."""
        return (self.given[role] if of is None else of) + self.lead(role, item) * stride

    def weight(self, path: Path, basis: dict[int, Vector], w: Pointer | None) -> Vector | None:
        """W of a path at the channels ``w`` points to; None if it is one."""
        total: Vector | None = None
        for b, q in path.weights:
            factor = None if b is None else basis[b]
            number = None if q is None or w is None else w[q * self.setting.channels]
            if factor is None or number is None:
                term = number if factor is None else factor
                total = term if total is None or term is None else total + term
            else:
                total = factor * number if total is None else fma(factor, number, total)
        return total

    def basis(self, item: Integer) -> dict[int, Vector]:
        """The rows of t at an item."""
        size = self.setting.size("t")
        if not size:
            return {}
        place = self.row("t", item, size)
        return {b: place.broadcast(b) for b in range(size)}
