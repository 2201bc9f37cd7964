"""Full-batch descent without Lightning, for small problems where a step costs less than a trainer's hooks.

The signature and the recipe's fields are those of :func:`coset.train.fit.fit`: an epoch is one step on all samples
(``recipe.samples`` of them, if given), ``batch`` and ``precision`` are not used. With ``patience`` the weights of the best
validation loss are kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import seeded
from coset.errors import InputError
from coset.recipe import Data, Recipe
from coset.train.optimizers import make_optimizer
from coset.train.run import Run
from coset.train.schedule import make_schedule


def full_batch(model: nn.Module, objective: Any, data: Data, recipe: Recipe, run: Run | None = None) -> nn.Module:
    """Train ``model`` in place, one step per epoch, and return it in eval mode.

    Raises InputError for more samples than there are, patience without validation data, and a loss that is no number.
    """
    run = run or Run()
    train = _first(data.train, recipe.samples)
    if recipe.patience and data.valid is None:
        raise InputError("recipe: patience needs data.valid, which this task does not give")
    objective = copy.deepcopy(objective)
    kept: dict[str, Any] = {}
    best, since = float("inf"), 0
    with seeded(run.seed):
        optimizer = make_optimizer(recipe, [{"params": [p for p in model.parameters() if p.requires_grad], "lr": recipe.lr}])
        schedule = make_schedule(recipe, optimizer, recipe.epochs)
        for epoch in range(recipe.epochs):
            began = time.perf_counter()
            loss = _step(model.train(), objective, train, optimizer, recipe.clip)
            schedule.step()
            if hasattr(objective, "after_step"):
                with torch.no_grad():
                    objective.after_step(model, epoch + 1)
            run.trace.steps += 1
            run.trace.seconds += time.perf_counter() - began
            run.trace.curve.append({"epoch": epoch + 1, "step": epoch + 1, "loss": loss})
            run.say(epoch=epoch + 1, epochs=recipe.epochs, step=epoch + 1, loss=loss)
            if recipe.patience:
                with torch.no_grad():
                    value = objective(model.eval(), data.valid)["loss"].item()
                best, since, kept = (value, 0, copy.deepcopy(model.state_dict())) if value < best else (best, since + 1, kept)
                if since >= recipe.patience:
                    run.trace.stopped = f"no better validation loss for {since} epochs, in epoch {epoch + 1}"
                    break
            if run.expired():
                run.trace.stopped = f"time was up in epoch {epoch + 1} of {recipe.epochs}"
                break
    if kept:
        model.load_state_dict(kept)
    return model.eval()


def _step(model: nn.Module, objective: Any, batch: Mapping[str, Tensor], optimizer: Any, clip: float) -> float:
    loss = objective(model, batch)["loss"]
    if not bool(torch.isfinite(loss)):
        raise InputError(f"the loss became {loss.item()}; lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return float(loss.detach())


def _first(train: Mapping[str, Tensor], samples: int) -> dict[str, Tensor]:
    length = len(next(iter(train.values())))
    if samples > length:
        raise InputError(f"recipe: {samples} samples asked for, the training data have {length}")
    return {name: value[: samples or None] for name, value in train.items()}
