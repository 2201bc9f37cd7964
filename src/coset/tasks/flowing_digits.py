"""Two digits flow round a torus: predict what comes next, at trained and at unseen speed, as far as trained and twice as far.

Contracts: shifts of the whole sequence (exact for every row) and flows at constant velocity. Data:
:mod:`coset.data.flowing_digits`. Errors are mean squares per pixel; the mean square of the frames themselves, what predicting
black would score, is about 0.12. Rows differ in the recurrence only: G-RNN has one map, G-RNN+ as many maps as FERNN with
learned moves, FERNN one per velocity. Full size: ``coset compare flowing_digits --size full --data mnist=PATH``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.curves import Curves
from coset.contract import Contract, evaluating, frozen
from coset.data.flowing_digits import flowing_digits
from coset.groups.euclidean import T
from coset.groups.flows import Flow
from coset.groups.torus import Torus
from coset.models.motion.fernn import FlowForecaster
from coset.nn.flow_rnn import run_over
from coset.objectives.supervised import Supervised
from coset.reps.fields import Field
from coset.reps.frames import Frames
from coset.task import Data, Method, Recipe, Task

FRAMES = {"frames": Field(("B",), Frames())}
FUTURE = Field(("B",), Frames(after="frames"))
base = Supervised("mse", inputs=("frames",), target="future")


def forecaster(data: Data, reach: int, motion: str = "shift", *, state_norm: bool = False) -> FlowForecaster:
    """12 hidden maps per velocity (128 for 28 x 28 frames, but for size smoke), a decoder of three convolutions (five)."""
    large = data.info["size"] > 16 and data.info["scale"] != "smoke"
    return FlowForecaster(
        1, 128 if large else 12, size=data.info["size"], reach=reach, ahead=data.info["ahead"], depth=5 if large else 3,
        motion=motion, state_norm=state_norm,
    )  # fmt: skip


def recurrent(data: Data) -> FlowForecaster:
    """One hidden map."""
    return forecaster(data, 0)


def learned_moves(data: Data) -> FlowForecaster:
    """Nine maps moved by learned kernels: the capacity of FERNN without its symmetry."""
    return forecaster(data, 1, "learned")


def fernn_1(data: Data) -> FlowForecaster:
    """Nine velocities, those of training."""
    return forecaster(data, 1)


def fernn_2(data: Data) -> FlowForecaster:
    """Twenty-five velocities, one pixel per frame more than training shows."""
    return forecaster(data, 2)


def fernn_bounded(data: Data) -> FlowForecaster:
    """Nine velocities, every map kept at a root mean square of at most one."""
    return forecaster(data, 1, state_norm=True)


def errors(model: Any, frames: Tensor, future: Tensor, *, batch: int = 100) -> Tensor:
    """Mean squared error per predicted step, ``(ahead,)``."""
    with evaluating(model), frozen(model), torch.no_grad():
        found = [
            (model(x, ahead=y.shape[1]) - y).square().flatten(2).mean(2)
            for x, y in zip(frames.split(batch), future.split(batch), strict=True)
        ]
    return torch.cat(found).double().mean(0)


def trained_mse(model: Any, data: Data) -> float:
    """As many steps as training predicts."""
    return float(errors(model, data.test["frames"], data.test["future"])[: data.info["ahead"]].mean())


def longer_mse(model: Any, data: Data) -> float:
    """The same number of steps again, beyond the length of training."""
    return float(errors(model, data.test["frames"], data.test["future"])[data.info["ahead"] :].mean())


def fast_mse(model: Any, data: Data) -> float:
    """Digits one pixel per frame faster than any in training, over the trained number of steps."""
    return float(errors(model, data.test["fast_frames"], data.test["fast_future"])[: data.info["ahead"]].mean())


def state_growth(model: Any, data: Data) -> float:
    """Factor per step by which the state's root mean square grows between the last given and the last predicted frame."""
    frames, ahead = data.test["frames"][:50], data.test["future"].shape[1]
    with evaluating(model), frozen(model), torch.no_grad():
        predicted = model(frames, ahead=ahead)
        seen = run_over(model.cell, frames)
        last = run_over(model.cell, torch.cat([frames, predicted], 1))
    return float((last.square().mean() / seen.square().mean()) ** (1 / (2 * ahead)))


def error_curve(model: Any, data: Data) -> Curves:
    """Error against the predicted step, at trained and at unseen speed."""
    trained = errors(model, data.test["frames"], data.test["future"])
    fast = errors(model, data.test["fast_frames"], data.test["fast_future"])
    steps = np.arange(1, len(trained) + 1)
    return Curves(
        steps, np.stack([trained, fast]), ["trained speeds", "unseen speed"], ["predicted frame", "mean squared error"]
    )


methods = (
    Method("G-RNN", recurrent, axes={"recurrence": "convolutional", "velocities": 1}, source="keller2025",
           note="One hidden map: it learns the motions that it saw."),
    Method("G-RNN, learned moves", learned_moves, axes={"recurrence": "convolutional", "velocities": 9}, source="keller2025",
           note="The maps of FERNN, moved by learned kernels: what more capacity gives without the symmetry."),
    Method("FERNN V1", fernn_1, axes={"recurrence": "flow-equivariant", "velocities": 9}, source="keller2025",
           note="A map for every velocity of training."),
    Method("FERNN V2", fernn_2, axes={"recurrence": "flow-equivariant", "velocities": 25}, source="keller2025",
           note="Velocities beyond those of training are in its list, so they need not be learned."),
    Method("FERNN V1, bounded", fernn_bounded, axes={"recurrence": "flow-equivariant", "velocities": 9}, source="keller2025",
           note="Maps kept at unit size: what it costs, and whether long rollouts stay finite."),
)  # fmt: skip

task = Task(
    contracts=(Contract(Flow(T(2), 1), FRAMES, FUTURE), Contract(Torus(16, 16), FRAMES, FUTURE)),
    data=flowing_digits,
    objective=base,
    metrics={"trained_mse": trained_mse, "longer_mse": longer_mse, "fast_mse": fast_mse, "state_growth": state_growth},
    methods=methods,
    recipe={
        "smoke": Recipe(epochs=1, batch=16, lr=1e-3),
        "cpu": Recipe(epochs=6, batch=16, lr=1e-3, optimizer="adam", schedule="constant", weight_decay=0, clip=1.0),
        "full": Recipe(epochs=50, batch=128, lr=1e-3, optimizer="adam", schedule="constant", weight_decay=0, clip=1.0),
    },
    findings={"error_by_step": error_curve},
    lower_is_better=True,
)
