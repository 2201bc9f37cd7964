"""Walk to a target in any direction: TD3 on one body in 3D, judged on headings that training never asked for.

Contracts: actions are invariant under rotations about gravity and follow the limbs when these are renumbered. Training asks
for headings within 135 degrees of x, the quarter behind is held out. Bodies: :mod:`coset.data.limb_families`, or one's own,
``--data body=FILE.json`` (:mod:`coset.data.limb_files`); rewards: :mod:`coset.train.bodies`. At the size ``cpu`` networks
are small, there is one update for two steps, and 50 000 steps instead of the paper's five million: read it as who learns
faster, not as a gait. After them both rows still throw themselves at the target and fall within about 60 steps (returns near
100), while this hopper, left without torque, stands for a return of 1000. Chen, Han, Sun & Huang, ICML 2023, arXiv
2305.18951, whose figures are curves without numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits.tracks import Tracks
from coset.contract import Contract
from coset.data.limb_families import body
from coset.data.limb_files import read_body
from coset.data.limbs import Body
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.models.control.limb_mlp import LimbMLP
from coset.models.control.subequivariant import SET
from coset.nn.limbs import ACTIONS, DOWN, INPUTS, check_vertical
from coset.task import Data, Method, Recipe, Request, Stage, Task
from coset.train.bodies import environment
from coset.train.rollout import Episodes, batched, episodes
from coset.train.td3 import TD3

SECTOR = 0.75 * math.pi  #: training headings are within this angle of x
JUDGED = 8  #: headings in a metric
BODY = "hopper_3"
EPISODE = {"smoke": 20, "cpu": 1000, "full": 1000}
EVERY = {"smoke": 2, "cpu": 2, "full": 1}  #: environment steps for one update
SETS = {  #: arguments of SET; those of ``full`` are the paper's
    "smoke": {"width": 8, "layers": 1, "hidden": 16, "projected": 4},
    "cpu": {"width": 32, "layers": 1, "hidden": 64, "projected": 6},
    "full": {"width": 128, "layers": 3, "hidden": 256, "projected": 30},
}


def data(request: Request, tree: str | Body = BODY) -> Data:
    """An environment to train in, headings seen and held out, and 32 states of random motion for the audit."""
    files = dict(request.files)
    if unread := sorted(set(files) - {"body"}):
        raise InputError(f"locomotion takes one file, body=FILE.json; got {unread[0]!r}")
    tree = read_body(files["body"]) if "body" in files else body(tree) if isinstance(tree, str) else tree
    make = partial(environment, tree, headings=(-SECTOR, SECTOR), episode=EPISODE[request.size])
    test = {
        "seen": _headings(-SECTOR, SECTOR, JUDGED),
        "held_out": _headings(SECTOR, 2 * math.pi - SECTOR, JUDGED),
        "all": _headings(-math.pi, math.pi, 12),
    }
    info = {"size": request.size, "limbs": len(tree), "body": tree.name, "every": EVERY[request.size], "make": make}
    return Data(make, test, states(make, 32, seed=request.seed), _headings(-SECTOR, SECTOR, 4), info)


def states(make: Any, count: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Observations of a body that moves at random, one in five steps, with codes and relations."""
    env, random = make(), np.random.default_rng(seed)
    seen, found = env.reset(seed=seed)[0], []
    for step in range(5 * count):
        seen, _, fallen, over, _ = env.step(random.uniform(-1, 1, env.action_space.shape).astype(np.float32))
        if step % 5 == 4:
            found.append(seen)
        if fallen or over:
            seen, _ = env.reset()
    x = batched(found, env.constants, torch.zeros(()))
    check_vertical(x["gravity"])
    return x


def walk(model: Any, data: Data, part: str) -> Episodes:
    """Episodes at the headings of one part of ``data.test``, the same starts for every row."""
    return episodes(model, data.train, data.test[part], seed=1000)


def mean_return(part: str, model: Any, data: Data) -> float:
    """Mean return of an episode."""
    return float(walk(model, data, part).returns.mean())


def meters(model: Any, data: Data) -> float:
    """Mean way gone towards a held-out heading."""
    found = walk(model, data, "held_out")
    return float(_tracks(found, data.test["held_out"]).progress().mean())


def headings(model: Any, data: Data) -> Tracks:
    """Tracks for twelve headings, all starting with a yaw of zero."""
    return _tracks(walk(model, data, "all"), data.test["all"])


def _tracks(found: Episodes, options: Sequence[dict[str, float]]) -> Tracks:
    return Tracks(found.tracks, np.array([option["heading"] for option in options]), np.array([-SECTOR, SECTOR]))


def _headings(low: float, high: float, count: int) -> list[dict[str, float]]:
    """Headings in the middle of ``count`` equal parts of a range."""
    return [{"heading": low + (high - low) * (i + 0.5) / count} for i in range(count)]


def monolithic(data: Data) -> nn.Module:
    """One network for all limbs, which sees coordinates as numbers."""
    return LimbMLP(data.info["limbs"], 256 if data.info["size"] != "smoke" else 16, 2)


def subequivariant(data: Data) -> nn.Module:
    """SET of this size."""
    return SET(**SETS[data.info["size"]])


WALK = Stage(loop=TD3())

methods = (
    Method("MLP", monolithic, (WALK,), axes={"symmetry": "none"}, source="fujimoto2018",
           note="Every heading is a new problem, and those held out were never seen."),
    Method("SET", subequivariant, (WALK,), axes={"symmetry": "about gravity"}, source="chen2023",
           note="What is learned for one heading holds for all: held-out headings are no others."),
)  # fmt: skip

_recipe = Recipe(epochs=50, batch=100, lr=5e-4, optimizer="adam", schedule="constant", weight_decay=0.0, clip=0.1, samples=1000)

task = Task(
    contracts=(Contract(SO(3).stabilizer(DOWN), INPUTS, ACTIONS), Contract(S("N"), INPUTS, ACTIONS)),
    data=data,
    objective=None,
    metrics={
        "return_held_out": partial(mean_return, "held_out"),
        "return_seen": partial(mean_return, "seen"),
        "progress_held_out_m": meters,
    },
    methods=methods,
    recipe={
        "smoke": _recipe.override({"epochs": 2, "samples": 20, "batch": 8}),
        "cpu": _recipe,
        "full": _recipe.override({"epochs": 5000, "lr": 1e-4}),
    },
    findings={"headings": headings},
)
