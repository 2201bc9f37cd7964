"""Potentials in ASE: a calculator, and any calculator as a function of structures.

    atoms.calc = Calculator("water.safetensors")                       # or a model, a row's folder, a list of any of these
    BFGS(atoms).run(fmax=0.01)

Energies in eV, positions in angstrom, stress in eV per cubic angstrom, positive under tension, in the order xx, yy, zz, yz,
xz, xy: as ASE has them. Neighbors are kept while atoms move less than half of a skin (:mod:`coset.interop.neighbors`); no bit
of the answer changes by that. Extra ``atoms``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.data.structures import Frame
from coset.errors import InputError, require
from coset.interop.evaluation import Committee, Given
from coset.interop.neighbors import VerletList
from coset.interop.target import load_object
from coset.nn.potential import Potential

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))  #: rows and columns of xx, yy, zz, yz, xz, xy
PROPERTIES = ["energy", "free_energy", "energies", "forces", "stress", "energy_std", "forces_std"]


def Calculator(potential: Given | Sequence[Given], *, device: str = "cpu", dtype: str = "float64", skin: float = 0.5) -> Any:
    """An ``ase.calculators.calculator.Calculator`` of a potential, its file or folder, or of several as a committee.

    Gives energy, free_energy (the same number), energies, forces and, where the atoms have a cell of three vectors, stress; a
    committee the mean of these and the spread, ``calc.results["forces_std"]`` (N, 3) and ``"energy_std"``. Structures may be
    periodic along any directions, with cells of any size. ``skin`` (angstrom) trades searches for longer lists.

    Calculations raise InputError for an element that the potential does not know, NaN positions, and atoms on top of each
    other; MissingExtra without ASE.
    """
    return _classes()(Committee(potential, device=device, dtype=dtype), skin)


@cache
def _classes() -> Any:
    """The class, made when it is first needed: it inherits from ASE's, which may not be installed."""
    base: Any = require("ase.calculators.calculator", extra="atoms").Calculator

    class CosetCalculator(base):
        name = "coset"
        implemented_properties = PROPERTIES
        ignored_changes = frozenset({"initial_charges", "initial_magmoms"})

        def __init__(self, committee: Committee, skin: float) -> None:
            super().__init__()
            self.committee = committee
            self.lists = {r_max: VerletList(r_max, skin) for r_max in sorted({m.r_max for m in committee.members})}

        def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = None) -> None:
            super().calculate(atoms)
            self.results = _results(self.committee, self.lists, self.atoms)

        def todict(self, skip_default: bool = True) -> dict[str, Any]:
            members = [type(member).__name__ for member in self.committee.members]
            return {"potential": members, "dtype": str(self.committee.dtype).removeprefix("torch.")}

    return CosetCalculator


def _results(committee: Committee, lists: dict[float, VerletList], atoms: Any) -> dict[str, Any]:
    """What the committee says, as ASE wants it."""
    pos, cell = atoms.get_positions(), np.asarray(atoms.cell.array, float)
    z, (a, b, c) = torch.from_numpy(atoms.get_atomic_numbers().astype(np.int64)), map(bool, atoms.pbc)
    periodic = (a, b, c)
    if unknown := sorted(set(z.tolist()) - set(committee.elements)):
        raise InputError(f"elements {unknown} are unknown to the potential, it was trained for {list(committee.elements)}")
    box = whole_cell(cell, periodic)
    found = {r_max: neighbors(pos, box, periodic) for r_max, neighbors in lists.items()}
    shared = {"pos": torch.from_numpy(pos), "z": z, "batch": torch.zeros(len(z), dtype=torch.int64),
              "cell": torch.from_numpy(box).unsqueeze(0)}  # fmt: skip
    graphs = [shared | dict(zip(("edge_index", "shift"), found[m.r_max], strict=True)) for m in committee.members]
    out = committee(graphs)
    results: dict[str, Any] = {name: out[name].numpy() for name in ("energies", "forces", "forces_std") if name in out}
    results |= {name: float(out[name][0]) for name in ("energy", "energy_std") if name in out}
    results["free_energy"] = results["energy"]
    if atoms.cell.rank == 3 and "stress" in out and bool(out["stress"].isfinite().all()):  # a flat cell has no volume
        results["stress"] = out["stress"][0].numpy()[VOIGT]
    return results


