"""What is measured, kept: results of rows and findings of instruments. JSON and npz, written atomically, no pickle."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from coset.errors import InputError, reason

try:
    import fcntl
except ImportError:  # Windows: files are not locked there
    fcntl = None  # type: ignore[assignment]

SCHEMA = 1  #: of every file that others may rely on; readers refuse another
PART = ".part"  #: how the name of a file ends that is being written
FRESH = 10.0  #: seconds that an empty temporary file may wait for its first byte
#: what readers of archives and arrays raise on bytes that are not as they were written
DAMAGED = (
    OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, NotImplementedError, RuntimeError, SyntaxError,
    struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, flushed to disk, renamed over ``path``.

    Neighbours that a killed process has left are removed. InputError where nothing can be written, and on a full disk.
    """
    path = Path(path)
    try:
        data = content.encode() if isinstance(content, str) else content
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():  # a device or a pipe is never replaced
            path.write_bytes(data)
            return
        _sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        try:
            with os.fdopen(handle, "wb") as stream:
                _lock(handle)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                os.chmod(name, 0o644)
                os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # a path with a zero byte, or words that are no Unicode, are no OSError
        raise InputError(f"cannot write {path}: {reason(error)}; free some space, or name another folder with --out") from error


def _lock(handle: int) -> bool:
    """Hold a file while it is written; False where another process holds it, or files are not locked here."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (OSError, AttributeError):
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing, from a folder in which nobody else begins to write."""
    _remove(folder, "*", fresh=0.0)


def _sweep(path: Path) -> None:
    """Remove temporary neighbours of ``path`` that nobody holds; one that is still empty may be about to be locked."""
    _remove(path.parent, glob.escape(path.name), fresh=FRESH)


def _remove(folder: Path, name: str, *, fresh: float) -> None:
    for left in folder.glob(f".{name}.????????{PART}"):
        with contextlib.suppress(OSError), left.open("rb") as stream:
            about = os.fstat(stream.fileno())
            if (about.st_size or time.time() - about.st_mtime >= fresh) and _lock(stream.fileno()):
                left.unlink()


