"""The audit of a potential, whoever made it: any ASE calculator gets the same page.

    found = audit_potential("water.safetensors", read_structures("test.xyz"))     # or a calculator, such as EMT()
    print(found)                                                                  # a verdict and a line for every law
    found.draw("potential.png")

Laws of :mod:`coset.audits.potential` (symmetry, conservation, size), continuity at the cutoff (:mod:`coset.audits.cutoff`), the
drift of a short run at constant energy, and errors while structures turn (:mod:`coset.audits.potential_orbit`). A potential of
this package is also asked in single precision, and shows the symmetry of every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from coset.audits import potential as laws
from coset.audits.cutoff import Crossing, continuity
from coset.audits.equivariance import audit
from coset.audits.potential import Check, Frame, Scene
from coset.audits.potential_causes import causes, headline
from coset.audits.potential_orbit import Orbit, orbit
from coset.audits.verdict import FAIL, PASS
from coset.contract import Contract
from coset.data.structures import join, sample_of
from coset.errors import InputError, require
from coset.groups.euclidean import E
from coset.groups.matrix import SO, O
from coset.interop.ase import Calculator, atoms_of, calculator_of, surface
from coset.interop.dynamics import Motion, run
from coset.records import SCHEMA, Finding, to_json

STEPS = 400  #: of the run at constant energy, half a femtosecond each
TURNS = 24  #: angles of an orbit
MOST = 64  #: atoms of the structure that is run, where one is as small
DRIFT = 1.0  #: meV per atom and ps that passes
NONE = np.zeros(0)


@dataclass
class PotentialAudit(Finding):
    """What was found: ``checks`` in words and numbers, errors over rotations, the curve at the cutoff, the run.

    What begins with ``single`` is the same in single precision, empty for calculators of others.
    """

    potential: str
    frames: int
    atoms: int
    floor: float  #: of rounding, relative
    seed: int
    checks: list[dict[str, Any]]
    angles: np.ndarray  #: (K,) degrees
    orbit_energy: np.ndarray  #: (frames, K) meV per atom from the mean over the turn
    orbit_forces: np.ndarray  #: (frames, K) meV per angstrom
    orbit_energy_labels: np.ndarray  #: the same, from the labels; NaN without
    orbit_forces_labels: np.ndarray
    dtype: str = ""  #: of a potential of this package
    cutoff: float = 0.0  #: angstrom; 0 where none was found
    cutoff_r: np.ndarray = field(default_factory=lambda: NONE)
    cutoff_energy: np.ndarray = field(default_factory=lambda: NONE)  #: eV
    cutoff_slope: np.ndarray = field(default_factory=lambda: NONE)  #: eV per angstrom
    run_atoms: int = 0  #: of the structure that was run
    time: np.ndarray = field(default_factory=lambda: NONE)  #: ps
    total: np.ndarray = field(default_factory=lambda: NONE)  #: eV, of the run
    single: list[dict[str, Any]] = field(default_factory=list)  #: checks
    single_orbit_energy: np.ndarray = field(default_factory=lambda: NONE)
    single_orbit_forces: np.ndarray = field(default_factory=lambda: NONE)
    single_time: np.ndarray = field(default_factory=lambda: NONE)
    single_total: np.ndarray = field(default_factory=lambda: NONE)
    layers: list[dict[str, Any]] = field(default_factory=list)  #: name, error, field, single
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """FAIL if one law is not met, else PASS."""
        return FAIL if any(check["verdict"] == FAIL for check in self.checks) else PASS

    @property
    def words(self) -> list[str]:
        """The verdict in sentences: what holds, then what most likely lies behind each law that does not."""
        said = [headline(self.checks), *(f"{law}: {why}" for law, why in causes(self.checks, self.layers))]
        return [*said, f"In single precision: {headline(self.single)}"] if self.single else said

    def to_json(self) -> dict[str, Any]:
        """The document of ``coset audit FILE --atoms --json``."""
        kept = ("potential", "dtype", "frames", "atoms", "floor", "seed", "words", "checks", "single", "layers", "notes")
        return to_json({"schema": SCHEMA, "verdict": self.verdict} | {name: getattr(self, name) for name in kept})

    def __str__(self) -> str:
        lines = [Check(**{k: v for k, v in check.items() if k != "verdict"}) for check in self.checks]
        head = f"{self.verdict}  {self.potential}: {self.frames} structures, {self.atoms} atoms, floor {self.floor:.1e}"
        return "\n".join([head, *self.words, *map(str, lines), *self.notes])

    def plot(self) -> Any:
        """The overview: errors over rotations, every law against its limit, the force at the cutoff, the run."""
        from coset.figures.potential import panels
        from coset.interop.potential_panels import edge, laws_of, orbits, run_of

        made, axes = panels(2, 3, (4.6, 3.4), f"{self.verdict}: {self.potential}")
        orbits(self, axes[:2])
        laws_of(self, axes[2])
        edge(self, axes[3:5])
        run_of(self, axes[5])
        return made


def audit_potential(
    potential: Any, frames: Sequence[Frame], *, rotations: int = 12, directions: int = 6, steps: int | None = None,
    temperature: float = 300.0, cutoff: float | None = None, tolerance: float = 1e-8, single: bool = True, seed: int = 0,
    name: str = "", progress: Callable[[str], None] | None = None,
) -> PotentialAudit:  # fmt: skip
    """Hold ``potential`` (whatever :func:`coset.interop.ase.calculator_of` takes) to its laws on ``frames``.

    ``rotations`` and ``directions`` are drawn for each frame; ``steps`` of 0.5 fs (400) are run at ``temperature`` (K) from a
    frame of handy size (0: none); ``cutoff`` (angstrom) is found where neither it is given nor the calculator says it
    (``r_max``). Symmetry passes below ``tolerance`` or ten times the floor. With ``single`` a potential of this package that
    computes in double precision is measured a second time in single; the verdict is that of the first.

    InputError for no frames, and for whatever the potential refuses.
    """
    say = progress or (lambda text: None)
    calculator, frames = calculator_of(potential), [_double(frame) for frame in frames]
    committee = getattr(calculator, "committee", None)
    ask = _Ask(frames, rotations, directions, STEPS if steps is None else steps, temperature,
               _cutoff_of(calculator) if cutoff is None else cutoff, tolerance, seed)  # fmt: skip
    main = _measure(calculator, ask, say)
    found = PotentialAudit(
        name or _name(calculator), len(frames), sum(len(frame["z"]) for frame in frames), main.scene.floor, seed,
        [check.to_json() for check in main.checks], main.orbit.angles, main.orbit.energy, main.orbit.forces,
        main.orbit.energy_labels, main.orbit.forces_labels, notes=_accuracy(main.scene),
    )  # fmt: skip
    if isinstance(main.crossed, Crossing):
        found.cutoff, found.cutoff_r = main.crossed.cutoff, main.crossed.r
        found.cutoff_energy, found.cutoff_slope = main.crossed.energy, main.crossed.slope
    if main.motion is not None:
        found.run_atoms, found.time, found.total = main.motion.atoms, main.motion.time, main.motion.conserved
    if committee:
        found.dtype = str(committee.dtype).removeprefix("torch.")
        say("layers")
        found.layers = _layers(committee.members[0], frames[0], seed)
        if single and committee.dtype == torch.float64:
            say("the same in single precision")
            again = _measure(Calculator(committee.members, dtype="float32"), ask, lambda text: None)
            found.single = [check.to_json() for check in again.checks]
            found.single_orbit_energy, found.single_orbit_forces = again.orbit.energy, again.orbit.forces
            if again.motion is not None:
                found.single_time, found.single_total = again.motion.time, again.motion.conserved
    return found


@dataclass(frozen=True)
class _Ask:
    """What is asked of a calculator."""

    frames: list[Frame]
    rotations: int
    directions: int
    steps: int
    temperature: float
    cutoff: float | None
    tolerance: float
    seed: int


@dataclass(frozen=True)
class _Measured:
    """What one calculator answered."""

    scene: Scene
    checks: list[Check]
    orbit: Orbit
    crossed: Crossing | None
    motion: Motion | None


def _measure(calculator: Any, ask: _Ask, say: Callable[[str], None]) -> _Measured:
    answer = surface(calculator)
    say("symmetry")
    scene = Scene(answer, ask.frames, ask.tolerance)
    checks = [laws.rotations(scene, ask.rotations, ask.seed), *laws.symmetries(scene, ask.seed), laws.size_consistency(scene)]
    say("errors over a turn")
    turn = orbit(scene, TURNS)
    say("forces and stress against differences of the energy")
    checks += laws.conservation(scene, ask.directions, ask.seed)
    say("the cutoff")
    ends, crossed = continuity(answer, ask.frames, ask.cutoff, require("ase.data", extra="atoms").chemical_symbols)
    checks += ends
    motion = None
    if ask.steps:
        say(f"{ask.steps} steps at constant energy")
        motion, check = _run(calculator, _handy(ask.frames), ask)
        checks.append(check)
    return _Measured(scene, checks, turn, crossed, motion)


def _double(frame: Frame) -> Frame:
    return {k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in frame.items()}


def _name(calculator: Any) -> str:
    committee = getattr(calculator, "committee", None)
    return " + ".join(type(m).__name__ for m in committee.members) if committee else type(calculator).__name__


def _cutoff_of(calculator: Any) -> float | None:
    """What a calculator says its cutoff is: ours by its committee, others as ``r_max``."""
    said = getattr(getattr(calculator, "committee", calculator), "r_max", None)
    return float(said) if isinstance(said, (int, float)) and said > 0 else None


def _handy(frames: Sequence[Frame]) -> Frame:
    """The largest frame of at most :data:`MOST` atoms, else the smallest."""
    small = [frame for frame in frames if len(frame["z"]) <= MOST]
    return max(small, key=lambda f: len(f["z"])) if small else min(frames, key=lambda f: len(f["z"]))


def _run(calculator: Any, frame: Frame, ask: _Ask) -> tuple[Motion | None, Check]:
    """A run that blows up is a law that is not met, and no end of the audit."""
    atoms = atoms_of(frame)
    atoms.calc = calculator
    try:
        motion = run(atoms, ask.steps, temperature=ask.temperature, every=2, seed=ask.seed)
    except InputError as error:
        return None, Check("drift", float("nan"), DRIFT, "meV/atom/ps", str(error))
    return motion, _drift(motion)


def _drift(motion: Motion) -> Check:
    """Judged with the uncertainty of the slope: in a short run the integrator's own oscillation is part of it."""
    energy = (motion.conserved - motion.conserved[0]) / motion.atoms * 1e3
    rest = energy - np.polyval(np.polyfit(motion.time, energy, 1), motion.time)
    unsure = float(np.sqrt(np.square(rest).mean() / np.square(motion.time - motion.time.mean()).sum()))
    detail = f"{motion.atoms} atoms, {motion.time[-1]:.2f} ps at {motion.temperature.mean():.0f} K, uncertain by {unsure:.1g}"
    return Check("drift", abs(motion.drift), DRIFT + 3 * unsure, "meV/atom/ps", detail)


