"""Trained rows as files of potentials: which models a run folder holds, one file for each, and how each program uses them.

    export(["runs/acac"], "acac.safetensors", method="MACE")                     # one file
    export(["runs/acac"], "acac.safetensors", method="MACE", committee=True)     # acac-0.safetensors, acac-1.safetensors, ...

A file says what it was trained on and how well it did (:mod:`coset.interop.potential_file`); it is read again, and compared bit
for bit, before it counts as written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from coset.errors import InputError
from coset.interop.potential_file import load_potential, read_description, save_potential
from coset.nn.potential import Potential
from coset.records import Result, read_results, read_task, slug
from coset.train.checkpoint import load_model

PROGRAMS = ("ase", "lammps", "torchsim")


@dataclass(frozen=True)
class Source:
    """A model on disk, and what its run says of it."""

    path: Path
    result: Result | None = None
    task: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.path)

    def load(self) -> Potential:
        """The potential; InputError, with what to do instead, for any other model."""
        if self.path.is_file():
            return load_potential(self.path)
        model = load_model(self.path)
        if not isinstance(model, Potential):
            raise InputError(
                f"{self.path} holds a {type(model).__name__}, no interatomic potential; its folder is its export: what is in "
                "model.safetensors and model.json is read by coset.train.checkpoint.load_model, without a pickle"
            )
        return model

    def about(self) -> dict[str, Any]:
        """What goes into the description: the data in words, and notes."""
        if self.path.is_file():
            known = read_description(self.path)
            return {**known["notes"], "data": known["data"], "units": known["units"]}
        if self.result is None:
            return {}
        notes = {"method": self.result.method, "seed": self.result.seed, "metrics": dict(self.result.metrics)}
        said = " ".join(self.task.get("description", [])[:1])
        return {"data": f"{self.result.task}: {said}" if said else self.result.task, "command": self.result.command, **notes}


def sources(paths: Sequence[str | Path], method: str | None = None) -> list[Source]:
    """The models of run folders, folders of rows, and files, in order; of run folders those of ``method``.

    InputError for what is none of these, a run without such a row, and a row that was measured but not kept.
    """
    found: list[Source] = []
    for path in map(Path, paths):
        if path.is_file() or (path / "model.json").is_file():
            found.append(_row(path))
        elif (path / "results.jsonl").is_file():
            results = [r for r in read_results(path) if method in (None, r.method, slug(r.method))]
            if not results:
                held = sorted({result.method for result in read_results(path)})
                raise InputError(f"{path} has no finished row {method or ''}; it holds {', '.join(held) or 'none'}")
            found += [_row(path / "rows" / slug(r.method) / str(r.seed)) for r in results]
        else:
            raise InputError(f"export: {path} is no run folder, no folder of a row (with model.json) and no potential's file")
    return found


def _row(path: Path) -> Source:
    """A row with the result of its run, where it lies in one."""
    if path.is_file() and path.name not in ("model.json", "model.safetensors"):
        return Source(path)
    folder = path.parent if path.is_file() else path
    if not (folder / "model.json").is_file():
        raise InputError(f"{folder} has no model.json; its model was not kept")
    run = folder.parent.parent.parent
    if folder.parent.parent.name != "rows" or not (run / "results.jsonl").is_file():
        return Source(folder)
    mine = [r for r in read_results(run) if (slug(r.method), str(r.seed)) == (folder.parent.name, folder.name)]
    return Source(folder, mine[0] if mine else None, read_task(run))


def export(
    paths: Sequence[str | Path], out: str | Path, *, method: str | None = None, committee: bool = False, **notes: Any
) -> list[Path]:
    """Write the potential of ``paths`` to the file ``out``, or with ``committee`` each of several to a numbered one; the files.

    Nothing is written before all are known to be potentials of the same elements. InputError for several without
    ``committee``, for one with it, and for models that are no potentials.
    """
    chosen, out = sources(paths, method), Path(out)
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"export: the file is written as NAME.safetensors, got {out}")
    if not chosen:
        raise InputError("export: name at least one run folder, folder of a row, or potential's file")
    if len(chosen) > 1 and not committee:
        raise InputError(
            f"export: {len(chosen)} models are meant ({', '.join(map(str, chosen))}); name one of them, or ask for a committee"
        )
    if committee and len(chosen) < 2:
        raise InputError(f"export: a committee has at least two members, {chosen[0]} is alone; train other seeds")
    models = [source.load() for source in chosen]
    if len({model.elements for model in models}) > 1:
        raise InputError(f"export: members know different elements: {[list(model.elements) for model in models]}")
    files = [out.with_stem(f"{out.stem}-{n}") for n in range(len(chosen))] if committee else [out]
    for model, source, file in zip(models, chosen, files, strict=True):
        _verify(model, save_potential(model, file, **{**source.about(), "source": str(source), **notes}))
    return files


def _verify(model: Potential, file: Path) -> None:
    again = load_potential(file)
    weights = again.state_dict()
    if again.config != model.config or any(not torch.equal(v.cpu(), weights[k]) for k, v in model.state_dict().items()):
        raise InputError(f"{file} does not hold what was to be written; is the disk full?")


def usage(files: Sequence[Path], program: str = "ase") -> str:
    """A script for ``program`` that uses the potential, or the committee, in ``files``. InputError for LAMMPS and several."""
    given = repr(str(files[0])) if len(files) == 1 else "[" + ", ".join(repr(str(file)) for file in files) + "]"
    if program == "lammps":
        if len(files) > 1:
            raise InputError("export: LAMMPS runs one potential and no committee; name one seed")
        return LAMMPS.format(given=given, symbols=" ".join(_symbols(files[0])))
    if program == "torchsim":
        return TORCHSIM.format(given=given)
    return ASE.format(given=given) + (SPREAD if len(files) > 1 else "")


def _symbols(file: Path) -> list[str]:
    from coset.errors import require

    names = require("ase.data", extra="atoms").chemical_symbols
    return [names[z] for z in read_description(file)["elements"]]


ASE = """\
import coset
from ase.io import read

atoms = read("structure.xyz")
atoms.calc = coset.load_calculator({given})
print(atoms.get_potential_energy(), atoms.get_forces())  # eV, eV per angstrom
"""
SPREAD = """\
print(atoms.calc.results["forces_std"])  # the spread of the committee, eV per angstrom
"""
TORCHSIM = """\
import torch_sim
from ase.io import read
from coset.interop.torchsim import torchsim_model

state = torch_sim.optimize(
    system=read("structures.xyz", ":"), model=torchsim_model({given}), optimizer=torch_sim.Optimizer.fire
)
"""
LAMMPS = """\
# LAMMPS must be built with PKG_ML-IAP, PKG_PYTHON and MLIAP_ENABLE_PYTHON; one process
import lammps
import lammps.mliap
from coset.interop.lammps import Unified

lmp = lammps.lammps()
lammps.mliap.activate_mliappy(lmp)
lammps.mliap.load_unified(Unified({given}, lmp))
lmp.commands_string(\"\"\"
units metal
atom_style atomic
read_data structure.data
pair_style mliap unified EXISTS
pair_coeff * * {symbols}
fix 1 all nve
run 1000
\"\"\")
"""
