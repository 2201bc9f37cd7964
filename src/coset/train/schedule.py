"""Learning rates as functions of how far a training is, counted in steps or, under a budget, in time.

    rate = base * shape(x),       x = max(step, steps * time used / time allowed)

so that the rate has come down when the time is up, however many steps it was for; without a budget ``x`` is the step. With
``warmup`` the first such share of ``x`` raises the rate linearly from 0 to where the shape begins, which has the rest.
Shapes: ``one-cycle`` (Smith & Topin, arXiv 1708.07120, as in torch: up from 1/25 over 0.3 of the steps, down to 4e-6, momentum
the other way), ``cosine`` (to zero), ``warm-up`` (a hundredth up, then a cosine to 1/1000), ``constant``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from coset.errors import InputError, unknown
from coset.recipe import Recipe
from coset.train.lars import warm_up

Shape = Callable[[float, float, float], float]  #: (base rate, x, steps) -> rate
MOMENTA = (0.95, 0.85)  #: of one-cycle: where the rate is lowest, and where it is highest


def one_cycle(x: float, steps: float, low: float, high: float, end: float) -> float:
    """From ``low`` to ``high`` over 0.3 of the steps and to ``end`` in the last, along cosines."""
    top = 0.3 * steps - 1
    if top > 0 and x <= top:
        return _between(low, high, x / top)
    return _between(high, end, min(1.0, (x - top) / max(steps - 1 - top, 1e-9)))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


SHAPES: dict[str, Shape] = {
    "one-cycle": lambda base, x, steps: one_cycle(x, steps, base / 25, base, base / 25 / 1e4),
    "cosine": lambda base, x, steps: base * (1 + math.cos(math.pi * min(1.0, x / steps))) / 2,
    "warm-up": lambda base, x, steps: base * min(1.0, warm_up(steps)(x)),
    "constant": lambda base, x, steps: base,
}


class Schedule(torch.optim.lr_scheduler.LRScheduler):
    """Rates (of one-cycle momenta too) of all groups of an optimizer; ``step()`` goes one step on, ``move`` anywhere."""

    def __init__(self, optimizer: torch.optim.Optimizer, shape: str, steps: int, warmup: float = 0.0) -> None:
        if shape not in SHAPES:
            raise unknown("schedule", shape, SHAPES)
        if not 0 <= warmup < 1:
            raise InputError(f"recipe: warmup is a share of the training, at least 0 and below 1, got {warmup}")
        self.shape, self.steps, self.rise, self.x = shape, max(steps, 1), warmup * max(steps, 1), -1.0
        super().__init__(optimizer)

    def move(self, x: float) -> None:
        """Set the rates of position ``x``, of ``steps``."""
        self.x = x - 1
        self.step()

    def get_lr(self) -> list[Any]:
        """Called by ``step``."""
        self.x = self.x + 1
        x, steps = max(0.0, self.x - self.rise), self.steps - self.rise
        ramp = min(1.0, (self.x + 1) / self.rise) if self.rise > 1 else 1.0
        if self.shape == "one-cycle":
            self._turn(one_cycle(x, steps, *MOMENTA, MOMENTA[0]))
        return [ramp * SHAPES[self.shape](float(base), x, steps) for base in self.base_lrs]

    def _turn(self, momentum: float) -> None:
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> Schedule:
    """The recipe's schedule over ``steps`` optimizer steps; InputError for an unknown one and a warm-up out of range."""
    return Schedule(optimizer, recipe.schedule, steps, recipe.warmup)
