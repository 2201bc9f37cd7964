"""Paths of a tensor product that share their channels, as one plan; what remains is one matrix product per irrep.

In the modes uvw, uvu and uvuv the copies of the first operand are the channels and the second has none, in uvv the other way
round, in uuu and uuw both have the same channels. Weights that belong to one product of copies enter the plan (uvu, uvv, uuu,
uvuv); those that mix copies (uvw, uuw) are applied to its output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coset.ops.instructions import Instruction
from coset.ops.plan import ITEM, SHARED, Operand, Plan, make_plan
from coset.ops.rows import Rows
from coset.reps.clebsch_gordan import coupling
from coset.reps.irreps import Irreps

FIRST, SECOND, BOTH = "first", "second", "both"  #: whose copies are the channels
CHANNELS = {"uvw": FIRST, "uvu": FIRST, "uvuv": FIRST, "uvv": SECOND, "uuw": BOTH, "uuu": BOTH}
MIXED = ("uvw", "uuw")


@dataclass(frozen=True)
class Segment:
    """Rows of a stage's output that belong to one output block, ``(2l + 1, copies)``: "mixed", "direct" or "uvuv"."""

    iout: int
    kind: str
    start: int
    copies: int
    paths: tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """Paths with the same channels: the blocks that are read (None: all, without channels), the plans, what is done after."""

    channels: int
    blocks: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    plans: tuple[Plan, Plan]  #: with weights per item, and with shared ones
    weighted: tuple[int, ...]  #: paths whose weights enter the plan, in the order of their rows
    segments: tuple[Segment, ...]


def make_stages(paths: Sequence[Instruction], factors: Sequence[float], irreps: Sequence[Irreps]) -> tuple[Stage, ...]:
    """All paths, grouped; ``factors`` scale the 3j symbol of each."""
    groups: dict[tuple[str, int, bool], dict[int, Instruction]] = {}
    for place, path in enumerate(paths):
        copies = path.copies(irreps)
        if math.prod(copies.values()):
            side = CHANNELS[path.mode]
            key = side, copies["v" if side == SECOND else "u"], path.has_weight and path.mode not in MIXED
            groups.setdefault(key, {})[place] = path
    return tuple(_stage(*key, members, factors, irreps) for key, members in groups.items())


def _stage(
    side: str,
    channels: int,
    weighted: bool,
    members: dict[int, Instruction],
    factors: Sequence[float],
    irreps: Sequence[Irreps],
) -> Stage:
    ones = None if side == SECOND else tuple(sorted({path.i1 for path in members.values()}))
    twos = None if side == FIRST else tuple(sorted({path.i2 for path in members.values()}))
    first, second = (_rows(whole, chosen, channels) for whole, chosen in zip(irreps, (ones, twos), strict=False))
    segments = _segments(members, irreps)
    tables, values, w = [], [], 0
    for segment in segments:
        out = Rows(Irreps([(segment.copies, irreps[2][segment.iout].ir)], irreps[2].group), 0)
        copy = 0
        for place in segment.paths:
            path = members[place]
            entries, coefficients = (t.numpy() for t in coupling(*(irreps[k][i].ir.l for k, i in enumerate(_blocks(path)))))
            for summand in range(_summands(path, irreps)):
                one = first.of(path.i1, summand) if ones is None else first.of(ones.index(path.i1), 0)
                two = second.of(path.i2, summand) if twos is None else second.of(twos.index(path.i2), 0)
                columns = [one[entries[:, 0]], two[entries[:, 1]]]
                columns += [np.full(len(entries), w)] if weighted else []
                columns += [segment.start + out.of(0, copy)[entries[:, 2]]]
                tables.append(np.stack(columns, 1))
                values.append(coefficients * factors[place])
                w, copy = w + weighted, copy + (segment.kind != "direct")
    operands = [Operand("x", first.count, side != SECOND), Operand("y", second.count, side != FIRST)]
    size = segments[-1].start + segments[-1].copies * irreps[2][segments[-1].iout].ir.dim
    label = f"product({irreps[0]} x {irreps[1]} -> {irreps[2]})"
    plans = [
        make_plan(
            [*operands, *([Operand("w", w, True, kind)] if weighted else [])],
            Operand("out", size),
            np.concatenate(tables),
            np.concatenate(values),
            label,
        )
        for kind in (ITEM, SHARED)
    ]
    order = tuple(place for segment in segments for place in segment.paths) if weighted else ()
    return Stage(channels, (ones, twos), (plans[0], plans[1]), order, segments)


def _rows(whole: Irreps, chosen: tuple[int, ...] | None, channels: int) -> Rows:
    return Rows(whole, 0) if chosen is None else Rows(Irreps([whole[i] for i in chosen], whole.group), channels)


def _blocks(path: Instruction) -> tuple[int, int, int]:
    return path.i1, path.i2, path.iout


def _summands(path: Instruction, irreps: Sequence[Irreps]) -> int:
    """The copies of the operand that has no channels."""
    copies = path.copies(irreps)
    return {FIRST: copies["v"], SECOND: copies["u"], BOTH: 1}[CHANNELS[path.mode]]


def _segments(members: dict[int, Instruction], irreps: Sequence[Irreps]) -> tuple[Segment, ...]:
    """Outputs side by side: one segment per output block and kind, one per path in the mode uvuv; by output block."""
    found: dict[tuple[int, str, int], list[int]] = {}
    for place, path in members.items():
        kind = "mixed" if path.mode in MIXED else "uvuv" if path.mode == "uvuv" else "direct"
        found.setdefault((path.iout, kind, place if kind == "uvuv" else 0), []).append(place)
    segments, start = [], 0
    for (iout, kind, _), places in sorted(found.items()):
        copies = 1 if kind == "direct" else sum(_summands(members[place], irreps) for place in places)
        segments.append(Segment(iout, kind, start, copies, tuple(places)))
        start += copies * irreps[2][iout].ir.dim
    return tuple(segments)
