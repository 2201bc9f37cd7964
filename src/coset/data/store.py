"""Large sets of configurations in one file that is read piece by piece: millions of them in constant memory.

    frames = Store("train.safetensors")                 # made by coset data convert; reads nothing but what it is asked for
    frames[7]["forces"], len(frames), frames.counts     # a sequence of frames, with the number of atoms of each
    train = Streamed(frames, r_max=5.0)                 # a Dataset with collate, for any number of worker processes

The file is safetensors, which every reader of that format opens: ``starts`` (n + 1,), where the atoms of each configuration
begin; per atom ``z``, ``pos`` and ``forces``; per configuration ``energy``, ``stress``, ``dipole``, ``polarizability``,
``cell``, ``periodic`` (one bit per axis, 8 for having a cell) and ``group``. A label that a configuration lacks is NaN. The
description under ``coset`` in the header counts labels and holds a SHA-256 of every array, its own stands beside it. Rows are
read by plain reads, not through a memory map: a file that shrinks while it is used is an error with a name, not a fault of the
process, and no page stays in its account. What is kept is 8 bytes per configuration.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from coset.data.structures import Frame, Structures, read_structures, sample_of
from coset.errors import InputError
from coset.records import SCHEMA

KIND = "structures"
SUFFIX = ".safetensors"
#: arrays with a row per atom, and labels with a row per configuration: the shape of a row
PER_ATOM: dict[str, tuple[int, ...]] = {"z": (), "pos": (3,), "forces": (3,)}
PER_CONFIGURATION: dict[str, tuple[int, ...]] = {
    "energy": (), "stress": (3, 3), "dipole": (3,), "polarizability": (3, 3), "cell": (3, 3), "periodic": (), "group": ()
}  # fmt: skip
LABELS = ("energy", "forces", "stress", "dipole", "polarizability")
KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "u1"}
HAS_CELL = 8  #: in ``periodic``
BLOCK = 1 << 15  #: atoms that are read at once where all are needed
PIECE = 1 << 20  #: bytes that are read at once where a file is checked
SAMPLE = 1000  #: configurations whose neighbors stand for those of all
SEARCHED = 20_000  #: above this number of configurations


@dataclass(frozen=True)
class Block:
    """Configurations side by side: numbers ``places`` of the set, atoms of each, arrays by name as in the file."""

    places: Tensor  #: (n,)
    counts: Tensor  #: (n,) atoms
    arrays: dict[str, Tensor]

    @property
    def owner(self) -> Tensor:
        """Which of the ``n`` configurations an atom belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)


def open_structures(path: str | Path) -> Sequence[Frame]:
    """The frames of any file: a :class:`Store`, its checksums compared, or a list by :func:`read_structures`."""
    return Store(path).verify() if is_store(path) else read_structures(path)


def dataset_of(frames: Sequence[Frame], r_max: float, *, labels: Sequence[str] | None = None) -> Structures:
    """:class:`Streamed` for a :class:`Store`, else :class:`Structures`."""
    return Streamed(frames, r_max, labels=labels) if isinstance(frames, Store) else Structures(frames, r_max, labels=labels)


def is_store(path: str | Path) -> bool:
    """Whether a path names a file of this kind."""
    return Path(path).suffix == SUFFIX


