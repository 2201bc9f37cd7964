"""TD3 on one MuJoCo body in 3D: SET and an MLP, killed once with SIGKILL and resumed, judged on held-out headings.

Every row runs in a process of its own, is killed a while after its first checkpoint and started again. Before that, short
runs show that killed and resumed is bitwise the same as unbroken.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from coset.report.acceptance import Bound, main

ROWS = ("MLP", "SET")
WORKER = "--row"


def train_row(method: str, folder: Path, *, steps: int, body: str, size: str, seed: int) -> dict[str, Any]:
    """Train one row from where it is, and write what came of it."""
    import torch

    from coset.task import Request
    from coset.tasks import locomotion
    from coset.train.run import Run

    torch.set_num_threads(1)
    data, row = locomotion.data(Request(size, seed), body), locomotion.task.method(method)
    torch.manual_seed(seed)
    model, notes = row.build(data), []
    recipe = locomotion.task.recipe[size]
    recipe = recipe.override({"epochs": max(2, steps // recipe.samples)})
    run = Run(folder=folder, seed=seed, report=lambda progress: notes.append(progress.note))
    model = row.stages[0].loop(model, None, data, recipe, run)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    found = {name: metric(model, data) for name, metric in locomotion.task.metrics.items()}
    found |= {
        "steps": run.trace.steps,
        "seconds_training": round(run.trace.seconds, 1),
        "ms_per_step": round(1000 * run.trace.seconds / run.trace.steps, 2),
        "resumed": [note for note in notes if note],
        "weights": hashlib.sha256(weights).hexdigest()[:16],
        "curve": [[line["step"], line["return"], line.get("valid_return")] for line in run.trace.curve],
    }
    locomotion.headings(model, data).save(folder / "headings.npz")
    (folder / "found.json").write_text(json.dumps(found))
    return found


def start(method: str, folder: Path, **options: Any) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen([sys.executable, __file__, WORKER, method, str(folder), json.dumps(options)])


def killed_and_resumed(method: str, folder: Path, *, after: float, **options: Any) -> dict[str, Any]:
    """Kill a row ``after`` seconds past its first checkpoint, start it again, let it end."""
    process, kills = start(method, folder, **options), 0
    while process.poll() is None and not list(folder.glob("*.resume.safetensors")):
        time.sleep(0.02)
    time.sleep(after)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
        kills = 1
        process.wait()
        process = start(method, folder, **options)
    if process.wait():
        raise RuntimeError(f"{method} failed")
    return json.loads((folder / "found.json").read_text()) | {"kills": kills}


def draw(home: Path) -> None:
    """``tracks.png``: where both policies went for twelve headings; ``curves.png``: returns while they learned."""
    import csv

    import numpy as np

    from coset.audits.tracks import Tracks
    from coset.figures.bars import lines
    from coset.figures.tracks import tracks

    found = {method: Tracks.load(home / method / "headings.npz") for method in ROWS}
    longest = max(track.paths.shape[1] for track in found.values())
    named = {
        method: np.pad(track.paths, ((0, 0), (0, longest - track.paths.shape[1]), (0, 0)), constant_values=np.nan)
        for method, track in found.items()
    }
    first = found[ROWS[0]]
    tracks(named, first.headings, sector=(first.sector[0], first.sector[1])).savefig(home / "tracks.png", dpi=110)
    curves = {method: list(csv.DictReader((home / method / "curve.csv").read_text().splitlines())) for method in ROWS}
    steps = [float(line["step"]) for line in curves[ROWS[0]]]
    returns = {method: np.array([float(line["return"]) for line in curve]) for method, curve in curves.items()}
    made = lines(steps, returns, labels=("steps of the environment", "mean return of the episodes that ended"))
    made.savefig(home / "curves.png", dpi=110)


def standing_still(body: str, size: str, seed: int) -> float:
    """Return over held-out headings without any torque: what the figures of both rows have to be read against."""
    import torch

    from coset.task import Request
    from coset.tasks import locomotion

    class Still(torch.nn.Linear):
        def forward(self, scalars: Any, **rest: Any) -> Any:
            return scalars.new_zeros(*scalars.shape[:2], 3)

    return locomotion.mean_return("held_out", Still(1, 1), locomotion.data(Request(size, seed), body))


def measure(
    *, steps: int = 50_000, body: str = "hopper_3", size: str = "cpu", seed: int = 0, folder: str = "runs/td3"
) -> dict[str, Any]:
    """Figures of both rows, and whether short runs resume bitwise."""
    home = Path(folder)
    short = {"steps": 20 * 12, "body": body, "size": "smoke", "seed": seed}
    whole = start("SET", home / "short-whole", **short)
    if whole.wait():
        raise RuntimeError("the unbroken short run failed")
    broken = killed_and_resumed("SET", home / "short-broken", after=0.0, **short)
    same = broken["weights"] == json.loads((home / "short-whole" / "found.json").read_text())["weights"]
    figures: dict[str, Any] = {"short_run": {"bitwise_equal": same, "kills": broken["kills"], "resumed": broken["resumed"]}}
    for method in ROWS:
        figures[method] = killed_and_resumed(method, home / method, after=5.0, steps=steps, body=body, size=size, seed=seed)
    figures["set_minus_mlp"] = figures["SET"]["return_held_out"] - figures["MLP"]["return_held_out"]
    figures["standing_still"] = standing_still(body, size, seed)
    draw(home)
    figures["resumed"] = all(figures[m]["kills"] == 1 and len(figures[m]["resumed"]) == 1 for m in ROWS)
    return figures


BOUNDS = (
    Bound("short_run.bitwise_equal", "==", True, "issue 4: killed once and resumed"),
    Bound("resumed", "==", True, "issue 4: killed once and resumed"),
    Bound("set_minus_mlp", ">=", 0.0, "sheet (b), optional, not tried: return of SET >= MLP"),
)

if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        train_row(sys.argv[2], Path(sys.argv[3]), **json.loads(sys.argv[4]))
    else:
        main("td3", __doc__, measure, BOUNDS)
