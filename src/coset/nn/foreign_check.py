"""Is the accelerated model the same function, and is it faster? What is compared, and the report of it.

Every replaced module is compared with the original in float64 on random input, values and gradients. The whole model is
compared on the example in its own dtype: all outputs, and the gradients of a training step that differentiates them (forces
included, so that second derivatives are covered). In float32 the original model in float64 is a second judge: no result may be
more than twice as wrong as the original's, unless it deviates by little.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.foreign_example import is_potential
from coset.nn.foreign_reading import float_dtype, in_double
from coset.nn.foreign_swap import Swap, suspended

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest deviation relative to the largest entry, by dtype of the model; others as float32."""
OWN_ERROR = 2.0
"""In float32 also this often the original's own error is allowed: a sum of both roundings."""
STORED = {torch.float64: 1e-11, torch.float32: 1e-5}
"""The same for one module in float64, whose constants were stored in this dtype."""


@dataclass(frozen=True)
class Deviation:
    """One quantity: how far it is from the original's, relative to the largest entry, and both errors against float64."""

    name: str
    deviation: float
    error: float | None = None  #: of the accelerated model; None if it is float64 itself
    own_error: float | None = None  #: of the original

    def within(self, tolerance: float) -> bool:
        """Whether it may pass."""
        if self.error is None or self.own_error is None:
            return self.deviation <= tolerance
        return self.deviation <= tolerance or self.error <= OWN_ERROR * self.own_error

    def __str__(self) -> str:
        text = f"{self.name} {self.deviation:.1e}"
        return text if self.error is None else f"{text} (against float64: {self.error:.1e}, original {self.own_error:.1e})"


@dataclass(frozen=True)
class Report:
    """What was replaced, what was not and why, how far the results are apart and how much faster they come."""

    swapped: tuple[tuple[str, str], ...]  #: path, class
    kept: tuple[tuple[str, str], ...]  #: path, reason
    notes: tuple[str, ...] = ()  #: the tables of radial networks and their errors
    outputs: tuple[Deviation, ...] = ()
    gradients: tuple[Deviation, ...] = ()
    seconds: tuple[float, float] | None = None  #: of processor time per call, before and after

    @property
    def speedup(self) -> float | None:
        """How many times faster a call is; None if no example was run."""
        return None if self.seconds is None else self.seconds[0] / self.seconds[1]

    @property
    def largest(self) -> Deviation | None:
        """The largest deviation of an output."""
        return max(self.outputs, key=lambda d: d.deviation, default=None)

    def __str__(self) -> str:
        classes = Counter(what for _, what in self.swapped)
        lines = ["swapped: " + ", ".join(f"{n} {what}" for what, n in classes.items())]
        reasons: dict[str, list[str]] = {}
        for path, why in self.kept:
            reasons.setdefault(why, []).append(path)
        lines += [f"kept: {', '.join(paths)}: {why}" for why, paths in reasons.items()]
        lines += self.notes
        for title, found in (("deviation", self.outputs), ("deviation of gradients", self.gradients)):
            lines += [f"{title}: {'; '.join(map(str, found))}"] if found else []
        if self.seconds is None:
            lines.append("no example: modules were compared one by one, the whole model was not run")
        else:
            before, after = (1e3 * time for time in self.seconds)
            lines.append(f"speed-up: {self.speedup:.1f} ({before:.1f} ms to {after:.1f} ms)")
        return "\n".join(lines)


def compare_module(make: Callable[[nn.Module], Swap], module: nn.Module, generator: torch.Generator) -> str | None:
    """None, or how one module's replacement deviates from it, in float64 on random input, values and gradients."""
    try:
        worst = _module_deviation(make, module, generator)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return f"its replacement cannot be compared with it ({type(error).__name__}: {error})"
    allowed = STORED.get(float_dtype(module), STORED[torch.float32])
    return None if worst <= allowed else f"its replacement deviates by {worst:.1e} on random input, allowed {allowed:.0e}"


def _module_deviation(make: Callable[[nn.Module], Swap], module: nn.Module, generator: torch.Generator) -> float:
    """The largest relative deviation among outputs and gradients."""
    double = in_double(module).requires_grad_(True)
    swap = make(double)
    given = swap.random_input(generator)
    found = []
    for forward in (double, swap):
        inputs = [x.clone().requires_grad_(True) if _is_float(x) else x for x in given]
        outputs = [y for y in _flat(forward(*inputs)) if _is_float(y)]
        weights = [torch.cos(torch.arange(y.numel(), dtype=y.dtype)).view(y.shape) for y in outputs]
        total = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
        leaves = [x for x in inputs if _is_float(x)] + [p for p in double.parameters() if p.requires_grad]
        found.append([*outputs, *torch.autograd.grad(total, leaves, allow_unused=True)])
    return max((relative(b, a) for a, b in zip(*found, strict=True)), default=0.0)


