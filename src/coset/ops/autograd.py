"""The derivative of a plan, of any order, by one rule, and the ``torch.library`` ops that carry it.

Let ``F(x_1, ..., x_n)`` be multilinear and ``G_i`` its derivative with respect to ``x_i`` applied to a cotangent ``g``, so that
``<g, F(.., h at i, ..)> = <h, G_i>`` for all ``h``. If the gradients ``G_i`` are used and receive cotangents ``h_i``, then

    d/dg    sum_i <h_i, G_i> = sum_i F(.., h_i at i, ..)
    d/dx_j  sum_i <h_i, G_i> = sum_(i != j) G_j(.., h_i at i, ..)

so derivatives of derivatives are the two ops again with one operand replaced: no other kernel exists, to any order. Cotangents
that are absent are skipped, gradients that nobody asked for are not computed, and nothing but the inputs is saved.

Ops: ``coset::product`` and ``coset::product_gradients`` with fake kernels. Called on plain tensors, the autograd functions run
the backend themselves (a third of the overhead); ``torch.compile``, ``make_fx`` and other modes see the ops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from coset.ops.backends import select
from coset.ops.index import Index
from coset.ops.plan import Plan, known_plan

Call = tuple[Plan, Mapping[str, Index], int, str]  # plan, indices, items, backend: all that is not differentiated


def apply_product(call: Call, inputs: Sequence[Tensor]) -> Tensor:
    """The plan's sum, differentiable."""
    if not _plain(inputs):
        plan, indices, items, backend = call
        return torch.ops.coset.product(list(inputs), flatten(plan, indices), items, plan.key, backend)
    if not _recorded(inputs):
        return run_product(call, inputs)
    return _Product.apply(call, run_product, *map(_node, inputs))


def apply_gradients(call: Call, inputs: Sequence[Tensor], grad: Tensor, needs: tuple[bool, ...]) -> list[Tensor]:
    """The cotangents of the inputs that ``needs`` marks, in their order, differentiable."""
    if not _plain((*inputs, grad)):
        plan, indices, items, backend = call
        return torch.ops.coset.product_gradients(
            list(inputs), grad, flatten(plan, indices), items, plan.key, backend, list(needs)
        )
    if not _recorded((*inputs, grad)):
        return run_gradients(call, inputs, grad, needs)
    return list(_Gradients.apply(call, needs, run_gradients, _node(grad), *map(_node, inputs)))


def run_product(call: Call, inputs: Sequence[Tensor]) -> Tensor:
    """The backend's forward."""
    plan, indices, items, backend = call
    return select.executor(plan, inputs, indices, backend).forward(plan, inputs, indices, items)


def run_gradients(call: Call, inputs: Sequence[Tensor], grad: Tensor, needs: tuple[bool, ...]) -> list[Tensor]:
    """The backend's gradients, without the empty places."""
    plan, indices, items, backend = call
    found = select.executor(plan, inputs, indices, backend).gradients(plan, inputs, grad, indices, items, needs)
    return [x for x in found if x is not None]


