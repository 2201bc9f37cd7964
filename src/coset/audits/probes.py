"""Probes of frozen features: what a small reader finds in them. Linear and MLP probes, retrieval, spread along orbits.

All readers are trained on features of the training part alone, standardized by its mean and spread, and judged on the other.
For regression two coefficients of determination, over samples n and components k of the target y:

    r2_component = mean_k (1 - sum_n (y - p)^2 / sum_n (y - mean_n y_k)^2)
    r2_pooled    = 1 - sum_nk (y - p)^2 / sum_nk (y - mean_nk y)^2

The second takes ONE mean over all components, as scores published for relative quaternions do: their w is near 1/2 while
x, y, z average 0, so a constant reader already scores 0.23. Report the first, and :func:`geodesic_degrees`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import seeded
from coset.errors import InputError
from coset.groups.poses import quaternion_angle

SCALE = 1e-6  #: features that vary less than this fraction of the largest spread are left unscaled


@dataclass(frozen=True)
class Reader:
    """How a probe learns: ``hidden`` widths (() is linear), Adam at a rate that falls to zero, one seed."""

    hidden: tuple[int, ...] = ()
    epochs: int = 100
    batch: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0


LINEAR, MLP = Reader(lr=1e-2), Reader(hidden=(1024, 1024), epochs=300)  #: the paper's MLP on pairs


def fit_probe(
    x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], outputs: int, reader: Reader = LINEAR
) -> Callable[[Tensor], Tensor]:
    """A reader of ``outputs`` numbers from features ``x`` (n, d), trained on targets ``y``; a function of features.

    Raises InputError for features that are not ``(n, d)``, not finite, or not as many as the targets.
    """
    _check(x, y)
    mean, spread = x.mean(0), x.std(0)
    scale = torch.where(spread > SCALE * spread.max(), spread, torch.ones_like(spread))
    z = (x - mean) / scale
    with seeded(reader.seed):
        sizes = (x.shape[1], *reader.hidden)
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        net = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs)).to(x)
        steps = reader.epochs * math.ceil(len(z) / reader.batch)
        optimizer = torch.optim.Adam(net.parameters(), lr=reader.lr, weight_decay=reader.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(reader.epochs):
            for rows in torch.randperm(len(z)).split(reader.batch):
                optimizer.zero_grad()
                loss(net(z[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
    net.requires_grad_(False)
    return lambda x: net((x - mean) / scale)


def class_accuracy(train: tuple[Tensor, Tensor | None], test: tuple[Tensor, Tensor | None], reader: Reader = LINEAR) -> float:
    """Percent of test samples whose class a probe reads; pairs of features (n, d) and classes (n,).

    Raises InputError where there are no classes, or only one.
    """
    (x, y), (u, v) = train, test
    if y is None or v is None:
        raise InputError("class_accuracy: this data set has no classes; probe something else, such as the pose")
    classes = int(max(y.max(), v.max())) + 1
    if classes < 2 or y.is_floating_point():
        raise InputError(f"class_accuracy: classes are integers of at least two values, got {y.dtype} with {classes}")
    read = fit_probe(x, y.long(), F.cross_entropy, classes, reader)
    return 100 * float((read(u).argmax(-1) == v).double().mean())


@dataclass(frozen=True, eq=False)
class Read:
    """Predictions and truth ``(n, k)`` of a regression probe on the test part, and what they are worth."""

    predicted: Tensor
    truth: Tensor

    @property
    def component(self) -> float:
        """See :func:`r2_component`."""
        return r2_component(self.predicted, self.truth)

    @property
    def pooled(self) -> float:
        """See :func:`r2_pooled`."""
        return r2_pooled(self.predicted, self.truth)

    @property
    def degrees(self) -> float:
        """See :func:`geodesic_degrees`; of quaternions only."""
        return geodesic_degrees(self.predicted, self.truth)


def regression(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], reader: Reader = LINEAR) -> Read:
    """Numbers (n, k) read from features (n, d) by least squares."""
    (x, y), (u, v) = train, test
    _check(u, v)
    read = fit_probe(x, y.to(x), F.mse_loss, y.shape[-1], reader)
    return Read(read(u), v.to(u))


def r2_component(predicted: Tensor, truth: Tensor) -> float:
    """Mean over components of the coefficient of determination; 0 for the best constant."""
    predicted, truth = _numbers(predicted, truth)
    return float((1 - (truth - predicted).square().sum(0) / (truth - truth.mean(0)).square().sum(0)).mean())


def r2_pooled(predicted: Tensor, truth: Tensor) -> float:
    """One coefficient over all components with one common mean (see the module); flatters components of unequal mean."""
    predicted, truth = _numbers(predicted, truth)
    return float(1 - (truth - predicted).square().sum() / (truth - truth.mean()).square().sum())


def geodesic_degrees(predicted: Tensor, truth: Tensor) -> float:
    """Mean angle between rotations given as quaternions (n, 4) of any length and sign."""
    return math.degrees(float(quaternion_angle(*_numbers(predicted, truth)).mean()))


@dataclass(frozen=True)
class Retrieval:
    """How a target ranks among candidates: mean reciprocal rank, share of ranks within 1 and 5, and chance for the first."""

    mrr: float
    hit_1: float
    hit_5: float
    chance_mrr: float


def retrieval(predicted: Tensor, candidates: Tensor, place: Tensor, *, normalize: bool = True) -> Retrieval:
    """Rank of the true target, by distance from ``predicted`` (n, d), among ``candidates`` (n, c, d); it stands at ``place``.

    Candidates are normalized to unit length unless told otherwise, as in SIE's evaluation. Of equal distances the later
    half counts as nearer, so that a collapsed embedding ranks in the middle. Raises InputError for shapes that do not fit.
    """
    if candidates.ndim != 3 or predicted.shape != (len(candidates), candidates.shape[-1]) or place.shape != (len(candidates),):
        raise InputError(
            f"retrieval: predicted (n, d), candidates (n, c, d), place (n,); got {tuple(predicted.shape)}, "
            f"{tuple(candidates.shape)}, {tuple(place.shape)}"
        )
    candidates = F.normalize(candidates, dim=-1) if normalize else candidates
    distance = (candidates - predicted.unsqueeze(1)).norm(dim=-1)
    true = distance.gather(1, place.unsqueeze(1))
    nearer, equal = (distance < true).sum(1), (distance == true).sum(1) - 1
    rank = 1 + nearer.double() + equal.double() / 2
    count = candidates.shape[1]
    chance = sum(1 / k for k in range(1, count + 1)) / count
    return Retrieval(float((1 / rank).mean()), float((rank <= 1).double().mean()), float((rank <= 5).double().mean()), chance)


def orbit_spread(features: Tensor) -> float:
    """Variance within orbits over variance between them, of features ``(things, views, d)``; 0 for an invariant.

    Sums over features; the variance between is that of the orbits' means. Raises InputError for fewer than two of either,
    and for features that do not vary between things.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise InputError(f"orbit_spread: features are (things, views, d), two of each at least; got {tuple(features.shape)}")
    features = features.double()
    within, between = features.var(1).mean(0).sum(), features.mean(1).var(0).sum()
    if not float(between) > 0:
        raise InputError("orbit_spread: the features are the same for all things, so a ratio to that says nothing")
    return float(within / between)


def _check(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise InputError(f"probe: features are (n, d) and targets as many, got {tuple(x.shape)} and {tuple(y.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise InputError(f"probe: {int((~torch.isfinite(x)).sum())} features are NaN or infinite")


def _numbers(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if predicted.shape != truth.shape or truth.ndim != 2:
        raise InputError(f"predictions and truth are (n, k) alike, got {tuple(predicted.shape)} and {tuple(truth.shape)}")
    return predicted.double(), truth.double()