class Store(Sequence[Frame]):
    """The configurations of a file, or some of them; frames as those of :func:`coset.data.structures.read_structures`.

    A slice and :meth:`take` give a part of the same file. InputError for a file that is missing, cut, of another kind or
    altered in its header; of its arrays by :meth:`verify`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.arrays, self.about = _header(self.path)
        self._handle: int | None = None
        self._starts: Tensor = self._rows("starts", 0, self.about["configurations"] + 1)
        if int(self._starts[0]) != 0 or int(self._starts[-1]) != self.about["atoms"] or bool((self._starts.diff() < 1).any()):
            raise InputError(f"{self.path} is damaged: its configurations do not follow one another; copy or convert it again")
        self._members: Tensor | None = None

    def take(self, places: Sequence[int] | Tensor) -> Store:
        """Those configurations, in that order."""
        part = object.__new__(Store)
        part.__dict__ |= {name: value for name, value in self.__dict__.items() if name not in ("counts", "census")}
        places = torch.as_tensor(places, dtype=torch.int64)
        part._members = places if self._members is None else self._members[places]
        part._handle = None
        return part

    def __len__(self) -> int:
        return len(self._starts) - 1 if self._members is None else len(self._members)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Store: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | Store:
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(f"{self.path} has {len(self)} configurations, asked for {place}")
        place %= len(self)
        return self._frame(place if self._members is None else int(self._members[place]))

    @cached_property
    def counts(self) -> Tensor:
        """Atoms of every configuration, ``(n,)``; nothing is read for it."""
        sizes = self._starts.diff()
        return sizes if self._members is None else sizes[self._members]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that every configuration of the file has."""
        return tuple(name for name in LABELS if self.about["labels"].get(name, 0) == self.about["configurations"])

    def blocks(self, *names: str, atoms: int = BLOCK) -> Iterator[Block]:
        """All configurations once, ascending in the file, in blocks of about ``atoms``; of ``names`` what there is."""
        order = torch.arange(len(self)) if self._members is None else self._members.argsort()
        wanted = [name for name in names if name in self.arrays]
        sizes, bound = self.counts[order], 0
        ends = sizes.cumsum(0)
        while bound < len(order):
            limit = (int(ends[bound - 1]) if bound else 0) + atoms
            after = max(int(torch.searchsorted(ends, limit, right=True)), bound + 1)
            places = order[bound:after]
            rows = places if self._members is None else self._members[places]
            arrays = {name: torch.cat([self._rows(name, *run) for run in self._runs(name, rows)]) for name in wanted}
            yield Block(places, sizes[bound:after], arrays)
            bound = after

    def _runs(self, name: str, rows: Tensor) -> Iterator[tuple[int, int]]:
        """Configurations that follow one another are read at once: bounds of rows of the array."""
        edges = torch.cat([torch.tensor([0]), (rows.diff() != 1).nonzero().flatten() + 1, torch.tensor([len(rows)])])
        first, last = rows[edges[:-1]], rows[edges[1:] - 1] + 1
        if name in PER_ATOM:
            first, last = self._starts[first], self._starts[last]
        return zip(first.tolist(), last.tolist(), strict=True)

    def _frame(self, row: int) -> dict[str, Any]:
        first, last = int(self._starts[row]), int(self._starts[row + 1])
        values = {
            name: self._rows(name, first, last) if name in PER_ATOM else self._rows(name, row, row + 1)[0]
            for name in self.arrays
            if name != "starts"
        }
        frame: dict[str, Any] = {"pos": values["pos"].double(), "z": values["z"].long()}
        bits = int(values.get("periodic", 0))
        if bits & HAS_CELL:
            frame |= {"cell": values["cell"], "periodic": tuple(bool(bits >> axis & 1) for axis in range(3))}
        for name in LABELS:
            if name in values and not math.isnan(float(values[name].flatten()[0])):
                frame[name] = values[name].double()
        if "group" in values and int(values["group"]) >= 0:
            if int(values["group"]) >= len(self.about["groups"]):
                raise InputError(f"{self.path} is damaged: configuration {row} is of no group; copy or convert it again")
            frame["group"] = self.about["groups"][int(values["group"])]
        return frame

    def _rows(self, name: str, first: int, last: int) -> Tensor:
        kind, shape, offset = self.arrays[name]
        width = np.dtype(kind).itemsize * math.prod(shape)
        data = self._read(offset + first * width, (last - first) * width)
        return torch.from_numpy(np.frombuffer(data, kind).reshape(last - first, *shape))

    def _read(self, offset: int, size: int) -> bytearray:
        if self._handle is None:
            self._handle = os.open(self.path, os.O_RDONLY)
        data, done = bytearray(size), 0
        while done < size:
            part = os.pread(self._handle, min(size - done, PIECE), offset + done)
            if not part:
                raise InputError(f"{self.path} ends before its configurations do: it was cut; copy or convert it again")
            data[done : done + len(part)] = part
            done += len(part)
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handle"} | {"_handle": None}

    def __del__(self) -> None:
        if (handle := self.__dict__.get("_handle")) is not None:
            os.close(handle)

    def verify(self, progress: Callable[[int], None] = lambda done: None) -> Store:
        """Read the whole file and compare its checksums; itself. InputError that names the array that is damaged."""
        for name, (kind, shape, offset) in self.arrays.items():
            digest, width = hashlib.sha256(), np.dtype(kind).itemsize * math.prod(shape)
            rows = self.about["configurations"] + (name == "starts") if name not in PER_ATOM else self.about["atoms"]
            for first in range(0, rows * width, PIECE):
                data = self._read(offset + first, min(PIECE, rows * width - first))
                digest.update(data)
                progress(len(data))
            if digest.hexdigest() != self.about["sha256"][name]:
                raise InputError(f"{self.path}: {name} is not as it was written (checksum); copy or convert it again")
        return self


def _header(path: Path) -> tuple[dict[str, tuple[str, tuple[int, ...], int]], dict[str, Any]]:
    """Arrays as (kind, shape of a row, offset in the file), and the description."""
    if not path.is_file():
        raise InputError(f"structures: {path} does not exist")
    try:
        with safe_open(path, framework="np") as opened:  # the library checks offsets and length
            metadata = opened.metadata() or {}
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            entries = json.loads(stream.read(length))
        text = metadata["coset"]
        about = json.loads(text)
        arrays = {
            name: (KINDS[entry["dtype"]], tuple(entry["shape"][1:]), 8 + length + entry["data_offsets"][0])
            for name, entry in entries.items()
            if name != "__metadata__"
        }
        held = {name: entry["shape"][:1] for name, entry in entries.items() if name != "__metadata__"}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"structures: {path} is no whole file of configurations ({type(error).__name__}: {error}); such files are made by "
            "coset data convert; copy or convert it again"
        ) from error
    if not isinstance(about, dict):
        raise InputError(f"{path} has a description of another kind ({type(about).__name__}); copy or convert it again")
    if about.get("kind") != KIND or about.get("schema") != SCHEMA:
        raise InputError(f"{path} holds {about.get('kind')} of schema {about.get('schema')}, expected {KIND}, {SCHEMA}")
    if metadata.get("sha256") != header_digest(text, arrays):
        raise InputError(f"{path}: its header is not as it was written (checksum); copy or convert it again")
    if wrong := _unlike(arrays, held, about):
        raise InputError(f"{path}: {wrong} is not as a converted file has it; copy or convert it again")
    return arrays, about


