"""Digits trained upright and tested turned, sheared and zoomed: what convolutions over GL+(2) and SL(2) know beforehand.

Contract: affine maps near the identity (those of affNIST) leave the class alone. Networks of one layout, a lift, a residual
block of two 5 x 5 convolutions (two at size ``full``), a last convolution and the maximum, with equal parameters: ordinary
convolutions with and without augmentation, and convolutions over groups of linear maps at sampled elements. Data:
:mod:`coset.data.affine_digits`; ``--data mnist=FILE --data affnist=FOLDER`` is the setting of the paper.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.contract import evaluating, frozen
from coset.data.affine_digits import affine_contract, affine_digits
from coset.data.digits import center_logits
from coset.figures.bars import lines
from coset.models.images.lie_cnn import LieCNN, PlainCNN, parameters_of
from coset.objectives.supervised import Supervised
from coset.records import Finding
from coset.symmetrizers.augment import Augmented
from coset.task import Data, Method, Recipe, Stage, Task

maps = affine_contract()
base = Supervised("cross_entropy")
#: of LieCNN at every size; the paper's are those of full
LAYOUTS: dict[str, dict[str, Any]] = {
    "smoke": {"width": 3, "samples": 4, "hidden": 12, "head": 32},
    "cpu": {"width": 12, "samples": 6, "frequency": 5.0},
    "full": {"width": 40, "samples": 10, "blocks": 2},
}


def lie(group: str, data: Data, **changes: Any) -> nn.Module:
    """The network over this group, sized for the data."""
    return LieCNN(group, size=data.info["size"], classes=data.info["classes"], **LAYOUTS[data.info["scale"]] | changes)


def plain(data: Data) -> nn.Module:
    """Ordinary convolutions of the same layout, of the width that first reaches the parameters of GL+(2)."""
    layout, goal = LAYOUTS[data.info["scale"]], parameters_of(lie("GL+(2)", data))
    shape = {name: layout[name] for name in ("blocks", "head") if name in layout} | {"size": data.info["size"]}
    return next(cnn for width in itertools.count(1) if parameters_of(cnn := PlainCNN(width, **shape)) >= goal)


# ------------------------------------------------------------------------------------------------ metrics


@torch.no_grad()
def logits(model: Any, x: Tensor, draws: Any = None) -> Tensor:
    """Centred logits in eval mode, at given samples of the group where there are any."""
    given = () if draws is None else (draws,)
    with evaluating(model), frozen(model):
        return center_logits(torch.cat([model(part, *given) for part in x.split(300)]))


def _percent(model: Any, x: Tensor, y: Tensor, draws: Any = None) -> float:
    return 100 * (logits(model, x, draws).argmax(-1) == y).double().mean().item()


def moved_accuracy_percent(model: Any, data: Data) -> float:
    """Share of moved test digits read correctly."""
    return _percent(model, data.test["moved"], data.test["moved_y"])


def upright_accuracy_percent(model: Any, data: Data) -> float:
    """Share of upright test digits read correctly."""
    return _percent(model, data.test["x"], data.test["y"])


def invariance_error(model: Any, data: Data) -> float:
    """Root mean square change of centred logits under maps of the task, over that of the logits; maps drawn once."""
    x = data.test["x"][:200]
    g = maps.group.sample(len(x), generator=torch.Generator().manual_seed(0))
    return float((logits(model, maps.act(g, x)) - logits(model, x)).norm() / logits(model, x).norm())


def sample_error(model: Any, data: Data) -> float:
    """The same change from one draw of the group's samples to another, averaged over four; zero where none are drawn."""
    network = lie_network(model)
    return 0.0 if network is None else sample_errors(network, data.test["x"][:200], (network.sampler.count,), draws=4)[0]


def lie_network(model: Any) -> LieCNN | None:
    """The Lie network among the modules of a model."""
    return next((module for module in model.modules() if isinstance(module, LieCNN)), None)


