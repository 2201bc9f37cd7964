"""NERO: the error of a model as a function over the orbit of each sample, and averaged over a data set.

For a sample x with truth y the *individual* plot is ``m(f(g . x), g . y)`` over g, the *aggregate* its mean over samples (or
over those of one class). Without truth, the consensus of the predictions takes its place (:mod:`coset.audits.consensus`);
every finding says which reference was used. One resampling from the original for each element, never chained; the value at
the identity is that of the plain evaluation.

Source: Zhao, Matsuzawa, Irvine, Maire and Kindlmann, *Evaluating Machine Learning Models with NERO: Non-Equivariance
Revealed on Orbits*, arXiv 2305.19889. Ours: the numbers of ``OrbitResult.numbers``, the mode for classes, the projected
mean for rotations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits import precision
from coset.audits.cache import Cache, collect
from coset.audits.consensus import merge, predicted_classes, undo
from coset.audits.elements import on_device, take
from coset.audits.equivariance import floors
from coset.audits.grids import Grid, grid_of, scales, translations
from coset.audits.metrics import Metric, apply, check_labels, is_labels, metric_of
from coset.audits.orbit_result import OrbitResult
from coset.audits.passes import BATCH, Plan
from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import Scale, T
from coset.groups.group import Group
from coset.reps.image import Image

MEMORY = 2 * 2**30  #: bytes that an orbit may take
PIXELS = 8.0  #: how far translations of an image go by default, in pixels


def orbits(
    f: Callable[..., Any], x: Any, contract: Contract, *, elements: Any = None,
    metric: str | Metric | Callable[..., Any] | None = None, truth: Any = None, consensus: bool | None = None,
    samples: int = 72, dtype: str | None = None, batch: int = BATCH, memory: int = MEMORY, cache: str | Path | None = None,
    keep: bool | None = None, seed: int = 0,
) -> OrbitResult:  # fmt: skip
    """The values of ``metric`` on the orbits of the samples in ``x``, ``(samples, *grid)``.

    ``x`` is one sample of the contract's inputs that holds many members (a batch of images). ``elements`` is a
    :class:`~coset.audits.grids.Grid` or a batch of elements; by default the grid that fits the group, of about ``samples``
    elements. ``truth`` is one class per member (integers, which nothing moves) or outputs at the identity, which move with
    g. Without it the consensus is used; ``consensus=False`` forbids that, ``True`` asks for it although a truth is given.
    Mask and resolution belong to the declared input (``image(size=16, disc=true)``).

    Predictions are kept (turned back by ``g^-1``) while they fit in ``memory`` bytes, or as ``keep`` says; beyond that only
    the values are streamed, and where not even these fit the call is refused with the estimate. ``cache`` is a folder in
    which predictions are kept by the hash of weights, sample and grid.

    Raises InputError for an empty orbit, a missing truth with ``consensus=False``, labels that are no classes, a metric that
    returns no finite number per sample, an orbit beyond ``memory``; ContractError where the group cannot move the input or
    the output does not match its declared field.
    """
    torch_dtype = precision.dtype_of(dtype) if dtype else None
    if torch_dtype:
        f = precision.at_dtype(f, torch_dtype)
    packed = contract.inputs.pack(x)
    packed = precision.cast(contract.inputs, packed, torch_dtype) if torch_dtype else packed
    bound = contract.bind(packed)
    grid = (
        grid_of(bound.group, elements, samples=samples, seed=seed)
        if elements is not None
        else _fitting(bound, packed, samples, seed)
    )
    grid = replace(grid, elements=on_device(grid.elements, next(iter(packed.values())).device))
    plan = Plan.make(f, contract, packed, grid.elements, batch=batch, seed=seed)
    measure = metric_of(metric, truth)
    if truth is None and consensus is False:
        raise InputError("orbits: there is no truth and the consensus is not asked for; pass truth=..., or leave consensus out")
    use_consensus = truth is None if consensus is None else consensus
    if truth is None and metric is None:
        measure = _of_outputs(plan)
    reference = None if use_consensus else _check_truth(plan, truth, measure)
    keep = _budget(plan, grid, memory, keep)
    store = Cache(cache, f, plan, grid, torch_dtype) if cache is not None else None
    return _measure(plan, grid, measure, reference, keep, store, truth)


def _fitting(contract: Contract, x: Mapping[str, Tensor], samples: int, seed: int) -> Grid:
    """The default grid; translations of an image go by whole pixels, factors of scale from 0.3 to 1."""
    if isinstance(contract.group, T):
        for name, declared in contract.inputs:
            if isinstance(declared.kind, Image) and contract.group.element_shape == (3, 3):
                width = x[name].shape[-1]
                return translations(contract.group, [step * max(1.0, round(PIXELS / 4)) for step in range(-4, 5)], width)
    if isinstance(contract.group, Scale):
        return scales(contract.group)
    return grid_of(contract.group, samples=samples, seed=seed)


def _of_outputs(plan: Plan) -> Metric:
    """Without truth or metric: distance from the consensus, relative to its size."""
    return metric_of("relative_error", None)


def _check_truth(plan: Plan, truth: Any, metric: Metric) -> Any:
    if metric.labels:
        labels = torch.as_tensor(truth)
        if not is_labels(labels):
            raise InputError(
                f"metric {metric.name!r} compares with classes: expected one integer per sample, got {tuple(labels.shape)}"
            )
        if len(labels) != plan.members.count:
            raise InputError(f"expected one label for each of {plan.members.count} samples, got {len(labels)}")
        return labels
    return plan.contract.look(truth) if plan.contract.view is None else plan.contract.outputs.pack(truth)


def _budget(plan: Plan, grid: Grid, memory: int, keep: bool | None) -> bool:
    """Whether predictions can be kept; makes the parts small enough, InputError where not even one part fits."""
    count = max(plan.members.count, 1)
    values = 8 * len(grid) * count
    outputs = sum(value.element_size() * value.numel() for value in plan.plain().values()) * len(grid)
    inputs = sum(value.element_size() * value.numel() for value in plan.x.values())
    least = 1 if plan.independent else count  # members of the smallest part
    part = (outputs + inputs) / count * least
    told = f"orbits of {plan.members.count} samples x {len(grid)} elements"
    have = f"the budget is {memory / 2**20:.3g} MiB"
    if values + part > memory:
        raise InputError(
            f"{told} need about {(values + part) / 2**20:.3g} MiB, {have}; take fewer samples or elements, or raise memory"
        )
    if plan.independent:  # a part's whole orbit is held at once, and one pass of transformed inputs
        plan.batch = max(1, min(plan.batch, int((memory - values) / (part + 1))))
    fits = values + 2 * outputs <= memory
    if keep and not fits:
        raise InputError(
            f"keeping the predictions of {told} needs about {(values + 2 * outputs) / 2**20:.3g} MiB, {have}; "
            "leave keep out to stream them"
        )
    return fits if keep is None else keep


def _measure(
    plan: Plan, grid: Grid, metric: Metric, reference: Any, keep: bool, store: Cache | None, truth: Any
) -> OrbitResult:
    """Members in parts; for each part the whole orbit, its reference, its values."""
    count = plan.members.count
    values = np.empty((count, len(grid)))
    kept: list[np.ndarray] = []
    merged: list[Any] = []
    classes = np.full((count, len(grid)), -1, dtype=np.int64)
    has_classes = False
    for rows, part in plan.chunks():
        raw = store.orbit(part) if store else collect(part, grid)
        invertible = isinstance(part.contract.group, Group)
        back = _lead(part, undo(part.contract, raw, grid.elements, part.x)) if invertible else None
        predictions = _lead(part, raw)
        found = predicted_classes(metric, predictions)
        if found is not None:
            if reference is not None:
                check_labels(reference, int(next(iter(predictions.values())).shape[-1]))
            classes[rows[:, None], np.arange(len(grid))] = found.T.cpu().numpy()
            has_classes = True
        if reference is None:
            if back is None:
                raise ContractError(f"{part.contract.group} has no inverses, so there is no consensus; pass the truth")
            target = merge(metric.consensus, back)
            merged.append(target)
        else:
            target = _rows_of(reference, rows, plan)
        values[rows] = _values(part, grid, metric, predictions, target).T
        if keep and back is not None and len(back) == 1:
            kept.append(next(iter(back.values())).transpose(0, 1).cpu().numpy())
    axes = [{"kind": a.kind, "name": a.name, "coordinates": list(a.coordinates), "labels": list(a.labels)} for a in grid.axes]
    return OrbitResult(
        values=values.reshape(count, *grid.shape), axes=axes, metric=metric.name, better=metric.better,
        limit=list(metric.limit) if metric.limit else None, reference="consensus" if reference is None else "truth",
        contract=str(plan.contract), group=str(plan.contract.group), identity=grid.identity, cyclic=grid.cyclic,
        angles=np.asarray(grid.axes[0].coordinates) if grid.axes[0].kind == "angle" and len(grid.axes) == 1 else None,
        vectors=None if grid.vectors is None else grid.vectors.numpy(),
        predictions=np.concatenate(kept) if kept else None, classes=classes if has_classes else None,
        consensus=_joined(merged), labels=torch.as_tensor(truth).cpu().numpy() if is_labels(truth) else None,
        exact=_exact(plan, grid), notes=list(plan.notes),
    )  # fmt: skip


def _lead(plan: Plan, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs ``(k, members, ...)``: a lone member gets its axis."""
    return {name: value.unsqueeze(1) if plan.members.index is None else value for name, value in outputs.items()}


