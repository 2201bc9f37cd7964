"""Trained upright, tested turned: PointNet fails, PointNet on invariant coordinates does not notice (TinvNN sheet, b)."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from coset.comparison import compare
from coset.records import write_atomically
from coset.task import Request
from coset.tasks.shapes import task

PLAIN, INVARIANT = "plain", "canonicalized (TinvNN)"
# percent; points between upright and turned, percent; processor seconds per step over those of plain
THRESHOLDS = {"plain_turned_below": 45.0, "tinvnn_gap": 1.0, "tinvnn_turned_above": 85.0, "step_ratio": 1.3}


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
    """A training step of TinvNN over one of plain on the same batch; rounds take turns, the least of each counts."""
    data = task.data(Request(size))
    batch = {name: value[: task.recipe[size].batch] for name, value in data.train.items()}
    models = [task.method(name).build(data) for name in (PLAIN, INVARIANT)]
    seconds = [[step_seconds(model, batch) for model in models] for _ in range(rounds)]
    plain, invariant = (min(column) for column in zip(*seconds, strict=True))
    return invariant / plain


def judge(figures: Mapping[str, float]) -> bool:
    """Whether the sheet's claim holds."""
    gap = abs(figures["tinvnn_turned_percent"] - figures["tinvnn_upright_percent"])
    return (
        figures["plain_turned_percent"] < THRESHOLDS["plain_turned_below"]
        and gap <= THRESHOLDS["tinvnn_gap"]
        and figures["tinvnn_turned_percent"] > THRESHOLDS["tinvnn_turned_above"]
        and figures["step_ratio"] <= THRESHOLDS["step_ratio"]
    )


def run(out: Path, *, size: str = "cpu", seeds: int = 1) -> dict:
    """Means over seeds of the rows that ``coset compare shapes`` trains."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # a new one: a folder in use would keep rows that an older version trained
        rows = compare("shapes", [PLAIN, INVARIANT], size=size, seeds=seeds, out=Path(folder) / "run")
    figures = {}
    for label, name in (("plain", PLAIN), ("tinvnn", INVARIANT)):
        mine = [row for row in rows if row.method == name]
        for metric in task.metrics:
            figures[f"{label}_{metric}"] = sum(row.metrics[metric] for row in mine) / len(mine)
        figures[f"{label}_train_seconds"] = sum(row.train_seconds for row in mine) / len(mine)
        figures[f"{label}_error"] = max(row.errors["SO(3)"]["after"] for row in mine)
    figures["step_ratio"] = step_ratio(size=size)
    result = {"what": "shapes", "figures": figures, "thresholds": THRESHOLDS, "passed": judge(figures), "seeds": seeds}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "shapes.json", json.dumps(result, indent=2) + "\n")
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
