"""Elemental crystals of mlearn: strained, hot, defective and cut, with energies, forces and stresses by PBE.

Zuo et al., Performance and cost assessment of machine learning interatomic potentials, J. Phys. Chem. A 124 (2020). The public
form is ``FOLDER/Si/training.json`` and ``test.json``: lists of pymatgen structures with ``outputs``; extended XYZ made of them
(``Si_training.extxyz.gz``) with the same six numbers ``virial_stress`` serves as well.

What these numbers are stands nowhere in the files, and was found from them (silicon and germanium): kilobar, positive under
pressure, in the order xx, yy, zz, xy, then **yz, xz in the group Elastic** and **xz, yz in all others**. In Elastic the
derivative of energies along every path of strain equals the label so read within 1 to 5 %; in the others models that never saw
a stress agree with this order (correlations of off-diagonal parts -0.97, against -0.2 to -0.3 for the other), and slabs by
their mirrors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.data.structures import frame_of, xyz_form
from coset.errors import InputError, require

KILOBAR = 1 / 1602.1766208  #: in eV per cubic angstrom


def mlearn_frames(folder: Path, element: str, part: str) -> list[dict[str, Any]]:
    """Frames of ``part``, ``"training"`` or ``"test"``, of one element; InputError where no file is there, or a damaged one."""
    public, plain = folder / element / f"{part}.json", folder / f"{element}_{part}.extxyz.gz"
    if public.is_file():
        return [_of_json(entry, f"{public}: entry {i}") for i, entry in enumerate(_entries(public))]
    if not plain.is_file():
        raise InputError(f"mlearn: {folder} has neither {element}/{part}.json nor {plain.name}")
    try:
        structures = require("ase.io", extra="atoms").read(plain, index=":", **xyz_form(plain))
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever the text makes them stumble over
        raise InputError(f"mlearn: cannot read {plain}: {type(error).__name__}: {error}; is it whole?") from error
    return [
        frame_of(atoms) | {"stress": stress(atoms.info["virial_stress"], str(atoms.info.get("group", "")))}
        for atoms in structures
    ]


def stress(given: Sequence[float], group: str) -> Tensor:
    """The stress (3, 3) in eV per cubic angstrom, positive under tension, of six numbers as the files have them."""
    q = np.asarray(given, dtype=np.float64)
    if q.shape != (6,) or not np.isfinite(q).all():
        raise InputError(f"mlearn: virial_stress is six numbers, got {given!r}")
    yz, xz = (q[4], q[5]) if group == "Elastic" else (q[5], q[4])
    rows = [[q[0], q[3], xz], [q[3], q[1], yz], [xz, yz, q[2]]]
    return -KILOBAR * torch.tensor(rows, dtype=torch.float64)


def _entries(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"mlearn: cannot read {path}: {error}; is it whole?") from error
    if not isinstance(found, list) or not found:
        raise InputError(f"mlearn: {path} is no list of configurations")
    return found


def _of_json(entry: Any, where: str) -> dict[str, Any]:
    """One entry: ``structure`` (lattice, sites), ``outputs`` (energy, forces, virial_stress), ``group``."""
    numbers = require("ase.data", extra="atoms").atomic_numbers
    try:
        sites, outputs, group = entry["structure"]["sites"], entry["outputs"], str(entry.get("group", ""))
        frame = {
            "pos": torch.tensor([site["xyz"] for site in sites], dtype=torch.float64),
            "z": torch.tensor([numbers[site["species"][0]["element"]] for site in sites]),
            "cell": torch.tensor(entry["structure"]["lattice"]["matrix"], dtype=torch.float64),
            "energy": torch.tensor(float(outputs["energy"]), dtype=torch.float64),
            "forces": torch.tensor(outputs["forces"], dtype=torch.float64),
        }
        return frame | {"periodic": (True, True, True), "stress": stress(outputs["virial_stress"], group), "group": group}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"mlearn: {where} is not as published: {type(error).__name__}: {error}") from error
