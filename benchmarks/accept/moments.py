"""Zernike head against average pool on the same P4 network, 600 rotated digits, three seeds (orthogonal-moments sheet, b)."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from coset.comparison import compare
from coset.records import write_atomically

RATIO = 0.6  # error of the moment head over error of the pooled head, medians over seeds
POOL, MOMENTS = "average pool", "zernike"


def run(out: Path, *, seeds: int = 3, size: str = "cpu") -> dict:
    """Both rows; passed if the error ratio is at most 0.6 and the orbit spread not larger, at equal parameters."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare("moments", [POOL, MOMENTS], size=size, seeds=seeds, out=folder, progress=False)
    of = {name: [row for row in rows if row.method == name] for name in (POOL, MOMENTS)}
    figures = {
        name: {key: [round(row.metrics[key], 4) for row in rows] for key in ("error_percent", "orbit_std")}
        | {"parameters": rows[0].parameters, "train_seconds": [round(row.train_seconds, 1) for row in rows]}
        for name, rows in of.items()
    }
    median = {key: {name: statistics.median(figures[name][key]) for name in figures} for key in ("error_percent", "orbit_std")}
    ratio = {key: value[MOMENTS] / value[POOL] for key, value in median.items()}
    parameters = figures[MOMENTS]["parameters"] / figures[POOL]["parameters"]
    figures["ratio"] = ratio | {"parameters": parameters}
    passed = ratio["error_percent"] <= RATIO and ratio["orbit_std"] <= 1 and abs(parameters - 1) <= 0.05
    result = {"what": "moments", "figures": figures, "passed": passed}
    result["thresholds"] = {"error_percent": RATIO, "orbit_std": 1.0, "parameters": "1 +- 0.05"}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "moments.json", json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    done = run(given.out)
    print(json.dumps(done, indent=2))
    sys.exit(0 if done["passed"] else 1)