def _unlike(arrays: Mapping[str, Any], held: Mapping[str, list[int]], about: Mapping[str, Any]) -> str:
    """The first entry of a description, or the first array, that :mod:`coset.data.store_write` would not have written."""
    kinds = {
        "configurations": int,
        "atoms": int,
        "elements": list,
        "labels": dict,
        "groups": list,
        "source": str,
        "sha256": dict,
    }
    if wrong := [name for name, kind in kinds.items() if not isinstance(about.get(name), kind)]:
        return wrong[0]
    if not all(isinstance(word, str) for word in (*about["groups"], *about["labels"], *about["sha256"].values())):
        return "groups, labels or sha256"
    if not all(isinstance(number, int) for number in (*about["elements"], *about["labels"].values())):
        return "elements or labels"
    rows = dict.fromkeys(PER_CONFIGURATION, about["configurations"]) | dict.fromkeys(PER_ATOM, about["atoms"])
    rows["starts"] = about["configurations"] + 1
    shapes = PER_CONFIGURATION | PER_ATOM | {"starts": ()}
    whole = {"starts": "<i8", "z": "u1", "periodic": "u1", "group": "<i4"}
    for name, (kind, shape, _) in arrays.items():
        known = name in shapes and shape == shapes[name] and held[name] == [rows[name]] and name in about["sha256"]
        if not known or kind not in ((whole[name],) if name in whole else ("<f8", "<f4")):
            return f"the array {name}"
    if lacking := {"starts", "pos", "z"} - arrays.keys():
        return f"the array {min(lacking)}"
    return "the array cell" if ("periodic" in arrays) != ("cell" in arrays) else ""


def header_digest(text: str, arrays: dict[str, tuple[str, tuple[int, ...], int]]) -> str:
    """SHA-256 of the description and of kind and shape of the arrays."""
    shapes = sorted((name, kind, *shape) for name, (kind, shape, _) in arrays.items())
    return hashlib.sha256(f"{text} {shapes}".encode()).hexdigest()


class Streamed(Structures):
    """A :class:`Store` as a data set: every sample is read, and its neighbors are searched, when it is asked for.

    Nothing is kept from one sample to the next (in a shuffled epoch each is used once). InputError where some configurations
    lack a label.
    """

    frames: Store  # type: ignore[assignment]

    def __init__(
        self, frames: Store, r_max: float, *, labels: Sequence[str] | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        if not len(frames):
            raise InputError(f"structures: {frames.path} holds no configuration")
        self.frames, self.r_max, self.dtype, self.kept = frames, r_max, dtype, {}
        self.labels = tuple(name for name in LABELS if name in frames[0]) if labels is None else tuple(labels)
        for name in set(self.labels) - set(frames.labels):
            if (lacking := _lacking(frames, name)) is not None:
                raise InputError(f"{frames.path}: configuration {lacking} has no {name}; convert those that have it alone")

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        try:
            return sample_of(self.frames[place], self.r_max, self.labels, self.dtype)
        except InputError as error:
            raise InputError(f"configuration {place}: {error}") from None

    def counts(self) -> Tensor:
        return self.frames.counts

    def neighbors(self) -> tuple[float, int]:
        """The mean number of edges into an atom, and of how many configurations: a sample by seed 0."""
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:SAMPLE].tolist()
        edges = sum(self[place]["edge_index"].shape[1] for place in chosen)
        return edges / int(self.counts()[chosen].sum()), len(chosen)

    def sizes(self) -> Tensor:
        """Edges of every configuration, ``(len,)``: searched in up to :data:`SEARCHED`, else atoms times those of a sample."""
        if len(self) <= SEARCHED:
            return super().sizes()
        return (self.counts() * self.neighbors()[0]).round().long()


def _lacking(frames: Store, name: str) -> int | None:
    """The first configuration without a label, in the order of the file."""
    if name not in frames.arrays:
        return 0
    for block in frames.blocks(name):
        rows = block.arrays[name]
        first = rows[block.counts.cumsum(0) - block.counts] if name in PER_ATOM else rows
        missing = first.flatten(1).isnan().any(1) if first.ndim > 1 else first.isnan()
        if missing.any():
            return int(block.places[missing.nonzero()[0, 0]])
    return None
