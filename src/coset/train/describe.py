"""A model as JSON: its class and constructor arguments, all the way down; and back, building nothing but classes of ours.

Modules and frozen dataclasses (groups, fields, contracts) of this package are described by their class and arguments, its
functions by their name, tensors by the name under which they are stored. A module of any other origin is only named: to
build it again the caller gives it, so a file can never choose what is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import CosetError, InputError
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps

PACKAGE = "coset"
STORED = "config."  #: prefix of the tensors that are arguments, beside the weights


def describe(value: Any, tensors: dict[str, Tensor], where: str = "model") -> Any:
    """JSON for a module or an argument of one; tensors among the arguments are added to ``tensors``.

    Raises InputError, naming the place, for what cannot be described (a lambda, an object of another package).
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        name = f"{STORED}{len(tensors)}"
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Fields):
        return {"fields": [[name, describe(part, tensors, f"{where}.{name}")] for name, part in value]}
    if isinstance(value, Mapping):
        return {"dict": [[name, describe(part, tensors, f"{where}.{name}")] for name, part in value.items()]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [describe(part, tensors, f"{where}[{i}]") for i, part in enumerate(value)]}
    if isinstance(value, Irreps):  # blocks are named tuples, which are read from their words
        words = "+".join(map(str, value.blocks))
        given = {"blocks": words, "group": describe(value.group, tensors, f"{where}.group"), "layout": value.layout}
        return {"class": f"{Irreps.__module__}.{Irreps.__qualname__}", "arguments": given}
    if isinstance(value, nn.Module) and not _ours(type(value)):
        return {"foreign": f"{type(value).__module__}.{type(value).__qualname__}"}
    if _ours(type(value)) and (isinstance(value, nn.Module) or dataclasses.is_dataclass(value)):
        given = {name: describe(part, tensors, f"{where}.{name}") for name, part in _arguments(value, where).items()}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "arguments": given}
    if inspect.isfunction(value) and _ours(value):
        return {"function": f"{value.__module__}.{value.__qualname__}"}
    raise InputError(
        f"{where}: {_name(value)} cannot be described in a file; use a class, a function or plain values of {PACKAGE}"
    )


def build(tree: Any, tensors: Mapping[str, Tensor], foreign: Any = None) -> Any:
    """What :func:`describe` described; ``foreign`` stands for the module of other origin.

    Raises InputError for anything that is no class or function of this package, and for a foreign module not given.
    """
    try:
        return _build(tree, tensors, foreign)
    except CosetError:
        raise
    except (AttributeError, TypeError, ValueError, RecursionError) as error:  # other nodes than describe makes
        raise InputError(f"the model's description cannot be read ({error}); it was changed or damaged") from error


def _build(tree: Any, tensors: Mapping[str, Tensor], foreign: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    kind: str = next(iter(tree), "")
    if kind == "class" and set(tree) == {"class", "arguments"}:
        return _build_class(tree, tensors, foreign)
    value: Any = tree.get(kind) if len(tree) == 1 else None
    if kind == "float" and value in ("nan", "inf", "-inf"):
        return float(value)
    if kind == "tensor" and value in tensors:
        return tensors[value]
    if kind == "dtype" and isinstance(found := getattr(torch, str(value), None), torch.dtype):
        return found
    if kind in ("fields", "dict") and isinstance(value, list):
        pairs = {name: _build(part, tensors, foreign) for name, part in value}
        return Fields(pairs) if kind == "fields" else pairs
    if kind in ("list", "tuple") and isinstance(value, list):
        parts = [_build(part, tensors, foreign) for part in value]
        return parts if kind == "list" else tuple(parts)
    if kind == "foreign":
        if foreign is None:
            raise InputError(f"the file holds weights of {value}, which is not part of {PACKAGE}; give that model as TARGET")
        return foreign
    if kind == "function":
        return _resolve(value, inspect.isfunction, "function")
    raise InputError(f"the model's description has an entry {sorted(map(str, tree))} that {PACKAGE} does not write")


def _build_class(tree: dict[str, Any], tensors: Mapping[str, Tensor], foreign: Any) -> Any:
    cls = _resolve(tree["class"], _buildable, "class")
    arguments = {name: _build(part, tensors, foreign) for name, part in tree["arguments"].items()}
    rest = arguments.pop("*", ())
    try:
        return cls(*rest, **arguments)
    except CosetError:
        raise
    except Exception as error:
        raise InputError(f"{tree['class']} cannot be built from the file's arguments: {error}") from error


def _buildable(found: Any) -> bool:
    return inspect.isclass(found) and (issubclass(found, nn.Module) or dataclasses.is_dataclass(found))


def _resolve(path: Any, kind: Any, word: str) -> Any:
    """``coset.module.Name``, where Name was defined in that module; nothing else is imported."""
    module, _, name = str(path).rpartition(".")
    parts = module.split(".")
    refused = InputError(f"the file names {path!r}; only a {word} defined in {PACKAGE} is loaded from a file")
    if parts[0] != PACKAGE or not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise refused
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise InputError(f"the file names {path!r}, which this version of {PACKAGE} does not have") from error
    if not kind(found) or found.__module__ != module:
        raise refused
    return found


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """Constructor arguments: of a dataclass its fields, of a module what is in ``config`` or in attributes of that name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, nn.Module):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    config = dict(getattr(value, "config", {}))
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(value).__init__).parameters.items():
        if name == "self" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if name not in config and not hasattr(value, name):
            raise InputError(
                f"{where}: {type(value).__name__} keeps its argument {name!r} neither in config nor as an attribute"
            )
        given["*" if parameter.kind is parameter.VAR_POSITIONAL else name] = config.get(name, getattr(value, name, None))
    return given


def _ours(found: Any) -> bool:
    """A class or function defined at the top of a module of this package."""
    return found.__module__.split(".")[0] == PACKAGE and "." not in found.__qualname__ and found.__qualname__.isidentifier()


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}".lstrip(".")