def load_json(path: str | Path) -> Any:
    """The value of a JSON file; InputError for one that is missing, damaged or nested beyond reason."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}; is it whole?") from error


def load_object(path: str | Path) -> dict[str, Any]:
    """The same for a file that holds an object."""
    if not isinstance(found := load_json(path), dict):
        raise InputError(f"{path} holds a {type(found).__name__}, expected a JSON object; is it whole?")
    return found


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file, or the one of an ``.npy`` file under ``""``; nothing is ever unpickled.

    InputError for a file that is missing, damaged, of another kind, or declares more than memory holds.
    """
    try:
        with Path(path).open("rb") as stream:
            if not stream.read(6).startswith((b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")):
                raise ValueError("it begins like neither .npz nor .npy")
            stream.seek(0)
            stored = np.load(stream, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                return {"": stored}
            with stored:
                found = {name: stored[name] for name in stored.files}
            if wrong := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{wrong[0]} in it is no array")
            return found
    except DAMAGED as error:
        hint = "it holds Python objects, which are never unpickled: save plain numbers"
        raise InputError(
            f"cannot read {path}: {reason(error)}; {hint if 'allow_pickle' in str(error) else 'is it whole?'}"
        ) from error


def to_json(value: Any) -> Any:
    """Plain JSON values: arrays become lists, NaN and infinities the strings that ``float`` reads back."""
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise InputError(f"cannot be stored as JSON: {type(value).__name__} {value!r}")


@dataclass
class Result:
    """One row and seed of a comparison: a line of ``results.jsonl``."""

    task: str
    method: str
    seed: int
    size: str
    metrics: dict[str, float]  #: {name_unit: value}, e.g. accuracy_percent
    errors: dict[str, dict[str, Any]]  #: {contract: {before, after, dtype}}
    parameters: int
    seconds_per_step: float
    train_seconds: float
    peak_memory_bytes: int
    reference: dict[str, float] = field(default_factory=dict)
    command: str = ""
    commit: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_line(self) -> str:
        """One JSON object without line breaks."""
        return json.dumps(to_json({f.name: getattr(self, f.name) for f in fields(self)}))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read a line; InputError for another schema or a file that is no result."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"results.jsonl: a line is no JSON object ({error})") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise InputError(f"results.jsonl has schema {found!r}, this version reads {SCHEMA}; use another --out folder")
        if missing := _RESULT.keys() - set(data):
            raise InputError(f"results.jsonl: a line lacks {sorted(missing)}")
        try:
            return cls(**{name: kind(data[name]) for name, kind in _RESULT.items() | _MORE.items() if name in data})
        except (TypeError, ValueError) as error:
            raise InputError(f"results.jsonl: a line is not as it was written ({error})") from error


def _text(value: Any) -> str:
    return _kind(value, str)


def _count(value: Any) -> int:
    return int(_kind(value, int))


def _figure(value: Any) -> float:
    return float(_kind(value, (int, float, str)))


def _figures(value: Any) -> dict[str, float]:
    return {name: _figure(figure) for name, figure in _kind(value, dict).items()}


def _errors(value: Any) -> dict[str, dict[str, Any]]:
    """Of every contract the errors before and after, numbers or nothing."""
    for found in _kind(value, dict).values():
        for side in ("before", "after"):
            if (figure := _kind(found, dict).get(side)) is not None:
                _figure(figure)
    return value


def _kind(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"unexpected {value!r:.60}")
    return value


#: fields of a result as they stand in a line, and how each is read; the second may be missing
_RESULT: dict[str, Any] = {"task": _text, "method": _text, "seed": _count, "size": _text, "metrics": _figures,
                           "errors": _errors, "parameters": _count, "seconds_per_step": _figure, "train_seconds": _figure,
                           "peak_memory_bytes": _count}  # fmt: skip
_MORE: dict[str, Any] = {"reference": _figures, "command": _text, "commit": _text, "schema": _count,
                         "versions": lambda value: _kind(value, dict)}  # fmt: skip


def read_task(folder: str | Path) -> dict[str, Any]:
    """What a run folder's ``task.json`` says; empty where there is none. InputError for one that was damaged or changed."""
    path = Path(folder) / "task.json"
    if not path.is_file():
        return {}
    found = load_object(path)
    try:
        _ = [_text(line) for name in ("description", "contracts") for line in _kind(found.get(name, []), list)]
        _ = [_text(found.get(name, "")) for name in ("title", "headline") if found.get(name, "") is not None]
        for about in _kind(found.get("methods", {}), dict).values():
            _ = [_text(_kind(about, dict).get(name, "")) for name in ("note", "source")]
            _ = [_kind(value, (str, int, float, type(None))) for value in _kind(about.get("axes", {}), dict).values()]
    except TypeError as error:
        raise InputError(f"{path} is not as it was written ({error}); run the comparison again to write it anew") from error
    return found


def read_results(folder: str | Path) -> list[Result]:
    """All results of a run folder, in the order they were finished."""
    path = Path(folder) / "results.jsonl"
    if not path.is_file():
        raise InputError(f"no results.jsonl in {folder}; expected a folder written by coset compare or coset train")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}; is it whole?") from error
    return [Result.from_line(line) for line in lines if line.strip()]


def write_results(folder: str | Path, results: Iterable[Result]) -> None:
    """Replace ``results.jsonl`` in one step."""
    write_atomically(Path(folder) / "results.jsonl", "".join(result.to_line() + "\n" for result in results))


def slug(name: str) -> str:
    """A method's name as a folder: lower-case letters, digits and dashes."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split()) or "row"


@dataclass
class Finding:
    """What an instrument found: a dataclass of plain values and numpy arrays that saves, loads and plots itself."""

    def save(self, path: str | Path) -> Path:
        """One ``.npz``: arrays as they are, everything else as JSON under ``__json__``."""
        import io

        arrays, plain = {}, {"finding": type(self).__name__, "schema": SCHEMA}
        for name, value in self._items():
            if isinstance(value, np.ndarray):
                arrays[name] = value
            else:
                plain[name] = to_json(value)
        stream = io.BytesIO()
        np.savez_compressed(stream, **{**arrays, "__json__": np.array(json.dumps(plain))})  # type: ignore[arg-type]
        write_atomically(path, stream.getvalue())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote; InputError for another kind or schema."""
        try:
            arrays = load_arrays(path)
            plain = json.loads(str(arrays.pop("__json__")))
        except (KeyError, ValueError, RecursionError) as error:  # InputError is one, too
            raise InputError(f"{path} is no saved finding: {reason(error)}") from error
        if not isinstance(plain, dict) or plain.pop("finding", None) != cls.__name__:
            raise InputError(f"{path} does not hold a {cls.__name__}")
        if plain.pop("schema", None) != SCHEMA:
            raise InputError(f"{path} was written by another version of coset")
        try:
            return cls(**plain, **arrays)
        except TypeError as error:
            raise InputError(f"{path} is not as it was written: {error}") from error

    def _items(self) -> Iterator[tuple[str, Any]]:
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    def plot(self) -> Any:
        """A figure of this finding (matplotlib); extra ``report``."""
        raise TypeError(f"{type(self).__name__} has no picture")

    def draw(self, path: str | Path, *, dpi: int = 90) -> Path | None:
        """The picture as a PNG; None, and no file, for a finding without one and where matplotlib is not installed."""
        import importlib.util
        import io

        if type(self).plot is Finding.plot or importlib.util.find_spec("matplotlib") is None:
            return None
        stream = io.BytesIO()
        self.plot().savefig(stream, format="png", dpi=dpi, bbox_inches="tight")
        write_atomically(path, stream.getvalue())
        return Path(path)
