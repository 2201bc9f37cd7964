"""Structures kept as arrays: npz files, and the folders of DeePMD-kit.

An npz has one row per configuration under the names of MD17 (``R``, ``E``, ``F``, ``z``), of DeePMD (``coord``, ``energy``,
``force``, ``box``, ``type`` with ``type_map``) or in words (``pos``, ``energy``, ``forces``, ``cell``, ``z``); further rows
``dipole`` and ``polarizability``. ``prefix`` reads those names behind a common beginning, so that one file may hold several
sets. A DeePMD folder holds ``type.raw``, ``type_map.raw`` and ``set.*/coord.npy``, ``box.npy``, ``energy.npy``, ``force.npy``.
Numbers become float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, require
from coset.records import load_arrays

LAST = 118  #: the largest atomic number
NAMES = {
    "pos": ("pos", "R", "coord"),
    "z": ("z", "nuclear_charges", "atomic_numbers"),
    "cell": ("cell", "box"),
    "energy": ("energy", "E", "energies"),
    "forces": ("forces", "F", "force"),
    "dipole": ("dipole",),
    "polarizability": ("polarizability",),
}
SHAPES: dict[str, tuple[int, ...]] = {
    "cell": (3, 3), "energy": (), "forces": (-1, 3), "dipole": (3,), "polarizability": (3, 3)
}  # fmt: skip


def read_npz(path: Path, *, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Frames of an npz file. InputError for a damaged file, missing names and arrays that do not fit together."""
    return frames_of({name.removeprefix(prefix): array for name, array in load_arrays(path).items()}, str(path))


def read_deepmd(folder: Path) -> Iterator[dict[str, Any]]:
    """Frames of a DeePMD system, set after set. InputError where files are missing or damaged."""
    try:
        types = np.loadtxt(folder / "type.raw", dtype=np.int64, ndmin=1)
        symbols = np.array((folder / "type_map.raw").read_text().split())
        sets = sorted(folder.glob("set.*"))
        parts = [{file.stem: _array(file) for file in sorted(one.glob("*.npy"))} for one in sets]
    except (OSError, ValueError) as error:
        raise InputError(f"structures: {folder} is no DeePMD system (type.raw, type_map.raw, set.*): {error}") from error
    for one, arrays in zip(sets, parts, strict=True):
        yield from frames_of(arrays | {"type": types, "type_map": symbols}, str(one))


def _array(file: Path) -> np.ndarray:
    """The one array of an ``.npy`` file."""
    if "" not in (found := load_arrays(file)):
        raise InputError(f"{file} is no .npy file")
    return found[""]


def frames_of(arrays: Mapping[str, np.ndarray], where: str) -> Iterator[dict[str, Any]]:
    """One frame per row of ``pos``; what has one row for all, or none, is shared."""
    found = {label: arrays[name] for label, given in NAMES.items() for name in given[::-1] if name in arrays}
    if "z" not in found and {"type", "type_map"} <= arrays.keys():
        found["z"] = _elements(arrays["type"], arrays["type_map"], where)
    if missing := {"pos", "z"} - found.keys():
        raise InputError(f"structures: {where} has no {' and no '.join(sorted(missing))}; it holds {sorted(arrays)}")
    if wrong := [label for label, array in found.items() if array.dtype.kind not in "iuf"]:
        raise InputError(f"structures: {where}: {wrong[0]} holds no numbers")
    z, count = np.atleast_2d(found["z"]), len(np.atleast_1d(found["pos"]))
    if found["pos"].ndim < 2 or math.prod(found["pos"].shape[1:]) % 3 or z.ndim != 2:
        shapes = f"pos has shape {found['pos'].shape}, atomic numbers {z.shape}"
        raise InputError(f"structures: {where}: expected pos (n, atoms, 3) and atomic numbers (atoms,); {shapes}")
    if not ((z >= 1) & (z <= LAST)).all():
        raise InputError(f"structures: {where}: atomic numbers are 1 to {LAST}, got {z.min()} to {z.max()}")
    if len(z) not in (1, count):
        raise InputError(f"structures: {where}: atomic numbers of shape {z.shape} do not fit {count} configurations")
    for i in range(count):
        pos = _double(found["pos"][i]).reshape(-1, 3)
        frame: dict[str, Any] = {"pos": pos, "z": torch.as_tensor(z[i if len(z) == count else 0], dtype=torch.int64)}
        if len(frame["z"]) != len(pos):
            raise InputError(f"structures: {where}: frame {i} has {len(pos)} atoms and {len(frame['z'])} atomic numbers")
        for label, shape in SHAPES.items():
            if label in found:
                size = math.prod(len(pos) if n < 0 else n for n in shape)
                frame[label] = _row(found[label], i, count, size, f"{where}: {label}", shared=label == "cell").reshape(shape)
        yield frame | ({"periodic": (True, True, True)} if "cell" in frame else {})


def _elements(types: Any, symbols: Any, where: str) -> np.ndarray:
    """Atomic numbers of DeePMD's types."""
    numbers = require("ase.data", extra="atoms").atomic_numbers
    try:
        known = np.array([numbers[str(symbol)] for symbol in np.atleast_1d(symbols)])
        if (types := np.asarray(types)).min(initial=0) < 0:
            raise IndexError(f"type {types.min()}")
        return known[types]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"structures: {where}: types count from 0 into type_map, symbols of elements: {error}") from error


def _row(array: np.ndarray, i: int, count: int, size: int, what: str, *, shared: bool) -> Tensor:
    """Row ``i`` of an array with one per configuration, or of ``size`` numbers for all where they may be ``shared``."""
    if shared and array.size == size:
        return _double(array)
    if array.size != count * size or not size:
        raise InputError(f"structures: {what} of shape {array.shape} does not fit {count} configurations")
    return _double(array.reshape(count, size)[i])


def _double(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x, dtype=np.float64)).clone()
