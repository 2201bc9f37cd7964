"""What stands between a call from Python and a kernel: every shape and index checked, every operand an address.

The kernels read addresses, so nothing unchecked may reach them; a call of a small graph lasts microseconds, so what does not
change from call to call is worked out once: per plan in :class:`Layout`, per index in :class:`Ready`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends.llvm import threads
from coset.ops.backends.llvm.structure import Structure, structure
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Plan

ROLES = "xstw"


class Ready:
    """An index as the kernels take it, checked: 64-bit, contiguous, with its transpose and the ranges of threads."""

    def __init__(self, index: Index) -> None:
        index.check()
        self._values = index.values.to(torch.int64).contiguous()
        self._transpose: tuple[Tensor, Tensor] | None = None
        self._ranges: dict[int, list[int]] = {}
        self.values = self._values.data_ptr()
        self.items = len(index.values)
        self.size = index.size

    def transpose(self, index: Index) -> tuple[int, int]:
        """The addresses of pointer and order."""
        if self._transpose is None:
            self._transpose = (index.pointer.to(torch.int64).contiguous(), index.order.to(torch.int64).contiguous())
        return self._transpose[0].data_ptr(), self._transpose[1].data_ptr()

    def ranges(self, parts: int) -> list[int]:
        """Receivers of ``parts`` threads, balanced by items (after :meth:`transpose`)."""
        if parts not in self._ranges and self._transpose is not None:
            self._ranges[parts] = threads.bounds(self._transpose[0], parts)
        return self._ranges[parts]


_ready: WeakKeyDictionary[Index, Ready] = WeakKeyDictionary()


class Layout:
    """What a plan says about the operands of its kernels."""

    def __init__(self, plan: Plan, found: Structure) -> None:
        self.structure = found
        self.x = found.x
        self.last: Call | None = None  # one call serves the layers of a model, which share a graph
        self.roles = tuple((role, place) for role, place in found.places.items() if place is not None)
        self.operands = tuple((o.channels, o.index, o.rows) for o in plan.inputs)
        self.output = plan.output.index
        self.rows = plan.output.rows
        self.names = tuple({o.index for o in (*plan.inputs, plan.output)} - {ITEM, SHARED})
        #: threads may collect into the same row, so that each needs an array of its own
        self.private = tuple(o.index not in (ITEM, self.output) for o in plan.inputs)
        used = [set(plan.table[:, place].tolist()) for place in range(len(plan.inputs))]
        #: the forward stores every row of the output
        self.covered = len(set(plan.table[:, -1].tolist())) == plan.output.rows
        #: the kernel stores every row, so that the array need not be zero before
        self.stored = tuple(o.index == ITEM and len(rows) == o.rows for o, rows in zip(plan.inputs, used, strict=True))


_layouts: dict[str, Layout] = {}


def layout(plan: Plan) -> Layout:
    """The layout of a plan; InputError with the reason if the kernels do not carry it out."""
    known = _layouts.get(plan.key)
    if known is None:
        found = structure(plan)
        if isinstance(found, str):
            raise InputError(f"{plan}: {found}")
        known = _layouts[plan.key] = Layout(plan, found)
    return known


class Call:
    """A checked call: everything about it but the addresses of the operands, kept by the layout for the next one like it."""

    def __init__(self, known: Layout, items: int, ready: Mapping[str, Ready], indices: Mapping[str, Index]) -> None:
        self.layout, self.items = known, items
        self._indices = [(name, ref(indices[name])) for name in known.names]
        self.walk = None if known.output == ITEM else ready[known.output]
        self.receivers = items if self.walk is None else self.walk.size
        walk = (0, 0) if self.walk is None else self.walk.transpose(indices[known.output])
        indexed = {role: ready.get(known.operands[place][1]) for role, place in known.roles}
        self._indexed = (*walk, *(found.values if (found := indexed.get(role)) else 0 for role in ROLES))
        self.channels = 0
        self.shapes: list[tuple[int, ...]] = []
        self.dtype = torch.float32
        self._along: list[tuple[int, ...]] = []
        self._strides: tuple[int, ...] = (0, 0)

    def take(self, plan: Plan, inputs: Sequence[Tensor], ready: Mapping[str, Ready]) -> list[Tensor]:
        """Check the operands, remember how they lie, and give them as the kernel takes them."""
        known, first = self.layout, inputs[0]
        self.channels, self.dtype = inputs[known.x].shape[-1], first.dtype
        taken: list[Tensor] = []
        for operand, x, (wide, index, rows) in zip(plan.inputs, inputs, known.operands, strict=True):
            lead = () if index == SHARED else (self.items,) if index == ITEM else (ready[index].size,)
            shape = (*lead, rows, self.channels) if wide else (*lead, rows)
            if x.shape != shape or x.dtype != first.dtype or x.device.type != "cpu":
                got = f"{tuple(x.shape)} {x.dtype} on {x.device}"
                raise InputError(f"{operand} is {shape} {first.dtype} on the CPU here, got {got}")
            along = x.stride()
            # row sets may lie anywhere, even overlap as those of a table do; inside they are contiguous
            if not x.is_contiguous() and not (wide and lead and along[-1] == 1 and along[-2] == self.channels):
                x = x.contiguous()
            self.shapes.append(shape)
            taken.append(x)
        self._along = [x.stride() for x in taken]
        by_role = {role: taken[place] for role, place in known.roles}
        self._strides = tuple(by_role[role].stride(0) if role in by_role and by_role[role].ndim == 3 else 0 for role in "xw")
        return taken

    def fits(self, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> bool:
        """Whether another call differs in nothing but the numbers."""
        if items != self.items:
            return False
        for name, index in self._indices:
            if indices.get(name) is not index():
                return False
        for x, shape, along in zip(inputs, self.shapes, self._along, strict=True):
            if x.shape != shape or x.stride() != along or x.dtype is not self.dtype or not x.is_cpu:
                return False
        return True

    def arguments(self, taken: Sequence[Tensor]) -> list[int]:
        """Those of the kernel between the range and the results."""
        numbers = [*self._indexed, *self._strides, 0, 0, 0, 0]
        for role, place in self.layout.roles:
            numbers[ROLES.index(role) - 4] = taken[place].data_ptr()
        return numbers

    def ranges(self, passes: int) -> list[int]:
        """The receivers of each thread: one range if the work is small."""
        work = self.layout.structure.work * self.channels * self.items * passes
        parts = min(threads.parts(work), self.receivers)
        if parts <= 1:
            return [0, self.receivers]
        if self.walk is None:
            return [self.receivers * part // parts for part in range(parts + 1)]
        return self.walk.ranges(parts)


def prepare(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> tuple[Call, Sequence[Tensor]]:
    """A checked call and its operands as the kernel takes them. InputError if a shape, an index or the plan does not fit."""
    known = layout(plan)
    last = known.last
    if last is not None and last.fits(inputs, indices, items):
        return last, inputs
    ready = {name: _index(plan, indices, name, items) for name in known.names}
    call = Call(known, items, ready, indices)
    taken = call.take(plan, inputs, ready)
    known.last = call
    return call, taken


def _index(plan: Plan, indices: Mapping[str, Index], name: str, items: int) -> Ready:
    try:
        index = indices[name]
    except KeyError:
        raise InputError(f"{plan} needs the index {name!r}; there are {sorted(indices)}") from None
    ready = _ready.get(index)
    if ready is None:
        ready = _ready[index] = Ready(index)
    if ready.items != items:
        raise InputError(f"index {name!r} has {ready.items} entries for {items} items")
    return ready