def compare_models(model: nn.Module, example: Any, tolerance: float | None) -> tuple[list[Deviation], list[Deviation]]:
    """Outputs and gradients of the model with its swaps against without; InputError if one is not within the tolerance."""
    dtype = float_dtype(model)
    tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.float32]) if tolerance is None else tolerance
    ours = _observe(model, example)
    with suspended(model):
        theirs = _observe(model, example)
        truth = None if dtype == torch.float64 else _observe_double(model, example)
    found = []
    for mine, original, true in zip(ours, theirs, truth or ({}, {}), strict=True):
        deviations = []
        for name, value in original.items():
            judged = (None, None) if name not in true else (relative(mine[name], true[name]), relative(value, true[name]))
            deviations.append(Deviation(name, relative(mine[name], value), *judged))
        found.append(deviations)
    for deviation in (*found[0], *found[1]):
        if not deviation.within(tolerance):
            raise InputError(
                f"the accelerated model is not the original: {deviation}, allowed {tolerance:.0e}; nothing was changed"
            )
    return found[0], found[1]


def compare_speed(model: nn.Module, example: Any, rounds: int) -> tuple[float, float]:
    """Processor seconds per call without and with the swaps: medians of alternating calls, after two of each."""
    before, after = [], []
    for turn in range(rounds + 2):
        with suspended(model):
            theirs = _seconds(model, example)
        ours = _seconds(model, example)
        if turn >= 2:
            before.append(theirs)
            after.append(ours)
    return statistics.median(before), statistics.median(after)


def relative(x: Tensor | None, y: Tensor | None) -> float:
    """The largest difference over the largest entry of ``y``; absent tensors are zero."""
    if x is None or y is None:
        other = y if x is None else x
        return 0.0 if other is None or not other.numel() or float(other.abs().max()) == 0.0 else float("inf")
    if not x.numel() or x.shape != y.shape:
        return 0.0 if x.shape == y.shape else float("inf")
    x, y = x.detach().double(), y.detach().double()
    return float((x - y).abs().max()) / max(float(y.abs().max()), torch.finfo(y.dtype).tiny)


def call(model: nn.Module, example: Any, **options: Any) -> Any:
    """The model on a copy of the example: a tuple holds positional arguments, anything else is the only one."""
    arguments = example if isinstance(example, tuple) else (example,)
    return model(*[_copied(argument) for argument in arguments], **options)


def _observe(model: nn.Module, example: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs by name, and the gradients that a training step on all of them gives the parameters."""
    options = {"training": True} if is_potential(model) else {}
    outputs = _named(call(model, example, **options))
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    differentiable = [y for y in outputs.values() if y.requires_grad]
    gradients: dict[str, Tensor] = {}
    if parameters and differentiable:
        loss = torch.stack([(y - y.detach().mean()).square().mean() + y.mean() for y in differentiable]).sum()
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        pairs = zip(parameters, found, strict=True)
        gradients = {name: torch.zeros(1) if g is None else g for name, g in pairs}
        whole = torch.cat([g.flatten() for g in gradients.values()])
        gradients = {"all parameters": whole}
    return {name: y.detach() for name, y in outputs.items()}, gradients


def _observe_double(model: nn.Module, example: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same for a copy in float64."""
    double = in_double(model)
    for mine, theirs in zip(double.parameters(), model.parameters(), strict=True):
        mine.requires_grad_(theirs.requires_grad)
    return _observe(double, _mapped(example, lambda x: x.cpu().double() if x.is_floating_point() else x.cpu()))


def _seconds(model: nn.Module, example: Any) -> float:
    began = time.process_time()
    call(model, example)
    return time.process_time() - began


def _named(outputs: Any) -> dict[str, Tensor]:
    """Floating tensors of a nest, by name."""
    if isinstance(outputs, Mapping):
        pairs: Sequence[tuple[str, Any]] = [(str(name), value) for name, value in outputs.items()]
    elif isinstance(outputs, (tuple, list)):
        pairs = [(f"output {n}", value) for n, value in enumerate(outputs)]
    else:
        pairs = [("output", outputs)]
    return {name: value for name, value in pairs if _is_float(value)}


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _copied(argument: Any) -> Any:
    return _mapped(argument, lambda x: x.detach().clone().requires_grad_(x.requires_grad))


def _mapped(argument: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Tensors of a nest of dictionaries and sequences changed, the rest as it is."""
    if isinstance(argument, Tensor):
        return change(argument)
    if isinstance(argument, Mapping):
        return {name: _mapped(value, change) for name, value in argument.items()}
    if isinstance(argument, (tuple, list)):
        return type(argument)(_mapped(value, change) for value in argument)
    return argument