def _accuracy(scene: Scene) -> list[str]:
    """Errors against the labels, where the frames have any."""
    notes = []
    energy = [1e3 * abs(float(out["energy"] - f["energy"])) / len(f["z"])
              for f, out in zip(scene.frames, scene.base, strict=True) if "energy" in f]  # fmt: skip
    forces = [1e3 * (out["forces"] - f["forces"]).abs().flatten()
              for f, out in zip(scene.frames, scene.base, strict=True) if "forces" in f]  # fmt: skip
    if energy:
        notes.append(f"against the labels: energy {np.mean(energy):.3g} meV per atom (mean absolute error)")
    if forces:
        notes.append(f"against the labels: forces {float(torch.cat(forces).mean()):.3g} meV per angstrom")
    return notes


def _layers(model: Any, frame: Frame, seed: int) -> list[dict[str, Any]]:
    """Errors of the layers that state how their output turns, in its own precision; the others' could only be guessed."""
    dtype = next(model.parameters()).dtype
    sample = join([sample_of(frame, model.r_max, dtype=dtype)])
    sample.setdefault("cell", 100 * torch.eye(3, dtype=dtype).unsqueeze(0))
    whole = model.contracts[0]
    contract = Contract(O(3) if whole.group == E(3) else SO(3), whole.inputs, whole.outputs)
    names = ["float64", "float32"] if dtype == torch.float64 else [str(dtype).removeprefix("torch.")]
    rows = [audit(model, sample, contract, samples=6, seed=seed, dtype=name).layers for name in names]
    kept = [{name: layer[name] for name in ("name", "error", "field")} for layer in rows[0] if not layer["guessed"]]
    if len(rows) > 1:
        coarse = {layer["name"]: layer["error"] for layer in rows[1]}
        kept = [layer | {"single": coarse.get(layer["name"], float("nan"))} for layer in kept]
    return kept
