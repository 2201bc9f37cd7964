"""The forward kernel: read, multiply and sum over the items of a receiver in one pass.

    for each receiver, tile of its items, V channels, block of output rows:
        for each item:  acc[k] += W_p * sum_i M[m] x[i]
        out[k] = acc[k]

The accumulators of a block stay in registers over the items of a tile; nothing of size items x rows x channels exists.
"""

from __future__ import annotations

from collections.abc import Sequence

from coset.ops.backends.llvm.builder import WRITE, Builder, Condition, Integer, Pointer, Variable, Vector, fma
from coset.ops.backends.llvm.items import ARGUMENTS, Setting, Tile, Walk
from coset.ops.backends.llvm.structure import Path

Group = tuple[Path, int, tuple[tuple[int, int], ...]]


def write_forward(k: Builder, setting: Setting) -> None:
    """``forward(first, last, ..., out)``: rows ``first <= . < last`` of the output, from the beginning."""
    channels, rows = setting.channels, setting.plan.output.rows
    blocks = _blocks(setting)
    for *arguments, out in k.function("forward", **ARGUMENTS, out=WRITE):
        walk = Walk(k, setting, tuple(arguments))
        for tile in walk.tiles():
            for c in k.vectors(channels):
                for block in blocks:
                    if tile.row is None or tile.fresh is None:
                        _each(walk, tile, block, c, out)
                    else:
                        _summed(walk, tile, tile.fresh, block, c, out + tile.row * (rows * channels))


def _blocks(setting: Setting) -> list[list[Group]]:
    """Output rows in blocks of at most ``setting.rows`` sums that read the same rows of x, all groups of a row together."""
    groups = [(path, k, terms) for path in setting.structure.paths for k, terms in path.rows]
    by_row: dict[int, list[Group]] = {}
    for group in groups:
        by_row.setdefault(group[1], []).append(group)
    ordered = sorted(by_row.values(), key=lambda row: (row[0][0].reads, setting.structure.paths.index(row[0][0])))
    blocks: list[list[list[Group]]] = []
    for row in ordered:
        same = blocks and blocks[-1][0][0][0].reads == row[0][0].reads
        if not same or len(blocks[-1]) == setting.rows:
            blocks.append([])
        blocks[-1].append(row)
    return [[group for row in block for group in row] for block in blocks]


def _summed(walk: Walk, tile: Tile, fresh: Condition, block: Sequence[Group], c: Integer | int, out: Pointer) -> None:
    """The sum over the items of one receiver, from zero if the tile is its first."""
    k, channels = walk.k, walk.setting.channels
    sums: dict[int, Variable] = {row: k.variable() for row in dict.fromkeys(row for _, row, _ in block)}
    for _ in k.when(fresh):
        for sum_ in sums.values():
            sum_.value = 0.0
    for _ in k.when(~fresh):
        for row, sum_ in sums.items():
            sum_.value = out[row * channels + c]
    for place in k.range(0, tile.count):
        for row, weight, y in _products(walk, tile, block, place, c):
            sums[row].value = sums[row].value + y if weight is None else fma(weight, y, sums[row].value)
    for row, sum_ in sums.items():
        out[row * channels + c] = sum_.value


def _each(walk: Walk, tile: Tile, block: Sequence[Group], c: Integer | int, out: Pointer) -> None:
    """Every item by itself."""
    k, channels, rows = walk.k, walk.setting.channels, walk.setting.plan.output.rows
    for place in k.range(0, tile.count):
        own = out + walk.item(tile.start + place) * (rows * channels)
        sums: dict[int, Vector] = {}
        for row, weight, y in _products(walk, tile, block, place, c):
            y = y if weight is None else weight * y
            sums[row] = sums[row] + y if row in sums else y
        for row, total in sums.items():
            own[row * channels + c] = total


def _products(
    walk: Walk, tile: Tile, block: Sequence[Group], place: Integer, c: Integer | int
) -> list[tuple[int, Vector | None, Vector]]:
    """Per group of the block: its row, W_p and ``y = sum_i M x_i`` for one item."""
    setting, channels = walk.setting, walk.setting.channels
    x = walk.begin("x", place) + c
    w = walk.begin("w", place) + c if setting.size("w") else None
    read = {i: x[i * channels] for i in sorted({i for _, _, terms in block for i, _ in terms})}
    basis, weights = walk.basis(walk.item(tile.start + place)), {}
    found = []
    for path, row, terms in block:
        if path not in weights:
            weights[path] = walk.weight(path, basis, w)
        (i, m), *rest = terms
        y = walk.entry(m, place) * read[i]
        for i, m in rest:
            y = fma(walk.entry(m, place), read[i], y)
        found.append((row, weights[path], y))
    return found
