"""Acetylacetone in ten minutes of one core: force errors at 300 and 600 K, speed, conservation (issue 5).

    python benchmarks/accept/acac.py --data FOLDER

The row MACE of the task at its recipe, from a fresh start, in this process and one thread. The clock is processor time of the
training, validation included; FOLDER holds the public files. Errors are those of the whole test files.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from coset.errors import InputError, unknown
from coset.interop.potential_metrics import force_error
from coset.models.atoms.mace import MACE
from coset.objectives.energy_forces import EnergyForces
from coset.recipe import Request
from coset.report.acceptance import Bound, main
from coset.tasks import potential
from coset.tasks.acac import task
from coset.train.fit import fit
from coset.train.run import Run

BESIDE = str(Path(__file__).resolve().parents[3] / "shared" / "data" / "atoms" / "botnet_acac")
LOSSES = {"squares": EnergyForces(1.0, 100.0)}  #: mace-torch's default


def measure(
    *, data: str = BESIDE, method: str = "MACE", epochs: int = 170, seed: int = 0, batch: int = 10, lr: float = 0.02,
    hidden: str = "", loss: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Errors, speed and the seconds they took; ``hidden`` are other features of MACE, ``loss`` squares instead of lengths."""
    if loss not in ("", *LOSSES):
        raise unknown("loss", loss, LOSSES)
    if not Path(data).is_dir():
        raise InputError(f"no folder {data}; name the public files of acetylacetone with --data")
    torch.set_num_threads(1)
    sets = task.data(Request("cpu", seed, (("acac", Path(data)),)))
    torch.manual_seed(seed)
    model = potential.built(MACE, {"cpu": {"hidden": hidden}}, sets) if hidden else task.method(method).build(sets)
    for part in (sets.train, sets.valid):
        part.collate([part[i] for i in range(len(part))])  # neighbors are searched before the clock starts
    recipe, run = task.recipe["cpu"].override({"epochs": epochs, "batch": batch, "lr": lr}), Run(seed=seed)
    began = time.process_time()
    model = fit(model, LOSSES[loss] if loss else task.objective, sets, recipe, run)
    seconds = time.process_time() - began
    figures = {name: metric(model, sets) for name, metric in task.metrics.items()}
    figures["valid_force_mae_mev_a"] = force_error(model, replace(sets, test={"": sets.valid}), on="")
    parameters = sum(p.numel() for p in model.parameters())
    return {**figures, "cpu_seconds": seconds, "steps": run.trace.steps, "parameters": parameters}


BOUNDS = (
    Bound("force_mae_300k_mev_a", "<=", 11.0, "issue 5, point 1 (reach: 7)"),
    Bound("force_mae_600k_mev_a", "<=", 28.0, "issue 5, point 1 (reach: 22)"),
    Bound("cpu_seconds", "<=", 600.0, "issue 5: ten minutes of one core"),
    Bound("force_gap", "<=", 1e-5, "forces are the gradient of the energy"),
)

if __name__ == "__main__":
    main("acac", __doc__, measure, BOUNDS)
