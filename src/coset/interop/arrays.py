"""Data for an audit: ``digits``, a ``.npy`` or a ``.npz`` file, read without pickles, as the tensors a contract declares."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, require
from coset.records import load_arrays

if TYPE_CHECKING:
    from coset.reps.fields import Fields

BUILTIN = ("digits",)


def load_data(name: str, fields: Fields) -> Any:
    """What ``--data`` names, for these fields: a tensor for one unnamed field, a mapping for named ones.

    ``digits`` is scikit-learn's (1797, 1, 8, 8) with values from 0 to 16; ``FILE.npz`` holds one array, or one for every
    field, or the one named in ``FILE.npz:name``. Raises InputError for a missing file, a pickle, an array that is missing
    or not numeric, and NaN or infinite values.
    """
    if name in BUILTIN:
        return _one(digits(), fields, name)
    path, _, key = name.partition(".npz:")
    file = Path(f"{path}.npz" if key else name)
    if file.suffix not in (".npy", ".npz"):
        near = difflib.get_close_matches(name, BUILTIN, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"--data {name!r}: expected FILE.npy, FILE.npz, FILE.npz:array or {' '.join(BUILTIN)}{hint}")
    arrays = read_arrays(file)
    if file.suffix == ".npy":
        return _one(_alone(arrays, file), fields, name)
    if key:
        return _one(_pick(arrays, key, file), fields, name)
    if not fields.unnamed:
        return {field: _pick(arrays, field, file) for field in fields.names()}
    if len(arrays) > 1:
        choice = ", ".join(f"{n} {tuple(a.shape)}" for n, a in sorted(arrays.items()))
        raise InputError(f"{file} holds {len(arrays)} arrays ({choice}); name one, as in {file}:{min(arrays)}")
    return next(iter(arrays.values()))


def read_arrays(file: Path) -> dict[str, Tensor]:
    """All arrays of a ``.npy`` (under ``""``) or ``.npz`` file as tensors.

    Raises InputError for pickles and for values that are no numbers, NaN or infinite.
    """
    if not file.is_file():
        raise InputError(f"no file {file}")
    found = load_arrays(file)
    if not found:
        raise InputError(f"{file} holds no array")
    return {name: _tensor(array, f"{file}{':' if name else ''}{name}") for name, array in found.items()}


def digits() -> Tensor:
    """scikit-learn's handwritten digits as they are, float64 ``(1797, 1, 8, 8)``."""
    require("sklearn", extra="train")
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().images).double().unsqueeze(1)


def _tensor(array: np.ndarray, name: str) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}: expected numbers, got {array.dtype}")
    if array.dtype.kind == "f" and (bad := int((~np.isfinite(array)).sum())):
        raise InputError(f"{name}: {bad} of {array.size} values are NaN or infinite; drop or fill these samples first")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _alone(arrays: dict[str, Tensor], file: Path) -> Tensor:
    if "" not in arrays:
        raise InputError(f"{file} holds arrays by name ({', '.join(sorted(arrays))}), as an .npz does; give it that name")
    return arrays[""]


def _pick(arrays: dict[str, Tensor], key: str, file: Path) -> Tensor:
    if key not in arrays:
        near = difflib.get_close_matches(key, arrays, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{file} holds no array {key!r}{hint} (it holds: {', '.join(sorted(arrays))})")
    return arrays[key]


def _one(array: Tensor, fields: Fields, name: str) -> Any:
    """One array for one field."""
    if len(fields) != 1:
        raise InputError(
            f"--data {name} is one array, the contract declares {len(fields)} inputs ({fields}); give FILE.npz with all"
        )
    if not array.is_floating_point() and fields[0][1].target is None:
        array = array.double()
    return array if fields.unnamed else {fields.names()[0]: array}
