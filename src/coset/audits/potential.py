"""What a potential must obey, measured on any function of structures: symmetry, conservation, smoothness, size consistency.

An ``Answer`` takes a frame (:mod:`coset.data.structures`: ``pos``, ``z``, perhaps ``cell`` and ``periodic``) and gives
``energy`` (), ``forces`` (N, 3) and, where it can, ``stress`` (3, 3), in eV and angstrom. Nothing else is known of it. Checks:

    E(g x) = E(x),  F(g x) = g F(x),  s(g x) = g s(x)     rotations, inversion, translations, permutations, periodic images
    F.d = -dE(x + h d)/dh,    V s : e = dE(x (1 + h e))/dh      at h = 0, by differences of fourth order
    E, E' and E'' are continuous where an atom crosses the cutoff
    E(two far copies) = 2 E,  and so for a doubled cell

Errors of forces and stress are relative to their root mean square over all frames, those of energies in eV per atom. What a
rigid shift by less than an angstrom or a turn by 1e-6 changes is rounding: the *floor*, from which no error is told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.verdict import FAIL, PASS
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.groups.rotations import rotation_from_vector

Frame = Mapping[str, Any]
Answer = Callable[[Frame], Mapping[str, Tensor]]
SHIFTS = (1.0, 40.0, 1000.0)  #: angstrom, by which structures are moved
SHAKES = (0.01, 0.1, 0.5)  #: angstrom, by which the floor is measured
QUIVER = 3e-7  #: radian
NODES = (-2, -1, 1, 2)  #: steps at which the energy is asked for its slope
APART = 30.0  #: angstrom between two copies
NOT_JUDGED = "NOT JUDGED"
ROUNDING = 1e-5  #: the largest floor that rounding explains, that of single precision


@dataclass
class Check:
    """One law: how far it is from holding, and what passes."""

    name: str
    error: float
    limit: float
    unit: str = "relative"
    detail: str = ""
    skipped: bool = False
    parts: dict[str, float] = field(default_factory=dict)  #: what the error is made of: :mod:`coset.audits.potential_causes`

    @property
    def verdict(self) -> str:
        """PASS, FAIL (also for NaN) or NOT JUDGED."""
        return NOT_JUDGED if self.skipped else PASS if self.error <= self.limit else FAIL

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"verdict": self.verdict}

    def __str__(self) -> str:
        figures = "" if self.skipped else f"{self.error:.2g} {self.unit}, limit {self.limit:.2g}"
        return "  ".join(part for part in (f"{self.verdict:10}", f"{self.name:24}", figures, self.detail) if part).rstrip()


@dataclass
class Scene:
    """Frames, what is said of them, and the sizes by which errors are judged."""

    answer: Answer
    frames: list[Frame]
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        if not self.frames or not any(len(frame["z"]) for frame in self.frames):
            raise InputError("audit of a potential: at least one structure with atoms")
        self.base = [self.answer(frame) for frame in self.frames]
        for place, out in enumerate(self.base):
            if not all(bool(torch.isfinite(out[name]).all()) for name in ("energy", "forces", "stress") if name in out):
                raise InputError(f"audit of a potential: its answer to configuration {place} is not finite")
        self.force_size = max(_rms(torch.cat([out["forces"].flatten() for out in self.base])), 1e-2)
        stresses = [out["stress"].flatten() for out in self.base if "stress" in out]
        self.stress_size = max(_rms(torch.cat(stresses)), 1e-4) if stresses else 1.0
        shaken = [[*self._shifts(place, frame), *self._quivers(place, frame)] for place, frame in self.each()]
        self.floor = min(max(max(error.values()) for row in shaken for error in row), ROUNDING)
        # an energy may come out the same by luck; what forces lose, energies lose as well
        own = [max(self.floor, *(error["energy"] for error in row)) for row in shaken]
        self.noise = [min(each, ROUNDING) * len(frame["z"]) for each, frame in zip(own, self.frames, strict=True)]

    def _shifts(self, place: int, frame: Frame) -> list[dict[str, float]]:
        return [self.gap(place, self.moved(frame, size * _direction(place))) for size in SHAKES]

    def _quivers(self, place: int, frame: Frame) -> list[dict[str, float]]:
        """Turns too small to change more than the last digit of a single; they show what a calculator that centers rounds."""
        turns = [rotation_from_vector(QUIVER * (n + 1) * _direction(place + n)) for n in range(len(SHAKES))]
        return [self.gap(place, self.answer(turned(frame, turn)), turn) for turn in turns]

    def each(self) -> Iterator[tuple[int, Frame]]:
        """Places and frames."""
        return iter(enumerate(self.frames))

    def moved(self, frame: Frame, by: Tensor) -> Mapping[str, Tensor]:
        """The answer to a frame whose atoms moved ``by`` (3,) or (N, 3)."""
        return self.answer({**frame, "pos": frame["pos"] + by})

    def gap(
        self, place: int, got: Mapping[str, Tensor], turn: Tensor | None = None, order: Tensor | None = None
    ) -> dict[str, float]:
        """Errors of energy, forces and stress of ``got``, the answer to a frame turned by a matrix and in another order."""
        base = self.base[place]
        matrix = torch.eye(3, dtype=torch.float64) if turn is None else turn
        forces = base["forces"] if order is None else base["forces"][order]
        errors = {"energy": abs(float(got["energy"] - base["energy"])) / len(base["forces"]),
                  "forces": _rms(got["forces"] - forces @ matrix.T) / self.force_size}  # fmt: skip
        if "stress" in base:
            errors["stress"] = _rms(got["stress"] - matrix @ base["stress"] @ matrix.T) / self.stress_size
        return errors

    def judge(self, name: str, errors: Sequence[Mapping[str, float]], detail: str = "") -> Check:
        """The worst of some errors as a check, with the quantity that it belongs to."""
        worst = {key: _worst([error[key] for error in errors if key in error]) for key in ("energy", "forces", "stress")}
        worst = {key: value for key, value in worst.items() if any(key in error for error in errors)}
        said = ", ".join(f"{key} {value:.1e}{' eV/atom' * (key == 'energy')}" for key, value in worst.items())
        limit = max(self.tolerance, 10 * self.floor)
        text = "; ".join(filter(None, (said, detail)))
        return Check(name, _worst(list(worst.values())), limit, detail=text, parts=worst)


# ---------------------------------------------------------------- symmetry


def turned(frame: Frame, matrix: Tensor) -> Frame:
    """A frame, its cell included, turned by an orthogonal matrix."""
    return {**frame, **{name: frame[name] @ matrix.T for name in ("pos", "cell") if name in frame}}


def rotations(scene: Scene, count: int, seed: int = 0) -> Check:
    """Every frame at ``count`` rotations drawn evenly."""
    matrices = SO(3).sample(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    errors = [scene.gap(place, scene.answer(turned(frame, turn)), turn) for place, frame in scene.each() for turn in matrices]
    return scene.judge("rotation", errors, f"{count} rotations of every structure")


def symmetries(scene: Scene, seed: int = 0) -> list[Check]:
    """Inversion, translations, permutations and, for periodic frames, atoms moved by lattice vectors."""
    generator = torch.Generator().manual_seed(seed)
    mirror = -torch.eye(3, dtype=torch.float64)
    far = [[scene.gap(p, scene.moved(f, length * _direction(p))) for p, f in scene.each()] for length in SHIFTS]
    worst = ", ".join(f"{_worst([max(e.values()) for e in row]):.0e} at {length:g} A"
                      for length, row in zip(SHIFTS, far, strict=True))  # fmt: skip
    orders = [torch.randperm(len(frame["z"]), generator=generator) for frame in scene.frames]
    shuffled = [
        scene.gap(p, scene.answer({**f, "pos": f["pos"][order], "z": f["z"][order]}), order=order)
        for (p, f), order in zip(scene.each(), orders, strict=True)
    ]
    mirrored = [scene.gap(place, scene.answer(turned(frame, mirror)), mirror) for place, frame in scene.each()]
    checks = [
        scene.judge("inversion", mirrored),
        _far(scene.judge("translation", [error for row in far for error in row], worst), far),
        scene.judge("permutation", shuffled),
    ]
    wrapped = []
    for place, frame in scene.each():
        if "cell" in frame and any(frame.get("periodic", ())):
            steps = torch.randint(-1, 2, (len(frame["z"]), 3), generator=generator) * torch.tensor(frame["periodic"])
            wrapped.append(scene.gap(place, scene.moved(frame, steps.to(torch.float64) @ frame["cell"])))
    return [*checks, scene.judge("periodic images", wrapped)] if wrapped else checks


def _far(check: Check, rows: Sequence[Sequence[Mapping[str, float]]]) -> Check:
    """A translation's errors by length: what rounds positions errs by more, the farther it is."""
    check.parts |= {f"{length:g} A": _worst([max(e.values()) for e in row]) for length, row in zip(SHIFTS, rows, strict=True)}
    return check


