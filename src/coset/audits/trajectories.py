"""How good are sampled trajectories? Distances to what happened, and laws of the samples against laws of the data.

With ``K`` samples of a trajectory ``x``, ADE is the distance averaged over frames and nodes, FDE that of the last frame; of the
``mean`` over samples, or of the ``best`` one (per graph or node). For samples that answer no question the scores of Zhou et
al. (LS4, ICML 2023, arXiv 2212.12749) as Han et al. (2024) use them: marginal (histograms), classification (can a network
tell?), predictive (does what is learned from samples hold for data?).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import seeded
from coset.errors import InputError
from coset.figures.trajectories import fans
from coset.ops.diffusion import graph_mean
from coset.records import Finding

BINS = 50  #: of histograms
HIDDEN, STEPS, RATE = 64, 200, 5e-3  #: of the networks that judge


def distances(samples: Tensor, truth: Tensor) -> Tensor:
    """``(K, N, T)`` of samples ``(K, N, T, n)`` from the truth ``(N, T, n)``; InputError for other shapes."""
    if samples.ndim != 4 or samples.shape[1:] != truth.shape:
        raise InputError(f"samples are (K, N, T, n) of a truth (N, T, n), got {tuple(samples.shape)} and {tuple(truth.shape)}")
    return (samples - truth).square().sum(-1).sqrt()


def displacement(
    samples: Tensor, truth: Tensor, *, of: Literal["mean", "best"] = "mean", final: bool = False, batch: Tensor | None = None
) -> Tensor:
    """ADE (``final``: FDE) of every node, or with ``batch`` ``(N,)`` of every graph, over ``K`` samples.

    ``mean`` averages the errors of the samples; ``best`` takes, for every node or graph, that of the nearest sample.
    """
    error = distances(samples, truth)
    error = error[..., -1] if final else error.mean(-1)
    if batch is not None:
        error = graph_mean(error.T, batch).T
    return error.mean(0) if of == "mean" else error.amin(0)


def representatives(samples: Tensor, count: int, *, rounds: int = 20) -> Tensor:
    """``count`` of the samples ``(K, N, T, n)`` for every node: those nearest to the clusters of its last frames.

    Lloyd's algorithm on ``(K, n)`` points per node, started from points far from one another; deterministic. How pedestrian
    forecasts of many samples are reduced to 20.
    """
    if not 1 <= count <= len(samples):
        raise InputError(f"representatives: between 1 and the {len(samples)} samples, got {count}")
    last = samples[:, :, -1].transpose(0, 1)  # (N, K, n)
    nodes = torch.arange(len(last), device=last.device)
    centers = last[:, :1]
    for _ in range(count - 1):  # the farthest point from those chosen
        far = torch.cdist(last, centers).amin(-1).argmax(-1)
        centers = torch.cat([centers, last[nodes, far].unsqueeze(1)], 1)
    for _ in range(rounds):
        member = F.one_hot(torch.cdist(last, centers).argmin(-1), count).to(last)  # (N, K, count)
        size = member.sum(1).unsqueeze(-1)
        centers = torch.where(size > 0, member.mT @ last / size.clamp(min=1), centers)
    chosen = torch.cdist(centers, last).argmin(-1)  # (N, count)
    return samples[chosen.T, nodes]


# ---------------------------------------------------------------------------------------------------- laws


def marginal_score(samples: Tensor, truth: Tensor, *, bins: int = BINS) -> float:
    """Mean absolute difference of the histogram densities of every coordinate at every frame; ``(count, N, T, n)`` each.

    Bins span the truth; samples outside count as missing.
    """
    _alike(samples, truth)
    a, b = (value.transpose(1, 2).flatten(2).double() for value in (samples, truth))  # (count, T, N n)
    total = 0.0
    space = truth.shape[-1]
    for frame in range(a.shape[1]):
        for axis in range(space):
            mine, data = (value[:, frame, axis::space].flatten() for value in (a, b))
            low, high = float(data.min()), float(data.max())
            high = high if high > low else low + 1e-12
            pair = [torch.histc(v.clamp(low - 1, high + 1), bins, low, high) / len(v) for v in (mine, data)]
            total += float((pair[0] - pair[1]).abs().mean()) * bins / (high - low)
    return total / (a.shape[1] * space)


def classification_score(samples: Tensor, truth: Tensor, *, seed: int = 0) -> float:
    """Cross-entropy, on a held-out fifth, of a network that tells samples from data; log 2 where it cannot."""
    _alike(samples, truth)
    x = _rows(torch.cat([samples, truth]), truth)
    y = torch.cat([torch.ones(len(samples), 1), torch.zeros(len(truth), 1)]).to(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    held, rest = order.split([len(x) // 5, len(x) - len(x) // 5])
    return _learn(F.binary_cross_entropy_with_logits, (x[rest], y[rest]), (x[held], y[held]), seed)


def predictive_score(samples: Tensor, truth: Tensor, *, seed: int = 0) -> float:
    """Mean squared error, on data, of the second half of the frames as predicted from the first by a network fit to samples."""
    _alike(samples, truth)
    half = truth.shape[2] // 2
    if not half:
        raise InputError("predictive_score: needs at least two frames")
    mine, data = (
        (_rows(value[:, :, :half], truth[:, :, :half]), value[:, :, half:].flatten(1).float()) for value in (samples, truth)
    )
    return _learn(F.mse_loss, mine, data, seed)


def _alike(samples: Tensor, truth: Tensor) -> None:
    if samples.ndim != 4 or samples.shape[1:] != truth.shape[1:] or min(len(samples), len(truth)) < 5:
        shapes = f"{tuple(samples.shape)} and {tuple(truth.shape)}"
        raise InputError(f"laws are compared of (count, N, T, n) each, with a count of at least 5; got {shapes}")


def _rows(x: Tensor, like: Tensor) -> Tensor:
    """Trajectories as rows in units of the spread of ``like``."""
    return ((x - like.mean()) / like.std().clamp(min=1e-12)).flatten(1).float()


def _learn(loss: Any, known: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], seed: int) -> float:
    """The held-out loss of a small network, stopped where a fifth of what is known, kept aside, says so."""
    (x, y), kept = known, len(known[0]) // 5
    with seeded(seed):
        net = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, y.shape[1])).to(x.device)
    adam = torch.optim.AdamW(net.parameters(), lr=RATE)
    best, found = math.inf, math.nan
    for _ in range(STEPS):
        with torch.no_grad():
            aside = float(loss(net(x[:kept]), y[:kept]))
            if aside < best:
                best, found = aside, float(loss(net(held[0]), held[1]))
        adam.zero_grad()
        loss(net(x[kept:]), y[kept:]).backward()
        adam.step()
    return found


# ---------------------------------------------------------------------------------------------------- finding


@dataclass
class Fan(Finding):
    """Sampled futures of a few scenes beside what happened: lists of scenes, padded to one number of nodes by NaN."""

    cond: np.ndarray  #: (scenes, N, Tc, n)
    truth: np.ndarray  #: (scenes, N, T, n)
    samples: np.ndarray  #: (scenes, K, N, T, n)
    title: str = ""
    unit: str = ""

    def plot(self) -> Any:
        return fans(self.cond, self.truth, self.samples, title=self.title, unit=self.unit)


def fan(cond: Tensor, truth: Tensor, samples: Tensor, batch: Tensor, *, title: str = "", unit: str = "") -> Fan:
    """The finding for joined scenes: ``cond`` and ``truth`` ``(N, T, n)``, ``samples`` ``(K, N, T, n)``, ``batch`` ``(N,)``."""
    graphs = int(batch.max()) + 1
    most = int(torch.bincount(batch).max())
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for graph in range(graphs):
        mine = batch == graph
        for part, value in zip(parts, (cond[mine], truth[mine], samples[:, mine]), strict=True):
            axis = value.ndim - 3
            pad = [0, 0, 0, 0, 0, most - value.shape[axis]]
            part.append(F.pad(value.detach().double().cpu(), pad, value=math.nan).numpy())
    given, true, drawn = (np.stack(part) for part in parts)
    return Fan(given, true, drawn, title, unit)