def sample_errors(
    network: LieCNN, x: Tensor, counts: tuple[int, ...], *, draws: int = 4, other: Tensor | None = None
) -> list[float]:
    """Root mean square change of centred logits from ``x`` at one draw to ``other`` (``x``) at another, for each count."""
    other, found = x if other is None else other, []
    for count in counts:
        first = torch.stack([logits(network, x, network.draw(2 * k, samples=count)) for k in range(draws)])
        second = torch.stack([logits(network, other, network.draw(2 * k + 1, samples=count)) for k in range(draws)])
        found.append(float((second - first).norm() / first.norm()))
    return found


# ------------------------------------------------------------------------------------------------ findings


@dataclass
class SampleCurve(Finding):
    """How the answer depends on the number of samples at test time: errors and accuracy by count, means over draws."""

    counts: np.ndarray
    change: np.ndarray  #: relative change of logits from draw to draw, same image
    invariance: np.ndarray  #: the same with the second image moved
    accuracy: np.ndarray  #: percent of moved digits

    def plot(self) -> Any:
        """Both errors over the number of samples."""
        return lines(self.counts, {"from draw to draw": self.change, "and moved": self.invariance},
                     labels=("samples of the group", "relative change of logits"),
                     title="More samples, less chance")  # fmt: skip


def sample_curve(model: Any, data: Data) -> SampleCurve | None:
    """Errors and accuracy of a Lie network at 2 to 16 samples, whatever it was trained with; None for other models."""
    network = lie_network(model)
    if network is None:
        return None
    smoke = data.info["scale"] == "smoke"
    counts, draws = ((2, 4), 2) if smoke else ((2, 3, 4, 6, 8, 10, 16), 4)
    x, y, limit = data.test["x"][:100], data.test["moved_y"], 40 if smoke else 600
    g = maps.group.sample(len(x), generator=torch.Generator().manual_seed(0))
    moved = maps.act(g, x)
    accuracy = [
        [_percent(network, data.test["moved"][:limit], y[:limit], network.draw(k, samples=n)) for k in range(draws)]
        for n in counts
    ]
    change = sample_errors(network, x, counts, draws=draws)
    invariance = sample_errors(network, x, counts, draws=draws, other=moved)
    return SampleCurve(np.array(counts), np.array(change), np.array(invariance), np.array(accuracy).mean(1))


# ------------------------------------------------------------------------------------------------ rows

methods = (
    Method("CNN", plain, axes={"group": "translations", "training": "upright"},
           note="Ordinary convolutions: upright training says nothing about other poses."),
    Method("CNN, augmented", plain, (Stage(Augmented(base, maps)),), axes={"group": "translations", "training": "augmented"},
           note="The maps of the test, drawn anew in every step: what knowing them exactly is worth."),
    Method("Lie GL+(2)", partial(lie, "GL+(2)"), axes={"group": "GL+(2)", "training": "upright"}, source="mironenco2024",
           note="All of the linear maps, at a handful of samples."),
    Method("Lie SL(2)", partial(lie, "SL(2)"), axes={"group": "SL(2)", "training": "upright"}, source="mironenco2024",
           note="Turns and shears; zooms are left to the maximum over the image."),
    Method("Lie SO(2)", partial(lie, "SO(2)"), axes={"group": "SO(2)", "training": "upright"}, source="mironenco2024",
           note="The control: turns alone, no stretch."),
    Method("Lie SL(2), 3 samples", partial(lie, "SL(2)", samples=3), axes={"group": "SL(2)", "training": "upright"},
           source="mironenco2024", note="A third of the paper's samples."),
    Method("Lie SL(2), 10 samples", partial(lie, "SL(2)", samples=10), axes={"group": "SL(2)", "training": "upright"},
           source="mironenco2024", note="The paper's number."),
)  # fmt: skip

task = Task(
    contracts=(maps,),
    data=affine_digits,
    objective=base,
    metrics={
        "moved_accuracy_percent": moved_accuracy_percent,
        "upright_accuracy_percent": upright_accuracy_percent,
        "invariance_error": invariance_error,
        "sample_error": sample_error,
    },
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=40, lr=3e-3),
        "cpu": Recipe(epochs=25, batch=8, lr=3e-3),
        "full": Recipe(epochs=50, batch=128, lr=3e-3, weight_decay=5e-3),
    },
    findings={"samples": sample_curve},
)
