"""The pose of an object from one view, as a distribution over all rotations: induction, projection, or an MLP over the grid.

Contract: turning the image by quarters turns the distribution, ``p(R) -> p(r(a)^-1 R)``. Eight colored points in space, 32 x
32 pixels, random poses, 2000 of them to train on at size ``cpu`` (the setting of Howell et al., NeurIPS 2023, made small); or
a public set, ``--data modelnet10-so3=FOLDER`` or ``--data symsol=FOLDER`` with ``--size full``. All rows share the grid of
rotations: 4608 of them at ``cpu``, about 15 degrees apart, so that 7 degrees are the least mean error: lifted rows reach it,
finer grids tell them apart. Data: :mod:`coset.data.rendered_points`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.contract import Contract, evaluating, frozen
from coset.data.rendered_points import rendered_points
from coset.groups.finite import C
from coset.models.images.induced_pose import InducedPose
from coset.models.images.pose_mlp import PoseMLP
from coset.nn.in_plane import GridValues
from coset.objectives.supervised import Supervised
from coset.ops.healpix import RotationGrid, angle_between
from coset.records import Finding
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.task import Data, Method, Recipe, Task
from coset.tasks.digits import Once
from coset.train.batches import loader

PICTURES = 4  #: test images whose distributions are drawn
quarter_turns = Contract(C(4), {"img": Field(("B", "3"), Image())}, Field(("B",), GridValues()))
base = Supervised("cross_entropy", inputs=("img",))


# ------------------------------------------------------------------------------------------------ models


def stages(size: int) -> int:
    """Halvings until the map is 8 x 8, or 7 x 7 of 224 pixels."""
    return max(int(math.log2(size / 7)), 1)


def widths(data: Data, first: int) -> tuple[int, ...]:
    """Channels per stage: doubled, up to eight times the first."""
    return tuple(first * 2 ** min(place, 3) for place in range(stages(data.info["size"])))


def mlp(cells: int) -> Callable[[Data], nn.Module]:
    """The control: an MLP on ``cells`` x ``cells`` means of the plain encoder's map (0: on the whole map)."""

    def build(data: Data) -> nn.Module:
        size, plain = data.info["size"], widths(data, 16)
        return PoseMLP(data.info["level"], plain, cells=cells or size // 2 ** len(plain), size=size, colors=data.info["colors"])

    return build


def lifted(lift: str, encoder: str, **options: Any) -> Callable[[Data], nn.Module]:
    """An equivariant head behind a lift; the C(4) encoder has half the channels, four components each."""

    def build(data: Data) -> nn.Module:
        info = data.info
        return InducedPose(
            info["lmax"], info["level"], lift=lift, encoder=encoder, widths=widths(data, 16 if encoder == "cnn" else 8),
            size=info["size"], colors=info["colors"], **options,
        )  # fmt: skip

    return build


# ------------------------------------------------------------------------------------------------ metrics


@dataclass
class Scores:
    """What all metrics read: of every test image the angle to the nearest true pose (degrees) and log p of the pose (nats)."""

    degrees: Tensor
    nats: Tensor


def evaluate(model: Any, data: Data) -> Scores:
    """On the grid of the task; of equivalent poses the nearest counts, and the first is the one that p is read at."""
    grid, degrees, nats = RotationGrid(data.info["level"]), [], []
    with evaluating(model), frozen(model), torch.no_grad():
        for batch in loader(data.test, 100, seed=0, shuffle=False):
            logits = model(batch["img"])
            gaps = angle_between(grid.mode(logits).unsqueeze(1), batch["equivalent"].to(logits))
            degrees.append(gaps.amin(1).rad2deg())
            nats.append(grid.log_likelihood(logits, batch["rotation"]))
    return Scores(torch.cat(degrees), torch.cat(nats))


scores = Once(evaluate)


def median_error(model: Any, data: Data) -> float:
    """Median angle between the most probable rotation and the truth, degrees."""
    return float(scores(model, data).degrees.median())


def within(angle: float) -> Callable[[Any, Data], float]:
    """How many of the test images are right to within ``angle`` degrees, percent."""

    def metric(model: Any, data: Data) -> float:
        return 100 * float((scores(model, data).degrees <= angle).double().mean())

    return metric


def log_likelihood(model: Any, data: Data) -> float:
    """Mean log density at the true pose, nats; a uniform belief has -2.29."""
    return float(scores(model, data).nats.mean())


# ------------------------------------------------------------------------------------------------ findings


@dataclass
class PoseDistribution(Finding):
    """What the model believes of a few test images: probabilities ``(k, N)`` on the grid of ``level``, truths, images."""

    probability: np.ndarray
    truth: np.ndarray
    images: np.ndarray
    level: int

    def plot(self) -> Any:
        """Images and, beside them, the distributions on Mollweide's map."""
        from coset.figures.rotations import rotation_density

        grid = RotationGrid(int(self.level)).rotations.numpy()
        return rotation_density(grid, self.probability, truth=self.truth, images=self.images)


def distributions(model: Any, data: Data) -> PoseDistribution:
    """Beliefs about the first test images."""
    batch = next(iter(loader(data.test, PICTURES, seed=0, shuffle=False)))
    with evaluating(model), frozen(model), torch.no_grad():
        belief = model(batch["img"]).softmax(-1)
    pictures = batch["img"].movedim(1, -1).clamp(0, 1)
    return PoseDistribution(belief.numpy(), batch["equivalent"].numpy(), pictures.numpy(), data.info["level"])


# ------------------------------------------------------------------------------------------------ rows

methods = (
    Method("MLP head", mlp(1), axes={"lift": "none", "encoder": "cnn"}, source="klee2023",
           note="Every rotation a class of its own, from means that have lost the places: it memorizes 2000 views."),
    Method("MLP head on the map", mlp(0), axes={"lift": "none", "encoder": "cnn"}, source="klee2023",
           note="The same on all pixels of the map: a fairer control, which must still learn what neighbors are."),
    Method("orthographic (image2sphere)", lifted("orthographic", "cnn"), axes={"lift": "orthographic", "encoder": "cnn"},
           source="klee2023", note="The map painted on half the sphere: one fixed way to lift, refined by learning."),
    Method("orthographic, C4 encoder", lifted("orthographic", "c4"), axes={"lift": "orthographic", "encoder": "c4"},
           source="klee2023", note="Lifted from invariants of C(4): the encoder forgets directions before that."),
    Method("induced", lifted("induced", "cnn"), axes={"lift": "induced", "encoder": "cnn"}, source="howell2023",
           note="All linear maps that a turn of the image commutes with, learned."),
    Method("induced, C4 encoder", lifted("induced", "c4"), axes={"lift": "induced", "encoder": "c4"}, source="howell2023",
           note="Turn the image by quarters and the whole distribution turns with it, exactly."),
    Method("induced to SO(3), C4 encoder", lifted("induced", "c4", target="rotations"), source="howell2023",
           axes={"lift": "induced to SO(3)", "encoder": "c4"}, note="No sphere in between: filters have a free right index."),
)  # fmt: skip

task = Task(
    contracts=(quarter_turns,),
    data=rendered_points,
    objective=base,
    metrics={
        "median_error_degrees": median_error,
        "within_15_degrees_percent": within(15),
        "within_30_degrees_percent": within(30),
        "log_likelihood_nats": log_likelihood,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=16, lr=1e-3),
        "cpu": Recipe(epochs=20, batch=64, lr=3e-3),
        "full": Recipe(epochs=40, batch=64, lr=1e-3),
    },
    findings={"distributions": distributions},
    lower_is_better=True,
)
