"""Solids seen in many poses: features that ignore the pose, features on which it acts, and what each can tell.

Contract: SO(3) turns a solid; views of one solid under known poses are recorded pairs, since nobody can turn a photograph. Rows
share a small ResNet with 128 features and learn from pairs of views: VICReg and Barlow Twins to ignore the motion, SIE to
ignore it in one half and to carry it in the other, a classifier from labels. Metrics read frozen features of solids that no
row has seen: the relative rotation of two views (an MLP on both features, ``r2_component`` and the paper's ``r2_pooled``), the
class (linear), how well SIE's predictor finds the true view among all of a solid, and how far it is from a representation.
Data: :mod:`coset.data.mini3die`; ``--data 3diebench=FOLDER`` takes 3DIEBench itself (size ``full`` for ResNet-18 at 256 px).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.homomorphism import homomorphism_defect
from coset.audits.probes import Read, Reader, Retrieval, class_accuracy, regression, retrieval
from coset.contract import Contract, evaluating, frozen
from coset.data.mini3die import Views, mini3die
from coset.data.threediebench import Objects
from coset.errors import unknown
from coset.groups.matrix import SO
from coset.groups.poses import relative_quaternion
from coset.models.ssl.joint import PHOTOGRAPHS, JointEncoder
from coset.models.ssl.sie import SIE, Predicted
from coset.nn.resnet import ResNet, resnet18
from coset.objectives.joint_embedding import BarlowTwins, SplitEmbedding, VICReg
from coset.objectives.supervised import Supervised
from coset.objectives.two_views import OneView, RecordedPairs, TwoViews
from coset.recipe import Request
from coset.task import Data, Method, Recipe, Stage, Task
from coset.tasks.digits import Once

views = RecordedPairs()
same_class = Contract(SO(3), PHOTOGRAPHS, "B x 10 x scalar", "learned")


@dataclass(frozen=True)
class Extent:
    """How large a comparison is."""

    solids: int  #: of each class, one in five for testing
    views: int
    pairs: int  #: of views, for the probe of the rotation, per solid
    width: int  #: of the ResNet
    blocks: tuple[int, ...]
    widths: tuple[int, ...]  #: of SIE's projectors; the others' are twice as wide
    rotation: Reader
    classes: Reader


EXTENTS = {
    "smoke": Extent(5, 4, 2, 4, (1, 1), (8, 8), Reader((8,), epochs=1), Reader(epochs=1)),
    "cpu": Extent(64, 20, 40, 16, (1, 1, 1, 1), (256, 256, 64), Reader((256,), epochs=10), Reader(epochs=10, lr=1e-2)),
    "full": Extent(64, 50, 50, 64, (2, 2, 2, 2), (1024, 1024, 1024), Reader((1024, 1024), epochs=300), Reader(epochs=300)),
}


def solids(request: Request) -> Data:
    """``train`` and ``test``: ``x`` uint8 (solids, views, 3, S, S), ``pose`` (solids, views, 4), ``y``; different solids.

    With the file ``3diebench`` a folder in the form of :mod:`coset.data.threediebench`, read batch by batch. InputError for
    another file or size.
    """
    if request.size not in EXTENTS:
        raise unknown("size", request.size, EXTENTS)
    if wrong := sorted({name for name, _ in request.files} - {"3diebench"}):
        raise unknown("data file", wrong[0], ["3diebench"])
    extent = EXTENTS[request.size]
    info: dict[str, Any] = {"extent": request.size, "classes": 10, "stem": "half"}
    if request.files:
        return _published(request.files[0][1], extent, info, request.size)
    side = 16 if request.size == "smoke" else 32
    found = mini3die(extent.solids, extent.views, side, seed=0)
    stop = len(found) * 4 // 5
    return Data(_tensors(found[:stop]), _tensors(found[stop:]), audit=None, info=info)


def _tensors(found: Views) -> dict[str, Tensor]:
    return {"x": found.images, "pose": found.quaternions.float(), "y": found.labels}


def _published(folder: Any, extent: Extent, info: dict[str, Any], size: str) -> Data:
    """3DIEBench: pairs drawn for training, the first views of every solid for probes."""
    side = {"smoke": 16, "cpu": 32}.get(size)  # as published at full size
    train = Objects(folder, "train", size=side)
    seen, test = (Objects(folder, split, views=extent.views, fixed=True, size=side) for split in ("train", "val"))
    info |= {"classes": max(train.labels) + 1, "probe": seen, "stem": "large" if size == "full" else "half"}
    return Data(train, test, audit=None, info=info)


# ------------------------------------------------------------------------------------------------ models


def backbone(data: Data) -> nn.Module:
    """The ResNet of this size; ResNet-18 for large images."""
    extent = EXTENTS[data.info["extent"]]
    return resnet18() if data.info["stem"] == "large" else ResNet(extent.width, extent.blocks)


def joint(data: Data, *, bias: bool = False) -> nn.Module:
    """For VICReg (``bias``) and Barlow Twins: embeddings as long as both of SIE's together."""
    return JointEncoder(backbone(data), [2 * width for width in EXTENTS[data.info["extent"]].widths], bias=bias)


