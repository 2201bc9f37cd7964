"""Clone an expert that was watched for targets in a sector of 60 degrees, and judge the student on all other targets.

Contracts: actions are invariant under rotations about gravity and follow the limbs when these are renumbered. Data:
:mod:`coset.data.glider`, 500 states. Errors are mean squares of actions, which lie in [-1, 1]. This is the benchmark of
Chen, Han, Sun & Huang (ICML 2023, arXiv 2305.18951) without reinforcement learning: what symmetry gives before any reward.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from coset.audits.tracks import Tracks
from coset.contract import Contract, evaluating
from coset.data.glider import SECTOR, fly, glider
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.models.control.limb_mlp import LimbMLP
from coset.models.control.subequivariant import SET
from coset.nn.limbs import ACTIONS, DOWN, INPUTS
from coset.objectives.supervised import Supervised
from coset.symmetrizers.augment import Augmented
from coset.task import Data, Method, Recipe, Stage, Task

turns = Contract(SO(3).stabilizer(DOWN), INPUTS, ACTIONS)
base = Supervised("mse", inputs=tuple(INPUTS))
SETS = {
    "smoke": {"width": 8, "layers": 1, "hidden": 16, "projected": 4},
    "cpu": {"width": 32, "layers": 2, "hidden": 64, "projected": 6},
    "full": {"width": 128, "layers": 3, "hidden": 256, "projected": 30},
}


def error(part: str, model: Any, data: Data) -> float:
    """Mean squared difference to the expert's actions on ``inside`` or ``outside`` of the sector."""
    states = data.test[part]
    with torch.no_grad(), evaluating(model):
        y = model(**{name: states[name] for name in INPUTS})
    return float((y - states["y"]).square().mean())


def ratio(model: Any, data: Data) -> float:
    """Error outside over error inside: 1 where a heading is a heading."""
    return error("outside", model, data) / error("inside", model, data)


def headings(model: Any, data: Data) -> Tracks:
    """Flights of the student to twelve headings, seen from above."""
    angles = torch.arange(12) * (math.pi / 6)
    with torch.no_grad(), evaluating(model):
        paths = fly(model, angles, steps=10 if data.info["size"] == "smoke" else 300)
    return Tracks(paths.numpy().astype(float), angles.numpy(), np.array([-SECTOR / 2, SECTOR / 2]))


def monolithic(data: Data) -> nn.Module:
    """One network for all limbs, which sees coordinates as numbers."""
    return LimbMLP(data.info["limbs"], 16 if data.info["size"] == "smoke" else 256, 2)


def subequivariant(data: Data) -> nn.Module:
    """SET of this size."""
    return SET(**SETS[data.info["size"]])


methods = (
    Method("MLP", monolithic, axes={"symmetry": "none"}, note="Good where it was shown, lost elsewhere."),
    Method("MLP, headings augmented", monolithic, (Stage(Augmented(base, turns)),), axes={"symmetry": "augmentation"},
           note="Told of the symmetry by examples: as good outside as inside, and less good inside than the plain MLP."),
    Method("SET", subequivariant, axes={"symmetry": "about gravity"}, source="chen2023",
           note="Told of the symmetry by construction."),
)  # fmt: skip

_recipe = Recipe(epochs=150, batch=50, lr=3e-3, weight_decay=1e-4)

task = Task(
    contracts=(turns, Contract(S("N"), INPUTS, ACTIONS)),
    data=glider,
    objective=base,
    metrics={"mse_outside": partial(error, "outside"), "mse_inside": partial(error, "inside"), "ratio": ratio},
    methods=methods,
    recipe={
        "smoke": _recipe.override({"epochs": 2, "batch": 20}),
        "cpu": _recipe,
        "full": _recipe.override({"epochs": 500, "lr": 1e-3}),
    },
    findings={"headings": headings},
    lower_is_better=True,
)
