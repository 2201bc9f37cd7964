"""What can go wrong, said so that the reader can mend it; imports nothing heavy."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class CosetError(Exception):
    """Base of every error that this library raises on purpose."""


class InputError(CosetError, ValueError):
    """A value given by the user is wrong: says what was expected, what came, and the likely fix (exit code 2)."""


class ContractError(CosetError, TypeError):
    """Fields, groups and actions that do not fit together (exit code 2)."""


class MissingExtra(CosetError, ImportError):
    """An optional package is absent: names the line that installs it (exit code 3)."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional ``module``, or raise :class:`MissingExtra` with the exact install line."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == module.split(".")[0]:
            raise MissingExtra(f'needs {module}: pip install "coset[{extra}]"') from error
        raise MissingExtra(f'{module} is installed but fails to import ({error}): pip install "coset[{extra}]"') from error


def reason(error: Exception) -> str:
    """What the system or a reader says, without its number and without the path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {what} {name!r}{hint} (known: {', '.join(known)})")
