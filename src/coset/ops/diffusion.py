"""The noise of a diffusion: schedules, the steps towards the data and away from them, and projection to zero mean.

With ``abar_n`` the share of signal left at level ``n`` (``abar_0 = 1``, levels 1 to ``steps`` are noisy),

    y_n = sqrt(abar_n) y_0 + sqrt(1 - abar_n) z,
    q(y_m | y_n, y_0) = N(a y_0 + b y_n, v),    m < n,  alpha = abar_n / abar_m,
    a = sqrt(abar_m) (1 - alpha) / (1 - abar_n),  b = sqrt(alpha) (1 - abar_m) / (1 - abar_n),
    v = (1 - alpha) (1 - abar_m) / (1 - abar_n).

Levels may be skipped, so that a sampler of few steps is the same formula on fewer levels. Ho et al., Denoising Diffusion
Probabilistic Models, NeurIPS 2020, arXiv 2006.11239; Song et al., Denoising Diffusion Implicit Models, ICLR 2021, arXiv
2010.02502; Nichol and Dhariwal, Improved DDPM, ICML 2021, arXiv 2102.09672 (cosine). Differs: in a linear schedule ``beta`` is
at most 1/2, which only those of fewer than 40 steps reach (at 20 steps the formula leaves no signal at all).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from coset.errors import InputError, unknown

Variance = Literal["posterior", "large", "ddim"]
VARIANCES: tuple[Variance, ...] = ("posterior", "large", "ddim")
LARGEST = {"linear": 0.5, "cosine": 0.999}  #: of a single beta


@dataclass(frozen=True)
class Schedule:
    """``steps`` levels of noise; ``kind`` is ``"linear"`` (beta from 1e-4 to 0.02, times 1000 / steps) or ``"cosine"``."""

    steps: int = 1000
    kind: str = "linear"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"Schedule: steps is at least 1, got {self.steps}")
        if self.kind not in ("linear", "cosine"):
            raise unknown("schedule", self.kind, ("linear", "cosine"))

    @property
    def signal(self) -> Tensor:
        """``abar`` at the levels ``0..steps``, float64, from 1 down."""
        return _signal(self)

    def at(self, level: Tensor, like: Tensor) -> Tensor:
        """``abar`` at whole levels, in the dtype and on the device of ``like``; InputError outside ``0..steps``."""
        if level.is_floating_point() or (level.numel() and not 0 <= int(level.min()) <= int(level.max()) <= self.steps):
            raise InputError(f"a diffusion step is a whole number in 0..{self.steps}, got {level.dtype} {_span(level)}")
        return self.signal.to(like.device)[level.to(like.device)].to(like.dtype)

    def levels(self, count: int) -> list[int]:
        """``count`` levels from ``steps`` down to 1, evenly spaced, and 0 behind them: the path of a sampler.

        >>> Schedule(10).levels(4)
        [10, 7, 4, 1, 0]
        """
        if not 1 <= count <= self.steps:
            raise InputError(f"a sampler has 1 to {self.steps} steps (one slice of noise each), got {count}")
        path = torch.linspace(self.steps, 1, count, dtype=torch.float64).round().long().tolist()
        return [*path, 0]

    def clock(self, level: Tensor) -> Tensor:
        """What a network is told of the level: ``(level - 1) * 1000 / steps``, alike for every number of steps."""
        return (level - 1) * (1000 / self.steps)


@lru_cache(maxsize=64)
def _signal(schedule: Schedule) -> Tensor:
    n = schedule.steps
    if schedule.kind == "linear":
        beta = torch.linspace(1e-4, 0.02, n, dtype=torch.float64) * (1000 / n)
    else:
        t = torch.arange(n + 1, dtype=torch.float64) / n
        kept = torch.cos((t + 0.008) / 1.008 * math.pi / 2).square()
        beta = 1 - kept[1:] / kept[:-1]
    return torch.cat([beta.new_ones(1), torch.cumprod(1 - beta.clamp(max=LARGEST[schedule.kind]), 0)])


def diffuse(y: Tensor, noise: Tensor, signal: Tensor) -> Tensor:
    """``sqrt(abar) y + sqrt(1 - abar) noise``; ``signal`` broadcasts against ``y``."""
    return signal.sqrt() * y + (1 - signal).sqrt() * noise


def clean(y: Tensor, eps: Tensor, signal: float | Tensor) -> Tensor:
    """The data that ``y`` comes from if ``eps`` is its noise: the inverse of :func:`diffuse`."""
    return (y - (1 - signal) ** 0.5 * eps) / signal**0.5


def posterior(now: float, then: float) -> tuple[float, float, float]:
    """``(a, b, v)`` of the module for ``abar`` at a level and at a lower one."""
    if not 0 < now < then <= 1:
        raise InputError(f"posterior: a step goes to less noise, 0 < abar now < abar then <= 1; got {now} and {then}")
    alpha = now / then
    return (
        then**0.5 * (1 - alpha) / (1 - now),
        alpha**0.5 * (1 - then) / (1 - now),
        (1 - alpha) * (1 - then) / (1 - now),
    )


def reverse(
    y: Tensor, eps: Tensor, now: float, then: float, noise: Tensor | None = None, *, variance: Variance = "posterior"
) -> Tensor:
    """One step of a sampler from the level with ``abar = now`` to a lower one, ``eps`` being the predicted noise of ``y``.

    ``posterior`` and ``large`` are ancestral, with the variance ``v`` of the module or ``1 - alpha``; ``ddim`` adds no noise
    and is meant for few steps. The step to the data (``then = 1``) never adds noise.
    """
    if variance not in VARIANCES:
        raise unknown("variance", str(variance), VARIANCES)
    data = clean(y, eps, now)
    if variance == "ddim":
        return then**0.5 * data + (1 - then) ** 0.5 * eps
    on_data, on_noisy, spread = posterior(now, then)
    mean = on_data * data + on_noisy * y
    if then == 1:
        return mean
    if noise is None:
        raise InputError(f"reverse: a step with variance {variance!r} needs fresh noise; give it, or use 'ddim'")
    return mean + (spread if variance == "posterior" else 1 - now / then) ** 0.5 * noise


def center(x: Tensor, batch: Tensor) -> Tensor:
    """``x`` ``(N, T, n)`` minus its mean over nodes and times jointly, graph by graph; ``batch`` ``(N,)`` names the graph.

    The subspace left has ``n (N_b T - 1)`` dimensions for a graph of ``N_b`` nodes. Not frame by frame: the motion of the
    center belongs to the trajectory.
    """
    return x - graph_mean(x.mean(1), batch)[batch].unsqueeze(1)


def graph_mean(x: Tensor, batch: Tensor) -> Tensor:
    """The mean of ``x`` ``(N, ...)`` over the nodes of every graph, ``(B, ...)``."""
    graphs = int(batch.max()) + 1 if batch.numel() else 0
    total = x.new_zeros(graphs, *x.shape[1:]).index_add(0, batch, x)
    count = torch.bincount(batch, minlength=graphs).clamp(min=1).to(x)
    return total / count.view(-1, *[1] * (x.ndim - 1))


def _span(level: Tensor) -> str:
    return f"{level.min().item()}..{level.max().item()}" if level.numel() else "(empty)"
