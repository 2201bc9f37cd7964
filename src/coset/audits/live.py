"""One model asked live: its error and outputs at any sample and element, on the grid of a page or off it, orbits and layers.

A position on a grid is one number per axis. Whole numbers are elements of the grid; between two neighbors ``a`` and ``b`` of
a Lie group lies the one-parameter path ``a exp(t log(a^-1 b))``, which on the axes of the house (angles, shifts, factors, turns
about an axis) is the element of the coordinate in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits import precision
from coset.audits.elements import element_name, join, lift, take
from coset.audits.equivariance import floors
from coset.audits.grids import Grid
from coset.audits.layers import Layer, layer_errors
from coset.audits.members import Members
from coset.audits.passes import Plan
from coset.audits.recording import POINTS, Recording, Sample, members_of, page_grid, record
from coset.contract import Contract
from coset.errors import CosetError, InputError
from coset.groups.group import Family, LieGroup

FINEST = 360  #: elements of a finer orbit


@dataclass
class Moment:
    """What one call showed: the relative error, and the tensors of one sample (empty where all samples were asked)."""

    name: str  #: of the element
    error: float
    floor: float  #: of the action itself at this element, on the samples asked
    count: int  #: samples that the error is a mean of
    x: Sample = field(default_factory=dict)  #: e . x
    gx: Sample = field(default_factory=dict)
    got: Sample = field(default_factory=dict)  #: f(g . x)
    want: Sample = field(default_factory=dict)  #: g . f(e . x)


@dataclass
class Curve:
    """The error of one sample along its orbit: at the grid's elements, or at places between them too."""

    places: np.ndarray  #: positions on the grid's only axis; empty where there is one number per element of the grid
    errors: np.ndarray
    floors: np.ndarray


class Live:
    """``f`` on the samples ``x`` under a contract over one factor; the grid is that of the page about them.

    Raises InputError or ContractError where :func:`coset.audits.recording.record` does.
    """

    def __init__(
        self, f: Callable[..., Any], x: Any, contract: Contract, *, dtype: str = "float64", points: int = POINTS, seed: int = 0
    ) -> None:
        self.source, self.dtype = (f, x, contract), dtype
        kind = precision.dtype_of(dtype)
        packed = precision.cast(contract.inputs, contract.inputs.pack(x), kind)
        self.grid = page_grid(contract.bind(packed), packed, None, points, seed)
        self.plan = Plan.make(precision.at_dtype(f, kind), contract, packed, self.grid.elements, seed=seed)
        self.group = self.plan.contract.group
        # the least size of an output that errors are told against, as in the audit
        plain = self.plan.plain()
        sizes = {o: self.plan.members.squares(d, _wide(plain[o]).unsqueeze(0)) for o, d in self.plan.contract.outputs}
        self.least = {o: 0.01 * value.mean().sqrt().item() for o, value in sizes.items()}

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self.plan.members.count

    def paths(self) -> list[bool]:
        """Along which axes of the grid there are elements between its own."""
        return [lies_between(self.group) and len(axis.labels) > 1 for axis in self.grid.axes]

    def element(self, *, at: Sequence[float] | None = None, draw: int | None = None) -> Any:
        """The element at a position on the grid, or one drawn at random with this seed; InputError where there is none."""
        if draw is not None:
            return self.group.sample(1, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)[0]
        return element_at(self.group, self.grid, at or ())

    def ask(self, g: Any, sample: int | None = None) -> Moment:
        """``f`` at one element: of one sample with its tensors, or the mean over all; InputError for a sample there is not."""
        part, mine = self._part(sample)
        contract, lifted = part.contract, lift(g)
        y, gy = part.plain(), {name: value.unsqueeze(0) for name, value in part.one(g).items()}
        want = part.want(y, lifted)
        errors = self._errors(part, gy, want)[0]
        name, floor = element_name(self.group, g), float(floors(part, lifted)[0])
        if sample is None:
            return Moment(name, float(errors.mean()), floor, self.count)
        inputs, outputs, members = contract.inputs, contract.outputs, part.members
        pick = [
            members_of(members, fields, values, part.x, inputs, lead=lead)[mine]
            for fields, values, lead in (
                (inputs, part.origin(part.x), 0), (inputs, inputs.pack(contract.act(g, part.x)), 0),
                (outputs, gy, 1), (outputs, want, 1),
            )
        ]  # fmt: skip
        return Moment(name, float(errors[mine]), floor, 1, pick[0], pick[1], _first(pick[2]), _first(pick[3]))

    def orbit(self, sample: int, *, finest: int = FINEST) -> Curve:
        """The error of one sample along its orbit, between the elements of a grid of one axis as well where paths join them."""
        part, mine = self._part(sample)
        places = self._between(finest)
        g = join(*(lift(self.element(at=[at])) for at in places)) if len(places) else self.grid.elements
        y, found = part.plain(), []
        for start, stop, gy in part.orbit(g):
            found.append(self._errors(part, gy, part.want(y, take(g, start, stop)))[:, mine])
        return Curve(places, torch.cat(found).numpy(), floors(part, g))

    def _between(self, finest: int) -> np.ndarray:
        size, smooth = len(self.grid.axes[0].labels), self.grid.axes[0].kind in ("angle", "scale")
        steps = finest // size if smooth and self.paths() == [True] else 1
        return np.arange((size - 1) * steps + 1) / steps if steps > 1 else np.empty(0)

    def whole(self) -> Recording:
        """All samples at all elements of the grid, as :func:`coset.audits.recording.record` tells them, without tensors."""
        f, x, contract = self.source
        return record(f, x, contract, elements=self.grid, samples=self.count, dtype=self.dtype, seed=self.plan.seed, memory=0)

    def ladder(self, g: Any, sample: int | None = None) -> list[Layer]:
        """The error of every layer at one element, of one sample where samples can be parted; InputError for no module."""
        part, _ = self._part(sample, alone=True)
        return layer_errors(part.f, part, lift(g), seed=part.seed)  # type: ignore[arg-type]  # it says what is no module

    def _part(self, sample: int | None, *, alone: bool = False) -> tuple[Plan, int]:
        """The plan for one sample, and where it stands there: by itself where the model takes members apart."""
        plan = self.plan
        if sample is not None and not 0 <= sample < self.count:
            raise InputError(f"sample: expected 0 to {self.count - 1}, got {sample}")
        if sample is None or not plan.independent or plan.members.count < 3:
            return plan, sample or 0
        # two rather than one: some models drop the axis of a batch of one
        rows = torch.tensor([sample, sample if alone else (sample + 1) % self.count])
        x = plan.members.take(plan.contract.inputs, plan.x, rows)
        bound = plan.contract.bind(x)
        return replace(plan, contract=bound, x=x, members=Members.of(bound, x)), 0

    def _errors(self, part: Plan, gy: Sample, want: Sample) -> Tensor:
        """Relative errors ``(elements, members)``: the largest over the outputs."""
        gap, size = part.contract.against(_each(gy), _each(want))
        found = []
        for o, declared in part.contract.outputs:
            top, bottom = (part.members.squares(declared, value[o]).sqrt().cpu() for value in (gap, size))
            found.append(torch.where(top == 0, torch.zeros_like(top), top / bottom.clamp_min(self.least[o])))
        return torch.stack(found).amax(0)


