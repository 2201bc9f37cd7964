"""What is measured, kept: results of rows and findings of instruments. JSON and npz, written atomically, no pickle."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from coset.errors import InputError

SCHEMA = 1  #: of every file that others may rely on; readers refuse another


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, flushed to disk, renamed over ``path``."""
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; name another folder with --out") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
        except json.JSONDecodeError as error:
            raise InputError(f"results.jsonl: a line is no JSON object ({error})") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise InputError(f"results.jsonl has schema {found!r}, this version reads {SCHEMA}; use another --out folder")
        known = {f.name for f in fields(cls)}
        if missing := {"task", "method", "seed", "metrics", "errors"} - set(data):
            raise InputError(f"results.jsonl: a line lacks {sorted(missing)}")
        data["metrics"] = {k: float(v) for k, v in data["metrics"].items()}
        return cls(**{k: v for k, v in data.items() if k in known})


def read_results(folder: str | Path) -> list[Result]:
    """All results of a run folder, in the order they were finished."""
    path = Path(folder) / "results.jsonl"
    if not path.is_file():
        raise InputError(f"no results.jsonl in {folder}; expected a folder written by coset compare or coset train")
    return [Result.from_line(line) for line in path.read_text().splitlines() if line.strip()]


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
            with np.load(path, allow_pickle=False) as stored:
                plain = json.loads(str(stored["__json__"]))
                arrays = {name: stored[name] for name in stored.files if name != "__json__"}
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is no saved finding: {error}") from error
        if plain.pop("finding", None) != cls.__name__:
            raise InputError(f"{path} does not hold a {cls.__name__}")
        if plain.pop("schema", None) != SCHEMA:
            raise InputError(f"{path} was written by another version of coset")
        return cls(**plain, **arrays)

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
