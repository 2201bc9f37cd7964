"""Bodies under unknown forces: from their first frames to the law of their futures, with the symmetry in noise and prior.

Three charges, 5 frames given and 10 predicted, 500 training systems at size ``cpu``; five charges, 10 and 20, 3000 systems at
``full`` (Han et al., 2024). Contracts: E(3) and S("N") on the sampler, noise being an input. Data:
:mod:`coset.data.trajectories`. Errors are distances in the units of the data (positions have standard deviation about 1),
averaged over 5 samples unless the name says ``min``. Springs and gravity: ``coset compare coset.tasks.forecasting:springs``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.audits.trajectories import Fan, displacement, fan, representatives
from coset.contract import Contract
from coset.data.trajectories import SCENE, Scenes, System
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.models.generate.geotdm import CoordinateTDM, GeoTDM, Prior
from coset.objectives.denoise import Denoise
from coset.symmetrizers.augment import AugmentationSpace, Augmented
from coset.task import Data, Method, Recipe, Request, Stage, Task

COUNTS = {"smoke": (16, 4, 4), "cpu": (500, 100, 200), "full": (3000, 256, 2000)}  #: train, valid, test
SYSTEMS: dict[str, dict[str, Any]] = {
    "smoke": {"bodies": 3, "past": 3, "future": 4, "step": 0.01},
    "cpu": {"bodies": 3, "past": 5, "future": 10},
    "full": {"bodies": 5, "past": 10, "future": 20},
}
NETWORKS: dict[str, dict[str, int]] = {
    "smoke": {"hidden": 8, "layers": 1, "prior_layers": 1, "steps": 20},
    "cpu": {"hidden": 32, "layers": 2, "prior_layers": 2, "steps": 50},
    "full": {"hidden": 128, "layers": 6, "prior_layers": 2, "steps": 1000},
}
SAMPLES = 5
TOGETHER = 100  #: scenes sampled at a time

known = {name: spec for name, spec in SCENE.items() if name != "x"}
INPUTS = {**known, "noise": "S x N x T x vector"}
OUTPUT = "N x T x position"
motions, exchanges = Contract(E(3), INPUTS, OUTPUT), Contract(S("N"), INPUTS, OUTPUT)
base = Denoise()


def turns(space: int = 3) -> Contract:
    """What augmentation draws: a turn or reflection of the whole scene about 0, which leaves the loss alone."""
    return Contract(O(space), {name: SCENE[name] for name in ("cond", "x", "batch")}, {"loss": "B x scalar"})


# ---------------------------------------------------------------------- data


def bundle(train: Scenes, test: Scenes, valid: Scenes, request: Request, **info: Any) -> Data:
    """Scenes as the rows of this family want them; ``audit`` is the noise and the conditioning of the first test scenes."""
    joined = [one for one in test.scenes if one["edge_index"].numel()]
    first = test.collate((joined or test.scenes)[:2])
    net = {**NETWORKS[request.size], **info.pop("net", {})}
    shape = (net["steps"], *first["x"].shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(request.seed))
    audit = {"noise": noise, **{name: value for name, value in first.items() if name != "x"}}
    sizes: dict[str, Any] = {"future": shape[2], "features": first["h"].shape[1], "space": shape[3], **net}
    sizes["unit"] = 1.0 if request.size == "full" else spread(train)  # the paper's, or that of the data
    sizes["edge_features"] = first["edge_attr"].shape[1] if "edge_attr" in first else 0
    return Data(train, test, audit, valid, {"sizes": sizes, "samples": SAMPLES, **info})


def spread(scenes: Scenes) -> float:
    """Root mean square, per coordinate, of futures about the last given frame, or about their mean where none is given."""
    about = [scene["x"] - (scene["cond"][:, -1:] if "cond" in scene else scene["x"].mean((0, 1))) for scene in scenes.scenes]
    return math.sqrt(float(torch.cat([part.flatten() for part in about]).square().mean()))


def data(request: Request, *, law: str = "charged") -> Data:
    """Systems of one law. InputError for a data file: they are generated."""
    if request.files:
        raise InputError(f"systems of bodies are generated; they take no data file, got {request.files[0][0]!r}")
    generator = torch.Generator().manual_seed(2000 + request.seed)
    crowd = {"bodies": 10} if law == "gravity" and request.size == "full" else {}  # as in the paper
    system = System(law, **{**SYSTEMS[request.size], **crowd})
    train, valid, test = (system.sample(count, generator=generator) for count in COUNTS[request.size])
    return bundle(train, test, valid, request, title=f"{system.bodies} bodies, {law}", unit="")


# ---------------------------------------------------------------------- metrics


def turned(scenes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joined scenes, each turned or reflected about 0 by an element of its own, the same on every call."""
    space = AugmentationSpace(turns(scenes["x"].shape[-1]))
    exact = {name: value.double() if value.is_floating_point() else value for name, value in scenes.items()}
    moved = space.apply_inputs(exact, space.draw(exact, torch.Generator().manual_seed(0)))
    return {name: value.to(scenes[name]) for name, value in moved.items()}


