"""A pickled model of mace-torch as a potential of ours: converted, verified against mace-torch, written as one file.

    report = convert_mace("mp.model", "mp.safetensors", trust_pickle=True, python="/path/to/python-with-mace-torch")
    atoms.calc = coset.load_calculator("mp.safetensors")         # needs neither mace-torch nor e3nn

The pickle is opened in a process of its own, by a Python that has mace-torch (this one where ``python`` is left out;
:mod:`coset.interop.mace_convert_extract`). That process also computes energies, forces and stresses of random structures, and
of any that are given; what is written agrees with them, and the largest differences are noted in the file.

Converted are MACE and ScaleShiftMACE with (agnostic, residual or not) interactions, Bessel functions and a polynomial cutoff;
of several heads one. Refused, with the reason: ZBL repulsion, transformed distances, density-normalized and other interactions,
embeddings of charges, dipoles, models that another package has accelerated.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.data.structures import WIDE, Frame, sample_of
from coset.errors import InputError, unknown
from coset.interop.mace_convert_weights import potential_of
from coset.interop.potential_file import save_potential
from coset.models.atoms.mace import MACE
from coset.nn.edge_radial import FORMS

AGREE = {"float64": 1e-9, "float32": 2e-5}  #: relative; a float32 model's own tables are rounded
ATOMS = 12  #: of a random structure
CHECKED = 20  #: structures of a given file, at most


@dataclass(frozen=True)
class Difference:
    """The largest differences from mace-torch over structures; eV, eV/angstrom, eV/angstrom^3, and relative to the largest."""

    energy: float
    forces: float
    stress: float
    relative: float  #: the worst of the three
    structures: int

    def __str__(self) -> str:
        return (
            f"energy {self.energy:.1e} eV, forces {self.forces:.1e} eV/A, stress {self.stress:.1e} eV/A^3 "
            f"({self.relative:.1e} relative) over {self.structures} structures"
        )


@dataclass(frozen=True)
class Converted:
    """What was written where, and how far it is from mace-torch: random structures, those of a file, the form that is kept."""

    path: Path
    model: MACE
    exact: Difference
    given: Difference | None
    kept: Difference


def convert_mace(
    path: str | Path, out: str | Path | None = None, *, trust_pickle: bool = False, python: str | Path | None = None,
    head: str | None = None, radial: str = "network", intervals: int = 256,
    structures: Sequence[Frame] = (), seed: int = 0,
) -> Converted:  # fmt: skip
    """Convert the pickled mace-torch model ``path``, verify it and write it to ``out`` (``path`` with ``.safetensors``).

    ``python`` has mace-torch; ``head`` names one of several; ``radial`` as :class:`coset.nn.edge_radial.EdgeRadial` (the
    network is exact, ``"knots"`` and ``"spline"`` of ``intervals`` pieces are faster and their difference is measured);
    ``structures`` are verified beside random ones. InputError without ``trust_pickle``, for what cannot be represented, and for
    a result that disagrees.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file {path}")
    if not trust_pickle:
        raise InputError(
            f"{path} is a pickle: opening it runs whatever code it holds; pass trust_pickle (--trust-pickle) if you trust it"
        )
    if radial not in FORMS:
        raise unknown("radial form", radial, FORMS)
    interpreter = str(python or sys.executable)
    facts, arrays = extract(path, interpreter)
    place = _head(facts, head)
    model = potential_of(facts, arrays, head=place)
    samples = [sample(frame, model.r_max) for frame in (*random_structures(model.elements, seed=seed), *structures[:CHECKED])]
    if strange := sorted({int(z) for s in samples for z in s["z"]} - set(model.elements)):
        raise InputError(f"the structures to check hold elements {strange}; the model knows {list(model.elements)}")
    _, told = extract(path, interpreter, samples, place)
    answers = [{name: told[f"answers.{k}.{name}"] for name in ("energy", "forces", "stress")} for k in range(len(samples))]
    count = len(samples) - len(structures[:CHECKED])
    exact = difference(model, samples[:count], answers[:count])
    given = difference(model, samples[count:], answers[count:]) if structures else None
    if (worst := max(exact.relative, given.relative if given else 0.0)) > AGREE.get(facts["dtype"], AGREE["float32"]):
        raise InputError(f"{path}: the converted model differs from mace-torch by {worst:.1e} relative; nothing was written")
    kept = exact
    if radial != "network":
        model = potential_of(facts, arrays, head=place, radial=radial, intervals=intervals)
        kept = difference(model, samples, answers)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    notes = {"source": path.name, "source_sha256": digest, "head": facts["heads"][place], "difference": asdict(kept)}
    written = save_potential(
        model, _target(path, out), data=f"{facts['kind']} of mace-torch, stored in {facts['dtype']}, converted", **notes
    )
    return Converted(written, model, exact, given, kept)


