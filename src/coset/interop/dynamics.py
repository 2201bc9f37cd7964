"""Dynamics and relaxation with any ASE calculator: progress, a trajectory, restart after a kill, and the drift as a finding.

    motion = run(atoms, 20_000, ensemble="nve", temperature=300, folder="runs/nve")     # again after a kill: goes on
    print(motion.drift)                                                                 # meV per atom and ps

Integrators are ASE's: velocity Verlet ("nve"), Langevin ("langevin") and stochastic velocity rescaling ("bussi", J. Chem. Phys.
126, 014101, 2007). Every ``keep`` steps the whole state (positions, momenta, random numbers, what was recorded, how long the
trajectory's file is) is written in one step; a run that is started again in its folder goes on from there, and with a
calculator of this package its trajectory is that of an unbroken run, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coset.errors import InputError, reason, require, unknown
from coset.records import Finding
from coset.train.folder import locked
from coset.train.state import read_state, write_state

ENSEMBLES = ("nve", "langevin", "bussi")
STATE, TRAJECTORY = "state.safetensors", "trajectory.extxyz"
KIND = "dynamics"
COLUMNS = ("time", "potential", "kinetic", "conserved")
BOLTZMANN = 8.617330337217213e-05  #: eV per kelvin, ASE's
SPOKEN = 5.0  #: seconds between two lines of progress


@dataclass
class Motion(Finding):
    """What a run recorded: arrays (records,) over time."""

    ensemble: str
    atoms: int
    freedoms: int  #: degrees of freedom, for the temperature
    time: np.ndarray  #: ps
    potential: np.ndarray  #: eV
    kinetic: np.ndarray  #: eV
    conserved: np.ndarray  #: eV: the total energy, for "bussi" less the heat that the thermostat brought; NaN for "langevin"

    @property
    def temperature(self) -> np.ndarray:
        """Kelvin, (records,)."""
        return 2 * self.kinetic / (self.freedoms * BOLTZMANN)

    @property
    def drift(self) -> float:
        """meV per atom and ps: slope of a straight line through the conserved energy; NaN where nothing is conserved."""
        if len(self.time) < 3 or not np.isfinite(self.conserved).all():
            return float("nan")
        return float(np.polyfit(self.time, self.conserved - self.conserved[0], 1)[0]) / self.atoms * 1e3

    @property
    def change(self) -> float:
        """meV per atom: the largest distance of the conserved energy from its first value."""
        return float(np.abs(self.conserved - self.conserved[0]).max()) / self.atoms * 1e3

    def plot(self) -> Any:
        """Conserved energy per atom and temperature over time."""
        from coset.figures.style import FAINT, INK, color, figure

        made, axes = figure(2, 1, size=(6.0, 2.4))
        energy, heat = axes[:, 0]
        shown = self.conserved if np.isfinite(self.conserved).all() else self.potential + self.kinetic
        energy.plot(self.time, (shown - shown[0]) / self.atoms * 1e3, color=color(0), lw=1.2)
        energy.set_ylabel("energy, meV per atom")
        said = f"drift {self.drift:.2g} meV per atom and ps" if np.isfinite(self.drift) else "no conserved energy"
        energy.set_title(f"{self.ensemble}, {self.atoms} atoms: {said}", fontsize=11, color=INK)
        heat.plot(self.time, self.temperature, color=color(1), lw=1.2)
        heat.set_ylabel("temperature, K")
        heat.set_xlabel("time, ps")
        for panel in (energy, heat):
            panel.grid(color=FAINT, lw=0.6)
        return made


@dataclass(frozen=True)
class Plan:
    """How to run: see :func:`run`."""

    ensemble: str
    timestep: float
    temperature: float
    friction: float
    coupling: float
    every: int
    seed: int

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise unknown("ensemble", self.ensemble, ENSEMBLES)
        if not self.timestep > 0 or not self.temperature >= 0 or self.friction <= 0 or self.coupling <= 0 or self.every < 1:
            raise InputError(f"dynamics: timestep, friction, coupling and every are positive, temperature >= 0; got {self}")

    def integrator(self, atoms: Any, random: np.random.Generator) -> Any:
        """ASE's, without files of its own."""
        fs = require("ase.units", extra="atoms").fs
        step, heat = self.timestep * fs, {"temperature_K": self.temperature, "rng": random}
        if self.ensemble == "nve":
            return require("ase.md.verlet", extra="atoms").VelocityVerlet(atoms, step)
        if self.ensemble == "bussi":
            if not atoms.get_kinetic_energy() > 0:
                raise InputError("dynamics: bussi rescales velocities, and these atoms are at rest; raise the temperature")
            return require("ase.md.bussi", extra="atoms").Bussi(atoms, step, taut=self.coupling * fs, **heat)
        langevin = require("ase.md.langevin", extra="atoms").Langevin
        return langevin(atoms, step, friction=self.friction / fs, fixcm=False, **heat)


