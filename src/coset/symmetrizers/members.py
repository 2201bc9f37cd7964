"""Which part of a sample is one member of a batch, and how an element of its own moves each of them.

A batch of clouds, graphs or images is one sample of the field language: ``"B x N x position"`` (dense), ``"N x position"``
with ``"N -> B"`` (ragged), ``"image"`` (the leading open axis). A frame gives every member its own group elements, so
elements have shape ``(F, members, *element_shape)``. :class:`Members` finds the members, hands every field the elements of
the member that it belongs to (gathered through the pointers), and says whether copies may stand side by side in one
forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.group import Family
from coset.groups.permutation import S
from coset.groups.product import Power
from coset.reps.action import Position, Tensorial
from coset.reps.fields import ANY, Field, Fields
from coset.reps.image import Image


@dataclass(frozen=True)
class Members:
    """The members of one sample: ``index`` is a name, ``...`` for the leading open axis, or None for a lone member."""

    index: str | None
    size: int
    maps: Mapping[str, Tensor]  #: for every index set that points into ``index``: the member of each entry
    linked: frozenset[str]  #: index sets that belong to one member each, so that copies can stand side by side

    @staticmethod
    def of(contract: Contract, x: Mapping[str, Tensor], index: str | None = None) -> Members:
        """Find them: ``index`` if given, what the points point into, ``B``, or the first of several index sets.

        A lone ``"N x position"`` is one cloud. Raises InputError for an ``index`` that no input has.
        """
        fields = contract.inputs
        name = index or (contract.group.index if isinstance(contract.group, Power) else _guess(contract, x))
        if name is None:
            return Members(None, 1, {}, frozenset())
        if name == ANY:
            declared = next((field for field in fields.names() if fields.of(field).ragged), None)
            if declared is None or not len(open_shape(fields.of(declared), x[declared])):
                raise InputError(f"no input has an open axis to tell members apart (fields: {fields})")
            return Members(ANY, open_shape(fields.of(declared), x[declared])[0], {}, frozenset({ANY}))
        size = fields.sizes(x).get(name)
        if size is None:
            raise InputError(f"no input has the index {name!r} to tell members apart (fields: {fields})")
        maps = _maps(name, fields, x)
        return Members(name, size, maps, frozenset({name, *maps}))

    def foldable(self, fields: Fields) -> bool:
        """Whether copies of these fields can be told apart when they stand side by side in one sample."""
        axes = [(declared, declared.axis()) for _, declared in fields]
        return self.index is not None and all(
            axis is not None and (declared.ragged or self.index == ANY or declared.index[axis] in self.linked)
            for declared, axis in axes
        )

    def axis(self, field: Field, shape: tuple[int, ...]) -> tuple[int, Tensor | None] | None:
        """The axis of a tensor of ``shape`` that tells members apart, and the member of its entries if not their own."""
        if self.index is None:
            return None
        if field.ragged or self.index == ANY:
            axis = 0 if field.ragged else field.axis()
            room = len(shape) - field.kind.axes - len(field.index) + field.ragged
            if axis is None or (field.ragged and room < 1) or shape[axis] != self.size:
                return None
            return axis, None
        for axis, name in enumerate(field.index):
            if name == self.index:
                return axis, None
            if name in self.maps:
                return axis, self.maps[name]
        return None

    def move(self, group: Family, g: Any, field: Field, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``x`` ``(F or 1, ...)`` moved by elements ``(F, ...)`` for all members or ``(F, members, ...)`` for each.

        Raises ContractError where a field that moves belongs to no member.
        """
        batch = group.batch_shape(g)
        if len(batch) == 1:
            return group.move(g, field, x, given)
        found = self.axis(field, tuple(x.shape[1:]))
        if found is None:
            if field.still and field.target is None:
                return x.expand(batch[0], *x.shape[1:])
            if self.index is None and batch[1] == 1:
                return group.move(g[:, 0], field, x, given)
            if field.target is not None and not _permutes(group, field):
                return x.expand(batch[0], *x.shape[1:])
            raise ContractError(f"which member moves a field over {field}? index it by {self.index!r} or declare a pointer")
        axis, owner = found
        own = g if owner is None else g[:, owner]
        # the base group expects the batch axes of its elements in front: bring the members' axis there and drop its name
        rest = field if field.ragged else replace(field, index=field.index[:axis] + field.index[axis + 1 :])
        moved = group.move(own, rest, x.movedim(1 + axis, 1), given)
        return moved.movedim(1, 1 + axis)

    def move_all(
        self, group: Family, g: Any, fields: Fields, x: Mapping[str, Tensor], given: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Every declared tensor ``(F or 1, ...)`` moved as in :meth:`move`; elements for all members move whole samples."""
        if len(group.batch_shape(g)) == 1:
            return group.move_all(g, fields, x, given)
        return {name: self.move(group, g, declared, x[name], given) for name, declared in fields}

    def spread(self, weights: Tensor, field: Field, y: Tensor) -> Tensor:
        """Weights ``(F,)`` or ``(F, members)`` shaped to multiply ``y`` ``(F, ...)`` declared as ``field``."""
        weights = weights.to(y)
        if weights.ndim == 1:
            return weights.view(-1, *[1] * (y.ndim - 1))
        found = self.axis(field, tuple(y.shape[1:]))
        if found is None:
            if weights.shape[1] != 1:
                raise ContractError(f"weights of {weights.shape[1]} members, but a field over {field} belongs to none of them")
            return weights.view(-1, *[1] * (y.ndim - 1))
        axis, owner = found
        weights = weights if owner is None else weights[:, owner]
        shape = [weights.shape[0]] + [1] * (y.ndim - 1)
        shape[1 + axis] = weights.shape[1]
        return weights.view(shape)


def base(group: Family) -> Family:
    """The group of one member: of ``E(3) ** "B"`` it is ``E(3)``; any other group is its own."""
    return group.base if isinstance(group, Power) else group


def open_shape(field: Field, x: Tensor) -> tuple[int, ...]:
    """Sizes of the axes that ``...`` stands for."""
    stop = x.ndim - field.kind.axes - len(field.index) + 1
    return tuple(x.shape[:stop]) if field.ragged else ()


def spatial(fields: Fields) -> str | None:
    """The name of the field that frames are read from: the first position, else the first vector, else the first image."""
    for wanted in (
        lambda kind: isinstance(kind, Position),
        lambda kind: isinstance(kind, Tensorial) and kind.rank == 1 and not kind.parity,
        lambda kind: isinstance(kind, Image),
    ):
        for name, declared in fields:
            if wanted(declared.kind):
                return name
    return None


def _guess(contract: Contract, x: Mapping[str, Tensor]) -> str | None:
    fields = contract.inputs
    name = spatial(fields)
    chosen = fields.of(name) if name is not None else fields[0][1]
    value = x[name if name is not None else fields.names()[0]]
    points = isinstance(chosen.kind, (Position, Tensorial))
    permuted = {part.index for part in contract.group.factors() if isinstance(part, S)}
    names = [label for label in chosen.index if not label.isdigit() and label not in (ANY, *permuted)]
    if chosen.ragged:
        # of a bare "position" the last open axis is the points of one cloud
        return ANY if len(open_shape(chosen, value)) > (points and len(chosen.index) == 1) else None
    for label in [label for label in chosen.index if not label.isdigit()]:
        if (target := _final(label, fields)) is not None:
            return target
    if "B" in names:
        return "B"
    alone = points and not any(label in permuted for label in chosen.index)
    return names[0] if len(names) > alone else None


def _final(label: str, fields: Fields) -> str | None:
    """Where the pointers from ``label`` end, None if it points nowhere."""
    pointers = {d.index[0]: d.target for _, d in fields if d.target is not None and len(d.index) == 1}
    seen: set[str] = set()
    target = None
    while label in pointers and label not in seen:
        seen.add(label)
        target = label = pointers[label]  # type: ignore[assignment]
    return target


def _maps(index: str, fields: Fields, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For every index set that points into ``index``, directly or through others: the member of each entry.

    Of several pointers (the two ends of an edge) the first counts: both ends lie in one member.
    """
    maps: dict[str, Tensor] = {}
    grown = True
    while grown:
        grown = False
        for name, declared in fields:
            axis = declared.axis()
            if declared.target is None or axis is None or declared.index[axis] in (*maps, index):
                continue
            if declared.target == index or declared.target in maps:
                pointer = x[name].movedim(axis, 0).flatten(1)[:, 0] if x[name].ndim > 1 else x[name]
                owner = pointer if declared.target == index else maps[declared.target][pointer.long()]
                maps[declared.index[axis]], grown = owner.long(), True
    return maps


def _permutes(group: Family, field: Field) -> bool:
    return any(isinstance(part, S) and (part.index in field.index or part.index == field.target) for part in group.factors())


def dense(x: Tensor, owner: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A ragged ``x`` ``(N, ...)`` padded to ``(size, longest, ...)`` and the mask of what is real."""
    order = torch.argsort(owner, stable=True)
    counts = torch.bincount(owner, minlength=size)
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner[order]]
    longest = int(counts.max()) if len(counts) else 0
    out = x.new_zeros(size, longest, *x.shape[1:])
    out[owner[order], place] = x[order]
    mask = torch.arange(longest, device=owner.device) < counts.unsqueeze(-1)
    return out, mask
