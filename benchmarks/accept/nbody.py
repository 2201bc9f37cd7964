"""Averaged over frames, a network learns n-body motion in 80 epochs better than plain in 300 (frame averaging sheet, b)."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from coset.comparison import compare
from coset.records import slug, write_atomically
from coset.symmetrizers.augment import AugmentationSpace
from coset.task import Request
from coset.tasks.nbody import INPUTS, predict, task, turns
from coset.train.checkpoint import load_model

ROWS = {
    "plain": "plain",
    "augmented": "augmented",
    "augmented_80": "augmented, 80 epochs",
    "frames_80": "frame averaging, 80 epochs",
}
# ratios of test errors (mse, after the last epoch); relative change of float32 outputs over turned test systems
THRESHOLDS = {"frames_over_plain": 0.65, "frames_over_augmented": 1.1, "frames_change": 1e-4}


def step_seconds(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], repeats: int = 3) -> float:
    """Processor seconds of one training step, which other programs on the machine do not lengthen as they do wall time."""
    optimizer = torch.optim.AdamW(model.parameters())
    began = time.process_time()
    for _ in range(repeats):
        optimizer.zero_grad()
        task.objective(model, batch)["loss"].backward()
        optimizer.step()
    return (time.process_time() - began) / repeats


def step_ratio(*, size: str = "cpu", rounds: int = 8) -> float:
    """A training step of frames over one of plain on the same batch; rounds take turns, the least of each counts."""
    data = task.data(Request(size))
    batch = {name: value[: task.recipe[size].batch] for name, value in data.train.items()}
    models = [task.method(ROWS[label]).build(data) for label in ("plain", "frames_80")]
    seconds = [[step_seconds(model, batch) for model in models] for _ in range(rounds)]
    plain, frames = (min(column) for column in zip(*seconds, strict=True))
    return frames / plain


def change(model: torch.nn.Module, *, size: str = "cpu", seed: int = 0) -> float:
    """``max |f(g x) - g f(x)| / |f(x)|`` over test systems, in float32, each system with an element g of its own."""
    data = task.data(Request(size, seed))
    space = AugmentationSpace(turns)
    x = {name: data.test[name] for name in INPUTS}
    g = space.draw(x, torch.Generator().manual_seed(seed))
    y = predict(model, x)
    moved = space.apply_outputs({"": y.double()}, g, {name: value.double() for name, value in x.items()})[""]
    turned = {name: value.float() for name, value in space.apply_inputs({k: v.double() for k, v in x.items()}, g).items()}
    gap = (predict(model, turned).double() - moved).flatten(1).norm(dim=1)
    return float((gap / moved.flatten(1).norm(dim=1)).max())


def judge(figures: Mapping[str, float]) -> bool:
    """Whether the sheet's claim holds."""
    return all(figures[name] <= bound for name, bound in THRESHOLDS.items())


def run(out: Path, *, size: str = "cpu", seeds: int = 1) -> dict:
    """Means over seeds of the rows that ``coset compare nbody`` trains; passed if all three thresholds hold."""
    began = time.perf_counter()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:  # a new one: a folder in use would keep rows that an older version trained
        rows = compare("nbody", list(ROWS.values()), size=size, seeds=seeds, out=Path(folder) / "run")
        for label, name in ROWS.items():
            mine = [row for row in rows if row.method == name]
            for metric in task.metrics:
                figures[f"{label}_{metric}"] = sum(row.metrics[metric] for row in mine) / len(mine)
            figures[f"{label}_train_seconds"] = sum(row.train_seconds for row in mine) / len(mine)
        homes = [Path(folder) / "run" / "rows" / slug(ROWS["frames_80"]) / str(seed) for seed in range(seeds)]
        figures["frames_change"] = max(change(load_model(home), size=size, seed=seed) for seed, home in enumerate(homes))
    figures["frames_over_plain"] = figures["frames_80_mse"] / figures["plain_mse"]
    figures["frames_over_augmented"] = figures["frames_80_mse"] / figures["augmented_80_mse"]
    figures["step_ratio"] = step_ratio(size=size)
    result = {"what": "nbody", "figures": figures, "thresholds": THRESHOLDS, "passed": judge(figures), "seeds": seeds}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "nbody.json", json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = run(given.out, seeds=given.seeds)
    print(json.dumps(done, indent=2))
    sys.exit(0 if done["passed"] else 1)
