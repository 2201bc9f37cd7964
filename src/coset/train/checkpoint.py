"""A model in files: weights as safetensors, everything else as JSON beside them; no pickle is written or read.

``model.json`` holds schema, the model's description (:mod:`coset.train.describe`), contracts, metrics, errors, versions
and the SHA-256 of ``model.safetensors``. A foreign pickle is opened only on request, in a process of its own that turns
its tensors into safetensors.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.records import SCHEMA, load_object, to_json, write_atomically
from coset.train.describe import STORED, build, describe
from coset.train.folder import versions
from coset.train.state import read_tensors

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


def save_model(
    path: str | Path,
    model: nn.Module,
    *,
    contracts: tuple[Contract, ...] | None = None,
    metrics: Mapping[str, float] | None = None,
    errors: Mapping[str, float] | None = None,
) -> Path:
    """Write ``model.safetensors`` and ``model.json`` into the folder ``path``; the path of the latter.

    ``contracts`` are the model's own unless given. Raises InputError for a model with an argument that cannot be
    described, and for a folder that cannot be written.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"only torch modules are saved, got {type(model).__name__}")
    folder = Path(path)
    tensors: dict[str, Tensor] = {}
    description = describe(model, tensors)
    for name, value in model.state_dict().items():
        tensors[f"weights.{name}"] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    data = safetensors.torch.save(tensors)
    promised = getattr(model, "contracts", ()) if contracts is None else contracts
    about = {
        "schema": SCHEMA,
        "kind": "model",
        "model": description,
        "contracts": [_contract(contract) for contract in promised],
        "metrics": dict(metrics or {}),
        "errors": dict(errors or {}),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": versions(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_atomically(folder / "model.safetensors", data)
    write_atomically(folder / "model.json", json.dumps(to_json(about), indent=1) + "\n")
    return folder / "model.json"


def load_model(path: str | Path, *, target: Any = None, trust_pickle: bool = False) -> nn.Module:
    """The model of a folder (or of its ``model.json``), in eval mode.

    ``target`` is the module, or a function without parameters that makes it, where the saved model, or the inner model of
    a wrapper, is not part of this package; it is always needed for a foreign pickle, which needs ``trust_pickle`` besides.

    Raises InputError for a missing, damaged or altered file, another schema, a description naming anything outside this
    package, weights that do not fit, and a pickle without ``trust_pickle``.
    """
    path = Path(path)
    foreign = target() if callable(target) and not isinstance(target, nn.Module) else target
    if path.suffix in PICKLES:
        return _from_pickle(path, foreign, trust_pickle)
    folder = path.parent if path.name in ("model.json", "model.safetensors") else path
    about = read_description(folder)
    file = folder / "model.safetensors"
    if not file.is_file():
        raise InputError(f"{folder} has a model.json but no model.safetensors")
    if hashlib.sha256(file.read_bytes()).hexdigest() != about.get("sha256"):
        raise InputError(f"{file} is not the file that model.json describes: damaged, or changed since")
    tensors, _ = read_tensors(file)
    model = build(about.get("model"), {name: value for name, value in tensors.items() if name.startswith(STORED)}, foreign)
    if not isinstance(model, nn.Module):
        raise InputError(f"{folder}/model.json describes a {type(model).__name__}, not a model")
    return _fill(model, {n.removeprefix("weights."): v for n, v in tensors.items() if n.startswith("weights.")}, file)


def read_description(folder: str | Path) -> dict[str, Any]:
    """What ``model.json`` says: a dict with model, contracts, metrics, errors, parameters, versions, sha256."""
    path = Path(folder) / "model.json"
    if not path.exists():
        raise InputError(f"no model.json in {folder}; name the folder of one row, as in runs/digits-1/rows/plain/0")
    try:
        about = load_object(path)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if about.get("schema") != SCHEMA or about.get("kind") != "model":
        raise InputError(f"{path} has schema {about.get('schema')!r}, this version reads {SCHEMA}")
    if wrong := _unlike(about):
        raise InputError(f"{path} is not as it was written: {wrong}; damaged, or changed since")
    return about


def _unlike(about: Mapping[str, Any]) -> str:
    """The first entry that :func:`save_model` would have written otherwise."""
    kinds: dict[str, type] = {"model": dict, "metrics": dict, "errors": dict, "versions": dict, "contracts": list}
    kinds |= {"parameters": int, "sha256": str}
    if wrong := [name for name, kind in kinds.items() if not isinstance(about.get(name), kind)]:
        return f"{wrong[0]} is {type(about.get(wrong[0])).__name__}, expected {kinds[wrong[0]].__name__}"
    for contract in about["contracts"]:
        words: dict[str, Any] = {"group": str, "claim": str, "inputs": dict, "outputs": dict, "bound": (int, float, type(None))}
        if not isinstance(contract, dict) or any(not isinstance(contract.get(name, ()), kind) for name, kind in words.items()):
            return "a contract"
        if any(not isinstance(word, str) for name in ("inputs", "outputs") for word in contract[name].values()):
            return "a field of a contract"
    figures = [*about["metrics"].values(), *about["errors"].values()]
    return "" if all(isinstance(value, (int, float)) or value in ("nan", "inf", "-inf") for value in figures) else "a figure"


def _contract(contract: Contract) -> dict[str, Any]:
    return {
        "name": str(contract),
        "group": str(contract.group),
        "inputs": {name: str(declared) for name, declared in contract.inputs},
        "outputs": {name: str(declared) for name, declared in contract.outputs},
        "claim": contract.claim,
        "bound": contract.bound,
    }


def _fill(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> nn.Module:
    """Weights into a model, which takes on their floating dtype where they agree on one."""
    dtypes = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(dtypes) == 1:
        model = model.to(dtypes.pop())
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"{source} does not fit {type(model).__name__}: {error}") from error
    return model.eval()


def _from_pickle(path: Path, foreign: Any, trusted: bool) -> nn.Module:
    if not path.is_file():
        raise InputError(f"no file {path}")
    if not trusted:
        raise InputError(
            f"{path} is a pickle: opening it runs whatever code it holds; pass trust_pickle (--trust-pickle) if you trust it"
        )
    if not isinstance(foreign, nn.Module):
        raise InputError(f"{path} holds weights only: give the model they belong to as TARGET")
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-m", "coset.train.foreign", str(path), str(converted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
            raise InputError(f"{path}: {reason[0]}")
        weights, _ = read_tensors(converted)
    return _fill(foreign, weights, path)