def size_consistency(scene: Scene) -> Check:
    """Two copies ``APART`` from one another, or a cell twice as long, against twice the energy and the same forces."""
    errors = []
    for place, frame in scene.each():
        axes = frame.get("periodic", (False,) * 3)
        base, count = scene.base[place], len(frame["z"])
        if any(axes):
            step = frame["cell"][axes.index(True)]
            longer = torch.diag(torch.tensor([1.0 + (k == axes.index(True)) for k in range(3)], dtype=torch.float64))
            double = {**frame, "cell": longer @ frame["cell"]}
        else:
            extent = float((frame["pos"].amax(0) - frame["pos"].amin(0)).norm())
            step, double = (extent + APART) * _direction(place), {k: v for k, v in frame.items() if k != "cell"}
        double |= {"pos": torch.cat([frame["pos"], frame["pos"] + step]), "z": frame["z"].repeat(2)}
        got = scene.answer(double)
        errors.append({
            "energy": abs(float(got["energy"] - 2 * base["energy"])) / (2 * count),
            "forces": _rms(got["forces"] - base["forces"].repeat(2, 1)) / scene.force_size,
        })  # fmt: skip
    return scene.judge("two copies", errors)


# ---------------------------------------------------------------- derivatives


def conservation(scene: Scene, directions: int = 6, seed: int = 0, limit: float = 1e-5) -> list[Check]:
    """Forces and stress against differences of the energy, along random directions of all atoms and six strains."""
    generator = torch.Generator().manual_seed(seed)
    pushes: list[Pair] = []
    strains: list[Pair] = []
    floors = [0.0, 0.0]
    for place, frame in scene.each():
        out, step = scene.base[place], float(np.clip((1e-3 * scene.noise[place]) ** 0.2, 1e-3, 3e-2))
        for _ in range(directions):
            d = torch.randn(frame["pos"].shape, generator=generator, dtype=torch.float64)
            d = d / d.norm()
            slope = _slope([scene.moved(frame, k * step * d) for k in NODES], step)
            pushes.append((-slope, float((out["forces"] * d).sum())))
        floors[0] = max(floors[0], 1.5 * scene.noise[place] / step)
        if "stress" in out and any(frame.get("periodic", ())):
            volume, step = float(torch.linalg.det(frame["cell"]).abs()), step / 5
            for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
                e = torch.zeros(3, 3, dtype=torch.float64)
                e[i, j] += 0.5
                e[j, i] += 0.5
                slope = _slope([scene.answer(_strained(frame, k * step * e)) for k in NODES], step)
                strains.append((slope / volume, float((out["stress"] * e).sum())))
            floors[1] = max(floors[1], 1.5 * scene.noise[place] / step / volume)
    checks = [_difference("forces = -dE/dx", pushes, scene.force_size, floors[0], limit, "eV/A")]
    if strains:
        check = _difference("stress = dE/d(strain)/V", strains, scene.stress_size, floors[1], limit, "eV/A^3")
        want, got = torch.tensor(strains, dtype=torch.float64).view(-1, 2, 3, 2).unbind(-1)
        check.parts |= {f"{name} components": _rms((want - got)[:, i]) / scene.stress_size
                        for i, name in enumerate(("normal", "shear"))}  # fmt: skip
        checks.append(check)
    return checks


