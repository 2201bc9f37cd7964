"""The oracle: a plan read out term by term, in any dtype; nothing optimized, autograd differentiates it as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coset.ops.backends.exchange import gradients_by_exchange
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Operand, Plan


def evaluate(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The plan's sum over ``items`` items. Shapes as :class:`coset.ops.plan.Operand` says; the dtype of the inputs."""
    read = [_read(operand, x, indices, items) for operand, x in zip(plan.inputs, inputs, strict=True)]
    channels = max([x.shape[-1] for o, x in zip(plan.inputs, read, strict=True) if o.channels], default=1)
    total = read[0].new_zeros(items, plan.output.rows, channels if plan.output.channels else 1)
    for (*rows, k), coefficient in zip(plan.terms, plan.coefficients, strict=True):
        product = torch.full_like(total[:, 0, :1], coefficient)
        for x, row in zip(read, rows, strict=True):
            product = product * x[:, row]
        if not plan.output.channels:
            product = product.sum(-1, keepdim=True)
        total = total.index_add(1, torch.tensor([k], device=total.device), product.expand_as(total[:, 0]).unsqueeze(1))
    total = total if plan.output.channels else total.squeeze(-1)
    if plan.output.index == ITEM:
        return total
    if plan.output.index == SHARED:
        return total.sum(0)
    index = indices[plan.output.index]
    return total.new_zeros(index.size, *total.shape[1:]).index_add(0, index.values, total)


def supports(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
    """Every plan on every tensor."""
    return None


def forward(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """:func:`evaluate`."""
    return evaluate(plan, inputs, indices, items)


def gradients(
    plan: Plan,
    inputs: Sequence[Tensor],
    grad: Tensor,
    indices: Mapping[str, Index],
    items: int,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The cotangents asked for: the same sum with the output's cotangent in the place of each input in turn."""
    return gradients_by_exchange(lambda exchanged, given: evaluate(exchanged, given, indices, items), plan, inputs, grad, needs)


def _read(operand: Operand, x: Tensor, indices: Mapping[str, Index], items: int) -> Tensor:
    """The operand as every item sees it, ``(items, rows, C or 1)``."""
    x = x if operand.channels else x.unsqueeze(-1)
    if operand.index == SHARED:
        return x.expand(items, *x.shape)
    return x if operand.index == ITEM else x[indices[operand.index].values]
