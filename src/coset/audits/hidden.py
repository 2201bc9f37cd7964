"""How a group may act on a hidden tensor: what a layer declares, else guesses from the shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from coset.audits.passes import Plan
from coset.contract import Contract
from coset.errors import CosetError
from coset.groups.group import FiniteGroup
from coset.groups.permutation import S
from coset.reps.action import Fibre, Scalar, Tensorial
from coset.reps.fields import ANY, Field
from coset.reps.image import Image
from coset.reps.induced import RegularAxis
from coset.reps.irreps import Irreps


@dataclass(frozen=True)
class Reading:
    """One way to read a hidden tensor: as ``field``, its channel axis first split into (copies, fibre) if ``split``."""

    field: Field
    guessed: bool = True
    split: int = 0  #: size of a fibre folded into axis 1; 0 leaves the tensor as it is
    outer: bool = False  #: whether the fibre is the outer part of the channel axis
    column: bool = False  #: whether components stand before the channels, as in (N, 3, C)
    loose: bool = False  #: whether the rows are a set in no order of their own, as edges that a model finds

    def __str__(self) -> str:
        return f"set of {self.field}" if self.loose else str(self.field)

    def move(self, group: Any, g: Any, h: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``g . h`` under this reading."""
        if self.column:
            return group.move(g, self.field, h.movedim(-2, -1), given).movedim(-1, -2)
        if not self.split:
            return group.move(g, self.field, h, given)
        shape = (self.split, h.shape[1] // self.split) if self.outer else (h.shape[1] // self.split, self.split)
        parted = h.unflatten(1, shape)
        parted = parted.movedim(1, 2) if self.outer else parted
        moved = group.move(g, self.field, parted, given)
        return (moved.movedim(2, 1) if self.outer else moved).flatten(1, 2)


def declared_readings(module: nn.Module, contract: Contract, h: Tensor) -> list[Reading]:
    """What the module's own contracts say of its output, where they are over this group or one whose elements it shares."""
    out = []
    for own in getattr(module, "contracts", ()):
        fields = getattr(own, "outputs", None)
        if fields is None or not fields.unnamed or own.claim == "broken":
            continue
        if own.group == contract.group or type(own.group) is type(contract.group) or _within(own.group, contract.group):
            out.append(Reading(fields[0][1], guessed=False))
    return list(dict.fromkeys(out)) or _said_by_e3nn(module, contract.group, h)


def _said_by_e3nn(module: nn.Module, group: Any, h: Tensor) -> list[Reading]:
    """The irreps that a module of e3nn states, in e3nn's layout, under a group of space; e3nn is not imported."""
    said = getattr(module, "irreps_out", None) or getattr(module, "irreps_node_output", None)
    if not type(said).__module__.startswith("e3nn") or _space(group) != 3:
        return []
    irreps = Irreps(str(said), layout="mul_ir")
    return [Reading(Field((ANY,), irreps), guessed=False)] if h.shape[-1:] == (irreps.dim,) else []


def concerns_others(module: nn.Module, contract: Contract) -> bool:
    """Whether the module promises about another index set than the one permuted here (members of subgraphs, not nodes).

    Its outputs then stand in an order of their own, of which nothing can be read off.
    """
    permuted = [part.index for part in contract.group.factors() if isinstance(part, S)]
    own = [part.index for c in getattr(module, "contracts", ()) for part in c.group.factors() if isinstance(part, S)]
    return bool(permuted and own) and not set(own) & set(permuted)


def _within(own: Any, group: Any) -> bool:
    """Whether ``own`` is a subgroup made from ``group``: its fields are meant for the whole of it."""
    return getattr(own, "parent", None) == group


def guesses(plan: Plan, h: Tensor) -> list[Reading]:
    """Readings that fit the shape, the plainest first."""
    group, fields = plan.contract.group, plan.contract.inputs
    sizes = {name: size for name, size in fields.sizes(plan.x).items() if size > 1}
    lead = _index(h, sizes, group)
    kinds: list[Reading] = [Reading(Field(lead, Scalar()))]
    space = _space(group)
    if h.ndim >= 2 and lead[0].isdigit() and any(isinstance(part, S) for part in group.factors()):
        kinds.append(Reading(kinds[0].field, loose=True))
    if any(isinstance(d.kind, (Image, Fibre)) for _, d in fields) and h.ndim >= 3:
        kinds.append(Reading(Field((ANY,), Image())))
    if space and h.ndim >= 2 and h.shape[-1] == space:
        kinds.append(Reading(Field(lead[:-1], Tensorial(1))))
    if space and h.ndim >= 3 and h.shape[-2] == space:
        kinds.append(Reading(Field((*lead[:-2], lead[-1]), Tensorial(1)), column=True))
    if space and h.ndim == 2 and h.shape[-1] % space == 0 and h.shape[-1] > space:
        vectors = Field((ANY,), Tensorial(1))
        kinds += [Reading(vectors, split=space), Reading(vectors, split=space, outer=True)]
    return kinds + _fibres(group, h)


def _index(h: Tensor, sizes: Mapping[str, int], group: Any) -> tuple[str, ...]:
    """Names for the axes of ``h`` by their sizes; permuted index sets first, so that a permutation finds its axis."""
    permuted = [part.index for part in group.factors() if isinstance(part, S)]
    names = sorted(sizes, key=lambda name: name not in permuted)
    out = []
    for size in h.shape:
        fits = [name for name in names if sizes[name] == size and name not in out]
        out.append(fits[0] if fits else str(size))
    return tuple(out) or (ANY,)


def _space(group: Any) -> int:
    """The dimension of the space that the group moves; 0 where it moves none."""
    try:
        element = group.sample(1)
        return int(group.linear(element).shape[-1])
    except CosetError:
        return 0


def _fibres(group: Any, h: Tensor) -> list[Reading]:
    """Readings with one value per element of a finite group: an axis of that size, or a channel axis that holds it."""
    if not isinstance(group, FiniteGroup) or h.ndim < 2 or group.order < 2:
        return []
    order, out = int(group.order), []
    picture = h.ndim >= 4
    kind = Fibre(RegularAxis(), Image()) if picture else RegularAxis()
    axis = h.ndim - kind.axes
    if axis >= 1 and h.shape[axis] == order:
        out.append(Reading(Field((ANY,), kind)))
    if h.shape[1] % order == 0 and h.ndim == (4 if picture else 2):
        out += [Reading(Field((ANY,), kind), split=order), Reading(Field((ANY,), kind), split=order, outer=True)]
    return out