def run(
    atoms: Any, steps: int, *, ensemble: str = "nve", timestep: float = 0.5, temperature: float = 300.0,
    friction: float = 0.01, coupling: float = 100.0, folder: str | Path | None = None, every: int = 10, keep: int = 100,
    seed: int = 0, progress: Callable[[str], None] | None = None,
) -> Motion:  # fmt: skip
    """``steps`` steps of ``timestep`` fs; ``atoms`` (with a calculator) are moved in place.

    Atoms at rest get velocities of ``temperature`` (K, drawn with ``seed``, without drift of the whole). ``friction`` (1/fs) is
    Langevin's, ``coupling`` (fs) Bussi's time constant. Energies are recorded and frames written every ``every`` steps. In
    ``folder``: ``trajectory.extxyz``, ``state.safetensors`` every ``keep`` steps, ``motion.npz`` at the end; a run that is
    found there is continued. ``progress`` takes lines of text.

    InputError for an unknown ensemble, numbers out of range, atoms without calculator, a folder that holds another run or is in
    use.
    """
    plan = Plan(ensemble, float(timestep), float(temperature), float(friction), float(coupling), int(every), int(seed))
    if steps < 1 or keep < 1:
        raise InputError(f"dynamics: steps and keep are positive, got {steps} and {keep}")
    if atoms.calc is None:
        raise InputError("dynamics: atoms have no calculator; set atoms.calc")
    place = None if folder is None else Path(folder)
    with contextlib.nullcontext() if place is None else locked(place):
        going = _Run(atoms, plan, place)
        told = clock.monotonic()
        begun, start = going.step, told
        while going.step < steps:
            going.advance()
            if place is not None and (going.step % keep == 0 or going.step == steps):
                going.save(place)
            now = clock.monotonic()
            if progress is not None and (now - told > SPOKEN or going.step == steps):
                told, rate = now, (going.step - begun) / max(now - start, 1e-9)
                progress(f"{going.says(steps)}  {rate:.3g} steps/s  ETA {(steps - going.step) / rate:.0f} s")
        motion = going.motion()
        if place is not None:
            motion.save(place / "motion.npz")
        return motion


class _Run:
    """Atoms on their way, and what was recorded."""

    def __init__(self, atoms: Any, plan: Plan, folder: Path | None) -> None:
        self.atoms, self.plan, self.folder, self.step = atoms, plan, folder, 0
        self.random = np.random.default_rng(plan.seed)
        self.records: dict[str, list[float]] = {name: [] for name in COLUMNS}
        self.request = {**vars(plan), "numbers": atoms.get_atomic_numbers().tolist(), "start": _digest(atoms),
                        "potential": _potential(atoms.calc)}  # fmt: skip
        heat = self._resume(folder) if folder is not None and (folder / STATE).exists() else self._begin(folder)
        self.integrator = plan.integrator(atoms, self.random)
        self.integrator.transferred_energy = heat
        if self.step == 0:
            self._record()

    def _begin(self, folder: Path | None) -> float:
        if np.allclose(self.atoms.get_momenta(), 0) and self.plan.temperature > 0:
            self.atoms.set_momenta(_maxwell(self.atoms, self.plan.temperature, self.random))
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / TRAJECTORY).unlink(missing_ok=True)
            except (OSError, ValueError) as error:
                raise InputError(f"cannot write into {folder}: {reason(error)}; name another folder with --out") from error
        return 0.0

    def _resume(self, folder: Path) -> float:
        state = read_state(folder / STATE, kind=KIND)
        if state["request"] != self.request:
            differs = sorted(name for name in self.request if state["request"].get(name) != self.request[name])
            raise InputError(f"{folder} holds another run (other {', '.join(differs)}); use another folder")
        self.step, self.records = state["step"], {name: values.tolist() for name, values in state["records"].items()}
        self.atoms.set_positions(state["positions"], apply_constraint=False)
        self.atoms.set_momenta(state["momenta"], apply_constraint=False)
        self.random.bit_generator.state = state["random"]
        path = folder / TRAJECTORY
        if not path.is_file() or path.stat().st_size < state["written"]:
            raise InputError(f"{path} is shorter than when the state beside it was written; it was changed since")
        with path.open("r+b") as stream:  # frames after the state will be written again
            stream.truncate(state["written"])
        return state["heat"]

    def advance(self) -> None:
        """One step."""
        self.integrator.step()
        self.step += 1
        if self.step % self.plan.every == 0:
            self._record()

    def _record(self) -> None:
        potential, kinetic = float(self.atoms.get_potential_energy()), float(self.atoms.get_kinetic_energy())
        if not np.isfinite(potential + kinetic):
            raise InputError(f"dynamics: the energy is {potential + kinetic} at step {self.step}; reduce the timestep")
        heat = float("nan") if self.plan.ensemble == "langevin" else self.integrator.transferred_energy
        row = (self.step * self.plan.timestep * 1e-3, potential, kinetic, potential + kinetic - heat)
        for name, value in zip(COLUMNS, row, strict=True):
            self.records[name].append(value)
        if self.folder is not None:
            try:
                with (self.folder / TRAJECTORY).open("a") as stream:
                    require("ase.io.extxyz", extra="atoms").write_extxyz(stream, [self.atoms])
            except OSError as error:
                raise InputError(
                    f"cannot write {self.folder / TRAJECTORY}: {reason(error)}; the same command goes on from the last state"
                ) from error

    def save(self, folder: Path) -> None:
        """The whole state, in one step."""
        state = {
            "request": self.request, "step": self.step, "positions": self.atoms.get_positions(),
            "momenta": self.atoms.get_momenta(), "random": self.random.bit_generator.state,
            "heat": float(self.integrator.transferred_energy), "written": (folder / TRAJECTORY).stat().st_size,
            "records": {name: np.array(values) for name, values in self.records.items()},
        }  # fmt: skip
        write_state(folder / STATE, state, kind=KIND)

    def motion(self) -> Motion:
        """The finding."""
        freedoms = int(self.atoms.get_number_of_degrees_of_freedom())
        arrays = {name: np.array(values) for name, values in self.records.items()}
        return Motion(self.plan.ensemble, len(self.atoms), freedoms, **arrays)

    def says(self, steps: int) -> str:
        """A line about the last record."""
        motion = self.motion()
        said = f"  drift {motion.drift:.2g} meV/atom/ps" if np.isfinite(motion.drift) else ""
        return f"step {self.step}/{steps}  {motion.time[-1]:.3f} ps  {motion.temperature[-1]:.0f} K{said}"


