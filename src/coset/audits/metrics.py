"""What an orbit plot shows at each element: one number per sample from a prediction and its reference.

A metric compares a prediction at ``g . x`` with the reference there: labels stay as they are, anything else is the truth
moved by the output's action, ``g . y``. Predictions and references come as they are declared (a tensor, or a mapping), with
the samples along the first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError, unknown


@dataclass(frozen=True)
class Metric:
    """``compute(prediction, reference) -> (samples,)``; ``labels`` says that the reference is a class, which nothing moves."""

    name: str
    compute: Callable[[Any, Any], Tensor]
    labels: bool = False
    better: str = "higher"  #: or "lower"
    limit: tuple[float, float] | None = None  #: the range of the color scale, fixed per metric
    consensus: str = "mean"  #: how predictions of an orbit are merged: mode, mean, rotation


def probabilities(output: Tensor) -> Tensor:
    """Class probabilities ``(..., classes)``: the output itself where its rows are probabilities, its softmax otherwise."""
    rows = output.double()
    sums = rows.sum(-1)
    if bool((rows >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        return rows
    return rows.softmax(-1)


def _probability(output: Tensor, labels: Tensor) -> Tensor:
    return probabilities(output).gather(-1, labels.view(-1, 1)).squeeze(-1)


def _correct(output: Tensor, labels: Tensor) -> Tensor:
    return (output.argmax(-1) == labels).double()


def _error(output: Any, truth: Any) -> Tensor:
    """Euclidean distance per sample."""
    gap = (
        [(output[name] - truth[name]).double() for name in output]
        if isinstance(output, Mapping)
        else [(output - truth).double()]
    )
    return torch.stack([part.reshape(len(part), -1).square().sum(-1) for part in gap]).sum(0).sqrt()


def _relative(output: Any, truth: Any) -> Tensor:
    zero = (
        {name: torch.zeros_like(value) for name, value in truth.items()}
        if isinstance(truth, Mapping)
        else torch.zeros_like(truth)
    )
    size = _error(truth, zero)
    gap = _error(output, truth)
    return torch.where(gap == 0, gap, gap / size)


def _end_point(output: Tensor, truth: Tensor) -> Tensor:
    """Mean over pixels of the length of the difference of flows ``(samples, 2, H, W)``."""
    return (output - truth).double().square().sum(-3).sqrt().mean((-1, -2))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes ``(..., 4)`` given as x1, y1, x2, y2 (x1 < x2, y1 < y2)."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:4], b[..., 2:4])
    inner = (high - low).clamp(min=0).prod(-1)
    area = (a[..., 2:4] - a[..., :2]).clamp(min=0).prod(-1) + (b[..., 2:4] - b[..., :2]).clamp(min=0).prod(-1)
    return torch.where(inner > 0, inner / (area - inner), torch.zeros_like(inner))


def _iou(output: Any, truth: Any) -> Tensor:
    """IoU, times the confidence where the output names one."""
    if not isinstance(output, Mapping):
        return iou(output, truth).double().reshape(len(output), -1).mean(-1)
    boxes = iou(output["box"], truth["box"]).double()
    weight = output.get("confidence")
    return (boxes if weight is None else boxes * weight.reshape(boxes.shape).double()).reshape(len(boxes), -1).mean(-1)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("probability", _probability, labels=True, limit=(0.0, 1.0), consensus="mode"),
        Metric("correct", _correct, labels=True, limit=(0.0, 1.0), consensus="mode"),
        Metric("error", _error, better="lower"),
        Metric("relative_error", _relative, better="lower"),
        Metric("rotation_error", _error, better="lower", consensus="rotation"),
        Metric("end_point_error", _end_point, better="lower"),
        Metric("iou", _iou, limit=(0.0, 1.0)),
    )
}


def metric_of(given: str | Metric | Callable[[Any, Any], Tensor] | None, truth: Any) -> Metric:
    """The metric meant: a name, a Metric, a function, or what fits the truth (classes: probability, else error)."""
    if isinstance(given, Metric):
        return given
    if given is None:
        return METRICS["probability" if is_labels(truth) else "error"]
    if isinstance(given, str):
        if given not in METRICS:
            raise unknown("metric", given, METRICS)
        return METRICS[given]
    if not callable(given):
        raise InputError(f"metric: a name ({', '.join(sorted(METRICS))}), a Metric or a function, got {given!r}")
    return Metric(
        getattr(given, "__name__", "metric"), given, labels=is_labels(truth), consensus="mode" if is_labels(truth) else "mean"
    )


def is_labels(truth: Any) -> bool:
    """Whether the truth is one integer per sample."""
    return isinstance(truth, Tensor) and truth.ndim == 1 and not truth.is_floating_point() and not truth.is_complex()


def apply(metric: Metric, output: Any, reference: Any, samples: int) -> Tensor:
    """The metric's values ``(samples,)`` in float64; InputError unless they are one finite number per sample."""
    try:
        values = metric.compute(output, reference)
    except (RuntimeError, IndexError, KeyError, TypeError) as error:
        raise InputError(f"metric {metric.name!r} cannot compare this output with this truth: {error}") from error
    if not isinstance(values, Tensor) or values.shape != (samples,):
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"metric {metric.name!r} must return one number per sample, shape ({samples},); it returned {found}")
    values = values.detach().double()
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(f"metric {metric.name!r} returned NaN or infinite values for {bad} of {samples} samples")
    return values


def check_labels(labels: Tensor, classes: int) -> None:
    """InputError for labels that are no class of the output."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, the model has the classes 0 to {classes - 1}"
        )
