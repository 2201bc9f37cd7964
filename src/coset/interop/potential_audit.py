"""The audit of a potential, whoever made it: any ASE calculator gets the same page.

    found = audit_potential("water.safetensors", read_structures("test.xyz"))     # or a calculator, such as EMT()
    print(found)                                                                  # a verdict and a line for every law
    found.draw("potential.png")

Laws of :mod:`coset.audits.potential` (symmetry, conservation, size), continuity at the cutoff (:mod:`coset.audits.cutoff`) and
the drift of a short run at constant energy. A potential of this package also shows the symmetry of every layer.
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
from coset.audits.verdict import FAIL, PASS
from coset.contract import Contract
from coset.data.structures import join, sample_of
from coset.groups.euclidean import E
from coset.groups.matrix import SO, O
from coset.interop.ase import atoms_of, calculator_of, surface
from coset.interop.dynamics import Motion, run
from coset.records import SCHEMA, Finding, to_json

STEPS = 200  #: of the run at constant energy, half a femtosecond each
MOST = 64  #: atoms of the structure that is run, where one is as small
DRIFT = 1.0  #: meV per atom and ps that passes


@dataclass
class PotentialAudit(Finding):
    """What was found: ``checks`` in words and numbers, orbits over rotations, the curve at the cutoff, the run."""

    potential: str
    frames: int
    atoms: int
    floor: float  #: of rounding, relative
    seed: int
    checks: list[dict[str, Any]]
    angles: np.ndarray  #: (K,) degrees
    orbit_energy: np.ndarray  #: (frames, K) eV per atom
    orbit_forces: np.ndarray  #: (frames, K) relative
    orbit_labels: np.ndarray  #: (frames, K) meV per angstrom; NaN without labels
    cutoff_r: np.ndarray = field(default_factory=lambda: np.zeros(0))
    cutoff_energy: np.ndarray = field(default_factory=lambda: np.zeros(0))  #: eV
    cutoff_slope: np.ndarray = field(default_factory=lambda: np.zeros(0))  #: eV per angstrom
    time: np.ndarray = field(default_factory=lambda: np.zeros(0))  #: ps
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))  #: eV, of the run
    layers: list[dict[str, Any]] = field(default_factory=list)  #: name, error, field
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """FAIL if one law is not met, else PASS."""
        return FAIL if any(check["verdict"] == FAIL for check in self.checks) else PASS

    def to_json(self) -> dict[str, Any]:
        """The document of ``coset audit FILE --atoms --json``."""
        kept = ("potential", "frames", "atoms", "floor", "seed", "checks", "layers", "notes")
        return to_json({"schema": SCHEMA, "verdict": self.verdict} | {name: getattr(self, name) for name in kept})

    def __str__(self) -> str:
        lines = [Check(**{k: v for k, v in check.items() if k != "verdict"}) for check in self.checks]
        head = f"{self.verdict}  {self.potential}: {self.frames} structures, {self.atoms} atoms, floor {self.floor:.1e}"
        return "\n".join([head, *map(str, lines), *self.notes])

    def plot(self) -> Any:
        """Errors over rotations, every law against its limit, the force at the cutoff, energy at constant energy."""
        from coset.figures.potential import potential_page

        judged = [check for check in self.checks if not check["skipped"]]
        return potential_page(
            f"{self.verdict}: {self.potential}", self.angles, self.orbit_forces,
            [check["name"] for check in judged], np.array([check["error"] / check["limit"] for check in judged]),
            (self.cutoff_r, self.cutoff_slope), (self.time, (self.total - self.total[:1]) / max(self.run_atoms, 1) * 1e3),
        )  # fmt: skip

    @property
    def run_atoms(self) -> int:
        """Atoms of the structure that was run."""
        return next((int(check["detail"].split()[0]) for check in self.checks if check["name"] == "drift"), 1)


def audit_potential(
    potential: Any, frames: Sequence[Frame], *, rotations: int = 12, directions: int = 6, steps: int | None = None,
    temperature: float = 300.0, cutoff: float | None = None, tolerance: float = 1e-8, seed: int = 0, name: str = "",
    progress: Callable[[str], None] | None = None,
) -> PotentialAudit:  # fmt: skip
    """Hold ``potential`` (whatever :func:`coset.interop.ase.calculator_of` takes) to its laws on ``frames``.

    ``rotations`` and ``directions`` are drawn for each frame; ``steps`` of 0.5 fs (200) are run at ``temperature`` (K) from a
    frame of handy size (0: none); ``cutoff`` (angstrom) is found where it is not given. Symmetry passes below ``tolerance``
    or ten times the floor. InputError for no frames, and for whatever the potential refuses.
    """
    say = progress or (lambda text: None)
    calculator = calculator_of(potential)
    answer, frames = surface(calculator), [_double(frame) for frame in frames]
    say("symmetry")
    scene = Scene(answer, frames, tolerance)
    turned, orbit = laws.rotations(scene, rotations, seed)
    checks = [turned, *laws.symmetries(scene, seed), laws.size_consistency(scene)]
    say("forces and stress against differences of the energy")
    checks += laws.conservation(scene, directions, seed)
    say("the cutoff")
    committee = getattr(calculator, "committee", None)
    ends, crossed = continuity(answer, frames, committee.r_max if cutoff is None and committee else cutoff)
    checks += ends
    found = PotentialAudit(
        name or _name(calculator), len(frames), sum(len(frame["z"]) for frame in frames), scene.floor, seed, [],
        orbit.angles, orbit.energy, orbit.forces, orbit.labels, notes=_accuracy(scene),
    )  # fmt: skip
    if isinstance(crossed, Crossing):
        found.cutoff_r, found.cutoff_energy, found.cutoff_slope = crossed.r, crossed.energy, crossed.slope
    steps = STEPS if steps is None else steps
    if steps:
        say(f"{steps} steps at constant energy")
        motion = _run(calculator, _handy(frames), steps, temperature, seed)
        checks.append(_drift(motion))
        found.time, found.total = motion.time, motion.conserved
    if committee:
        say("layers")
        found.layers = _layers(committee.members[0], frames[0], seed)
    found.checks = [check.to_json() for check in checks]
    return found


def _double(frame: Frame) -> Frame:
    return {k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in frame.items()}


def _name(calculator: Any) -> str:
    committee = getattr(calculator, "committee", None)
    return " + ".join(type(m).__name__ for m in committee.members) if committee else type(calculator).__name__


def _handy(frames: Sequence[Frame]) -> Frame:
    """The largest frame of at most :data:`MOST` atoms, else the smallest."""
    small = [frame for frame in frames if len(frame["z"]) <= MOST]
    return max(small, key=lambda f: len(f["z"])) if small else min(frames, key=lambda f: len(f["z"]))


def _run(calculator: Any, frame: Frame, steps: int, temperature: float, seed: int) -> Motion:
    atoms = atoms_of(frame)
    atoms.calc = calculator
    return run(atoms, steps, temperature=temperature, every=2, seed=seed)


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
    """Errors of the layers that state how their output turns; the others' could only be guessed."""
    sample = join([sample_of(frame, model.r_max, dtype=torch.float64)])
    sample.setdefault("cell", 100 * torch.eye(3, dtype=torch.float64).unsqueeze(0))
    whole = model.contracts[0]
    found = audit(
        model, sample, Contract(O(3) if whole.group == E(3) else SO(3), whole.inputs, whole.outputs), samples=6, seed=seed
    )
    return [{name: layer[name] for name in ("name", "error", "field")} for layer in found.layers if not layer["guessed"]]
