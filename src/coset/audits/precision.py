"""What a dtype can hold: the one table of tolerances, and models and samples brought to a dtype.

Relative errors below ``tolerance(dtype)`` cannot be told from rounding. Exact claims are judged in float64 on a CPU; lower
precision is measured and reported.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError, unknown
from coset.reps.fields import Fields

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 2e-2}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCES}


def dtype_of(name: str | torch.dtype) -> torch.dtype:
    """``"float64"`` or ``torch.float64`` as a dtype; InputError for one without a tolerance."""
    if isinstance(name, torch.dtype):
        name = str(name).removeprefix("torch.")
    if name not in DTYPES:
        raise unknown("dtype", str(name), DTYPES)
    return DTYPES[name]


def tolerance(dtype: str | torch.dtype) -> float:
    """Largest relative error that rounding explains: float64 1e-10, float32 1e-4, float16 5e-3, bfloat16 2e-2."""
    return TOLERANCES[dtype_of(dtype)]


def at_dtype(f: Callable[..., Any], dtype: torch.dtype) -> Callable[..., Any]:
    """``f`` computing in ``dtype`` on the CPU or wherever it lives: a copy where its weights are of another dtype.

    A function without weights is returned as it is. InputError for a module that cannot be copied.
    """
    if not isinstance(f, nn.Module):
        return f
    held = [t for t in (*f.parameters(), *f.buffers()) if t.is_floating_point()]
    if all(t.dtype == dtype for t in held):
        return f
    try:
        return copy.deepcopy(f).to(dtype)
    except Exception as error:
        own = str(held[0].dtype).removeprefix("torch.")
        raise InputError(
            f"{type(f).__name__} has {own} weights and cannot be copied to {dtype} ({type(error).__name__}: {error}); "
            f"pass it in that dtype, or audit with dtype={own!r}"
        ) from error


def born_coarser(f: Callable[..., Any], dtype: torch.dtype, error: float) -> str:
    """A note where a small error in ``dtype`` may be digits that a model of lower precision never had; empty otherwise."""
    held = [t for t in (*f.parameters(), *f.buffers()) if t.is_floating_point()] if isinstance(f, nn.Module) else []
    own = held[0].dtype if held else dtype
    if own == dtype or own not in TOLERANCES or not error < torch.finfo(own).eps:
        return ""
    name = str(own).removeprefix("torch.")
    return (
        f"the model was made in {name}: constants that it computed then (3j symbols, grids, tables) keep the digits of {name}, "
        f"which may be all there is to it; make it after torch.set_default_dtype({dtype}) to tell"
    )


def cast(fields: Fields, x: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Floating tensors, and integers that a group moves (grey levels), in ``dtype``; pointers and labels as they are."""
    out = {}
    for name, value in x.items():
        declared = fields.of(name)
        moved = declared.target is None and not declared.kind.still
        out[name] = value.to(dtype) if value.is_floating_point() or moved else value
    return out
