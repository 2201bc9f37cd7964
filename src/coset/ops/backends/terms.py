"""Any plan in plain PyTorch, whatever its operands: gathered rows are multiplied term by term, one matrix adds them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from coset.ops.backends.exchange import gradients_by_exchange
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Operand, Plan

ENTRIES = 1 << 22  #: numbers in the table of products, at most (or one item)


def forward(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The plan's sum; shapes as :class:`coset.ops.plan.Operand` says."""
    shape, output = plan.output_shape(inputs, indices, items), plan.output
    wide = next((x.shape[-1] for o, x in zip(plan.inputs, inputs, strict=True) if o.channels), 1)
    out = inputs[0].new_zeros(1 if output.index == SHARED else shape[0], output.rows, wide if output.channels else 1)
    rows, values = _tables(plan, inputs[0].dtype, inputs[0].device)
    step = max(1, ENTRIES // max(1, len(plan.terms) * wide))
    for begin in range(0, items, step):
        chunk = slice(begin, min(begin + step, items))
        product = values[None, :, None]
        for operand, x, row in zip(plan.inputs, inputs, rows, strict=False):
            product = product * _read(operand, x, indices, chunk).index_select(1, row)
        product = product if output.channels else product.sum(-1, keepdim=True)
        product = product.expand(chunk.stop - chunk.start, -1, -1)
        part = product.new_zeros(len(product), output.rows, product.shape[-1]).index_add_(1, rows[-1], product)
        if output.index == ITEM:
            out[chunk] = part
        elif output.index == SHARED:
            out += part.sum(0, keepdim=True)
        else:
            out.index_add_(0, indices[output.index].values[chunk], part)
    return out.reshape(shape)


def gradients(
    plan: Plan,
    inputs: Sequence[Tensor],
    grad: Tensor,
    indices: Mapping[str, Index],
    items: int,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The cotangents asked for: the same sum with the output's cotangent in the place of each input in turn."""
    return gradients_by_exchange(lambda exchanged, given: forward(exchanged, given, indices, items), plan, inputs, grad, needs)


@lru_cache(maxsize=256)
def _tables(plan: Plan, dtype: torch.dtype, device: torch.device) -> tuple[tuple[Tensor, ...], Tensor]:
    rows = tuple(torch.tensor(column.copy(), device=device) for column in plan.table.T)
    return rows, torch.tensor(plan.coefficients, dtype=dtype, device=device)


def _read(operand: Operand, x: Tensor, indices: Mapping[str, Index], chunk: slice) -> Tensor:
    """The operand as these items see it, ``(n or 1, rows, C or 1)``."""
    x = x if operand.channels else x.unsqueeze(-1)
    if operand.index == SHARED:
        return x.unsqueeze(0)
    return x[chunk] if operand.index == ITEM else x.index_select(0, indices[operand.index].values[chunk])
