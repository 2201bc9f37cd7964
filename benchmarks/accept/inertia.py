"""PER finds the axis about which the inertia data are broken, for each of the three axes (soft-equivariance sheet, b)."""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from coset.records import write_atomically
from coset.task import Request
from coset.tasks import inertia
from coset.train.run import Run

RATIO = 0.5  # functional error of the true group over the least of the false ones


def discover(axis: str, *, epochs: int, seed: int = 0) -> dict:
    """Train PER on data broken about ``axis``: strengths, functional errors and test error."""
    began = time.perf_counter()
    data = inertia.data(Request("cpu", seed), axis=axis)
    method = inertia.task.method("PER")
    torch.manual_seed(seed)
    model = method.build(data)
    stage = method.stages[0]
    stage.loop(model, stage.objective, data, inertia.task.recipe["cpu"].override({"epochs": epochs}), Run(seed=seed))
    metrics = inertia.task.metrics
    figures = {name: metrics[name](model, data) for name in metrics}
    true, false = figures[f"error_{axis}"], min(figures[f"error_{other}"] for other in "xyz" if other != axis)
    figures |= {"ratio": true / false, "right": "xyz"[int(figures["found_axis"])] == axis}
    return figures | {"seconds": round(time.perf_counter() - began, 1)}


def run(out: Path, *, axes: str = "xyz", epochs: int = 400) -> dict:
    """All axes; passed if the true one has the largest strength and at most half the error of the others."""
    began = time.perf_counter()
    figures = {axis: discover(axis, epochs=epochs) for axis in axes}
    passed = all(row["right"] and row["ratio"] <= RATIO for row in figures.values())
    result = {"what": "inertia", "figures": figures, "thresholds": {"ratio": RATIO, "right": True}, "passed": passed}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "inertia.json", json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--axes", default="xyz")
    parser.add_argument("--epochs", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = run(given.out, axes=given.axes, epochs=given.epochs)
    print(json.dumps(done, indent=2))
    sys.exit(0 if done["passed"] else 1)
