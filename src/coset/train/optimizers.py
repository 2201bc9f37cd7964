"""Optimizers by name, and which parameters learn how: a group for weights, one without decay, one per part of an objective."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from coset.errors import InputError, unknown
from coset.recipe import Recipe
from coset.train.lars import LARS


def parameter_groups(model: nn.Module, objective: Any, rate: float) -> list[dict[str, Any]]:
    """A group for the model, one for what its ``undecayed()`` names, one for every part of the objective that owns any.

    InputError where nothing asks for a gradient.
    """
    owned = {id(p) for p in model.parameters()}
    spared = set(getattr(model, "undecayed", list)())
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named if name not in spared], "lr": rate},
        {"params": [p for name, p in named if name in spared], "lr": rate, "weight_decay": 0.0},
    ]
    if isinstance(objective, nn.Module):
        groups += [{"params": params, "lr": own, "weight_decay": 0.0} for own, params in _owned(objective, rate, owned)]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError("nothing to train: no parameter of the model asks for a gradient; use Stage(loop=None)")
    return groups


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """adamw, adam, amsgrad (Adam that keeps its largest second moment), sgd (momentum 0.9) or lars.

    InputError with the nearest name otherwise.
    """
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "lars":
        return LARS(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    known = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    if recipe.optimizer not in (*known, "amsgrad"):
        raise unknown("optimizer", recipe.optimizer, [*known, "amsgrad", "sgd", "lars"])
    # one fused call for all tensors: for small networks a third of a step
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    if recipe.optimizer == "amsgrad":
        return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, amsgrad=True, fused=fused)
    return known[recipe.optimizer](groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def _owned(objective: nn.Module, rate: float, taken: set[int]) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Learning rate and parameters of each part; a part with an attribute ``lr`` decides for itself and what is in it."""
    rate = float(getattr(objective, "lr", None) or rate)
    mine = [p for p in objective.parameters(recurse=False) if p.requires_grad and id(p) not in taken]
    taken |= {id(p) for p in mine}
    if mine:
        yield rate, mine
    for child in objective.children():
        yield from _owned(child, rate, taken)
