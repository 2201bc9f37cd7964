"""How a plan factorizes: the arrangement of its sum that the fused kernels carry out.

The terms of a channelwise product ``(x, s, w) -> out`` are grouped by path p, output row k and row i of x,

    out[k] += sum_p W_p sum_i M_{m(p,k,i)} x_i,     M_m = sum_j c_{mj} s_j,     W_p = sum_{(b,q) in p} t_b w_q,

with M one small vector per item (no channels), computed once for all channels, and W_p the weight of a path: usually one row of
w; with a second operand t without channels (the four basis values of a spline) a combination of rows. Any of s, t, w may be
absent. The grouping is exact for every plan with at most two operands of each sort; it pays where few weights share a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from coset.ops.plan import Plan

#: entries of M beyond which the code would take longer to compile than it saves
MOST = 4000


@dataclass(frozen=True)
class Path:
    """Rows of the output with one weight: ``weights`` (row of t, row of w); per output row its terms (row of x, column)."""

    weights: tuple[tuple[int | None, int | None], ...]
    rows: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """The rows of x that it uses."""
        return tuple(sorted({i for _, terms in self.rows for i, _ in terms}))


@dataclass(frozen=True)
class Structure:
    """Places of the four roles among the inputs (None: absent), the paths, and the columns of M as (row of s, coefficient)."""

    x: int
    s: int | None
    t: int | None
    w: int | None
    paths: tuple[Path, ...]
    columns: tuple[tuple[tuple[int | None, float], ...], ...]

    @property
    def places(self) -> dict[str, int | None]:
        """The roles by name."""
        return {"x": self.x, "s": self.s, "t": self.t, "w": self.w}

    @property
    def entries(self) -> int:
        """Multiply-adds per item and channel, apart from the weights."""
        return sum(len(terms) for path in self.paths for _, terms in path.rows)

    @property
    def work(self) -> int:
        """Multiply-adds per item and channel."""
        return self.entries + sum(len(path.rows) + len(path.weights) for path in self.paths)


_known: dict[str, Structure | str] = {}


def structure(plan: Plan) -> Structure | str:
    """The cheapest arrangement of a plan, or the reason why there is none."""
    if plan.key not in _known:
        _known[plan.key] = _analyze(plan)
    return _known[plan.key]


def _analyze(plan: Plan) -> Structure | str:
    wide = [place for place, operand in enumerate(plan.inputs) if operand.channels]
    narrow = [place for place, operand in enumerate(plan.inputs) if not operand.channels]
    if not plan.output.channels:
        return "the output has no channels"
    if plan.output.index == "shared":
        return "the output is one row set for all items"
    if not 1 <= len(wide) <= 2:
        return f"{len(wide)} operands with channels, the kernels take one or two"
    if len(narrow) > 2:
        return f"{len(narrow)} operands without channels, the kernels take at most two"
    if not plan.terms:
        return "the plan has no terms"
    best = min((_arrange(plan, *roles) for roles in _assignments(wide, narrow)), key=lambda found: found.work)
    if best.entries > MOST:
        return f"{best.entries} terms per channel, more than {MOST}: the code would take too long to compile"
    return best


def _assignments(wide: list[int], narrow: list[int]) -> Iterator[tuple[int, int | None, int | None, int | None]]:
    """The ways to give the roles x, w to operands with channels and s, t to those without."""
    nothing: list[int | None] = [None] * (2 - len(narrow))
    for (x, *w), (s, t) in itertools.product(itertools.permutations(wide), itertools.permutations([*narrow, *nothing])):
        yield x, s, t, (w[0] if w else None)


def _arrange(plan: Plan, x: int, s: int | None, t: int | None, w: int | None) -> Structure:
    """Terms grouped by weight (row of t, row of w), equal groups joined into one path."""
    groups: dict[tuple[int | None, int | None], dict[tuple[int, int], list[tuple[int | None, float]]]] = {}
    for term, coefficient in zip(plan.terms, plan.coefficients, strict=True):
        j, b, q = (None if place is None else term[place] for place in (s, t, w))
        groups.setdefault((b, q), {}).setdefault((term[-1], term[x]), []).append((j, coefficient))
    paths: dict[tuple, list[tuple[int | None, int | None]]] = {}
    for weight, entries in groups.items():
        signature = tuple((k, i, tuple(column)) for (k, i), column in sorted(entries.items()))
        paths.setdefault(signature, []).append(weight)
    number: dict[tuple, int] = {}
    made = []
    for signature, weights in paths.items():
        rows: dict[int, list[tuple[int, int]]] = {}
        for k, i, column in signature:
            rows.setdefault(k, []).append((i, number.setdefault(column, len(number))))
        made.append(Path(tuple(weights), tuple((k, tuple(terms)) for k, terms in rows.items())))
    return Structure(x, s, t, w, tuple(made), tuple(number))
