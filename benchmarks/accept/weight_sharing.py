"""What weight sharing saves: samples for an error of 14 %, locally connected over convolutional (DSD sheet, b); slopes (c)."""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch

from coset.data.signal import Signal
from coset.records import write_atomically
from coset.task import Request
from coset.tasks import signal
from coset.train.run import Run

TARGET, RATIO = 0.14, 8.0
GRID = {"cnn": (12, 25, 50, 100), "lcn": (200, 400, 800), "fcn": (200, 400, 800)}


def mean_error(architecture: str, samples: int, seeds: int, problem: Signal = signal.PROBLEM) -> float:
    """Mean test error over seeds, as the task's rows train."""
    errors = []
    recipe = signal.task.recipe["cpu"].override({"samples": samples})
    for seed in range(seeds):
        data = signal.data(Request("cpu", seed), problem, samples=max(samples, max(signal.SAMPLES)))
        torch.manual_seed(seed)
        model = signal.full_batch(signal.build(architecture, data), signal.task.objective, data, recipe, Run(seed=seed))
        errors.append(signal.error(model, data) / 100)
    return sum(errors) / seeds


def needed(
    architecture: str, grid: tuple[int, ...], seeds: int, problem: Signal = signal.PROBLEM, target: float = TARGET
) -> dict:
    """Samples needed, and the curve it was read off."""
    curve = {n: mean_error(architecture, n, seeds, problem) for n in grid}
    floor = problem.floor(samples=20_000)
    return {"curve": curve, "samples": signal.samples_needed(list(curve), list(curve.values()), target, floor=floor)}


def run(out: Path, *, seeds: int = 5) -> dict:
    """Passed if the locally connected network needs at least eight times the samples of the convolutional one."""
    began = time.perf_counter()
    rows = {name: needed(name, grid, seeds) for name, grid in GRID.items()}
    ratio = rows["lcn"]["samples"] / rows["cnn"]["samples"]
    figures = rows | {"lcn_over_cnn": ratio, "fcn_over_cnn": rows["fcn"]["samples"] / rows["cnn"]["samples"]}
    result = {"what": "weight_sharing", "figures": figures, "thresholds": {"error": TARGET, "lcn_over_cnn": RATIO}}
    result |= {"passed": ratio >= RATIO, "seconds": round(time.perf_counter() - began, 1)}
    write_atomically(out / "weight_sharing.json", json.dumps(result, indent=2) + "\n")
    return result


def slopes(out: Path, *, seeds: int = 5, patches: tuple[int, ...] = (5, 10, 20, 30)) -> dict:
    """Exponents of the samples needed in the number of patches, the excess over the noise floor of a linear detector fixed."""
    began, figures = time.perf_counter(), {}
    grid = tuple(round(12 * 2 ** (i / 2)) for i in range(20))
    for name in ("cnn", "lcn"):
        points = []
        for k in patches:
            # sigma ~ 1 / sqrt(k), the theory's regime: a linear detector keeps the same error, 10.4 %
            problem = Signal(k, 20, 0.25 * math.sqrt(10 / k))
            found = next((n for n in grid if mean_error(name, n, seeds, problem) <= TARGET), None)
            if found is None:
                raise SystemExit(f"{name} with {k} patches does not reach {TARGET} on {grid[-1]} samples")
            points.append((math.log(k), math.log(found / problem.sigma**2)))
        figures[name] = {"samples": [math.exp(n) * 0.0625 * 10 / k for (_, n), k in zip(points, patches, strict=True)]}
        x, y = torch.tensor(points, dtype=torch.float64).T
        figures[name]["exponent"] = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    passed = figures["cnn"]["exponent"] <= 1.3 and figures["lcn"]["exponent"] >= 1.6
    result = {"what": "weight_sharing_slopes", "figures": figures, "thresholds": {"cnn": 1.3, "lcn": 1.6}, "passed": passed}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "weight_sharing_slopes.json", json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--slopes", action="store_true", help="the growth in the number of patches (c): 16 cores or an hour")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = slopes(given.out, seeds=given.seeds) if given.slopes else run(given.out, seeds=given.seeds)
    print(json.dumps(done, indent=2))
    sys.exit(0 if done["passed"] else 1)
