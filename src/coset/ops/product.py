"""The one entry to every multilinear operation: a plan and its operands in, the sum out, differentiable to any order.

    out[o(e), k] += sum_t c_t  x_1[i_1(e), r_1] * ... * x_n[i_n(e), r_n]        for every item e     (coset.ops.plan)

Derivatives are in :mod:`coset.ops.autograd`, execution in :mod:`coset.ops.backends`.

- ``torch.compile(fullgraph=True)``: a product is one opaque op for every backend, so that fused kernels stay fused and compile
  times do not grow with the plan. Numbers of items and nodes may be symbolic. Forces inside the compiled function
  (``torch.autograd.grad`` with ``create_graph``) need ``torch._dynamo.config.trace_autograd_ops = True``.
- Autocast: products run in float32, or in the widest dtype among the operands if that is wider: the sums over edges are long.
- ``torch.func`` is refused: items are the batch of a product, and ``torch.autograd`` differentiates it to any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.autograd import apply_product, flatten
from coset.ops.backends.select import AUTO, requested
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Operand, Plan


def product(
    plan: Plan,
    inputs: Sequence[Tensor],
    indices: Mapping[str, Index] | None = None,
    *,
    items: int | None = None,
    backend: str = AUTO,
) -> Tensor:
    """The plan's output.

    ``inputs`` are in the plan's order, ``(size, rows, channels)`` each, without ``size`` where the operand is shared and
    without ``channels`` where it has none; one floating dtype and one device, any strides. ``indices`` holds what the plan
    names (:class:`coset.ops.index.Edges` gives ``source`` and ``target``). ``items`` is only needed if no operand is read item
    by item and no index is used. The output has the dtype and the device of the inputs. ``backend`` is ``"auto"`` or one of
    :mod:`coset.ops.backends.select`.

    InputError names the operand that does not fit.
    """
    indices = {} if indices is None else indices
    inputs = _promoted(inputs) if _autocasting(inputs) else tuple(inputs)
    if torch.compiler.is_compiling():  # shapes are checked by the fake kernel, the backend is chosen when the graph runs
        count = _items(plan, inputs, indices, items)
        return torch.ops.coset.product(list(inputs), flatten(plan, indices), count, plan.key, backend)
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise InputError(
            "products have no rule for torch.func: items are the batch (no vmap), torch.autograd.grad differentiates"
        )
    count = check(plan, inputs, indices, items)
    return apply_product((plan, indices, count, requested(backend)), inputs)


def check(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int | None) -> int:
    """The number of items; InputError if an operand or an index does not fit the plan."""
    if len(inputs) != len(plan.inputs):
        names = ", ".join(operand.name for operand in plan.inputs)
        raise InputError(f"{plan.label or 'the plan'} takes {len(plan.inputs)} operands ({names}), got {len(inputs)}")
    for name in plan.index_names:
        if name not in indices:
            raise InputError(f"{plan.label or 'the plan'} needs the index {name!r}; got {sorted(indices) or 'none'}")
    count = _items(plan, inputs, indices, items)
    first, channels = inputs[0], None
    for operand, x in zip(plan.inputs, inputs, strict=True):
        if x.ndim != operand.axes:
            raise _misfit(plan, operand, x, f"has {operand.axes} axes ({_axes(operand)})", f"shape {tuple(x.shape)}")
        if x.dtype != first.dtype or x.device != first.device:
            raise _misfit(
                plan, operand, x, f"is {first.dtype} on {first.device} like {plan.inputs[0].name}", f"{x.dtype} on {x.device}"
            )
        rows = x.shape[-1 - operand.channels]
        if rows != operand.rows:
            raise _misfit(plan, operand, x, f"has {operand.rows} rows", f"{rows}")
        if operand.channels:
            channels = x.shape[-1] if channels is None else channels
            if x.shape[-1] != channels:
                raise _misfit(plan, operand, x, f"has {channels} channels like the operands before it", f"{x.shape[-1]}")
        if operand.index != SHARED:
            size = count if operand.index == ITEM else indices[operand.index].size
            if x.shape[0] != size:
                what = "items" if operand.index == ITEM else f"entries, the size of index {operand.index!r}"
                raise _misfit(plan, operand, x, f"has {size} {what}", f"{x.shape[0]}")
    for name in plan.index_names:
        if indices[name].values.shape[0] != count or indices[name].values.device != first.device:
            raise InputError(
                f"index {name!r} of {plan.label or 'the plan'} has {indices[name].values.shape[0]} entries on "
                f"{indices[name].values.device}, but there are {count} items on {first.device}"
            )
    if not first.is_floating_point():
        raise InputError(f"products take floating-point operands, got {first.dtype} for {plan.inputs[0].name}")
    return count


def _misfit(plan: Plan, operand: Operand, x: Tensor, expected: str, got: str) -> InputError:
    return InputError(f"operand {operand.name} of {plan.label or 'the plan'} {expected}, got {got}")


def _axes(operand: Operand) -> str:
    lead = () if operand.index == SHARED else ("items" if operand.index == ITEM else f"{operand.index} size",)
    return ", ".join((*lead, "rows", *(("channels",) if operand.channels else ())))


def _items(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int | None) -> int:
    """How many items there are, from what is given; operands that contradict it are found by :func:`check`."""
    if items is not None:
        return items
    for name in plan.index_names:
        return indices[name].values.shape[0]
    for operand, x in zip(plan.inputs, inputs, strict=True):
        if operand.index == ITEM:
            return x.shape[0]
    raise InputError(f"{plan.label or 'the plan'} reads nothing item by item: say how many items there are (items=)")


def _autocasting(inputs: Sequence[Tensor]) -> bool:
    return bool(inputs) and torch.is_autocast_enabled(inputs[0].device.type)


def _promoted(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    dtype = torch.float32
    for x in inputs:
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) for x in inputs)
