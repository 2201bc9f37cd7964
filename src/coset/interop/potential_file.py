"""A trained potential as one file: weights as safetensors, all that is needed to use them as JSON in its header; no pickle.

    save_potential(model, "water.safetensors", data="deepmd water, PBE0", author="...")
    model = load_potential("water.safetensors")           # or the folder of a row, runs/water-1/rows/mace/0
    atoms.calc = coset.load_calculator("water.safetensors")

The header says class and constructor arguments (:mod:`coset.train.describe`; only classes of this package are built from it),
elements, cutoff, contracts in words, units, what it was trained on, versions, and whatever else is noted. A SHA-256 over the
description and every tensor stands beside it, so that a file that was cut, altered or damaged is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from coset.errors import InputError
from coset.nn.potential import Potential
from coset.records import SCHEMA, to_json, write_atomically
from coset.train.checkpoint import _contract, _fill, load_model
from coset.train.describe import STORED, build, describe
from coset.train.folder import versions
from coset.train.state import read_tensors

KIND = "potential"
UNITS = {"energy": "eV", "length": "angstrom"}  #: forces and stress follow from these
WEIGHT = "weights."
#: what the header says, and how
ENTRIES: dict[str, Any] = {"model": dict, "elements": list, "cutoff": (int, float), "conservative": bool, "contracts": list,
                           "parameters": int, "units": dict, "data": str, "notes": dict, "versions": dict}  # fmt: skip


def save_potential(
    model: Potential, path: str | Path, *, data: str = "", units: Mapping[str, str] | None = None, **notes: Any
) -> Path:
    """Write ``model`` into the one file ``path``, whole or not at all; the path.

    ``data`` says in words what it was trained on, ``units`` differ from :data:`UNITS` at most, ``notes`` are any JSON values.
    InputError for anything but a potential of this package, and for a file that cannot be written.
    """
    if not isinstance(model, Potential):
        raise InputError(
            f"save_potential: expected a potential such as those of coset.models.atoms, got {type(model).__name__}"
        )
    if unknown := set(units or {}) - set(UNITS):
        raise InputError(f"save_potential: units are given of {' and '.join(UNITS)}, got {sorted(unknown)}")
    tensors: dict[str, Tensor] = {}
    about = {
        "schema": SCHEMA,
        "kind": KIND,
        "model": describe(model, tensors),
        "elements": list(model.elements),
        "cutoff": model.r_max,
        "conservative": model.conservative,
        "contracts": [_contract(contract) for contract in model.contracts],
        "parameters": sum(p.numel() for p in model.parameters()),
        "units": {**UNITS, **(units or {})},
        "data": data,
        "notes": to_json(notes),
        "versions": versions(),
    }
    for name, value in model.state_dict().items():
        tensors[WEIGHT + name] = value.detach().cpu().contiguous().clone()
    text = json.dumps(to_json(about))
    write_atomically(path, safetensors.torch.save(tensors, {"coset": text, "sha256": _digest(text, tensors)}))
    return Path(path)


def load_potential(path: str | Path) -> Potential:
    """The potential of a file by :func:`save_potential`, or of a row's folder, in eval mode.

    What the file says beside the weights is the attribute ``description`` (see :func:`read_description`). InputError for a
    file that is missing, cut, altered, of another program or schema, and for a model that is no potential.
    """
    path = Path(path)
    if path.is_dir() or path.name in ("model.json", "model.safetensors"):
        model, about = load_model(path), {"units": UNITS}
    else:
        tensors, about = _read(path)
        model = build(about["model"], {name: value for name, value in tensors.items() if name.startswith(STORED)})
        if isinstance(model, Potential):
            weights = {name.removeprefix(WEIGHT): value for name, value in tensors.items() if name.startswith(WEIGHT)}
            model = _fill(model, weights, path)
    if not isinstance(model, Potential):
        raise InputError(f"{path} holds a {type(model).__name__}, not an interatomic potential")
    model.description = about  # type: ignore[assignment]
    return model


def read_description(path: str | Path) -> dict[str, Any]:
    """What the header of a file says: model, elements, cutoff, contracts, units, data, notes, versions; nothing is built."""
    return _read(Path(path))[1]


def load_calculator(path: str | Path | Sequence[str | Path], *, device: str = "cpu", dtype: str = "float64") -> Any:
    """An ASE calculator of a potential's file or row folder, or of several as a committee: :mod:`coset.interop.ase`."""
    from coset.interop.ase import Calculator

    return Calculator(path, device=device, dtype=dtype)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path)
    if "coset" not in metadata:
        raise InputError(f"{path} has no description by coset; it was written by another program")
    text = metadata["coset"]
    if metadata.get("sha256") != _digest(text, tensors):
        raise InputError(f"{path} is not as it was written: damaged, or changed since")
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description cannot be read: {error}") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} has a description of another kind ({type(about).__name__})")
    if about.get("schema") != SCHEMA or about.get("kind") != KIND:
        raise InputError(
            f"{path} holds {about.get('kind')} of schema {about.get('schema')}, expected {KIND} of schema {SCHEMA}"
        )
    if wrong := [name for name, kind in ENTRIES.items() if not isinstance(about.get(name), kind)]:
        raise InputError(f"{path}: the entry {wrong[0]!r} of its description is missing or of another kind")
    return tensors, about


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the description and, by name, of every tensor's dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
