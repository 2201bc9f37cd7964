"""Digits seen under small turns and shifts: what features learned without labels keep, and what they give up.

Contract: turns by up to 30 degrees (SO(2) on images) leave the class alone, so views of a digit should share an embedding.
Rows share a small residual network; metrics read it frozen: a linear probe of the class on all training digits, the spread
of features along orbits over that between digits, and how well a linear reader tells the turn between two views. In the
embedding, where the loss acts, Barlow Twins tells less of the turn, which SIE (task ``solids``) repairs; the features before
the projector keep it (``features_turn_r2``), the reason why projectors are thrown away. Data: :mod:`coset.data.digit_views`, or
``--data mnist=FILE``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.probes import Reader, class_accuracy, orbit_spread, regression
from coset.contract import evaluating, frozen
from coset.data.digit_views import TurnShift, digit_views
from coset.groups.matrix import SO
from coset.models.ssl.joint import JointEncoder
from coset.nn.resnet import ResNet
from coset.objectives.joint_embedding import BarlowTwins, VICReg
from coset.objectives.supervised import Supervised
from coset.objectives.two_views import MovedTwice, OneView, TwoViews
from coset.reps.action import Recorded
from coset.reps.fields import Field
from coset.task import Data, Method, Recipe, Stage, Task

LABELS = 10  #: per class, of the supervised control
VIEW = Field(("B", "1"), Recorded(2))  #: a view has been resampled already and is not moved again

views = MovedTwice(TurnShift())
LINEAR = Reader(epochs=40, lr=1e-2)


def encoder(widths: tuple[int, ...], *, bias: bool = False) -> nn.Module:
    """64 features of 16-pixel digits, and a projector."""
    backbone = ResNet(16, (1, 1, 1), channels=1, stem="small")
    return JointEncoder(backbone, widths, bias=bias, inputs=VIEW, group=SO(2))


def joint(data: Data) -> nn.Module:
    """With embeddings of 256 numbers."""
    return encoder((256, 256, 256))


def joint_biased(data: Data) -> nn.Module:
    """The same with VICReg's projector."""
    return encoder((256, 256, 256), bias=True)


def classifier(data: Data) -> nn.Module:
    """The same backbone with a linear map to logits."""
    return encoder((data.info["classes"],))


def few_labels(model: nn.Module, data: Data) -> tuple[nn.Module, Data]:
    """The first ten training digits of every class."""
    y = data.train["y"]
    rows = torch.cat([(y == label).nonzero().flatten()[:LABELS] for label in range(data.info["classes"])])
    return model, Data({name: value[rows] for name, value in data.train.items()}, data.test, data.audit, None, data.info)


# ------------------------------------------------------------------------------------------------ metrics


def features(model: Any, x: Tensor, *, embedded: bool = False, batch: int = 512) -> Tensor:
    """Frozen features (things, views, d) of views (things, views, 1, 16, 16), or what the projector makes of them."""
    f = model if embedded else model.represent
    with evaluating(model), frozen(model), torch.no_grad():
        return torch.cat([f(part) for part in x.flatten(0, 1).split(batch)]).unflatten(0, x.shape[:2])


def probe(model: Any, data: Data) -> float:
    """Percent of test views whose class a linear probe of frozen features reads."""
    parts = []
    for part in (data.info["probe"], data.test):
        h = features(model, part["x"])
        parts.append((h.flatten(0, 1), part["y"].repeat_interleave(h.shape[1])))
    return class_accuracy(parts[0], parts[1], LINEAR)


def predicted(model: Any, data: Data) -> float:
    """Percent of test views that a classifier's own logits get right; of others, the linear probe."""
    if model.config["widths"] != [data.info["classes"]]:
        return probe(model, data)
    y = features(model, data.test["x"], embedded=True).argmax(-1)
    return 100 * float((y == data.test["y"].unsqueeze(1)).double().mean())


def spread(model: Any, data: Data) -> float:
    """Variance of features within the views of a digit over that between digits."""
    return orbit_spread(features(model, data.test["x"]))


def turn_r2(model: Any, data: Data, *, embedded: bool) -> float:
    """Coefficient of determination of the turn (radians) between two views, read from both linearly."""
    parts = []
    for part in (data.info["probe"], data.test):
        h, angle = features(model, part["x"], embedded=embedded), part["motion"][..., :1]
        half = h.shape[1] // 2
        both = torch.cat([h[:, :half], h[:, half : 2 * half]], -1)
        parts.append((both.flatten(0, 1), (angle[:, half : 2 * half] - angle[:, :half]).flatten(0, 1)))
    return regression(parts[0], parts[1], LINEAR).component


methods = (
    Method("supervised, 10 labels per class", classifier, (
        Stage(OneView(Supervised(), views), {"epochs": 200, "batch": 50}, prepare=few_labels),),
        axes={"labels": "100"}, note="The control: the same network and views, labels of 100 digits."),
    Method("untrained", joint, (), axes={"labels": "none"}, note="Random features: how far a probe gets alone."),
    Method("VICReg", joint_biased, (Stage(TwoViews(VICReg(), views)),), axes={"labels": "none"}, source="bardes2022",
           note="Agreement of views, held apart by variance and covariance."),
    Method("Barlow Twins", joint, (Stage(TwoViews(BarlowTwins(0.01), views)),), axes={"labels": "none"}, source="zbontar2021",
           note="Agreement of views and decorrelation in one matrix: more class, less pose."),
    Method("Barlow Twins, LARS", joint, (
        Stage(TwoViews(BarlowTwins(0.01), views), {"optimizer": "lars", "schedule": "warm-up", "lr": 0.3}),),
        axes={"labels": "none"}, source="zbontar2021,you2017", note="The paper's optimizer, meant for batches of 2048."),
)  # fmt: skip

task = Task(
    contracts=(),
    data=digit_views,
    objective=None,
    metrics={
        "probe_percent": probe,
        "accuracy_percent": predicted,
        "orbit_spread": spread,
        "turn_r2": partial(turn_r2, embedded=True),
        "features_turn_r2": partial(turn_r2, embedded=False),
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=32, lr=1e-3),
        "cpu": Recipe(epochs=60, batch=128, lr=2e-3, clip=0.0, weight_decay=1e-6),
        "full": Recipe(epochs=300, batch=128, lr=2e-3, clip=0.0, weight_decay=1e-6),
    },
)
