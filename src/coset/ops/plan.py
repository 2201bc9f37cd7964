"""Plans: what a multilinear operation computes, written down once, for every backend to execute.

A plan runs over *items* (edges, nodes). With coefficients ``c_t`` and terms ``t = (r_1, ..., r_n, k)``, channel by channel,

    out[o(e), k] += sum_t c_t  x_1[i_1(e), r_1] * ... * x_n[i_n(e), r_n]        for every item e,

where an operand is read at the item itself, at one row set that all items share, or through an index (``source``), and the
output is written the same way (``target`` sums over the edges of a receiver). Operands without channels hold one number for all
channels; an output without channels sums over them.

The derivative of a multilinear map with respect to one operand is the same map with that operand and the output exchanged:
:meth:`Plan.gradient` permutes the columns of the terms and nothing else. First and second derivatives of every product follow
from that one rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from coset.errors import InputError

ITEM, SHARED = "item", "shared"


@dataclass(frozen=True)
class Operand:
    """One argument of a plan: ``(size, rows, channels)``, without the last axis if ``channels`` is False.

    ``index`` says which of its leading entries an item reads (or, for an output, adds to): ``"item"`` its own, ``"shared"`` the
    only one there is (no leading axis), any other name goes through the index of that name.
    """

    name: str
    rows: int
    channels: bool = True
    index: str = ITEM

    @property
    def axes(self) -> int:
        """How many axes its tensor has."""
        return 1 + self.channels + (self.index != SHARED)

    def __str__(self) -> str:
        lead = "" if self.index == SHARED else f"{self.index} x "
        return f"{self.name}: {lead}{self.rows}{' x C' if self.channels else ''}"


_KNOWN: dict[str, Plan] = {}  # every plan of this process by its key, so that a graph of tensors and strings can name one


def known_plan(key: str) -> Plan:
    """The plan with this :attr:`Plan.key`; InputError if none was made in this process."""
    if key not in _KNOWN:
        raise InputError(f"no plan with key {key} was made in this process; make the operation again before running its graph")
    return _KNOWN[key]


@dataclass(frozen=True)
class Plan:
    """A multilinear operation: operands, terms (one row per input, then the output's row) and their float64 coefficients."""

    inputs: tuple[Operand, ...]
    output: Operand
    terms: tuple[tuple[int, ...], ...]
    coefficients: tuple[float, ...]
    label: str = ""
    #: the indices that the plan reads or writes through, in the order of their first use
    index_names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.terms) != len(self.coefficients):
            raise InputError(f"plan {self.label!r}: {len(self.terms)} terms but {len(self.coefficients)} coefficients")
        names = [operand.name for operand in (*self.inputs, self.output)]
        if len(set(names)) < len(names):
            raise InputError(f"plan {self.label!r}: operands need different names, got {names}")
        for column, operand in enumerate((*self.inputs, self.output)):
            rows = self.table[:, column]
            if len(rows) and not 0 <= rows.min() <= rows.max() < operand.rows:
                raise InputError(f"plan {self.label!r}: a term uses row {rows.max()} of {operand}")
        object.__setattr__(self, "index_names", _index_names(self))
        _KNOWN.setdefault(self.key, self)

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type[Plan], tuple]:
        return Plan, (self.inputs, self.output, self.terms, self.coefficients, self.label)

    @cached_property
    def table(self) -> np.ndarray:
        """The terms as ``(number of terms, inputs + 1)`` int64."""
        return np.asarray(self.terms, dtype=np.int64).reshape(-1, len(self.inputs) + 1)

    @cached_property
    def key(self) -> str:
        """A name made from the content: equal plans have equal keys in every process. The label does not enter."""
        operands = [(o.rows, o.channels, o.index) for o in (*self.inputs, self.output)]
        content = hashlib.sha256(repr(operands).encode())
        content.update(self.table.astype("<i8").tobytes())
        content.update(np.asarray(self.coefficients, dtype="<f8").tobytes())
        return content.hexdigest()[:24]

    def position(self, name: str) -> int:
        """Where the input called ``name`` stands."""
        for place, operand in enumerate(self.inputs):
            if operand.name == name:
                return place
        raise InputError(f"plan {self.label!r} has no input {name!r}; it has {[o.name for o in self.inputs]}")

    def output_shape(self, inputs: Sequence[Any], indices: Mapping[str, Any], items: int) -> tuple[int, ...]:
        """The shape of the output, from tensors as inputs and what has a ``size`` as indices."""
        wide = next((x.shape[-1] for operand, x in zip(self.inputs, inputs, strict=True) if operand.channels), 1)
        index = self.output.index
        lead = () if index == SHARED else (items if index == ITEM else indices[index].size,)
        return (*lead, self.output.rows, *((wide,) if self.output.channels else ()))

    def gradient(self, which: int) -> Plan:
        """The plan that takes the cotangent of the output in place of input ``which`` and gives that input's cotangent."""
        if which not in self._gradients:
            self._gradients[which] = self._exchange(which)
        return self._gradients[which]

    @cached_property
    def _gradients(self) -> dict[int, Plan]:
        return {}

    def _exchange(self, which: int) -> Plan:
        n = len(self.inputs)
        order = [n if column == which else column for column in range(n)] + [which]
        inputs = tuple(self.output if column == which else operand for column, operand in enumerate(self.inputs))
        terms = tuple(map(tuple, self.table[:, order].tolist()))
        label = f"{self.label} d/d{self.inputs[which].name}"
        return replace(self, inputs=inputs, output=self.inputs[which], terms=terms, label=label)

    def flops(self, items: int, channels: int) -> int:
        """Additions and multiplications of the sparse sum, factored: the least for a product of at most two wide operands.

        Operands without channels enter small matrices first; then, channel by channel, every distinct combination of rows costs
        a multiplication and an addition, and a second operand with channels one more for each of its pairs with another row.
        With three and more it is an upper bound.
        """
        wide = [place for place, operand in enumerate((*self.inputs, self.output)) if operand.channels]
        inputs = sum(operand.channels for operand in self.inputs)
        narrow = len(self.inputs) - inputs
        combinations = len(np.unique(self.table[:, wide], axis=0)) if len(self.terms) else 0
        if inputs < 2:
            each = 2 * combinations
        elif inputs == 2:
            pairs = [len(np.unique(self.table[:, [a, b]], axis=0)) for a in wide for b in wide if a < b]
            each = 2 * combinations + 2 * min(pairs) if len(wide) == 3 else 3 * combinations
        else:
            each = (inputs + 1) * combinations
        return items * (each * channels + 2 * narrow * len(self.terms))

    def traffic(self, items: int, channels: int, sizes: dict[str, int], itemsize: int = 4) -> int:
        """Bytes that any execution moves: every operand read once and the output written once."""
        total = 0
        for operand in (*self.inputs, self.output):
            lead = 1 if operand.index == SHARED else items if operand.index == ITEM else sizes[operand.index]
            total += lead * operand.rows * (channels if operand.channels else 1) * itemsize
        return total

    def __str__(self) -> str:
        return f"{self.label or 'plan'} ({', '.join(map(str, self.inputs))}) -> ({self.output}), {len(self.terms)} terms"


def _index_names(plan: Plan) -> tuple[str, ...]:
    names = dict.fromkeys(operand.index for operand in (*plan.inputs, plan.output))
    return tuple(name for name in names if name not in (ITEM, SHARED))


def make_plan(inputs: Sequence[Operand], output: Operand, table: np.ndarray, coefficients: np.ndarray, label: str = "") -> Plan:
    """A plan from arrays: equal terms are merged, zeros dropped, terms sorted by output row, then by inputs.

    ``table`` is ``(terms, inputs + 1)`` integers, ``coefficients`` ``(terms,)`` float64.
    """
    table = np.asarray(table, dtype=np.int64).reshape(-1, len(inputs) + 1)
    rows, place = np.unique(table, axis=0, return_inverse=True)
    total = np.zeros(len(rows))
    np.add.at(total, place.ravel(), np.asarray(coefficients, dtype=np.float64))
    keep = total != 0.0
    rows, total = rows[keep], total[keep]
    order = np.lexsort((*rows[:, :-1].T[::-1], rows[:, -1]))
    return Plan(tuple(inputs), output, tuple(map(tuple, rows[order].tolist())), tuple(float(c) for c in total[order]), label)
