"""Lie convolutions on digits trained upright and tested under affine maps (sheet lie-decompositions, a iii and b; issue 4).

Rows of the task at equal parameters, once each: ordinary convolutions, the same with augmentation, GL+(2) and SL(2) at six
samples. The number of samples is varied at test time, on the trained networks. About ten minutes on one idle core; with
``--rows FOLDER`` rows that were finished before are taken from there.

Batch and kernel frequency were chosen on moved validation digits: GL+(2) after 24 epochs 71 to 78 % at batch 32 (frequency 10
or 5, lr 1e-2 or 3e-3), 81 % at batch 8; ordinary convolutions 91 %. What is short is training: upright accuracy is 92 % where
ordinary convolutions reach 99 %.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from coset.comparison import compare
from coset.models.images.lie_cnn import LieCNN
from coset.recipe import Data, Request
from coset.records import slug
from coset.report.acceptance import Bound, main
from coset.tasks.affine_digits import SampleCurve, lie, maps, plain, task

ROWS = {"cnn": "CNN", "augmented": "CNN, augmented", "gl2": "Lie GL+(2)", "sl2": "Lie SL(2)"}
COUNTS = (4, 8, 16, 32, 64)
DRAWS = 6


def measure(*, size: str = "cpu", rows: str = "") -> dict[str, Any]:
    """Accuracies of the rows, what more samples change, the price of a training step, the slope of the Monte Carlo error."""
    data = task.data(Request(size))
    figures: dict[str, Any] = {"step_ratio": step_ratio(data), "slope": {}, "monte_carlo": {}}
    for name, group in (("gl2", "GL+(2)"), ("sl2", "SL(2)")):
        figures["slope"][name], figures["monte_carlo"][name] = invariance_slope(data, group)
    with tempfile.TemporaryDirectory() as fresh:
        folder = Path(rows or fresh)
        for row in compare("affine_digits", list(ROWS.values()), size=size, out=folder, progress=False):
            name = next(key for key, value in ROWS.items() if value == row.method)
            figures[name] = {key: round(value, 4) for key, value in row.metrics.items()}
            figures[name] |= {"parameters": row.parameters, "train_seconds": round(row.train_seconds, 1)}
        for name in ("gl2", "sl2"):
            curve = SampleCurve.load(folder / "rows" / slug(ROWS[name]) / "0" / "samples.npz")
            figures[name]["by_samples"] = dict(zip(curve.counts.tolist(), curve.accuracy.round(2).tolist(), strict=True))
    moved = {name: figures[name]["moved_accuracy_percent"] for name in ROWS}
    figures["more_samples"] = round(figures["gl2"]["by_samples"][10] - figures["gl2"]["by_samples"][3], 2)
    figures["gain"] = {name: round(moved[name] - moved["cnn"], 2) for name in ROWS}
    return figures


def step_ratio(data: Data, rounds: int = 6) -> float:
    """A training step of GL+(2) over one of ordinary convolutions in processor seconds: least of rounds that take turns."""
    models = [build(data).train() for build in (plain, lambda data: lie("GL+(2)", data))]
    batch = {name: value[: task.recipe[data.info["scale"]].batch] for name, value in data.train.items()}
    seconds = [[_step(model, batch) for model in models] for _ in range(rounds)]
    first, second = (min(column) for column in zip(*seconds, strict=True))
    return second / first


def _step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    optimizer = torch.optim.AdamW(model.parameters())
    began = time.process_time()
    task.objective(model, batch)["loss"].backward()
    optimizer.step()
    return time.process_time() - began


@torch.no_grad()
def invariance_slope(data: Data, group: str) -> tuple[float, list[float]]:
    """The slope of log error over log S, and the errors, of invariants of moved images at samples of their own.

    Of a fresh network of four channels with the mean pool; maps are a tenth of the task's, samples have the paper's variance.
    Errors are relative to how much the invariants of different images differ.
    """
    torch.manual_seed(0)
    model = LieCNN(group, 4, samples=COUNTS[0], pool="mean").eval()
    x = data.test["x"][:8]
    g = maps.group.sample(len(x), generator=torch.Generator().manual_seed(0))
    moved = maps.act(torch.eye(2) + 0.1 * (g - torch.eye(2)), x)
    errors = []
    for count in COUNTS:
        here = torch.stack([model.features(x, model.draw(2 * k, samples=count)) for k in range(DRAWS)])
        there = torch.stack([model.features(moved, model.draw(2 * k + 1, samples=count)) for k in range(DRAWS)])
        errors.append(float((there - here).norm() / (here - here.mean(1, keepdim=True)).norm()))
    logs = torch.tensor([[math.log(count), math.log(error)] for count, error in zip(COUNTS, errors, strict=True)])
    logs = logs - logs.mean(0)
    return float((logs[:, 0] * logs[:, 1]).sum() / logs[:, 0].square().sum()), [round(error, 4) for error in errors]


BOUNDS = (
    Bound("gain.gl2", ">=", 10.0, "sheet (b): points under maps above equal parameters, not tried; first run -18.2: it fails"),
    Bound("more_samples", ">=", 0.0, "sheet (b): 10 samples not worse than 3, in points; expected there, not tried"),
    Bound("step_ratio", "<=", 8.0, "issue 4: a training step over one of ordinary convolutions of equal parameters"),
    Bound("slope.gl2", "<=", -0.3, "sheet a (iii): about -1/2"),
    Bound("slope.sl2", "<=", -0.3, "sheet a (iii): about -1/2"),
)

if __name__ == "__main__":
    main("affine_digits", __doc__, measure, BOUNDS)
