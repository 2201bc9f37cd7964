"""A string to a callable: ``package.module:attribute``, ``FILE.py:attribute``, a saved run, or a pickle that is trusted.

Importing the named thing is all that is executed. A class without required arguments is instantiated and a function
without parameters called (neither could be a model as it is); anything else is taken as it stands. Estimators in the
manner of scikit-learn are wrapped by :mod:`coset.interop.sklearn`, so that tensors go in and come out.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from coset.errors import InputError
from coset.interop.sklearn import is_estimator, wrap

FORM = "write package.module:attribute, FILE.py:attribute, a saved row's FOLDER, or FOLDER:TARGET if it wraps a model of yours"
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt")
#: folders of Python and of installed packages
INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def load_target(target: str, *, trust_pickle: bool = False) -> Callable[..., Any]:
    """The callable that ``target`` names.

    Raises InputError for a missing file or module, an attribute that does not exist (with the nearest that does), a thing
    that cannot be called, and a pickle without ``trust_pickle``.
    """
    path = Path(target)
    if path.suffix in PICKLES:
        return _pickled(path, trust_pickle)
    folder, _, inner = target.partition(":")
    if Path(folder).is_dir():
        return _saved(Path(folder), inner, trust_pickle)
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise InputError(f"target {target!r} names no attribute; {FORM}")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_package(place)
    return as_callable(_attribute(module, attribute, target), target)


def as_callable(found: Any, target: str = "") -> Callable[..., Any]:
    """``found`` as something that takes tensors: classes are built, factories called, estimators wrapped."""
    name = target or repr(found)
    if inspect.isclass(found) or _is_factory(found):
        if needed := _required(found):
            raise InputError(
                f"{name} needs arguments ({', '.join(needed)}); name an instance, or a function without parameters"
            )
        try:
            found = found()
        except Exception as error:
            raise InputError(f"{name}() failed: {type(error).__name__}: {error}") from error
    if is_estimator(found) or is_estimator(getattr(found, "__self__", None)):
        return wrap(found)
    if not callable(found):
        raise InputError(
            f"{name} is a {type(found).__name__}, which cannot be called; name a module, a function or an estimator"
        )
    return found


def blame(error: BaseException) -> str:
    """Where code of the user's raised ``error``, itself or through another package; empty where code of ours did.

    What comes after the last line of ours in the traceback, and stands neither in Python nor in an installed package.
    """
    ours = str(Path(__file__).parents[1])
    later: list[str] = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if file.startswith(ours):
            later = []
        elif not file.startswith(("<", *INSTALLED)):
            later.append(f"{file}, line {line}")
    return later[-1] if later else ""


def innermost(error: BaseException) -> str:
    """The file whose code raised ``error``."""
    return next((frame.f_code.co_filename for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)])), "")


def load_object(target: str) -> Any:
    """The object that ``target`` names, as it is: a task, or a function that builds a model."""
    place, colon, attribute = target.rpartition(":")
    if not colon:
        raise InputError(f"{target!r} names no attribute; write package.module:attribute or FILE.py:attribute")
    return _attribute(_from_file(Path(place)) if place.endswith(".py") else _from_package(place), attribute, target)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else [], n=1
        )
        raise InputError(f"no file {path}" + (f"; did you mean {path.with_name(near[0])}?" if near else ""))
    path = path.resolve()
    name = f"coset_target_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:  # a file may import its neighbours, as under `python FILE.py`
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise _failed(str(path), error) from error
    return module


def _from_package(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{name!r} is no module name; {FORM}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # as under `python -m`
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            hint = (
                f"; a file is written {name.replace('.', '/')}.py:attribute"
                if Path(f"{name.replace('.', '/')}.py").is_file()
                else ""
            )
            raise InputError(f"no module {error.name!r} from {Path.cwd()}{hint}") from error
        raise _failed(name, error) from error
    except BaseException as error:
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> BaseException:
    """What importing the user's code raised, said in one line; an interrupt stays what it is."""
    if isinstance(error, KeyboardInterrupt):
        return error
    return InputError(f"importing {name} failed: {type(error).__name__}: {error}")


def _attribute(module: ModuleType, dotted: str, target: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            public = [name for name in dir(found) if not name.startswith("_")]
            near = difflib.get_close_matches(part, public, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"{target}: {getattr(found, '__name__', type(found).__name__)} has no attribute {part!r}{hint}"
            ) from error
    return found


def _is_factory(found: Any) -> bool:
    """A plain function without any parameter cannot take data, so it makes the model."""
    if not inspect.isfunction(found):
        return False
    return not inspect.signature(found).parameters


def _required(found: Any) -> list[str]:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a class written in C without a signature: let the call speak
        return []
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in loose]


def _saved(folder: Path, inner: str, trusted: bool) -> Callable[..., Any]:
    """A saved row; ``inner`` is the TARGET of a model of the user's that it wraps."""
    if not (folder / "model.json").is_file():
        raise InputError(f"{folder} holds no model.json; name one row of a run, as in runs/digits/rows/plain/0")
    from coset.train.checkpoint import load_model

    return load_model(folder, target=load_target(inner, trust_pickle=trusted) if inner else None)


def _pickled(path: Path, trusted: bool) -> Callable[..., Any]:
    if not path.is_file():
        raise InputError(f"no file {path}")
    if not trusted:
        raise InputError(
            f"{path} is a pickle: opening it runs whatever code it holds. If you trust it, pass --trust-pickle "
            f"(it is then opened in a process of its own); otherwise name the code that builds the model as FILE.py:attribute"
        )
    from coset.interop.pickled import Pickled

    return Pickled(path)
