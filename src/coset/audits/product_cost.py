"""What one product costs, beside what no implementation can go below: operations, bytes, seconds, memory.

The floors come from the mathematics alone: the sparse sum of a plan, term by term, and every operand read once and the result
written once. ``matmul_seconds`` is the time of a square matrix product of as many operations on the same device: what the
machine does when the work is laid out well. For a fair comparison rate products truncated to the same output irreps, and
divide by what they express (:func:`coset.audits.expressivity.expressivity`): Xie et al., The Price of Freedom, ICML 2025.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from coset.audits.cost import median_seconds
from coset.audits.memory import peak_bytes
from coset.errors import InputError
from coset.ops.plan import Plan
from coset.records import Finding

WARM_UP = 10
SIDE = 512  #: of the matrix product that states the machine's speed


@dataclass
class ProductCost(Finding):
    """One product on one batch."""

    flop_floor: int | None  #: of the sparse sum, None where no plan says what is computed
    byte_floor: int  #: inputs once, output once
    flops: int  #: counted: matrix products only
    forward_seconds: float
    backward_seconds: float | None  #: of the backward pass alone; None where no input is differentiable
    memory_bytes: int  #: added at the peak of a forward pass
    matmul_seconds: float | None  #: a matrix product of ``flop_floor`` operations
    device: str = "cpu"

    def per(self, expressivity: int) -> float:
        """Forward seconds per dimension of the maps expressed."""
        return self.forward_seconds / max(expressivity, 1)

    def plot(self) -> Any:
        """Times and floors as bars, in milliseconds."""
        from coset.figures.bars import bars

        rows = {"forward": self.forward_seconds, "backward": self.backward_seconds, "matmul": self.matmul_seconds}
        shown = {name: 1e3 * value for name, value in rows.items() if value is not None}
        return bars(list(shown), list(shown.values()), label="ms", title=f"floor {self.byte_floor} bytes")


def product_cost(
    op: Callable[..., Any], *inputs: Tensor, plan: Plan | None = None, items: int | None = None, repeats: int = 100
) -> ProductCost:
    """Measure ``op(*inputs)``; median of ``repeats`` after 10 warm-up calls. Inputs and their gradients are left alone.

    ``plan`` states what is computed (ours have ``.plan``; for a foreign product that of the same paths) and gives the floor
    of operations over ``items`` items, the leading size of the first input by default. InputError for no tensor or no
    repeats.
    """
    if repeats < 1 or not inputs:
        raise InputError(f"product_cost: at least one input and one repeat, got {len(inputs)} and {repeats}")
    copies = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    device = copies[0].device

    def forward() -> Tensor:
        return op(*copies)

    with torch.no_grad():
        for _ in range(WARM_UP):
            y = forward()
        with FlopCounterMode(display=False) as counter:
            forward()
        seconds = median_seconds(forward, repeats, device)
        memory = peak_bytes(forward, device)
    channels = max(x.shape[-1] for x in copies) if plan is not None else 1
    count = None if plan is None else plan.flops(len(copies[0]) if items is None else items, channels)
    return ProductCost(
        flop_floor=count, byte_floor=sum(x.numel() * x.element_size() for x in (*copies, y)),
        flops=counter.get_total_flops(), forward_seconds=seconds,
        backward_seconds=_backward(forward, [x for x in copies if x.requires_grad], repeats, device),
        memory_bytes=memory, matmul_seconds=None if count is None else count * _seconds_per_flop(y), device=str(device),
    )  # fmt: skip


def _backward(forward: Callable[[], Tensor], inputs: list[Tensor], repeats: int, device: torch.device) -> float | None:
    y = forward()
    if not y.requires_grad:
        return None
    ones = torch.ones_like(y)
    return median_seconds(lambda: torch.autograd.grad(y, inputs, ones, retain_graph=True, allow_unused=True), repeats, device)


def _seconds_per_flop(like: Tensor) -> float:
    a, b = (torch.ones(SIDE, SIDE, dtype=like.dtype, device=like.device) for _ in range(2))
    a @ b
    return median_seconds(lambda: a @ b, 10, like.device) / (2 * SIDE**3)
