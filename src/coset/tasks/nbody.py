"""Five charged particles: where are they a while later? Equivariance under E(3), imposed in six ways.

Contracts: E(3) and S("N") on positions, velocities and charges. The setting of EGNN and frame averaging, generated:
500 training systems at size ``cpu``, 3000 at ``full``. Data: :mod:`coset.data.nbody`. Errors are mean squares per
coordinate, in the units of the data (positions have standard deviation 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract, evaluating, frozen
from coset.data.nbody import nbody
from coset.groups.euclidean import E
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.models.points.egnn import EGNN
from coset.models.points.gnn import ParticleGNN
from coset.models.points.ponita import ParticlePONITA
from coset.nn.particles import INPUTS, OUTPUTS
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import AugmentationSpace, Augmented
from coset.symmetrizers.canonical import MDS, Canonicalize
from coset.symmetrizers.frames import FrameAverage
from coset.task import Data, Method, Recipe, Stage, Task

motions = Contract(E(3), INPUTS, OUTPUTS)
turns = Contract(O(3), INPUTS, OUTPUTS)  #: what augmentation draws: all systems, also those of the test, stand around 0
exchanges = Contract(S("N"), INPUTS, OUTPUTS)
base = Supervised("mse", inputs=("pos", "vel", "charge"))


def plain(data: Data) -> nn.Module:
    """A graph network that sees coordinates as numbers."""
    return ParticleGNN(32, 3)


def framed(data: Data) -> nn.Module:
    """The same network averaged over the eight principal frames of O(3), centered."""
    return FrameAverage(plain(data), motions)


def canonicalized(data: Data) -> nn.Module:
    """The same network on invariant initial coordinates, its output turned back."""
    return Canonicalize(plain(data), motions, canonicalizer=MDS())


def egnn(data: Data) -> nn.Module:
    """Equivariant messages, layer by layer."""
    return EGNN(32, 3)


def sizes(data: Data) -> dict[str, Any]:
    """Of PONITA: those of the paper where its 3000 systems are there to be learned from."""
    paper = {"hidden": 128, "layers": 5, "kernels": 256, "widening": 4, "layer_scale": 1e-6}
    return paper if len(data.train["pos"]) >= 3000 else {"hidden": 32, "layers": 3, "layer_scale": 1e-2}


def ponita(data: Data) -> nn.Module:
    """Convolutions on positions x the twelve vertices of the icosahedron."""
    return ParticlePONITA(**sizes(data), orientations=12)


def pnita(data: Data) -> nn.Module:
    """The same on positions alone, with speeds for velocities."""
    return ParticlePONITA(**sizes(data), orientations=0)


def predict(model: Any, x: Mapping[str, Tensor], *, batch: int = 500) -> Tensor:
    """Predicted positions in eval mode."""
    parts = zip(*(x[name].split(batch) for name in INPUTS), strict=True)
    with evaluating(model), frozen(model), torch.no_grad():
        return torch.cat([model(**dict(zip(INPUTS, part, strict=True))) for part in parts])


def turned(systems: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Systems and their targets, each turned or reflected about 0 by an element of its own, the same on every call."""
    space = AugmentationSpace(turns)
    g = space.draw(systems, torch.Generator().manual_seed(0))
    exact = space.apply({name: value.double() for name, value in systems.items()}, g)
    return {name: value.to(systems[name]) for name, value in exact.items()}


def mse(model: Any, data: Data) -> float:
    """Mean squared error per coordinate."""
    return float((predict(model, data.test) - data.test["y"]).square().mean())


def turned_mse(model: Any, data: Data) -> float:
    """The same on turned test systems."""
    systems = turned(data.test)
    return float((predict(model, systems) - systems["y"]).square().mean())


methods = (
    Method("plain", plain, axes={"symmetry": "none"}, note="Three hundred epochs on 500 systems: it fits poses, not physics."),
    Method("augmented", plain, (Stage(Augmented(base, turns)),), axes={"symmetry": "augmentation"},
           note="Random turns every step: learns less per epoch, but in the time of 80 epochs of frames it learns more."),
    Method("augmented, 80 epochs", plain, (Stage(Augmented(base, turns), {"epochs": 80}),), axes={"symmetry": "augmentation"},
           note="At the epochs of the frame average, augmentation has not caught up."),
    Method("frame averaging, 80 epochs", framed, (Stage(recipe={"epochs": 80}),), axes={"symmetry": "frames"},
           reference={"mse": 0.0057}, source="puny2022", note="Exact, at eight forward passes per step."),
    Method("canonicalized (TinvNN)", canonicalized, axes={"symmetry": "canonicalization"}, source="zhang2021",
           note="One frame chosen by a sign rule: exact where no sign is tied, at the price of the plain network."),
    Method("EGNN", egnn, axes={"symmetry": "equivariant layers"}, reference={"mse": 0.0071}, source="satorras2021",
           note="Equivariance in every layer, no frame to choose."),
    Method("PNITA", pnita, (Stage(recipe={"lr": 3e-3}),), axes={"symmetry": "invariant kernels"}, source="bekkers2024",
           note="Kernels of distances, speeds for velocities: exact, but where a particle is heading is lost."),
    Method("PONITA", ponita, axes={"symmetry": "grid of orientations"}, reference={"mse": 0.0043}, source="bekkers2024",
           note="The same with twelve orientations: exact for the icosahedron's motions, close to it for the others."),
)  # fmt: skip

task = Task(
    contracts=(motions, exchanges),
    data=nbody,
    objective=base,
    metrics={"mse": mse, "turned_mse": turned_mse},
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=2, batch=20, lr=1e-3),
        "cpu": Recipe(epochs=300, batch=100, lr=1e-2),  # of 3e-3 and 1e-2 the better on valid, for plain and for frames
        "full": Recipe(epochs=10000, batch=100, lr=1e-3, schedule="constant"),
    },
    lower_is_better=True,
)
