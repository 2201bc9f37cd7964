"""Fused gather-product-scatter kernels on the CPU: the backend ``"cpu"``.

For plans whose output has channels, with one or two operands with channels (x, w) and at most two without (s, t), each read per
item, through an index or shared (:mod:`coset.ops.backends.llvm.structure`): the channelwise product inside message passing

    out[target(e), k, c] += sum_p w[e, p, c] sum_ij C_p[i, j, k] x[source(e), i, c] s[e, j]

with weights per edge, shared, absent or from a table of splines (:mod:`coset.ops.tabulated`). One kernel gives the output, one
the cotangents of any subset of the inputs; both are compiled on first use and kept on disk. Sums run in the order of
``Index.order``: equal calls give equal results, bit by bit, for any fixed number of threads. Threads divide the receivers; what
an operand collects through another index is collected once per thread and added up.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends.llvm import threads
from coset.ops.backends.llvm.backward import write_backward
from coset.ops.backends.llvm.buffers import pool
from coset.ops.backends.llvm.builder import Builder
from coset.ops.backends.llvm.calls import ROLES, Call, layout, prepare
from coset.ops.backends.llvm.compiler import load
from coset.ops.backends.llvm.forward import write_forward
from coset.ops.backends.llvm.items import ARGUMENTS, Setting
from coset.ops.backends.llvm.structure import structure
from coset.ops.backends.llvm.targets import ENVIRONMENT, Target
from coset.ops.index import Index
from coset.ops.plan import Plan

_SOURCES = tuple(
    str(File(__file__).with_name(f"{name}.py")) for name in ("convolution", "items", "forward", "backward", "structure")
)
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_kernels: dict[tuple[object, ...], Callable[..., None]] = {}


def supports(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
    """None if the kernels carry out this plan on these inputs, else the reason why not."""
    for x in inputs:
        if x.device.type != "cpu":
            return f"an input is on {x.device}"
        if x.dtype not in _DTYPES or x.dtype != inputs[0].dtype:
            return (
                f"inputs are {', '.join(sorted({str(x.dtype) for x in inputs}))}; the kernels take one of float32 and float64"
            )
    found = structure(plan)
    return found if isinstance(found, str) else None


def forward(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The output, ``(rows of its index, output rows, channels)``. InputError if a shape or an index does not fit."""
    call, taken = prepare(plan, inputs, indices, items)
    make = pool.empty if call.layout.covered else pool.zeros
    out = make((call.receivers, call.layout.rows, call.channels), call.dtype)
    kernel = _kernel(plan, call.channels, call.dtype, "forward")
    arguments = (*call.arguments(taken), out.data_ptr())
    ranges = call.ranges(1)
    if len(ranges) == 2:
        kernel(0, call.receivers, *arguments)
    else:
        threads.run(lambda part, first, last: kernel(first, last, *arguments), ranges)
    return out


def gradients(
    plan: Plan,
    inputs: Sequence[Tensor],
    grad: Tensor,
    indices: Mapping[str, Index],
    items: int,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    """The cotangents of the inputs marked in ``needs``, given that of the output; None elsewhere. Errors as :func:`forward`."""
    if not any(needs):
        return [None] * len(inputs)
    call, taken = prepare(plan, inputs, indices, items)
    expected = (call.receivers, call.layout.rows, call.channels)
    if grad.shape != expected or grad.dtype != call.dtype:
        raise InputError(f"the cotangent of {plan.output} is {expected}, {call.dtype}; got {tuple(grad.shape)}, {grad.dtype}")
    grad = grad.contiguous()
    roles = {role: place for role, place in call.layout.roles if needs[place]}
    kernel = _kernel(plan, call.channels, call.dtype, "".join(roles))
    ranges = call.ranges(len(roles))
    result = _results(call, roles, 1)[0]
    own = [_addresses(result, roles)]
    arguments = (*call.arguments(taken), grad.data_ptr())
    if len(ranges) == 2:
        kernel(0, call.receivers, *arguments, *own[0])
        return result
    # what several receivers collect into is collected by every thread for itself
    private = {role: place for role, place in roles.items() if call.layout.private[place]}
    others = _results(call, private, len(ranges) - 2)
    own += [_addresses([a if b is None else b for a, b in zip(result, other, strict=True)], roles) for other in others]
    threads.run(lambda part, first, last: kernel(first, last, *arguments, *own[part]), ranges)
    for other in others:
        for total, x in zip(result, other, strict=True):
            if total is not None and x is not None:
                array = total.numpy()
                np.add(array, x.numpy(), out=array)
    return result


def _results(call: Call, roles: Mapping[str, int], count: int) -> list[list[Tensor | None]]:
    """``count`` sets of arrays for cotangents, by input: zero where the kernel adds instead of storing."""
    sets: list[list[Tensor | None]] = [[None] * len(call.shapes) for _ in range(count)]
    for made, place in itertools.product(sets, roles.values()):
        make = pool.empty if call.layout.stored[place] else pool.zeros
        made[place] = make(call.shapes[place], call.dtype)
    return sets


def _addresses(arrays: Sequence[Tensor | None], roles: Mapping[str, int]) -> list[int]:
    """Of the cotangents, in the order of roles."""
    found = (arrays[roles[role]] if role in roles else None for role in ROLES)
    return [0 if x is None else x.data_ptr() for x in found]


def _kernel(plan: Plan, channels: int, dtype: torch.dtype, what: str) -> Callable[..., None]:
    """The compiled ``"forward"``, or the backward for the roles ``what``."""
    key = (plan.key, channels, dtype, what, os.environ.get(ENVIRONMENT))
    kernel = _kernels.get(key)
    if kernel is None:
        library = load(
            ("convolution", plan.key, channels, _DTYPES[dtype], what),
            lambda target: write(plan, channels, _DTYPES[dtype], what, target),
            sources=_SOURCES,
        )
        name, results = ("forward", 1) if what == "forward" else (f"gradients_{what}", 5)
        kernel = _kernels[key] = library.function(name, len(ARGUMENTS) + results)
    return kernel


def write(plan: Plan, channels: int, dtype: str, what: str, target: Target) -> str:
    """The module of one kernel: ``"forward"``, or the backward for roles as in ``"xsw"``. InputError for other plans.

    With 32 registers 16 rows are summed at once; with 16 registers fewer rows of two registers each, which share M.
    """
    many = target.registers >= 32
    lanes = target.lanes(dtype) * (2 if what == "forward" and not many else 1)
    lanes = min(lanes, 1 << (channels - 1).bit_length())
    k = Builder(dtype, lanes)
    setting = Setting(plan, layout(plan).structure, channels, max(32, lanes), rows=16 if many else 10, terms=14 if many else 10)
    if what == "forward":
        write_forward(k, setting)
    else:
        write_backward(k, setting, what)
    return k.text
