"""A truth made of the predictions themselves: undo the transformation of every prediction of an orbit and merge them.

``z_g = g^-1 . f(g . x)`` and ``y^ = merge_g z_g``. A consensus is no truth: a model that is wrong in the same way everywhere
has a flat consensus plot, so every finding says which reference it used. Classes are merged by majority (the mode; averaging
class indices is wrong for more than two classes), rotations by the mean projected onto SO(n), all else by the mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset.audits.metrics import Metric, probabilities
from coset.contract import Contract
from coset.errors import ContractError
from coset.groups.group import Group


def undo(contract: Contract, outputs: dict[str, Tensor], g: Any, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """``g^-1 .`` predictions ``(k, ...)`` of the elements ``g``; ContractError for a family without inverses."""
    if not isinstance(contract.group, Group):
        raise ContractError(f"{contract.group} has no inverses, so predictions cannot be turned back; pass the truth")
    back = contract.group.inverse(g)
    return contract.group.move_all(back, contract.outputs, outputs, given)


def merge(how: str, predictions: dict[str, Tensor]) -> Any:
    """One consensus per sample from untransformed predictions ``(k, samples, ...)`` by name.

    ``mode``: the most frequent class, ``(samples,)`` integers; ``rotation``: the projected mean; ``mean``: the mean, of
    integer outputs (a class beside a box) the mode.
    """
    if how == "mode":
        (only,) = predictions.values()
        return majority(only.argmax(-1) if only.is_floating_point() else only)
    merged = {}
    for name, value in predictions.items():
        if not value.is_floating_point() and not value.is_complex():
            merged[name] = majority(value)
        else:
            merged[name] = projected_mean(value) if how == "rotation" else value.double().mean(0).to(value)
    return merged[""] if set(merged) == {""} else merged


def majority(classes: Tensor) -> Tensor:
    """The most frequent integer along axis 0; of equally frequent ones the smallest."""
    return classes.mode(0).values


def projected_mean(rotations: Tensor) -> Tensor:
    """The rotation nearest to the mean of rotations ``(k, ..., n, n)``: SVD, the determinant kept at +1."""
    u, _, vh = torch.linalg.svd(rotations.double().mean(0))
    sign = torch.linalg.det(u @ vh).sign()
    flip = torch.ones_like(u[..., 0])
    flip[..., -1] = sign
    return (u * flip.unsqueeze(-2) @ vh).to(rotations)


def predicted_classes(metric: Metric, predictions: dict[str, Tensor]) -> Tensor | None:
    """The class predicted at every element, ``(k, samples)``; None for outputs that are no classes."""
    if not metric.labels or len(predictions) != 1:
        return None
    (only,) = predictions.values()
    return only.argmax(-1) if only.is_floating_point() else only


def mean_probabilities(predictions: dict[str, Tensor]) -> Tensor:
    """Class probabilities averaged over the orbit, ``(samples, classes)``."""
    (only,) = predictions.values()
    return probabilities(only).mean(0)
