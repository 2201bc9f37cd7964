"""``coset md`` and ``coset relax``: dynamics and relaxation with a potential, from a file of structures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from coset.cli.options import AsJson, Seed
from coset.errors import InputError

if TYPE_CHECKING:
    from coset.interop.dynamics import Motion

Potentials = Annotated[
    list[str],
    Parameter(
        help="A potential's FILE, the FOLDER of a row, or module:attribute of an ASE calculator; several are a committee."
    ),
]
Atoms = Annotated[Path, Parameter(help="Structures to start from: whatever ASE reads, velocities included.")]
Frame = Annotated[int, Parameter(help="Which of the file's structures, from 0; -1 is the last.")]
Steps = Annotated[int, Parameter(help="Steps in all; a run that is found in --out goes on until as many are done.")]
Timestep = Annotated[float, Parameter(name="--dt", help="Length of a step in fs.")]
Ensemble = Annotated[
    Literal["nve", "langevin", "bussi"],
    Parameter(help="nve: constant energy. langevin, bussi: constant temperature, with noise or by rescaling."),
]
Temperature = Annotated[float, Parameter(help="In K; also of the velocities, where the structure has none.")]
Every = Annotated[int, Parameter(help="Steps between two frames of the trajectory.")]
Keep = Annotated[int, Parameter(help="Steps between two writings of the whole state, from which a killed run goes on.")]
RunFolder = Annotated[Path, Parameter(help="Folder for trajectory.extxyz, state.safetensors, motion.npz and motion.png.")]
Dtype = Annotated[Literal["float64", "float32"], Parameter(help="How a potential of this package computes.")]
Device = Annotated[str, Parameter(help="cpu, cuda or cuda:1, for a potential of this package.")]
Fmax = Annotated[float, Parameter(help="The largest force that is left, eV per angstrom.")]
MostSteps = Annotated[int, Parameter(help="Steps at most, for each structure.")]
Cell = Annotated[bool, Parameter(help="Relax the cell too, until the stress vanishes.")]
Optimizer = Annotated[str, Parameter(help="One of ase.optimize.")]
Relaxed = Annotated[Path, Parameter(help="The file of relaxed structures (extended XYZ).")]


def md(
    potentials: Potentials,
    /,
    *,
    atoms: Atoms,
    steps: Steps,
    out: RunFolder,
    frame: Frame = 0,
    dt: Timestep = 0.5,
    ensemble: Ensemble = "nve",
    temperature: Temperature = 300.0,
    every: Every = 10,
    keep: Keep = 100,
    seed: Seed = 0,
    dtype: Dtype = "float64",
    device: Device = "cpu",
    json: AsJson = False,
) -> int:
    """Run dynamics; the same command again goes on after a kill, and with more --steps further."""
    from coset.cli.options import check_writable
    from coset.cli.show import emit, note
    from coset.interop.dynamics import run

    check_writable(out)
    moving = _read(atoms)
    if not -len(moving) <= frame < len(moving):
        raise InputError(f"--frame {frame}: {atoms} has {len(moving)} structures, counted from 0")
    start = moving[frame]
    start.calc = _calculator(potentials, dtype, device)
    motion = run(start, steps, ensemble=ensemble, timestep=dt, temperature=temperature, folder=out, every=every, keep=keep,
                 seed=seed, progress=note)  # fmt: skip
    drawn = motion.draw(out / "motion.png")
    told = _told(motion) | _spread(start)
    if json:
        emit({"folder": str(out), **told})
        return 0
    for name, value in told.items():
        print(f"{name.replace('_', ' '):<38} {value:.4g}" if isinstance(value, float) else f"{name:<38} {value}")
    print(f"files    {out}/trajectory.extxyz, motion.npz{', motion.png' if drawn else ''}")
    return 0


def relax(
    potentials: Potentials,
    /,
    *,
    atoms: Atoms,
    out: Relaxed,
    fmax: Fmax = 0.01,
    steps: MostSteps = 500,
    cell: Cell = False,
    optimizer: Optimizer = "BFGS",
    dtype: Dtype = "float64",
    device: Device = "cpu",
    json: AsJson = False,
) -> int:
    """Relax every structure of a file; exit code 1 where one has not converged."""
    from coset.cli.options import check_writable
    from coset.cli.show import emit, note, table
    from coset.errors import require
    from coset.interop.dynamics import largest_force
    from coset.interop.dynamics import relax as run
    from coset.records import write_atomically

    check_writable(out.parent)
    calculator, rows = _calculator(potentials, dtype, device), []
    moving = _read(atoms)
    for place, one in enumerate(moving):
        one.calc = calculator
        before = float(one.get_potential_energy())
        note(f"structure {place}: {one.get_chemical_formula()}")
        converged = run(one, fmax=fmax, steps=steps, cell=cell, optimizer=optimizer, progress=note)
        after = float(one.get_potential_energy())
        rows.append({"structure": place, "converged": converged, "energy_ev": after, "gained_ev": before - after,
                     "largest_force_ev_a": largest_force(one)})  # fmt: skip
        one.calc = require("ase.calculators.singlepoint", extra="atoms").SinglePointCalculator(
            one, **{name: one.calc.results[name] for name in ("energy", "forces", "stress") if name in one.calc.results}
        )
    text = io.StringIO()
    require("ase.io", extra="atoms").write(text, moving, format="extxyz")
    write_atomically(out, text.getvalue())
    done = all(row["converged"] for row in rows)
    if json:
        emit({"file": str(out), "converged": done, "structures": rows})
    else:
        cells = [[str(r["structure"]), "yes" if r["converged"] else "no", f"{r['energy_ev']:.6f}", f"{r['gained_ev']:.4f}",
                  f"{r['largest_force_ev_a']:.3g}"] for r in rows]  # fmt: skip
        table(["structure", "converged", "energy, eV", "gained, eV", "largest force, eV/A"], cells)
        print(f"file     {out}")
    return 0 if done else 1


def _calculator(potentials: list[str], dtype: str, device: str) -> Any:
    """One calculator of one potential, or of a committee of files."""
    from coset.interop.ase import Calculator, calculator_of

    files = [target for target in potentials if Path(target).exists()]
    if len(files) == len(potentials):
        return Calculator([Path(file) for file in files], dtype=dtype, device=device)
    if len(potentials) > 1:
        missing = next(target for target in potentials if target not in files)
        raise InputError(f"a committee is made of files and folders; there is no {missing}")
    return calculator_of(potentials[0], dtype=dtype)


def _read(path: Path) -> list[Any]:
    """ASE atoms, with velocities; InputError for what cannot be read."""
    from coset.data.structures import xyz_form
    from coset.errors import require

    if not path.exists():
        raise InputError(f"structures: {path} does not exist")
    try:
        xyz_form(path)
        frames = require("ase.io", extra="atoms").read(path, index=":")
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever the text makes them stumble over
        raise InputError(f"structures: cannot read {path}: {type(error).__name__}: {error}; is it whole?") from error
    if not frames:
        raise InputError(f"structures: {path} holds no configuration")
    return list(frames)


def _told(motion: Motion) -> dict[str, Any]:
    """What a run came to."""
    return {
        "ensemble": motion.ensemble,
        "atoms": motion.atoms,
        "time_ps": float(motion.time[-1]),
        "mean_temperature_k": float(motion.temperature.mean()),
        "drift_mev_per_atom_and_ps": motion.drift,
        "largest_change_mev_per_atom": motion.change,
    }


def _spread(atoms: Any) -> dict[str, float]:
    """How far a committee's members are apart at the end: large where the training data did not say enough."""
    atoms.get_forces()
    spread = atoms.calc.results.get("forces_std")
    return {} if spread is None else {"committee_forces_std_mev_a": 1e3 * float(abs(spread).mean())}
