"""The rows of a feature order by order, as the frames of edges have them, and the rotations into frames and back as plans.

Degree by degree the rows of a feature are ``(l, m)`` with ``m = -l..l``; order by order they are ``m = 0`` of all degrees, then
``-1`` of all degrees that have it, ``+1``, ``-2`` and so on, up to ``mmax``. There a map of SO(2) is one matrix per order.

    enter:  z[row] = sum_column D^l[m, column] x[l, column]            (gathered by source)
    leave:  x[l, column] = f_l sum_m D^l[m, column] z[row]             (summed by target)

with ``f_l = sqrt((2l+1) / (2 mmax + 1))`` for ``l > mmax`` (the degree has lost orders, this keeps its mean square) and 1
otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from coset.errors import InputError
from coset.ops.plan import ITEM, Operand, Plan, make_plan


class Layout(NamedTuple):
    """What follows from ``lmax`` and ``mmax``, computed once, before any graph of a layer is traced."""

    entries: tuple[tuple[int, int], ...]
    to_orders: tuple[int, ...]
    to_degrees: tuple[int, ...]
    enter: dict[str, Plan]
    leave: dict[str, Plan]


@dataclass(frozen=True)
class Orders:
    """The rows of degrees ``0..lmax`` with ``|m| <= mmax``, order by order. InputError for ``mmax > lmax``."""

    lmax: int
    mmax: int
    layout: Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.mmax <= self.lmax:
            raise InputError(f"orders: 0 <= mmax <= lmax is needed, got mmax {self.mmax} and lmax {self.lmax}")
        object.__setattr__(self, "layout", _layout(self.lmax, self.mmax))

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """``(degree, order)`` of every row."""
        return self.layout.entries

    @property
    def degree(self) -> list[int]:
        """The degree of every row."""
        return [degree for degree, _ in self.layout.entries]

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return len(self.layout.entries)

    @property
    def sizes(self) -> list[int]:
        """How many rows every degree keeps."""
        return [2 * min(degree, self.mmax) + 1 for degree in range(self.lmax + 1)]

    def block(self, m: int) -> slice:
        """The rows of order ``m = 0``, or those of ``-m`` and then ``+m`` for ``m > 0``."""
        start = 0 if m == 0 else self.degrees(0) + 2 * sum(self.degrees(lower) for lower in range(1, m))
        return slice(start, start + (1 if m == 0 else 2) * self.degrees(m))

    def degrees(self, m: int) -> int:
        """How many degrees have the order ``m``."""
        return self.lmax + 1 - m

    def regain(self, degree: int) -> float:
        """The factor ``f_l`` on the way back."""
        return _regain(degree, self.mmax)


def entries_before(degree: int) -> int:
    """Where the matrix of a degree begins in a row of all matrices: ``sum_{l < degree} (2l+1)^2``."""
    return degree * (4 * degree * degree - 1) // 3


@lru_cache(maxsize=64)
def _layout(lmax: int, mmax: int) -> Layout:
    orders = [0, *(sign * m for m in range(1, mmax + 1) for sign in (-1, 1))]
    entries = tuple((degree, m) for m in orders for degree in range(abs(m), lmax + 1))
    place = {entry: row for row, entry in enumerate(sorted(entries))}
    to_orders = tuple(place[entry] for entry in entries)
    to_degrees = tuple(sorted(range(len(entries)), key=to_orders.__getitem__))
    enter, leave = ({index: plan(lmax, mmax, entries, index) for index in (ITEM, name)} for plan, name in _PLANS)
    return Layout(entries, to_orders, to_degrees, enter, leave)


def _enter_plan(lmax: int, mmax: int, entries: tuple[tuple[int, int], ...], index: str) -> Plan:
    x, d = Operand("x", (lmax + 1) ** 2, index=index), Operand("d", entries_before(lmax + 1), channels=False)
    table = [(column, entry, row) for row, entry, column, _ in _terms(entries)]
    return make_plan([x, d], Operand("z", len(entries)), np.array(table), np.ones(len(table)), f"rotate to |m| <= {mmax}")


def _leave_plan(lmax: int, mmax: int, entries: tuple[tuple[int, int], ...], index: str) -> Plan:
    z, d = Operand("z", len(entries)), Operand("d", entries_before(lmax + 1), channels=False)
    terms = _terms(entries)
    table = [(row, entry, column) for row, entry, column, _ in terms]
    factors = np.array([_regain(degree, mmax) for *_, degree in terms])
    return make_plan([z, d], Operand("x", (lmax + 1) ** 2, index=index), np.array(table), factors, f"back from |m| <= {mmax}")


_PLANS = ((_enter_plan, "source"), (_leave_plan, "target"))


def _regain(degree: int, mmax: int) -> float:
    return math.sqrt((2 * degree + 1) / (2 * mmax + 1)) if degree > mmax else 1.0


def _terms(entries: tuple[tuple[int, int], ...]) -> list[tuple[int, int, int, int]]:
    """``(row kept, entry of D, row of the feature, degree)`` of every coefficient of the rotation."""
    return [
        (row, entries_before(degree) + (degree + m) * (2 * degree + 1) + column, degree * degree + column, degree)
        for row, (degree, m) in enumerate(entries)
        for column in range(2 * degree + 1)
    ]
