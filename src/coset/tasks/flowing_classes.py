"""Which digit is it that flows by? Classification of moving digits, at trained speeds and at a speed never seen.

Contracts: shifts of the whole sequence leave the class alone (exact for every row), and so do flows. Data:
:mod:`coset.data.flowing_digits`, one digit per sequence. Full size: ``--size full --data mnist=PATH``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract, evaluating, frozen
from coset.data.flowing_digits import flowing_classes
from coset.groups.euclidean import T
from coset.groups.flows import Flow
from coset.groups.torus import Torus
from coset.models.motion.conv3d import SpaceTimeCNN
from coset.models.motion.fernn import FlowClassifier
from coset.objectives.supervised import Supervised
from coset.reps.fields import Field
from coset.reps.frames import Frames
from coset.task import Data, Method, Recipe, Task

FRAMES = {"frames": Field(("B",), Frames())}
base = Supervised("cross_entropy", inputs=("frames",))


def space_time(data: Data) -> SpaceTimeCNN:
    """Convolutions over space and time."""
    return SpaceTimeCNN(1, 16, size=data.info["size"], classes=data.info["classes"])


def classifier(data: Data, reach: int, motion: str = "shift") -> FlowClassifier:
    """16 maps per velocity."""
    return FlowClassifier(1, 16, size=data.info["size"], reach=reach, classes=data.info["classes"], motion=motion)


def recurrent(data: Data) -> FlowClassifier:
    """One hidden map."""
    return classifier(data, 0)


def learned_moves(data: Data) -> FlowClassifier:
    """Nine maps moved by learned kernels."""
    return classifier(data, 1, "learned")


def fernn_1(data: Data) -> FlowClassifier:
    """Nine velocities, those of training."""
    return classifier(data, 1)


def fernn_2(data: Data) -> FlowClassifier:
    """Twenty-five velocities."""
    return classifier(data, 2)


def accuracy(model: Any, frames: Tensor, y: Tensor, *, batch: int = 200) -> float:
    """Percent of sequences whose largest logit is their class."""
    with evaluating(model), frozen(model), torch.no_grad():
        right = [model(part).argmax(-1) == label for part, label in zip(frames.split(batch), y.split(batch), strict=True)]
    return 100 * float(torch.cat(right).float().mean())


def accuracy_percent(model: Any, data: Data) -> float:
    """At trained speeds."""
    return accuracy(model, data.test["frames"], data.test["y"])


def fast_accuracy_percent(model: Any, data: Data) -> float:
    """One pixel per frame faster than any training sequence."""
    return accuracy(model, data.test["fast_frames"], data.test["fast_y"])


methods = (
    Method("3D-CNN", space_time, axes={"network": "space-time CNN"}, note="It meets a velocity only by having seen it."),
    Method("G-RNN", recurrent, axes={"network": "recurrent", "velocities": 1}, source="keller2025",
           note="Moving content smears in a map that stands still."),
    Method("G-RNN, learned moves", learned_moves, axes={"network": "recurrent", "velocities": 9}, source="keller2025",
           note="called G-RNN+ in the paper: as many maps, moved by learned kernels."),
    Method("FERNN V1", fernn_1, axes={"network": "flow-equivariant", "velocities": 9}, source="keller2025",
           note="One map stands still with every trained velocity."),
    Method("FERNN V2", fernn_2, axes={"network": "flow-equivariant", "velocities": 25}, source="keller2025",
           note="The unseen speed is in the list."),
)  # fmt: skip

task = Task(
    contracts=(
        Contract(Flow(T(2), 1), FRAMES, "B x classes x scalar"),
        Contract(Torus(16, 16), FRAMES, "B x classes x scalar"),
    ),
    data=flowing_classes,
    objective=base,
    metrics={"accuracy_percent": accuracy_percent, "fast_accuracy_percent": fast_accuracy_percent},
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=16),
        "cpu": Recipe(epochs=4, batch=32),
        "full": Recipe(epochs=50, batch=128, lr=3e-4),
    },
)
