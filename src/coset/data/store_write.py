"""Writing large sets: configurations, one after the other, into one file for :class:`coset.data.store.Store`.

    write_store(stream_structures("md.extxyz.gz"), "md.safetensors")

Every array is spooled to a file of its own beside the target while configurations arrive, then all are put behind one header:
memory stays constant, and the target appears whole, with a SHA-256 of every array, or not at all. What is wrong with a
configuration (no atoms, numbers that are not finite, arrays that do not fit) is an InputError that names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from coset.data.store import HAS_CELL, KIND, KINDS, LABELS, PER_ATOM, PER_CONFIGURATION, Store, header_digest
from coset.data.structures import Frame
from coset.errors import InputError
from coset.records import SCHEMA

GROUPS = 1000  #: different words that are kept; beyond them groups are names of configurations and are dropped
BUFFER = 1 << 20
SHAPES = PER_ATOM | PER_CONFIGURATION
SAFE = {np.dtype(kind): name for name, kind in KINDS.items()}


class Column:
    """One array on its way to disk."""

    def __init__(self, folder: Path, name: str, kind: Any) -> None:
        self.name, self.kind, self.rows = name, np.dtype(kind), 0
        self.shape, self.digest = SHAPES.get(name, ()), hashlib.sha256()
        self.stream: BinaryIO = (folder / name).open("w+b", buffering=BUFFER)

    def add(self, values: Any) -> None:
        """Rows, any number of them."""
        rows = np.asarray(values, dtype=self.kind).reshape(-1, *self.shape)
        data = rows.tobytes()
        self.rows += len(rows)
        self.digest.update(data)
        self.stream.write(data)

    def fill(self, rows: int, value: float) -> None:
        """As many rows of one value as are missing up to ``rows``."""
        while (gap := min(rows - self.rows, BUFFER)) > 0:
            self.add(np.full((gap, *self.shape), value))


class Spool:
    """Columns that appear when the first configuration needs them, earlier rows filled with NaN, 0 or -1."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.folder, self.count, self.atoms = folder, 0, 0
        self.columns: dict[str, Column] = {}
        self.kinds = dict.fromkeys(SHAPES, "<f8") | {"z": "u1", "periodic": "u1", "group": "<i4", "starts": "<i8"}
        if precision == "float32":
            self.kinds |= {"pos": "<f4", "forces": "<f4"}
        self.groups: dict[str, int] = {}
        self.labels = dict.fromkeys(LABELS, 0)
        self.elements: set[int] = set()
        self.column("starts").add([0])

    def column(self, name: str) -> Column:
        """The column, with a row for everything before this configuration."""
        column = self.columns.get(name) or self.columns.setdefault(name, Column(self.folder, name, self.kinds[name]))
        if name != "starts":
            column.fill(self.atoms if name in PER_ATOM else self.count, _absent(name))
        return column

    def add(self, frame: Frame) -> None:
        """One configuration; InputError for what cannot be stored."""
        pos, z = np.asarray(frame["pos"]), np.asarray(frame["z"])
        rows: dict[str, Any] = {"pos": pos, "z": z} | {name: frame[name] for name in LABELS if name in frame}
        if "cell" in frame:
            bits = sum(bool(flag) << axis for axis, flag in enumerate(frame.get("periodic", ()))) | HAS_CELL
            rows |= {"cell": frame["cell"], "periodic": bits}
        _check(rows, len(pos))
        if "group" in frame and len(self.groups) <= GROUPS:
            rows["group"] = self.groups.setdefault(frame["group"], len(self.groups))
        for name, values in rows.items():
            self.column(name).add(values)
        for name in LABELS:
            self.labels[name] += name in frame
        self.count, self.atoms = self.count + 1, self.atoms + len(pos)
        self.elements.update(z.tolist())
        self.columns["starts"].add([self.atoms])

    def close(self) -> None:
        """Nothing may stay open when the folder goes."""
        for column in self.columns.values():
            column.stream.close()

    def assemble(self, path: Path, source: str) -> None:
        """All columns behind one header, renamed into place."""
        if len(self.groups) > GROUPS:
            self.columns.pop("group").stream.close()
            self.groups = {}
        for name in self.columns:
            self.column(name)
        columns = sorted(self.columns.values(), key=lambda column: (-column.kind.itemsize, column.name))
        about = {
            "schema": SCHEMA, "kind": KIND, "configurations": self.count, "atoms": self.atoms,
            "elements": sorted(self.elements), "labels": {name: n for name, n in self.labels.items() if n},
            "groups": list(self.groups), "source": source, "sha256": {c.name: c.digest.hexdigest() for c in columns},
        }  # fmt: skip
        with (self.folder / "whole").open("wb") as out:
            out.write(_header(json.dumps(about), columns))
            for column in columns:
                column.stream.seek(0)
                shutil.copyfileobj(column.stream, out, BUFFER)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(self.folder / "whole", 0o644)
        os.replace(self.folder / "whole", path)


def write_store(
    frames: Iterable[Frame],
    path: str | Path,
    *,
    precision: str = "float64",
    skip: bool = False,
    source: str = "",
    progress: Callable[[int], None] = lambda count: None,
) -> Store:
    """Write configurations into the one file ``path``, whole or not at all, and open it.

    ``precision`` is that of positions and forces (``"float32"`` halves the file); all else is float64. With ``skip`` a
    configuration that cannot be stored is left out and said so by ``progress(-1)``, else it is an InputError, as is a file that
    cannot be written. ``progress`` gets the number of configurations so far.
    """
    path = Path(path)
    if precision not in ("float64", "float32"):
        raise InputError(f"precision is float64 or float32, got {precision!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            spool = Spool(Path(folder), precision)
            try:
                for place, frame in enumerate(frames):
                    try:
                        spool.add(frame)
                    except InputError as error:
                        if not skip:
                            raise InputError(f"configuration {place}: {error}") from None
                        progress(-1)
                    progress(spool.count)
                if not spool.count:
                    raise InputError(f"there is no configuration to write into {path}")
                spool.assemble(path, source)
            finally:
                spool.close()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; nothing was left behind") from error
    return Store(path)


def _absent(name: str) -> float:
    return {"periodic": 0, "cell": 0, "group": -1}.get(name, float("nan"))


def _check(rows: dict[str, Any], atoms: int) -> None:
    """Shapes that fit and numbers that are numbers."""
    if not atoms:
        raise InputError("it has no atoms")
    for name, values in rows.items():
        array = np.asarray(values)
        wanted = (atoms, *SHAPES[name]) if name in PER_ATOM else SHAPES[name]
        if array.shape != wanted:
            raise InputError(f"{name} has shape {array.shape}, expected {wanted}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} is NaN or infinite; leave it out (--skip)")
    if (z := np.asarray(rows["z"])).min() < 1 or z.max() > 118:
        raise InputError(f"atomic numbers are 1 to 118, got {int(z.min())} to {int(z.max())}")


def _header(text: str, columns: list[Column]) -> bytes:
    """The header of safetensors: its length, JSON padded to eight bytes."""
    entries: dict[str, Any] = {}
    end = 0
    for column in columns:
        begin, end = end, end + column.rows * column.kind.itemsize * int(np.prod(column.shape))
        entries[column.name] = {
            "dtype": SAFE[column.kind], "shape": [column.rows, *column.shape], "data_offsets": [begin, end]
        }  # fmt: skip
    arrays = {column.name: (KINDS[SAFE[column.kind]], column.shape, 0) for column in columns}
    head = json.dumps({"__metadata__": {"coset": text, "sha256": header_digest(text, arrays)}, **entries}).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head