Pair = tuple[float, float]  #: a derivative by differences, and what the potential says it is


def _difference(name: str, pairs: Sequence[Pair], size: float, floor: float, limit: float, unit: str) -> Check:
    """``parts``: the ``factor`` by which what is said is closest to the differences, and what is then ``left``."""
    want, got = torch.tensor(pairs, dtype=torch.float64).T
    error = _rms(got - want)
    factor = float((want * got).sum() / (want * want).sum().clamp(min=1e-300))
    detail = f"{len(pairs)} differences, root mean square of the gap {error:.1e} {unit}"
    parts = {"factor": factor, "left": _rms(got - factor * want) / size}
    return Check(name, error / size, max(limit, 3 * floor / size), detail=detail, parts=parts)


def _strained(frame: Frame, strain: Tensor) -> Frame:
    return {**frame, **{name: frame[name] + frame[name] @ strain for name in ("pos", "cell")}}


def _slope(answers: Sequence[Mapping[str, Tensor]], h: float) -> float:
    """The energy's derivative to fourth order, of answers at :data:`NODES` times ``h``."""
    a, b, c, d = (float(out["energy"]) for out in answers)
    return (a - d + 8 * (c - b)) / (12 * h)


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def _worst(values: Sequence[float]) -> float:
    """The largest; NaN if there is one."""
    return float(np.max(values)) if len(values) else 0.0


def _direction(seed: int) -> Tensor:
    d = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return d / d.norm()
