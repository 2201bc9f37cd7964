"""Ten picoseconds at constant energy: a trained gradient of an energy beside trained direct forces (issue 5, point 5).

    python benchmarks/accept/nve.py --data FOLDER

MACE, and EquiformerV3 with a head of its own for forces, learn acetylacetone at 300 K at the size ``cpu`` of the task, then one
molecule runs in float64 with velocity Verlet at 0.5 fs, from velocities of 300 K. Drift is the slope of the total energy;
``change`` its largest distance from where it began. The folder ``--keep`` holds models, runs and pictures; the same command
goes on with what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coset.errors import InputError
from coset.interop.ase import Calculator, atoms_of
from coset.interop.dynamics import Motion, run
from coset.interop.potential_file import load_potential, save_potential
from coset.interop.potential_metrics import first_structure, force_error
from coset.models.atoms.equiformer_v3 import EquiformerV3
from coset.recipe import Data, Request
from coset.report.acceptance import Bound, main
from coset.tasks import potential
from coset.tasks.acac import task
from coset.train.fit import fit
from coset.train.run import Run

BESIDE = str(Path(__file__).resolve().parents[3] / "shared" / "data" / "atoms" / "botnet_acac")


def measure(
    *, data: str = BESIDE, epochs: int = 60, direct_epochs: int = 20, picoseconds: float = 10.0, seed: int = 0,
    keep: str = "accept/nve",
) -> dict[str, Any]:  # fmt: skip
    """Drift in meV per atom and ps, change in meV per atom, force errors at 300 K."""
    if not Path(data).is_dir():
        raise InputError(f"no folder {data}; name the public files of acetylacetone with --data")
    sets = task.data(Request("cpu", seed, (("acac", Path(data)),)))
    sizes = {"cpu": potential.EQUIFORMERS["cpu"] | {"forces": "direct"}}
    direct = partial(potential.built, EquiformerV3, sizes)
    rows: dict[str, tuple[Any, dict[str, Any]]] = {
        "gradient": (potential.mace, {"epochs": epochs}),
        "direct": (direct, {"epochs": direct_epochs, "lr": 5e-3}),
    }
    found = {}
    for name, (build, changes) in rows.items():
        file = Path(keep) / f"{name}.safetensors"
        if not file.exists():
            torch.manual_seed(seed)
            model = fit(build(sets), task.objective, sets, task.recipe["cpu"].override(changes), Run(seed=seed))
            file.parent.mkdir(parents=True, exist_ok=True)
            save_potential(model, file)
        model = load_potential(file)
        found[name] = figures(model, sets, round(2000 * picoseconds), Path(keep) / name, seed)
    return found


def figures(model: Any, sets: Data, steps: int, folder: Path, seed: int) -> Mapping[str, float]:
    """One run, and how well the model predicts."""
    atoms = atoms_of(first_structure(sets))
    atoms.calc = Calculator(model)
    motion: Motion = run(atoms, steps, temperature=300.0, timestep=0.5, every=20, keep=2000, folder=folder, seed=seed)
    motion.draw(folder / "motion.png")
    return {
        "drift": abs(motion.drift), "drift_over_all": abs(motion.drift) * float(motion.time[-1]), "change": motion.change,
        "kelvin_first": float(motion.temperature[:50].mean()), "kelvin_last": float(motion.temperature[-50:].mean()),
        "force_mae_mev_a": force_error(model, sets, on="300K"),
    }  # fmt: skip


BOUNDS = (
    Bound("gradient.drift_over_all", "<", 1.0, "issue 5, point 5: meV per atom over the whole run"),
    Bound("gradient.drift", "<", 1.0, "meV per atom and ps"),
)

if __name__ == "__main__":
    main("nve", __doc__, measure, BOUNDS)
