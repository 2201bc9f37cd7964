"""A signed pattern in one of ten noisy patches: how many samples weight sharing and locality save.

Contract: the label does not change when patches are permuted, S_k; the CNN promises it, the locally connected and the
dense network do not. Rows are architectures times numbers of samples; :func:`samples_needed` reads the price of each
symmetry off their errors. Paper: Lahoti, Karp, Winston, Singh & Li, Role of Locality and Weight Sharing in Image-Based
Tasks, ICLR 2024, arXiv 2403.15707. Growth in the number and size of patches (16 cores, an hour):
``python benchmarks/accept/weight_sharing.py --slopes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract, evaluating
from coset.data.signal import Signal
from coset.errors import InputError, unknown
from coset.groups.permutation import S
from coset.models.images.patch_net import ARCHITECTURES, PatchNet
from coset.objectives.supervised import Supervised
from coset.task import Data, Method, Recipe, Request, Stage, Task
from coset.train.full_batch import full_batch

SAMPLES = (50, 100, 200, 400, 800, 1600)
TESTS = {"smoke": 500, "cpu": 20000, "full": 100000}
VALID = 500  #: samples for stopping early, the same for every row: without it small samples are overfitted
PROBLEM = Signal(patches=10, size=20, sigma=0.25)


def data(request: Request, problem: Signal = PROBLEM, *, samples: int = max(SAMPLES)) -> Data:
    """As many training samples as the largest row takes, a test set, and the optimal detector's error on it."""
    if request.size not in TESTS:
        raise unknown("size", request.size, TESTS)
    generator = torch.Generator().manual_seed(1000 + request.seed)
    train = problem.draw(samples, generator=generator)
    valid = problem.draw(VALID, generator=generator)
    test = problem.draw(TESTS[request.size], generator=torch.Generator().manual_seed(0))
    floor = error_of(problem.detector(test["x"]), test["y"])
    return Data(
        train, test, valid=valid, audit=test["x"][:64], info={"patches": problem.patches, "size": problem.size, "floor": floor}
    )


def error_of(score: Tensor, y: Tensor) -> float:
    """Share of wrong signs; a score of zero is half wrong."""
    return float(torch.where(score == 0, 0.5, (score.sign() != y).double()).mean())


def error(model: Any, data: Data) -> float:
    """Test error in percent."""
    with torch.no_grad(), evaluating(model):
        return 100 * error_of(model(data.test["x"]), data.test["y"])


def excess(model: Any, data: Data) -> float:
    """Test error above that of the optimal detector, which knows the pattern, in percent."""
    return error(model, data) - 100 * data.info["floor"]


def build(architecture: str, data: Data) -> PatchNet:
    """The architecture at the sizes of the data."""
    return PatchNet.named(architecture, data.info["patches"], data.info["size"])


def samples_needed(samples: Sequence[int], errors: Sequence[float], target: float, *, floor: float = 0.0) -> float:
    """Smallest number of samples with an error of at most ``target``: linear in log n between the rows; inf if none.

    ``errors`` are means over seeds. If the first row is below the target already, its n is an upper bound. Raises
    InputError for a target that not even the optimal detector reaches (``floor``).
    """
    if target <= floor:
        raise InputError(f"target {target:g} is not above {floor:g}, the error of the optimal detector: no network reaches it")
    pairs = sorted(zip(samples, errors, strict=True))
    if not pairs:
        raise InputError("samples_needed: expected at least one row")
    previous: tuple[int, float] | None = None
    for n, value in pairs:
        if value <= target:
            if previous is None:
                return float(n)
            share = (previous[1] - target) / (previous[1] - value)
            return math.exp(math.log(previous[0]) + share * math.log(n / previous[0]))
        previous = (n, value)
    return math.inf


def rows(samples: Sequence[int] = SAMPLES) -> tuple[Method, ...]:
    """Every architecture at every number of samples; the dense network first, it is the unconstrained baseline."""
    builders: dict[str, Callable[[Data], PatchNet]] = {name: partial(build, name) for name in ARCHITECTURES}
    return tuple(
        Method(
            f"{name}, {n} samples", builders[name], (Stage(recipe={"samples": n}, loop=full_batch),),
            axes={"model": name, "samples": n}, source="lahoti2024", note=NOTES[name],
        )
        for name in ("fcn", "lcn", "cnn")
        for n in samples
    )  # fmt: skip


NOTES = {
    "fcn": "Dense: it must find out which numbers belong together, and then learn every place by itself.",
    "lcn": "Local without sharing: it learns the pattern once for every place.",
    "cnn": "Local and shared: what is learned at one place holds at all of them.",
}

# plain descent, since Adam is not orthogonally equivariant: it would prefer patterns along no axis, and blur the bounds
_recipe = Recipe(epochs=400, lr=0.1, optimizer="sgd", schedule="constant", weight_decay=0.0, clip=0.0, patience=400)

task = Task(
    contracts=(
        # bound to the task's number of patches, so that the identity is known without a sample
        Contract(S("K"), f"B x K x {PROBLEM.size} x scalar", "B x scalar").bind(torch.zeros(1, PROBLEM.patches, PROBLEM.size)),
    ),
    data=data,
    objective=Supervised("logistic"),
    metrics={"error_percent": error, "excess_percent": excess},
    methods=rows(),
    recipe={"smoke": _recipe.override({"epochs": 20}), "cpu": _recipe, "full": _recipe},
    lower_is_better=True,
)
