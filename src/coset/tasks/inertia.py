"""Inertia tensors with one axis broken: which symmetry the data have, found by soft regularisation, and what it buys.

Contract: of the candidates O(2) about x, y and z (all inside O(3)) only the one about the broken axis, z here, is true.
PER pulls a free network towards all three at once and releases those that the data resist; its strengths and functional
errors name the axis. The last row imposes what was found and trains on. Paper: Kim, Lee, Yang & Lee, Regularizing Towards
Soft Equivariance Under Mixed Symmetries, ICML 2023, arXiv 2306.00356. Accuracy at the size ``cpu`` is one seed's worth;
the paper's claim needs ``full``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from coset.contract import Contract, evaluating
from coset.data.inertia import AXES, bodies
from coset.errors import unknown
from coset.models.points.tensor_mlp import CANDIDATES, GROUPS, TensorMLP, contract
from coset.objectives.penalized import Once, Penalized
from coset.objectives.supervised import Supervised
from coset.symmetrizers.regularize import WeightRegularizer, found, functional_error, impose_found
from coset.task import Data, Method, Recipe, Request, Stage, Task

SIZES = {"smoke": (60, 60), "cpu": (600, 2000), "full": (1000, 5000)}  #: training and test samples
NOISE = 0.3
STRENGTH = 0.2  #: of every candidate at the start; with 0.001 and 0.01 the minima came out nearly equal


def data(request: Request, *, axis: str = "z") -> Data:
    """Samples broken about ``axis``; targets in units of their standard deviation, one number for all entries."""
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    train, test = SIZES[request.size]
    generator = torch.Generator().manual_seed(request.seed)
    parts = [bodies(n, noise={axis: NOISE}, generator=generator) for n in (train, test)]
    scale = float(parts[0]["y"].std())
    parts = [{**part, "y": part["y"] / scale} for part in parts]
    seen = {name: parts[1][name][:64] for name in ("mass", "pos")}
    return Data(parts[0], parts[1], audit=seen, info={"axis": axis, "scale": scale, "bodies": parts[0]["mass"].shape[1]})


# ---------------------------------------------------------------------- metrics


def mse(model: Any, data: Data) -> float:
    """Test error, in units of the targets' variance."""
    with torch.no_grad(), evaluating(model):
        y = model(data.test["mass"], data.test["pos"])
    return float((y - data.test["y"]).square().mean())


def error(name: str, model: Any, data: Data) -> float:
    """Functional error of the named group, |f(gx) - g f(x)| / (|f(gx)| + |g f(x)|), on test samples."""
    return functional_error(model, contract(GROUPS[name]), {n: data.test[n][:300] for n in ("mass", "pos")})


def strength(index: int, model: Any, data: Data) -> float:
    """The tuned strength of a candidate as a share of the strongest; 0 for a model that was not regularised."""
    strengths = model.strengths
    return float(strengths[index] / strengths.max().clamp(min=1e-12))


def found_axis(model: Any, data: Data) -> float:
    """The axis that training found: 0, 1 or 2 for x, y or z."""
    return float(list(CANDIDATES).index(found(model, CANDIDATES)))


# ---------------------------------------------------------------------- rows


def per(strength: float = STRENGTH) -> Penalized:
    """The base loss and one penalty for each candidate, tuned once, halfway through training."""
    penalties = (WeightRegularizer(group, strength, name=name) for name, group in CANDIDATES.items())
    return Penalized(base, *penalties, tuner=Once(share=0.5))


def build(symmetry: str, start: str, data: Data) -> TensorMLP:
    """The network, free or exactly symmetric under the named group."""
    return TensorMLP(data.info["bodies"], symmetry=symmetry, start=start)  # type: ignore[arg-type]


def builder(symmetry: str = "free", start: str = "plain") -> Callable[[Data], TensorMLP]:
    """``build`` for a row."""
    return partial(build, symmetry, start)


base = Supervised("mse", ("mass", "pos"))
soft = builder(start="halfsoft")
PENALIZED = Stage(per())

methods = (
    Method("free", builder(), axes={"symmetry": "none"}, note="Nothing is known: the samples have to teach every direction."),
    Method("strict O(3)", builder("O(3)"), axes={"symmetry": "O(3)"}, source="finzi2021",
           note="Too much symmetry: the broken axis cannot be expressed."),
    Method("strict O(2) about z", builder("O(2)z"), axes={"symmetry": "O(2) z"}, source="finzi2021",
           note="What is true, told beforehand."),
    Method("PER", soft, (PENALIZED,), axes={"symmetry": "soft"}, source="kim2023",
           note="Told three candidates, it keeps the strength of the true one: read strength and error of each axis."),
    Method("PER, then imposed", soft, (PENALIZED, Stage(prepare=impose_found(CANDIDATES))),
           axes={"symmetry": "soft, then exact"}, source="kim2023",
           note="The axis found is imposed exactly, and training goes on without penalties."),
)  # fmt: skip

_recipe = Recipe(epochs=400, batch=200, lr=2e-3, optimizer="adam", schedule="cosine", weight_decay=0.0)


def _contracts() -> tuple[Contract, ...]:
    """What is true of the task (z), and what is not."""
    return tuple(contract(group, claim="exact" if name == "O(2)z" else "broken", name=name) for name, group in GROUPS.items())


task = Task(
    contracts=_contracts(),
    data=data,
    objective=base,
    metrics={
        "mse": mse,
        **{f"strength_{axis}": partial(strength, i) for i, axis in enumerate(AXES)},
        **{f"error_{axis}": partial(error, f"O(2){axis}") for axis in AXES},
        "error_all": partial(error, "O(3)"),
        "found_axis": found_axis,
    },
    methods=methods,
    recipe={
        "smoke": _recipe.override({"epochs": 4, "batch": 20}),
        "cpu": _recipe,
        "full": _recipe.override({"epochs": 8000, "batch": 500, "lr": 1e-3}),
    },
    lower_is_better=True,
)
