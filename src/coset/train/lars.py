"""LARS: stochastic gradient descent whose rate, layer by layer, is scaled to the size of the weights.

    d = g + decay w,    v <- momentum v + eta |w| / |d| d,    w <- w - lr v

for weights; biases and the parameters of norms (one axis) move by plain momentum, without decay, at ``bias_rate`` times the
rate. You, Gitman & Ginsburg, Large Batch Training of Convolutional Networks, arXiv 1708.03888; ``bias_rate`` 0.024 is Barlow
Twins' 0.0048 over 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from coset.errors import InputError


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rates with momentum. Raises InputError for settings out of range."""

    def __init__(
        self, params: Iterable[Any], lr: float = 0.2, *, momentum: float = 0.9, weight_decay: float = 1e-6, eta: float = 1e-3,
        bias_rate: float = 0.024,
    ) -> None:  # fmt: skip
        if not (lr >= 0 and 0 <= momentum < 1 and weight_decay >= 0 and eta > 0 and bias_rate >= 0):
            raise InputError(
                f"LARS: lr, weight_decay and bias_rate >= 0, momentum in [0, 1), eta > 0; "
                f"got {lr}, {weight_decay}, {bias_rate}, {momentum}, {eta}"
            )
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "bias_rate": bias_rate}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """One step; ``closure`` recomputes the loss where one is given, and its value is returned."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                way, rate = p.grad, group["lr"]
                if p.ndim > 1:
                    way = way + group["weight_decay"] * p
                    way = way * trust(p, way, group["eta"])
                else:
                    rate = rate * group["bias_rate"]
                speed = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                speed.mul_(group["momentum"]).add_(way)
                p.sub_(rate * speed)
        return loss


def trust(weight: torch.Tensor, way: torch.Tensor, eta: float) -> torch.Tensor:
    """``eta |w| / |d|``, or 1 where either vanishes."""
    size, step = weight.norm(), way.norm()
    return torch.where((size > 0) & (step > 0), eta * size / step, torch.ones_like(size))


def warm_up(steps: float, *, share: float = 0.01, end: float = 1e-3) -> Any:
    """The factor of the rate at a step: linear over the first ``share`` of the steps, then a cosine down to ``end``."""
    rise = max(1, round(share * steps))

    def factor(step: float) -> float:
        if step < rise:
            return (step + 1) / rise
        turn = min(1.0, (step - rise) / max(1, steps - rise))
        return end + (1 - end) * (1 + math.cos(math.pi * turn)) / 2

    return factor