def _maxwell(atoms: Any, temperature: float, random: np.random.Generator) -> np.ndarray:
    """Momenta (N, 3) of Maxwell and Boltzmann, without motion of the whole; of one atom with it."""
    mass = atoms.get_masses()[:, None]
    momenta = np.sqrt(mass * BOLTZMANN * temperature) * random.standard_normal((len(mass), 3))
    return momenta - mass * momenta.sum(0) / mass.sum() if len(mass) > 1 else momenta


def _digest(atoms: Any) -> str:
    """Where a run starts: positions, momenta, cell."""
    parts = (atoms.get_positions(), atoms.get_momenta(), atoms.cell.array, atoms.pbc)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def _potential(calculator: Any) -> str:
    """What the forces come from: the weights of a potential of this package, of others the class."""
    committee = getattr(calculator, "committee", None)
    return committee.digest if committee is not None else f"{type(calculator).__module__}.{type(calculator).__qualname__}"


def relax(
    atoms: Any, *, fmax: float = 0.01, steps: int = 500, cell: bool = False, optimizer: str = "BFGS",
    trajectory: str | Path | None = None, progress: Callable[[str], None] | None = None,
) -> bool:  # fmt: skip
    """Move ``atoms`` to a minimum with an optimizer of ``ase.optimize`` until no force exceeds ``fmax`` (eV per angstrom).

    With ``cell`` the cell is relaxed too, until the stress vanishes (``ase.filters.FrechetCellFilter``). True where it has
    converged within ``steps``. InputError for atoms without calculator and an optimizer that ASE does not have.
    """
    if atoms.calc is None:
        raise InputError("relax: atoms have no calculator; set atoms.calc")
    module = require("ase.optimize", extra="atoms")
    known = [name for name in dir(module) if name[0].isupper() and name.isidentifier()]
    if optimizer not in known:
        raise unknown("optimizer", optimizer, known)
    if cell and atoms.cell.rank < 3:
        raise InputError(
            f"relax: the cell of {atoms.get_chemical_formula()} has no volume to relax; leave cell=True (--cell) out"
        )
    moved = require("ase.filters", extra="atoms").FrechetCellFilter(atoms) if cell else atoms
    with getattr(module, optimizer)(moved, logfile=None, trajectory=None if trajectory is None else str(trajectory)) as moves:
        if progress is not None:
            moves.attach(lambda: progress(f"step {moves.nsteps}  {largest_force(atoms):.3g} eV/A"), interval=10)
        return bool(moves.run(fmax=fmax, steps=steps))


def largest_force(atoms: Any) -> float:
    """The length of the largest force, eV per angstrom."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
