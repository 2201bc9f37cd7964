"""Eight generated solids, trained upright, tested in every orientation: invariance under SO(3) from coordinates alone.

Contract: the class of a solid does not change under SO(3), nor under S("N") of its points. The protocol z/SO(3) of the
point-cloud literature on generated shapes. Data: :mod:`coset.data.shapes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from coset.contract import Contract, evaluating, frozen
from coset.data.shapes import shapes
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.models.points.pointnet import INPUTS, PointNet
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import Augmented
from coset.symmetrizers.canonical import MDS, Canonicalize
from coset.symmetrizers.frames import FrameAverage
from coset.task import Data, Method, Recipe, Stage, Task

OUTPUTS = "B x 8 x scalar"

rotations = Contract(SO(3), INPUTS, OUTPUTS)
exchanges = Contract(S("N"), INPUTS, OUTPUTS)
reflections = Contract(O(3), INPUTS, OUTPUTS)
base = Supervised("cross_entropy")


def plain(data: Data) -> nn.Module:
    """PointNet on raw coordinates."""
    return PointNet(data.info["classes"])


def canonicalized(data: Data) -> nn.Module:
    """PointNet on transformation-invariant initial representations (TinvNN), signs by odd moments."""
    return Canonicalize(plain(data), reflections, canonicalizer=MDS())


def framed(data: Data) -> nn.Module:
    """PointNet averaged over the four principal frames of SO(3)."""
    return FrameAverage(plain(data), rotations)


def accuracy_on(name: str) -> Callable[[Any, Data], float]:
    """Accuracy on one version of the test set, percent."""

    def metric(model: Any, data: Data) -> float:
        with evaluating(model), frozen(model), torch.no_grad():
            y = torch.cat([model(part) for part in data.test[name].split(100)])
        return 100 * float((y.argmax(-1) == data.test["y"]).double().mean())

    return metric


methods = (
    Method("plain", plain, axes={"symmetry": "none"}, note="Perfect upright, lost when turned."),
    Method("augmented", plain, (Stage(Augmented(base, rotations)),), axes={"symmetry": "augmentation"},
           note="Random turns in training: most of the way, and never the same answer twice along an orbit."),
    Method("canonicalized (TinvNN)", canonicalized, axes={"symmetry": "canonicalization"}, source="zhang2021",
           note="Turned solids score as upright ones do, at almost no cost; solids with equal axes have no canonical pose."),
    Method("frame averaging, SO(3)", framed, axes={"symmetry": "frames"}, source="puny2022",
           note="Four poses instead of one guess: no sign to decide, four times the cost."),
)  # fmt: skip

task = Task(
    contracts=(rotations, exchanges),
    data=shapes,
    objective=base,
    metrics={"turned_percent": accuracy_on("turned"), "upright_percent": accuracy_on("x")},
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=2, batch=16, lr=1e-3),
        "cpu": Recipe(epochs=20, batch=32, lr=1e-3),
        "full": Recipe(epochs=60, batch=32, lr=1e-3),
    },
)
