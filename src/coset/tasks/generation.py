"""Whole trajectories of bodies out of noise alone, with an invariant law: scored against the law of the data.

GeoTDM without conditioning on the mean-free subspace. Contracts: O(3) and S("N") on the sampler, noise being an input. Three
charges, 8 frames at size ``cpu``; five charges, 20 frames at ``full`` (Han et al., 2024); one charge pattern per sample is
given as node features. Scores: likelihood bound in nats per system; how far histograms of coordinates differ (marginal);
cross-entropy of a classifier of real and sampled (log 2 = 0.69 is best); error, on data, of a predictor fit to samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.audits.trajectories import Fan, classification_score, fan, marginal_score, predictive_score
from coset.contract import Contract
from coset.data.trajectories import System
from coset.errors import InputError
from coset.groups.matrix import O
from coset.groups.permutation import S
from coset.models.generate.geotdm import CoordinateTDM, GeoTDM
from coset.objectives.denoise import bound
from coset.task import Data, Method, Recipe, Request, Task
from coset.tasks.forecasting import INPUTS, NETWORKS, TOGETHER, base, bundle, futures

COUNTS = {"smoke": (16, 4, 8), "cpu": (500, 100, 400), "full": (3000, 256, 2000)}
SYSTEMS: dict[str, dict[str, Any]] = {
    "smoke": {"bodies": 3, "future": 4, "step": 0.01},
    "cpu": {"bodies": 3, "future": 8},
    "full": {"bodies": 5, "future": 20},
}

inputs = {name: spec for name, spec in INPUTS.items() if name != "cond"}
motions, exchanges = (Contract(group, inputs, "N x T x vector") for group in (O(3), S("N")))


def data(request: Request) -> Data:
    """Charged systems seen from their start, with nothing given."""
    if request.files:
        raise InputError(f"systems of bodies are generated; they take no data file, got {request.files[0][0]!r}")
    generator = torch.Generator().manual_seed(5000 + request.seed)
    system = System(past=0, **SYSTEMS[request.size])
    train, valid, test = (system.sample(count, generator=generator) for count in COUNTS[request.size])
    info: dict[str, Any] = {"bodies": system.bodies, "title": f"{system.bodies} bodies, out of noise", "unit": ""}
    return bundle(train, test, valid, request, net=NETWORKS[request.size], **info)


def pairs(model: GeoTDM, data: Data) -> tuple[Tensor, Tensor]:
    """Samples and data ``(systems, bodies, T, 3)``, both with zero mean over bodies and time, for the same charges."""
    drawn, truth = [], []
    for part in data.test.parts(TOGETHER):
        truth.append(model.project(part["x"], part))
        drawn.append(futures(model, part, 1)[0])
    shape = (-1, data.info["bodies"], *truth[0].shape[1:])
    return torch.cat(drawn).view(shape), torch.cat(truth).view(shape)


def score(of: Callable[[Tensor, Tensor], float], model: GeoTDM, data: Data) -> float:
    """A score of samples against data."""
    return of(*pairs(model, data))


def nll(model: GeoTDM, data: Data) -> float:
    """The bound of ``-log p``, nats per system."""
    part = data.test.collate(data.test.scenes[:100])
    device = next(model.parameters()).device
    part = {name: value.to(device) for name, value in part.items()}
    x = part.pop("x")
    with torch.no_grad():
        return float(bound(model, x, part, generator=torch.Generator().manual_seed(0)).mean())


def fans(model: GeoTDM, data: Data) -> Fan:
    """Four samples beside a system of the data, for three patterns of charges."""
    part = data.test.collate(data.test.scenes[:3])
    truth = model.project(part["x"], part)
    return fan(truth[:, :0], truth, futures(model, part, 4), part["batch"], title=data.info["title"])


def build(kind: type[GeoTDM], data: Data) -> GeoTDM:
    """The sampler without conditioning."""
    return kind(**data.info["sizes"], prior="none")


task = Task(
    contracts=(motions, exchanges),
    data=data,
    objective=base,
    metrics={
        "marginal_score": partial(score, marginal_score),
        "classification_score": partial(score, classification_score),
        "predictive_score": partial(score, predictive_score),
        "nll_nats": nll,
    },
    methods=(
        Method("coordinates", partial(build, CoordinateTDM), axes={"symmetry": "none"},
               note="Coordinates are numbers: the law of the samples has the symmetry that the data taught."),
        Method("GeoTDM", partial(build, GeoTDM), axes={"symmetry": "network"}, source="han2024",
               note="Turned noise gives turned trajectories: the law of the samples is invariant, exactly."),
    ),
    recipe={
        "smoke": Recipe(epochs=2, batch=8, lr=1e-3),
        "cpu": Recipe(epochs=200, batch=50, lr=2e-3, weight_decay=0.0, clip=1.0),
        "full": Recipe(epochs=4000, batch=128, lr=1e-4, optimizer="adam", schedule="constant", weight_decay=0.0),
    },
    findings={"fans": fans},
    lower_is_better=True,
)  # fmt: skip