def futures(model: Any, scenes: Mapping[str, Tensor], samples: int, *, steps: int | None = None, seed: int = 0) -> Tensor:
    """``(samples, N, T, n)``: the same noise in every metric, so that they speak of the same samples."""
    weight = next(model.parameters())
    given = {name: value.to(weight.device) for name, value in scenes.items() if name != "x"}
    drawn = model.sample(given, samples, steps=steps, generator=torch.Generator().manual_seed(seed))
    return drawn.to(scenes["x"])


def error(
    model: Any, data: Data, *, turn: bool = False, steps: int | None = None, guesses: int | None = None, **how: Any
) -> float:
    """A displacement error of test scenes, averaged over graphs; with ``guesses``, so many for every node, over nodes."""
    total, count = 0.0, 0
    for part in data.test.parts(TOGETHER):
        part = turned(part) if turn else part
        drawn = futures(model, part, data.info["samples"], steps=steps)
        if guesses is not None:
            drawn = representatives(drawn, min(guesses, len(drawn)))
        found = displacement(drawn, part["x"], batch=part["batch"] if guesses is None else None, **how)
        total, count = total + float(found.sum()), count + len(found)
    return total / count


def fans(model: Any, data: Data) -> Fan:
    """Sampled futures of three test scenes."""
    part = data.test.collate(data.test.scenes[:3])
    drawn = futures(model, part, data.info["samples"])
    return fan(part["cond"], part["x"], drawn, part["batch"], title=data.info["title"], unit=data.info["unit"])


ade, fde = partial(error), partial(error, final=True)
turned_ade, min_ade = partial(error, turn=True), partial(error, of="best")

# ---------------------------------------------------------------------- rows


def build(kind: type[GeoTDM], prior: Prior, data: Data) -> GeoTDM:
    """The sampler with its networks in the size that the data ask for."""
    return kind(**data.info["sizes"], prior=prior)


def rows(space: int = 3, reference: Mapping[str, float] | None = None) -> tuple[Method, ...]:
    """The rows of a forecasting task: the symmetry in nothing, in the data, in the network, in network and prior."""
    return (
        Method("coordinates", partial(build, CoordinateTDM, "last"), axes={"symmetry": "none"},
               note="Coordinates are numbers: every direction has to be learned by itself."),
        Method("coordinates, turned in training", partial(build, CoordinateTDM, "last"),
               (Stage(Augmented(base, turns(space))),), axes={"symmetry": "augmentation"},
               note="Random turns and reflections of every scene."),
        Method("GeoTDM, last frame", partial(build, GeoTDM, "last"), axes={"symmetry": "network"}, source="han2024",
               note="Equivariant, noise about the last given frame: the motion itself is left to the diffusion."),
        Method("GeoTDM", partial(build, GeoTDM, "learned"), axes={"symmetry": "network and prior"}, source="han2024",
               reference=reference or {}, note="Noise about a reference that weighs the given frames, learned along."),
    )  # fmt: skip


task = Task(
    contracts=(motions, exchanges),
    data=data,
    objective=base,
    metrics={"ade": ade, "fde": fde, "turned_ade": turned_ade, "min_ade": min_ade},
    methods=rows(reference={"ade": 0.110, "fde": 0.258}),
    recipe={
        "smoke": Recipe(epochs=2, batch=8, lr=1e-3),
        "cpu": Recipe(epochs=300, batch=50, lr=3e-3, weight_decay=0.0, clip=1.0),
        "full": Recipe(epochs=4000, batch=128, lr=1e-4, optimizer="adam", schedule="constant", weight_decay=0.0),
    },
    findings={"fans": fans},
    lower_is_better=True,
)
springs = replace(task, data=partial(data, law="springs"), methods=rows(reference={"ade": 0.0030, "fde": 0.0079}))
gravity = replace(task, data=partial(data, law="gravity"), methods=rows(reference={"ade": 0.256, "fde": 0.613}))
