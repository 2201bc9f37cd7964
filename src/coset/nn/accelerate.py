"""Models that somebody built with e3nn, on the kernels of this package, with their own weights.

In use::

    model = accelerate(model)                                # a model of mace-torch: a crystal is made to verify it
    model = accelerate(model, (positions, edge_index))       # any model: positional arguments of its forward

Modules are known by their structure, so that e3nn 0.4 and 0.6 can be read and neither is imported; coefficients are read off
each module (:mod:`coset.nn.foreign_reading`), and what is not known stays as it is and is named. Only ``forward`` is replaced
(:mod:`coset.nn.foreign_swap`): parameters, buffers, ``state_dict``, optimizers and hooks are those of the model as it was, and
:func:`restore` takes every replacement out again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from coset.errors import InputError
from coset.nn.foreign_check import Report, compare_models, compare_speed
from coset.nn.foreign_choice import choose
from coset.nn.foreign_example import example_crystal, is_potential
from coset.nn.foreign_swap import swaps

M = TypeVar("M", bound=nn.Module)
TABLE_TOLERANCE = 1e-4  #: instead of rounding, where radial networks are tabulated


def accelerate(
    model: M,
    example: Any = None,
    *,
    table: bool = False,
    pairs: bool = True,
    tolerance: float | None = None,
    rounds: int = 5,
    report: Callable[[Report], object] | None = print,
) -> M:
    """``model`` itself, with the forwards of its e3nn modules replaced, after it was found to give the same results.

    ``example`` is input for it, a tuple of positional arguments or the only argument; models of mace-torch need none. Every
    module is compared with its replacement, then the whole model with itself as it was: outputs (energy, forces, ...) and
    the gradients of a training step, each to ``tolerance`` relative to its largest entry (1e-10 in float64; in float32 1e-4, or
    twice the original's own error). ``rounds`` calls of each, alternating, give the speed-up. ``report`` is called with the
    :class:`~coset.nn.foreign_check.Report`; :func:`report_of` gives it again.

    ``pairs``: the two edges between two atoms share one evaluation of the radial network; energy, forces and stress are the
    same, and a call that asks for forces edge by edge shares nothing. ``table``: radial networks, which must be frozen, are
    read from tables of splines (value and slope to 1e-5 of the largest, 1e-7 in float64); the tolerance is then 1e-4.

    InputError if nothing can be replaced, with the reasons, or if a result deviates: the model is then as it was.
    """
    _refuse(model)
    choice = choose(model, paired=pairs, table=table)
    if not choice.swapped:
        reasons = "; ".join(f"{path or 'the model'}: {why}" for path, why in choice.kept)
        raise InputError(
            f"{type(model).__name__} has nothing that can be accelerated: {reasons or 'no module of e3nn is in it'}"
        )
    given = example_crystal(model) if example is None and is_potential(model) else example
    tolerance = TABLE_TOLERANCE if tolerance is None and table else tolerance
    for _, swap in choice.swaps:
        swap.install()
    try:
        result = Report(choice.swapped, tuple(choice.kept))
        if given is not None:
            outputs, gradients = compare_models(model, given, tolerance)
            result = replace(
                result, outputs=tuple(outputs), gradients=tuple(gradients), seconds=compare_speed(model, given, rounds)
            )
        result = replace(result, notes=tuple(filter(None, (swap.note(path) for path, swap in choice.swaps))))
    except BaseException:
        restore(model)
        raise
    for _, swap in choice.swaps:
        swap.report = result
    if report is not None:
        report(result)
    return model


def restore(model: M) -> M:
    """The model as it was before :func:`accelerate`, weights as they are now."""
    for swap in swaps(model):
        swap.remove()
    return model


def report_of(model: nn.Module) -> Report:
    """The report of the last :func:`accelerate` of this model; InputError if there was none."""
    for swap in swaps(model):
        if swap.report is not None:
            return swap.report
    raise InputError(f"{type(model).__name__} has not been accelerated")


def _refuse(model: Any) -> None:
    """InputError for what cannot be taken apart."""
    if not isinstance(model, nn.Module):
        raise InputError(f"accelerate takes a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError("the model is TorchScript, which has no parts to replace; accelerate the module it was made from")
    if hasattr(model, "_orig_mod"):
        raise InputError("the model is wrapped by torch.compile; accelerate the module first, then compile it")
    if swaps(model):
        raise InputError("the model is accelerated already; restore(model) takes that back")
