"""Nested states as one safetensors file: tensors as they are, everything else as JSON in the file's header; no pickle.

What optimizers, schedulers, loops and models hand out is a tree of mappings, lists, tuples, numbers, strings and tensors.
:func:`encode` takes such a tree apart and :func:`decode` puts it together again, bit for bit; anything else is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from coset.errors import InputError
from coset.records import SCHEMA, write_atomically


def encode(value: Any, tensors: dict[str, Tensor], where: str = "state") -> Any:
    """The tree as plain JSON; its tensors are added to ``tensors`` and referred to by name.

    Mappings become lists of pairs (optimizers use integers as keys), NaN and infinities become strings, so that the
    text is valid JSON. Raises InputError, naming the place, for a value of any other type.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.generic):
        return encode(value.item(), tensors, where)
    if isinstance(value, Tensor):
        name = f"{len(tensors)}:{where}"
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, np.ndarray):
        return {"array": encode(torch.from_numpy(np.ascontiguousarray(value)), tensors, where)["tensor"]}
    if isinstance(value, Mapping):
        items = value.items()
        return {"dict": [[encode(k, tensors, where), encode(v, tensors, f"{where}.{k}")] for k, v in items]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [encode(v, tensors, f"{where}[{i}]") for i, v in enumerate(value)]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise InputError(
        f"{where}: a {type(value).__name__} cannot be stored; only numbers, strings, tensors and containers of them can"
    )


def decode(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What :func:`encode` took apart; InputError for a tree that it cannot have written."""
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1:
        raise InputError(f"stored state has an entry with keys {sorted(tree)}; the file was changed or damaged")
    ((kind, value),) = tree.items()
    if kind == "float" and value in ("nan", "inf", "-inf"):
        return float(value)
    if kind in ("tensor", "array") and value in tensors:
        return tensors[value] if kind == "tensor" else tensors[value].numpy()
    if kind == "dict" and isinstance(value, list):
        return {_key(decode(k, tensors)): decode(v, tensors) for k, v in value}
    if kind in ("list", "tuple") and isinstance(value, list):
        items = [decode(v, tensors) for v in value]
        return items if kind == "list" else tuple(items)
    if kind == "dtype" and isinstance(found := getattr(torch, str(value), None), torch.dtype):
        return found
    raise InputError(f"stored state has an entry of unknown kind {kind!r}; the file was changed or damaged")


def _key(key: Any) -> Any:
    if isinstance(key, (str, int, float, tuple)) or key is None:
        return key
    raise InputError(f"stored state uses a {type(key).__name__} as a key; the file was changed or damaged")


def write_state(path: str | Path, value: Any, *, kind: str) -> None:
    """One file, whole or not at all: the tensors of ``value``, the rest of it in the header."""
    tensors: dict[str, Tensor] = {}
    header = json.dumps({"schema": SCHEMA, "kind": kind, "tree": encode(value, tensors)}, allow_nan=False)
    write_atomically(path, safetensors.torch.save(tensors, metadata={"coset": header}))


def read_state(path: str | Path, *, kind: str) -> Any:
    """What :func:`write_state` wrote; InputError for a damaged file, another kind or another schema."""
    tensors, metadata = read_tensors(path)
    try:
        header = json.loads(metadata["coset"])
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path} has no description by coset; it was written by another program") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} has a description of another kind ({type(header).__name__}); it was changed or damaged")
    if header.get("schema") != SCHEMA or header.get("kind") != kind:
        found = f"{header.get('kind')} of schema {header.get('schema')}"
        raise InputError(f"{path} holds {found}, expected {kind} of schema {SCHEMA}; use another --out folder")
    try:
        return decode(header["tree"], tensors)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # a tree of other nodes than encode makes
        raise InputError(f"{path}: its description cannot be read ({error}); it was changed or damaged") from error


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header strings of a safetensors file; InputError if it is missing or damaged."""
    try:
        with safetensors.safe_open(str(path), framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"no file {path}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error
