"""Members of a batch: a sample of the field language may hold many, and errors are told per member.

Members stand along what all pointers end in (``N -> B``), along a leading open axis (``... x image``), or along the first
index that all inputs share (``B x 3 x vector``). Whether a model treats them independently is found out by calling it, see
:mod:`coset.audits.passes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from coset.contract import Contract
from coset.groups.permutation import S
from coset.reps.fields import ANY, Field, Fields


@dataclass(frozen=True)
class Members:
    """``count`` members along ``index``; ``owners`` gives, for index sets that point there, the member of every entry."""

    index: str | None = None
    count: int = 1
    owners: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(contract: Contract, x: Mapping[str, Tensor]) -> Members:
        """The members that the fields declare; one where they declare none."""
        fields = contract.inputs
        sizes = fields.sizes(x)
        pointers = {d.index[0]: (d.target, x[name]) for name, d in fields if d.target is not None and len(d.index) == 1}
        if pointers:
            return Members._pointed(pointers, sizes)
        permuted = {part.index for part in contract.group.factors() if isinstance(part, S)}
        moving = [(name, d) for name, d in fields if d.axis() is not None and d.target is None]
        if not moving:
            return Members()
        first = {d.index[0] for _, d in moving}
        if first == {ANY}:
            counts = {open_shape(d, x[name])[0] for name, d in moving if len(open_shape(d, x[name]))}
            return Members(ANY, counts.pop()) if len(counts) == 1 else Members()
        label = next(iter(first))
        if len(first) == 1 and not label.isdigit() and label not in permuted:
            return Members(label, sizes[label])
        return Members()

    @staticmethod
    def _pointed(pointers: Mapping[str, tuple[str, Tensor]], sizes: Mapping[str, int]) -> Members:
        ends = [target for target, _ in pointers.values() if target not in pointers]
        if not ends:
            return Members()
        index = ends[0]
        owners: dict[str, Tensor] = {}
        for source in pointers:
            at, owner = source, None
            while at in pointers and at != index:
                target, pointer = pointers[at]
                owner = pointer if owner is None else pointer[owner]
                at = target
            if at == index and owner is not None:
                owners[source] = owner.long()
        return Members(index, sizes[index], owners)

    @property
    def dense(self) -> bool:
        """Whether a member is a slice of every tensor, so that some can be taken by themselves."""
        return self.index is not None and not self.owners

    def take(self, fields: Fields, x: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """The members ``rows`` of dense inputs or outputs; tensors without the members' axis stay whole."""
        return {
            name: x[name].index_select(0, rows.to(x[name].device)) if self._axis(declared, x[name]) == 0 else x[name]
            for name, declared in fields
        }

    def _axis(self, declared: Field, value: Tensor, lead: int = 0) -> int | None:
        if self.index is None:
            return None
        if declared.index[:1] == (self.index,) or declared.ragged:
            room = value.ndim - lead - declared.kind.axes - len(declared.index) + declared.ragged
            if value.ndim > lead and value.shape[lead] == self.count and (not declared.ragged or room >= 1):
                return lead
        return None

    def squares(self, declared: Field, value: Tensor) -> Tensor:
        """Squared norm per member, ``(k, members)``, of ``value`` ``(k, ...)``; of the whole where it has no member axis."""
        value = value.detach()
        value = (value.abs() if value.is_complex() else value).to(torch.float64)
        if self._axis(declared, value, 1) is not None:
            return value.square().flatten(2).sum(-1) if value.ndim > 2 else value.square()
        if declared.index[:1] and declared.index[0] in self.owners:
            per_entry = value.square().flatten(2).sum(-1) if value.ndim > 2 else value.square()
            out = per_entry.new_zeros(len(value), self.count)
            return out.index_add_(1, self.owners[declared.index[0]].to(value.device), per_entry)
        whole = value.square().flatten(1).sum(-1) if value.ndim > 1 else value.square()
        return whole.unsqueeze(1).expand(len(value), self.count)


def open_shape(declared: Field, x: Tensor) -> tuple[int, ...]:
    """Sizes of the axes that ``...`` stands for."""
    stop = x.ndim - declared.kind.axes - len(declared.index) + 1
    return tuple(x.shape[:stop]) if declared.ragged else ()