def whole_cell(cell: np.ndarray, periodic: Sequence[bool]) -> np.ndarray:
    """``cell`` (3, 3) with lattice vectors that are missing where nothing repeats filled in, orthogonal and of length 1.

    InputError where a missing vector is one along which the structure repeats, and for numbers that are none.
    """
    if not np.isfinite(cell).all():
        raise InputError("atoms: the cell holds NaN or infinite numbers; set it, or leave it out with cell=None")
    lengths = np.linalg.norm(cell, axis=1)
    if lost := [axis for axis in range(3) if periodic[axis] and lengths[axis] == 0]:
        raise InputError(f"atoms: periodic along axis {lost[0]}, but the cell has no vector there; set the cell or pbc")
    return np.asarray(require("ase.geometry", extra="atoms").complete_cell(cell), float) if (lengths == 0).any() else cell


def calculator_of(target: Any, *, dtype: str = "float64") -> Any:
    """An ASE calculator of whatever names one: a file by ``save_potential``, a row's folder, ``module:attribute``, a model.

    An attribute is a calculator, a class of them without required arguments, a function that makes one, or a potential of
    this package, which computes in ``dtype``. InputError for anything else.
    """
    if isinstance(target, Path) or (isinstance(target, str) and Path(target).exists()):
        return Calculator(target, dtype=dtype)
    if isinstance(target, str):
        if ":" not in target:
            raise InputError(f"no file {target}; name a potential's file, a row's folder, or module:attribute of a calculator")
        name, target = target, load_object(target)
        if isinstance(target, type) or (callable(target) and not hasattr(target, "get_potential_energy")
                                        and not isinstance(target, Potential)):  # fmt: skip
            try:
                target = target()
            except Exception as error:
                raise InputError(f"{name}() failed: {type(error).__name__}: {error}") from error
    if isinstance(target, Potential):
        return Calculator(target, dtype=dtype)
    if not hasattr(target, "get_potential_energy") or not hasattr(target, "get_forces"):
        raise InputError(f"expected an ASE calculator or a potential, got {type(target).__name__}")
    return target


def atoms_of(frame: Frame) -> Any:
    """``ase.Atoms`` of a frame: numbers, positions, cell and periodicity."""
    cell = frame.get("cell")
    return require("ase", extra="atoms").Atoms(
        numbers=frame["z"].numpy(), positions=np.asarray(frame["pos"], dtype=float),
        cell=None if cell is None else np.asarray(cell), pbc=frame.get("periodic", False),
    )  # fmt: skip


def surface(calculator: Any) -> Callable[[Frame], dict[str, Tensor]]:
    """A calculator as a function of a frame: ``energy`` (), ``forces`` (N, 3) and, where it gives one, ``stress`` (3, 3).

    Stress is asked for where the structure repeats along all three directions: of others it depends on what is taken for
    their volume.
    """
    missing = require("ase.calculators.calculator", extra="atoms").PropertyNotImplementedError

    def answer(frame: Frame) -> dict[str, Tensor]:
        atoms = atoms_of(frame)
        atoms.calc = calculator
        out = {"energy": torch.tensor(float(atoms.get_potential_energy()), dtype=torch.float64),
               "forces": torch.from_numpy(np.array(atoms.get_forces(), dtype=float))}  # fmt: skip
        if atoms.cell.rank == 3 and atoms.pbc.all():
            try:
                stress = atoms.get_stress(voigt=False)
            except missing:
                return out
            out["stress"] = torch.from_numpy(np.array(stress, dtype=float))
        return out

    return answer