class _Product(Function):
    """``F``; ``run`` is the backend, or the op below autograd."""

    @staticmethod
    def forward(ctx: Any, call: Call, run: Callable, *inputs: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        ctx.call = call
        return run(call, inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple:
        inputs = ctx.saved_tensors  # read once: checkpoints compute them again at each reading
        needs = _asked(ctx, 2)
        if grad is None or not any(needs):
            return (None,) * (2 + len(inputs))
        found = iter(apply_gradients(ctx.call, inputs, grad, needs))
        return (None, None, *(next(found) if needed else None for needed in needs))


class _Gradients(Function):
    """All ``G_i`` that are asked for."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, needs: tuple[bool, ...], run: Callable, grad: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, *inputs)
        ctx.call, ctx.needs = call, needs
        return tuple(run(call, inputs, grad, needs))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple:
        grad, *inputs = ctx.saved_tensors
        asked_grad, *asked = _asked(ctx, 3)
        arriving = iter(cotangents)
        total: Tensor | None = None
        totals: list[Tensor | None] = [None] * len(inputs)
        for place, computed in enumerate(ctx.needs):
            cotangent = next(arriving) if computed else None
            if cotangent is None:
                continue
            replaced = [*inputs[:place], cotangent, *inputs[place + 1 :]]
            if asked_grad:
                total = _add(total, apply_product(ctx.call, replaced))
            needs = tuple(wanted and other != place for other, wanted in enumerate(asked))
            if any(needs):
                found = iter(apply_gradients(ctx.call, replaced, grad, needs))
                totals = [_add(old, next(found)) if needed else old for old, needed in zip(totals, needs, strict=True)]
        return (None, None, None, total, *totals)


def _add(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total + term


def _asked(ctx: Any, skip: int) -> tuple[bool, ...]:
    """Which inputs after the first ``skip`` need gradients, less what this run of the engine will not use.

    ``autograd.grad`` wants some inputs only: forces need no gradient of the weights. The engine says so through a private call
    of torch, which raises instead of answering (slowly) for a leaf that is wanted; without that call, all are computed.
    """
    will_run = getattr(torch._C, "_will_engine_execute_node", None)
    asked = []
    for required, (node, _) in zip(ctx.needs_input_grad[skip:], ctx.next_functions, strict=True):
        try:
            asked.append(required and (will_run is None or will_run(node)))
        except RuntimeError:
            asked.append(True)
    return tuple(asked)


def _node(x: Tensor) -> Tensor:
    """The tensor behind a node of the graph that the engine can be asked about cheaply: leaves have none."""
    return x.view_as(x) if x.requires_grad and x.is_leaf else x


def _recorded(tensors: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def _plain(tensors: Sequence[Tensor]) -> bool:
    """Nobody watches: no tracing mode and no subclass of tensors."""
    if torch._C._len_torch_dispatch_stack():
        return False
    return all(type(x) is Tensor or type(x) is torch.nn.Parameter for x in tensors)


def flatten(plan: Plan, indices: Mapping[str, Index]) -> list[Tensor]:
    """What an op is given of the plan's indices: values, order and pointer of each."""
    used = [indices[name] for name in plan.index_names]
    return [part for index in used for part in (index.values, index.order, index.pointer)]


def _call(key: str, flat: Sequence[Tensor], items: int, backend: str) -> Call:
    plan = known_plan(key)
    parts = [flat[at : at + 3] for at in range(0, len(flat), 3)]
    indices = {
        name: Index(part[0], part[2].shape[0] - 1, *part[1:]) for name, part in zip(plan.index_names, parts, strict=True)
    }
    return plan, indices, items, backend


_LIBRARY = torch.library.Library("coset", "FRAGMENT")
_LIBRARY.define("product(Tensor[] inputs, Tensor[] indices, SymInt items, str key, str backend) -> Tensor")
_LIBRARY.define(
    "product_gradients(Tensor[] inputs, Tensor grad, Tensor[] indices, SymInt items, str key, str backend, bool[] needs)"
    " -> Tensor[]"
)


def _product(inputs: list[Tensor], flat: list[Tensor], items: int, key: str, backend: str) -> Tensor:
    return run_product(_call(key, flat, items, backend), inputs)


def _product_fake(inputs: list[Tensor], flat: list[Tensor], items: int, key: str, backend: str) -> Tensor:
    plan, indices, items, _ = _call(key, flat, items, backend)
    return inputs[0].new_empty(plan.output_shape(inputs, indices, items))


def _product_autograd(keys: Any, inputs: list[Tensor], flat: list[Tensor], items: int, key: str, backend: str) -> Tensor:
    def below(call: Call, inputs: Sequence[Tensor]) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            op = torch.ops.coset.product.default
            return op.redispatch(keys & torch._C._after_autograd_keyset, list(inputs), flat, items, key, backend)

    call = _call(key, flat, items, backend)
    return _Product.apply(call, below, *inputs) if _recorded(inputs) else below(call, inputs)


def _gradients(
    inputs: list[Tensor], grad: Tensor, flat: list[Tensor], items: int, key: str, backend: str, needs: list[bool]
) -> list[Tensor]:
    return run_gradients(_call(key, flat, items, backend), inputs, grad, tuple(needs))


def _gradients_fake(
    inputs: list[Tensor], grad: Tensor, flat: list[Tensor], items: int, key: str, backend: str, needs: list[bool]
) -> list[Tensor]:
    return [x.new_empty(x.shape) for x, needed in zip(inputs, needs, strict=True) if needed]


def _gradients_autograd(
    keys: Any,
    inputs: list[Tensor],
    grad: Tensor,
    flat: list[Tensor],
    items: int,
    key: str,
    backend: str,
    needs: list[bool],
) -> list[Tensor]:
    def below(call: Call, inputs: Sequence[Tensor], grad: Tensor, needs: tuple[bool, ...]) -> list[Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            op = torch.ops.coset.product_gradients.default
            after = keys & torch._C._after_autograd_keyset
            return op.redispatch(after, list(inputs), grad, flat, items, key, backend, list(needs))

    call = _call(key, flat, items, backend)
    if not _recorded((*inputs, grad)):
        return below(call, inputs, grad, tuple(needs))
    return list(_Gradients.apply(call, tuple(needs), below, grad, *inputs))


for _name, _kernel, _fake, _rule in (
    ("product", _product, _product_fake, _product_autograd),
    ("product_gradients", _gradients, _gradients_fake, _gradients_autograd),
):
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    _LIBRARY.impl(_name, _rule, "Autograd", with_keyset=True)
    torch.library.register_fake(f"coset::{_name}", _fake, lib=_LIBRARY)
