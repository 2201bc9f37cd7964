"""Denoising diffusion for any model that predicts noise: the loss, the sampler, and a bound of the likelihood.

A :class:`Denoiser` says where the noise is centered (a prior that may be learned), on which subspace it lives and what it
looks like in a noisy sample; everything else is here. With the prior's center ``r`` and the schedule's ``abar``,

    y_0 = (x - r) / u,   y_n = sqrt(abar_n) y_0 + sqrt(1 - abar_n) z,   loss = |z - eps(u y_n + r, n)|^2,

``u`` a unit (the spread of the noise, in that of the data), the level ``n`` drawn once per graph, the loss averaged within
graphs, then over them; gradients reach ``r`` through ``y_0``. If ``eps`` and ``r`` are equivariant then so is the sampler, path
by path: noise is its input. Ho et al., NeurIPS 2020, arXiv 2006.11239; the centered prior: Han et al., NeurIPS 2024, arXiv
2410.13027.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.ops.diffusion import Schedule, Variance, clean, diffuse, graph_mean, posterior, reverse

Given = Mapping[str, Any]  #: what a sample is conditioned on, by name; ``batch`` (N,) names the graph of every node


class Denoiser(nn.Module, ABC):
    """What the engine asks of a model; nodes stand along the first axis of ``x``."""

    schedule: Schedule
    unit: float = 1.0  #: the standard deviation of the noise, in the unit of the data

    def prepare(self, x: Tensor, given: Given) -> Given:
        """``given`` checked against something of the shape of ``x``, with what is the same at all levels computed once."""
        return given

    def reference(self, x: Tensor, given: Given) -> Tensor:
        """The center ``r`` of the noise, of the shape of ``x``; zero unless overridden."""
        return torch.zeros_like(x)

    def project(self, x: Tensor, given: Given) -> Tensor:
        """``x`` on the subspace where data and noise live; ``x`` itself unless overridden."""
        return x

    def dimension(self, x: Tensor, given: Given) -> Tensor:
        """The dimension of that subspace for every graph, ``(B,)``."""
        return torch.bincount(given["batch"]).to(x) * x[:1].numel()

    @abstractmethod
    def predict(self, x: Tensor, level: Tensor, given: Given) -> Tensor:
        """The noise in ``x = u y_n + r``; ``level`` ``(N,)`` counts from 1."""

    def noise(self, y: Tensor, center: Tensor, level: Tensor, given: Given) -> Tensor:
        """The predicted noise on its subspace: the center goes in before the network and stays out behind it."""
        return self.project(self.predict(self.unit * y + center, level, given), given)

    def origin(self, x: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """``y_0`` on its subspace, and the center."""
        center = self.reference(x, given)
        return self.project((x - center) / self.unit, given), center


class Denoise:
    """The training loss of a :class:`Denoiser`; ``batch[target]`` is the data, the rest what they are conditioned on.

    Besides ``loss`` it reports ``spread``, the root mean square of ``y_0``: a learned prior that collapsed shows there.
    """

    def __init__(self, target: str = "x") -> None:
        self.target = target

    def __call__(self, model: Denoiser, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.target not in batch:
            raise InputError(f"Denoise: the batch has no {self.target!r}; it holds {sorted(batch)}")
        x = batch[self.target]
        given = model.prepare(x, {name: value for name, value in batch.items() if name != self.target})
        graph = given["batch"]
        level = torch.randint(1, model.schedule.steps + 1, (int(graph.max()) + 1,), device=x.device)[graph]
        y, center = model.origin(x, given)
        noise = model.project(torch.randn_like(x), given)
        noisy = diffuse(y, noise, along(model.schedule.at(level, x), x))
        error = (noise - model.noise(noisy, center, level, given)).square().flatten(1).mean(1)
        return {"loss": graph_mean(error, graph).mean(), "spread": y.detach().square().mean().sqrt()}


def generate(model: Denoiser, noise: Tensor, given: Given, *, variance: Variance = "posterior") -> Tensor:
    """A sample from ``noise`` ``(S, N, ...)``: one sampler step per slice, the first slice being where it starts.

    With fewer slices than the schedule has levels the path skips levels evenly. Deterministic: all randomness is ``noise``,
    of which ``variance="ddim"`` uses the first slice only. Raises InputError for more slices than levels.
    """
    if noise.ndim < 3 or not len(noise):
        raise InputError(f"generate: noise is (steps, nodes, ...), got {tuple(noise.shape)}")
    path = model.schedule.levels(len(noise))
    signal = model.schedule.signal.tolist()
    given = model.prepare(noise[0], given)
    center = model.reference(noise[0], given)
    y = model.project(noise[0], given)
    for step, (now, then) in enumerate(pairwise(path), start=1):
        eps = model.noise(y, center, at_level(now, y), given)
        fresh = model.project(noise[step], given) if then and variance != "ddim" else None
        y = reverse(y, eps, signal[now], signal[then], fresh, variance=variance)
    return model.unit * y + center


def bound(
    model: Denoiser, x: Tensor, given: Given, *, generator: torch.Generator | None = None, variance: Variance = "large"
) -> Tensor:
    """An upper bound of ``-log p(x)`` in nats, one per graph, estimated with one draw of noise at every level.

        KL(q(y_S | y_0) || N(0, 1)) + sum_n KL(q(y_(n-1) | y_n, y_0) || p(y_(n-1) | y_n)) - log p(y_0 | y_1)

    Every Gaussian has the dimension of the model's subspace. ``large`` (variance ``1 - alpha`` at all levels) is tight for data
    of unit scale, ``posterior`` (its last variance being that of the level above) for data that hardly vary.
    """
    if variance == "ddim" or (variance == "posterior" and model.schedule.steps < 2):
        raise InputError(f"bound: {variance!r} with {model.schedule.steps} steps has no density; use 'large'")
    given = model.prepare(x, given)
    graph, size = given["batch"], model.dimension(x, given)
    y, center = model.origin(x, given)
    signal = model.schedule.signal.tolist()

    def total(value: Tensor) -> Tensor:
        return size.new_zeros(len(size)).index_add(0, graph, value.square().flatten(1).sum(1))

    last = signal[-1]
    out = 0.5 * (last * total(y) + size * (-last - math.log(1 - last))) + size * math.log(model.unit)
    for level in range(len(signal) - 1, 0, -1):
        now, then = signal[level], signal[level - 1]
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        noisy = diffuse(y, model.project(noise, given), y.new_tensor(now))
        data = clean(noisy, model.noise(noisy, center, at_level(level, y), given), now)
        on_data, _, spread = posterior(now, then)
        width = 1 - now / then if variance == "large" else spread or posterior(*signal[2:0:-1])[2]
        miss = total(on_data * (y - data)) / width
        excess = size * (spread / width - 1 - math.log(spread / width)) if level > 1 else size * math.log(2 * math.pi * width)
        out = out + 0.5 * (miss + excess)
    return out


def at_level(level: int, y: Tensor) -> Tensor:
    """One level for all nodes of ``y``."""
    return torch.full((len(y),), level, device=y.device)


def along(value: Tensor, x: Tensor) -> Tensor:
    """One number per node, shaped to multiply ``x`` ``(N, ...)``."""
    return value.view(-1, *[1] * (x.ndim - 1))