def classifier(data: Data) -> nn.Module:
    """The backbone with a linear map to logits."""
    return JointEncoder(backbone(data), (data.info["classes"],))


def sie(data: Data, **options: Any) -> nn.Module:
    """Half of the features invariant, half equivariant."""
    return SIE(backbone(data), EXTENTS[data.info["extent"]].widths, **options)


# ------------------------------------------------------------------------------------------------ metrics


@dataclass(frozen=True, eq=False)
class Features:
    """Of all views of a part: features (solids, views, d), poses, classes."""

    h: Tensor
    pose: Tensor
    y: Tensor

    def pairs(self, count: int, frame: str, seed: int) -> tuple[Tensor, Tensor]:
        """Features of ``count`` random pairs of different views per solid, side by side, and the rotation between them."""
        thing, first, second = choose(self.h.shape[:2], count, seed)
        motion = relative_quaternion(self.pose[thing, first], self.pose[thing, second], frame)  # type: ignore[arg-type]
        return torch.cat([self.h[thing, first], self.h[thing, second]], -1), motion


def choose(shape: tuple[int, ...], count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """``count`` times two different views of every solid, ``shape`` = (solids, views): numbers of solid, first, second."""
    thing = torch.arange(shape[0]).repeat_interleave(count)
    drawn = torch.rand(len(thing), shape[1], generator=torch.Generator().manual_seed(seed)).argsort(1)
    return thing, drawn[:, 0], drawn[:, 1]


def parts(part: Any, batch: int = 64) -> Iterator[Mapping[str, Tensor]]:
    """A part of the data in batches of solids."""
    count = len(part["y"]) if isinstance(part, Mapping) else len(part)
    for start in range(0, count, batch):
        rows = range(start, min(start + batch, count))
        yield {n: v[rows] for n, v in part.items()} if isinstance(part, Mapping) else part.collate([part[i] for i in rows])


def encoded(model: Any, part: Any) -> Features:
    """Frozen features of all views."""
    found = []
    with evaluating(model), frozen(model), torch.no_grad():
        for batch in parts(part):
            x = batch["x"]
            found.append((model.represent(x.flatten(0, 1).float() / 255).unflatten(0, x.shape[:2]), batch["pose"], batch["y"]))
    return Features(*(torch.cat(column) for column in zip(*found, strict=True)))


def both(model: Any, data: Data, half: str = "") -> tuple[Features, Features]:
    """Features of the training and the test part; of one ``half`` of SIE's features, of all elsewhere."""
    out = []
    for part in (data.info.get("probe", data.train), data.test):
        found = encoded(model, part)
        if half and isinstance(model, SIE):
            found = Features(model.halves(found.h)[half == "equivariant"], found.pose, found.y)
        out.append(found)
    return out[0], out[1]


def read(model: Any, data: Data, half: str) -> Read:
    """The relative quaternion of two views, read from one half of their features (SIE) or all (others)."""
    extent = EXTENTS[data.info["extent"]]
    train, test = (
        part.pairs(extent.pairs, getattr(model, "frame", "body"), seed) for seed, part in enumerate(both(model, data, half))
    )
    return regression(train, test, extent.rotation)


readings = {half: Once(partial(read, half=half)) for half in ("equivariant", "invariant")}


def rotation(model: Any, data: Data, *, half: str = "equivariant", what: str = "component") -> float:
    """Worth of that reading: ``component``, ``pooled`` (R2) or ``degrees``."""
    return getattr(readings[half](model, data), what)


def accuracy(model: Any, data: Data, *, half: str = "invariant") -> float:
    """Percent of test views whose class a linear probe reads."""
    train, test = ((part.h.flatten(0, 1), part.y.repeat_interleave(part.h.shape[1])) for part in both(model, data, half))
    return class_accuracy(train, test, EXTENTS[data.info["extent"]].classes)


def ranks(model: Any, data: Data) -> Retrieval:
    """How the view that the predictor means ranks among all views of its solid; without a predictor, the first view itself."""
    found = encoded(model, data.test)
    thing, first, second = choose(found.h.shape[:2], min(4, found.h.shape[1]), 3)
    if not isinstance(model, SIE):
        return retrieval(found.h[thing, first], found.h[thing], second)
    with evaluating(model), frozen(model):
        e = model.equivariant(model.halves(found.h.flatten(0, 1))[1]).unflatten(0, found.h.shape[:2])
        z = relative_quaternion(found.pose[thing, first], found.pose[thing, second], model.frame)
        return retrieval(model.predict(e[thing, first], model.motion(z)), e[thing], second)


def mrr(model: Any, data: Data) -> float:
    """Mean reciprocal rank of the predicted view among the views of its solid."""
    return ranks(model, data).mrr


def defect(model: Any, data: Data) -> float:
    """``|P(g h) - P(g) P(h)| / |P(g h)|`` of SIE's matrices over random rotations; 0 of rows that let motions do nothing."""
    if not isinstance(model, SIE):
        return 0.0
    with evaluating(model), frozen(model):
        unit = torch.eye(model.predictor.features, dtype=torch.float64)
        return homomorphism_defect(Predicted(model), SO(3), unit, samples=8).product


def pairs_of(criterion: nn.Module) -> tuple[Stage, ...]:
    """One stage: two views of every solid, a new pair each epoch."""
    return (Stage(TwoViews(criterion, views)),)


methods = (
    Method("supervised", classifier, (Stage(OneView(Supervised(), views)),), axes={"labels": "class"},
           reference={"class_percent": 87.0, "rotation_r2_pooled": 0.77}, source="garrido2023",
           note="The upper bound for the class; the paper's two figures are of two networks."),
    Method("VICReg", partial(joint, bias=True), pairs_of(VICReg(10, 10, 1)), axes={"labels": "none"}, source="bardes2022",
           reference={"class_percent": 84.74, "rotation_r2_pooled": 0.41}, note="The class, and little of the pose."),
    Method("Barlow Twins", joint, pairs_of(BarlowTwins()), axes={"labels": "none"}, source="zbontar2021",
           note="Invariant by another loss."),
    Method("SIE", sie, pairs_of(SplitEmbedding()), axes={"labels": "poses"}, source="garrido2023",
           reference={"class_percent": 82.94, "rotation_r2_pooled": 0.73},
           note="As published: half the features are to keep the pose for a predictor to turn, half to ignore it."),
    Method("SIE, world frame, matrices", partial(sie, frame="world", motion="matrix"),
           pairs_of(SplitEmbedding(equivariance=10)), axes={"labels": "poses"}, source="garrido2023",
           note="Nine numbers without a sign to choose, and of small mean: features that ignore the motion should predict "
                "less than from quaternions, whose w is 1/2 on average."),
)  # fmt: skip

task = Task(
    contracts=(same_class,),
    data=solids,
    objective=None,
    metrics={
        "rotation_r2": rotation,
        "rotation_r2_pooled": partial(rotation, what="pooled"),
        "rotation_degrees": partial(rotation, what="degrees"),
        "class_percent": accuracy,
        "invariant_rotation_r2": partial(rotation, half="invariant"),
        "mrr": mrr,
        "homomorphism_defect": defect,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=20, lr=1e-3),
        "cpu": Recipe(epochs=150, batch=64, lr=2e-3, clip=0.0, weight_decay=1e-6, optimizer="adam"),
        "full": Recipe(epochs=2000, batch=1024, lr=1e-3, clip=0.0, weight_decay=1e-6, optimizer="adam", schedule="constant"),
    },
)