def lies_between(group: Family) -> bool:
    """Whether neighbors on a grid are joined by a path of elements."""
    return isinstance(group, LieGroup)


def element_at(group: Family, grid: Grid, at: Sequence[float]) -> Any:
    """The element at a position, one number per axis from 0 to its last place.

    Raises InputError for a position off the grid, and for one between elements that no path joins.
    """
    shape = grid.shape
    if len(at) != len(shape) or any(not 0 <= v <= n - 1 for v, n in zip(at, shape, strict=False)):
        raise InputError(
            f"at: expected {len(shape)} numbers, each from 0 to one less than {', '.join(map(str, shape))}; got {at}"
        )
    if any(v != int(v) for v in at) and not lies_between(group):
        raise InputError(f"{group} has no elements between those of its grid; got the position {list(at)}")

    def walk(places: tuple[int, ...]) -> Any:
        """The element at these places along the first axes, and at ``at`` along the others, axis by axis."""
        if len(places) == len(shape):
            k = 0
            for place, size in zip(places, shape, strict=True):
                k = k * size + place
            return grid.elements[k]
        low = math.floor(at[len(places)])
        share = at[len(places)] - low
        start = walk((*places, low))
        return path(group, start, walk((*places, low + 1)), share) if share else start

    return walk(())


def path(group: Any, a: Any, b: Any, t: float) -> Any:
    """``a exp(t log(a^-1 b))``; InputError where ``a`` and ``b`` lie in different parts of the group."""
    step = group.compose(group.inverse(a), b)
    try:
        along = group.log(step)
        joined = bool(group.equal(group.exp(along), step, tolerance=1e-6).all()) and bool(torch.isfinite(along).all())
    except (CosetError, RuntimeError):
        joined = False
    if not joined:
        raise InputError(f"{group}: no path leads from one of these neighbors to the other; choose an element of the grid")
    return group.compose(a, group.exp(t * along))


def _wide(value: Tensor) -> Tensor:
    return value if value.is_complex() else value.double()


def _each(y: Mapping[str, Tensor]) -> Sample:
    return {name: _wide(value) for name, value in y.items()}


def _first(y: Mapping[str, Tensor]) -> Sample:
    return {name: value[0] for name, value in y.items()}
