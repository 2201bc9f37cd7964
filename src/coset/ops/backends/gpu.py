"""The ``triton`` backend: plans on an accelerator, one generated kernel per plan (extra ``triton``).

Gradients run as plans of their own (:meth:`coset.ops.plan.Plan.gradient`), each in an order that does not change from run to
run. With ``TRITON_INTERPRET=1`` in the environment before the first import of triton the same kernels run on CPU tensors,
slowly: that is how they are tested where there is no accelerator.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coset.errors import require
from coset.ops.backends.exchange import gradients_by_exchange
from coset.ops.backends.triton_source import ROWS, kernels
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Plan

#: programs that share one sum over all items; more than a GPU has multiprocessors, few enough to add up afterwards
PARTS = 512


def supports(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
    """None if this backend can run the plan on these tensors, else the reason why not."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (extra 'triton')"
    if not inputs[0].is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return f"triton needs tensors on a GPU, got {inputs[0].device} (TRITON_INTERPRET=1 runs it on the CPU, for tests)"
    if inputs[0].dtype not in (torch.float32, torch.float64):
        return f"triton kernels are made for float32 and float64, got {inputs[0].dtype}"
    return None


def forward(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The plan's sum; shapes as :class:`coset.ops.plan.Operand` says."""
    return _run(plan, inputs, indices, items, _channels(plan, inputs))


def _channels(plan: Plan, inputs: Sequence[Tensor]) -> int:
    return next((x.shape[-1] for o, x in zip(plan.inputs, inputs, strict=True) if o.channels), 1)


def _run(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int, channels: int) -> Tensor:
    """One launch per block of output rows. ``channels`` is given: the gradient of a sum over channels cannot tell it."""
    inputs = [x.contiguous() for x in inputs]
    out = plan.output
    count = min(PARTS, max(items, 1)) if out.index == SHARED else items if out.index == ITEM else indices[out.index].size
    # rows that no item reaches are written too: their program sums nothing
    result = inputs[0].new_empty(count, out.rows, *[channels] * out.channels)
    named = sorted({o.index for o in plan.inputs} - {ITEM, SHARED})
    tensors = [*inputs, *(indices[name].values.contiguous() for name in named)]
    if out.index not in (ITEM, SHARED):
        tensors += [indices[out.index].order, indices[out.index].pointer]
    if result.numel():
        block = min(_power_of_two(channels), 128)
        grid = (count, -(-channels // block) if out.channels else 1)
        for kernel in _compiled(plan):
            kernel[grid](*tensors, result, items, channels, block, num_warps=max(1, block // 32))
    return result.sum(0) if out.index == SHARED else result


def gradients(
    plan: Plan,
    inputs: Sequence[Tensor],
    grad: Tensor,
    indices: Mapping[str, Index],
    items: int,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """Cotangents of the inputs that are asked for."""
    channels = _channels(plan, inputs)
    return gradients_by_exchange(
        lambda exchanged, given: _run(exchanged, given, indices, items, channels), plan, inputs, grad, needs
    )


def _power_of_two(n: int) -> int:
    """The least power of two that is at least ``n``."""
    return 1 << max(n - 1, 0).bit_length()


@lru_cache(maxsize=512)
def _compiled(plan: Plan) -> tuple[Any, ...]:
    """The kernels of a plan. Triton reads their source from a file, so they are written to a cache folder first."""
    require("triton", extra="triton")
    text = kernels(plan)
    name = f"coset_plan_{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    path = _folder() / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return tuple(getattr(module, f"kernel_{n}") for n in range(-(-max(plan.output.rows, 1) // ROWS)))


def _folder() -> Path:
    """Where generated kernels lie: ``COSET_CACHE``, else the user's cache folder."""
    base = os.environ.get("COSET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "coset"
    folder = Path(base) / "triton"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