def _values(plan: Plan, grid: Grid, metric: Metric, predictions: dict[str, Tensor], target: Any) -> np.ndarray:
    """``(elements, members)``; classes stay, any other reference moves with g."""
    count, out = plan.members.count, []
    outputs, group, lone = plan.contract.outputs, plan.contract.group, plan.members.index is None
    packed = {} if metric.labels else outputs.pack(target)
    for i in range(len(grid)):
        y = outputs.unpack({name: value[i] for name, value in predictions.items()})
        moved: Any = target
        if packed:
            g = take(grid.elements, i, i + 1)
            # the axis of a lone member is ours, not the field's
            given = {name: value if lone else value.unsqueeze(0) for name, value in packed.items()}
            parts = group.move_all(g, outputs, given, plan.x)
            moved = outputs.unpack({name: value if lone else value[0] for name, value in parts.items()})
        out.append(apply(metric, y, moved, count).cpu().numpy())
    return np.stack(out)


def _rows_of(reference: Any, rows: Tensor, plan: Plan) -> Any:
    if isinstance(reference, Mapping):
        picked = plan.members.take(plan.contract.outputs, dict(reference), rows) if plan.members.dense else dict(reference)
        lone = plan.members.index is None
        return {name: value.unsqueeze(0) if lone else value for name, value in picked.items()}
    return reference[rows]


def _joined(merged: list[Any]) -> np.ndarray | None:
    if not merged or isinstance(merged[0], Mapping):
        return None
    return torch.cat([one if one.ndim else one.view(1) for one in merged]).cpu().numpy()


def _exact(plan: Plan, grid: Grid) -> np.ndarray | None:
    """Which elements keep the grid, where others are resampled; None where all are exact."""
    if len(plan.contract.group.factors()) > 1:
        return None
    found = floors(plan, grid.elements)
    return found == 0 if bool((found > 0).any()) else None