def extract(
    path: Path, python: str, samples: Sequence[Mapping[str, Tensor]] = (), head: int = 0
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and arrays of a pickled model, read by ``python``; with ``samples`` also mace-torch's answers for them.

    InputError with the reason if it refuses or fails.
    """
    request: dict[str, Any] = {}
    for k, given in enumerate(samples):
        request |= {f"{k}.{name}": given[key].numpy() for name, key in
                    (("pos", "pos"), ("z", "z"), ("cell", "cell"), ("edges", "edge_index"), ("shift", "shift"))}  # fmt: skip
    if samples:
        request |= {"count": np.array(len(samples)), "head": np.array(head)}
    with tempfile.TemporaryDirectory() as folder:
        script, asked, answered = (Path(folder) / name for name in ("extract.py", "asked.npz", "answered.npz"))
        shutil.copy(Path(__file__).with_name("mace_convert_extract.py"), script)  # beside it here, ase.py would hide ASE
        np.savez(asked, **request)
        try:
            done = subprocess.run(
                [python, str(script), str(path.resolve()), str(asked), str(answered)],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise InputError(f"--python {python} cannot be run: {error.strerror or error}") from error
        if done.returncode or not answered.is_file():
            lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            raise InputError(f"{path}: {python} could not read it: {lines[-1]}")
        with np.load(answered, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    if "refused" in found:
        raise InputError(f"{path} cannot be converted: {found['refused']}")
    facts = json.loads(str(found.pop("facts")))
    return facts, {name: torch.from_numpy(value) for name, value in found.items()}


def difference(
    model: MACE, samples: Sequence[Mapping[str, Tensor]], answers: Sequence[Mapping[str, Tensor]]
) -> Difference:  # fmt: skip
    """How far ``model`` is from the ``answers`` of mace-torch."""
    gaps, sizes = dict.fromkeys(("energy", "forces", "stress"), 0.0), dict.fromkeys(("energy", "forces", "stress"), 0.0)
    for given, answer in zip(samples, answers, strict=True):
        with torch.no_grad():
            out = model(**{**given, "cell": given["cell"].unsqueeze(0)})
        for name, gap in gaps.items():
            largest = float((out[name] - answer[name]).abs().max())
            gaps[name] = max(gap, largest if math.isfinite(largest) else math.inf)
            size = out["interaction"] if name == "energy" else answer[name]  # not the energies of isolated atoms
            sizes[name] = max(sizes[name], float(size.abs().max()))
    relative = max(gaps[name] / sizes[name] if math.isfinite(gaps[name]) and sizes[name] else gaps[name] for name in gaps)
    return Difference(gaps["energy"], gaps["forces"], gaps["stress"], relative, len(samples))


def random_structures(elements: Sequence[int], *, seed: int = 0, count: int = 3) -> list[dict[str, Any]]:
    """Molecules and crystals of atoms about two angstrom apart, at least ``count`` of each, in which every element occurs."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0), torch.arange(2.0)).double()
    known = torch.tensor(elements)
    every = known[torch.randperm(len(known), generator=generator)]
    frames: list[dict[str, Any]] = []
    for start in range(0, max(len(every), count * ATOMS), ATOMS):
        z = every[(start + torch.arange(ATOMS)) % len(every)]
        strain = torch.eye(3).double() + 0.05 * torch.randn(3, 3, generator=generator, dtype=torch.float64)
        pos = (2.0 * grid + 0.25 * torch.randn(ATOMS, 3, generator=generator, dtype=torch.float64)) @ strain
        cell = torch.diag(torch.tensor([6.4, 4.4, 4.4], dtype=torch.float64)) @ strain
        frames += [{"pos": pos, "z": z}, {"pos": pos.flip(0), "z": z, "cell": cell, "periodic": (True,) * 3}]
    return frames


def sample(frame: Frame, r_max: float) -> dict[str, Tensor]:
    """What both potentials take of a frame, in float64; a molecule gets a wide cell, for mace-torch divides by its volume."""
    return {"cell": WIDE * torch.eye(3, dtype=torch.float64), **sample_of(frame, r_max, dtype=torch.float64)}


def _head(facts: Mapping[str, Any], head: str | None) -> int:
    heads = facts["heads"]
    if head is None and len(heads) > 1:
        raise InputError(f"this model has the heads {', '.join(heads)}; choose one with --head")
    if head is not None and head not in heads:
        raise unknown("head", head, heads)
    return heads.index(head) if head is not None else 0


def _target(path: Path, out: str | Path | None) -> Path:
    target = path.with_suffix(".safetensors") if out is None else Path(out)
    return target if target.suffix == ".safetensors" else target / f"{path.stem}.safetensors"
