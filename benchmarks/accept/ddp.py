"""Two gloo processes train the digits network to the same curve as one: float64, equal global batch, first 50 steps, 1e-6."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coset.comparison import find_task
from coset.contract import seeded
from coset.recipe import Request
from coset.records import write_atomically
from coset.train.fit import fit
from coset.train.ranks import environments, external
from coset.train.run import Run

STEPS, BOUND = 50, 1e-6


def losses(devices: int, *, task: str = "digits", method: str = "plain", batch: int = 65) -> list[float]:
    """The loss of the first steps; in one of several processes, the mean over them. An odd batch makes shares unequal."""
    found = find_task(task)
    data = found.data(Request("cpu", 0))
    steps = -(-len(next(iter(data.train.values()))) // batch)
    changes = {"precision": "64", "batch": batch, "epochs": -(-STEPS // steps), "schedule": "constant"}
    run = Run(devices=devices, record=True, resume=False)
    with seeded(0):
        model = found.method(method).build(data)
    fit(model, found.objective, data, found.recipe["cpu"].override(changes), run)
    return run.trace.losses[:STEPS]


def in_processes(devices: int, *options: str) -> list[float]:
    """The same from several processes, each running this file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "losses.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--losses", str(file), *options]
        started = [
            subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **variables})
            for variables in environments(devices)
        ]
        if any(process.wait() for process in started):
            raise RuntimeError("a process failed")
        return json.loads(file.read_text())


def run(out: Path, *options: str) -> dict:
    began = time.time()
    one, two = in_processes(1, *options), in_processes(2, *options)
    gap = max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))
    found = {
        "what": "ddp",
        "figures": {"largest_relative_gap": gap, "steps": len(one), "first_loss": one[0], "last_loss": one[-1]},
        "thresholds": {"largest_relative_gap": BOUND, "steps": STEPS},
        "passed": gap <= BOUND and len(one) == STEPS,
        "seconds": time.time() - began,
    }
    write_atomically(out / "ddp.json", json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--task", default="digits")
    parser.add_argument("--method", default="plain")
    parser.add_argument("--losses", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.losses:
        found = losses(int(os.environ["WORLD_SIZE"]), task=given.task, method=given.method)
        if not external():
            write_atomically(given.losses, json.dumps(found))
        return 0
    found = run(given.out, "--task", given.task, "--method", given.method)
    print(json.dumps(found, indent=1))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
