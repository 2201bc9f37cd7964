"""Atomistic configurations with labels: read from files, checked, described, and served with their neighbors.

    frames = read_structures("train.extxyz")            # extended XYZ (also .gz), or .npz with z, pos, energy, forces
    print(describe(frames))                             # counts, units, net forces, doubles: before training
    train = Structures(frames, r_max=5.0)               # a Dataset with collate

A frame is a mapping: ``pos`` (N, 3) and ``z`` (N,); where known ``cell`` (3, 3) with ``periodic``, three booleans, ``energy``
(), ``forces`` (N, 3), ``stress`` (3, 3), ``dipole`` (3,), ``polarizability`` (3, 3), and ``group``, a word. Numbers are
float64, in eV and angstrom where a file follows its convention; nothing is converted unless asked for. Stress is energy per
volume, positive under tension (ASE's sign).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coset.data.array_frames import LAST, read_deepmd, read_npz
from coset.errors import InputError, reason, require
from coset.ops.periodic import neighbor_list

Frame = Mapping[str, Any]
#: under which names labels are found in files, the first that is there
NAMES = {
    "energy": ("energy", "REF_energy", "dft_energy", "energy_dft", "free_energy"),
    "forces": ("forces", "REF_forces", "dft_forces", "force"),
    "stress": ("stress", "REF_stress", "dft_stress"),
    "virial": ("virial", "virials", "REF_virial", "dft_virial"),
    "dipole": ("dipole", "REF_dipole", "dft_dipole"),
    "polarizability": ("polarizability", "REF_polarizability"),
}
WIDE = 100.0  #: angstrom; the cell of what has none, where one is needed
PER_STRUCTURE = ("energy", "dipole", "polarizability", "stress")


def read_structures(path: str | Path, *, index: str = ":") -> list[dict[str, Any]]:
    """All frames of a file, or those of ``index`` (``":100"``): extended XYZ (whatever ASE reads), npz, or a DeePMD folder.

    InputError for a file that is missing, damaged, empty or holds something else.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"structures: {path} does not exist")
    if path.suffix == ".npz" or path.is_dir():
        frames = list(read_deepmd(path) if path.is_dir() else read_npz(path))[_slice(index)]
    else:
        reader = require("ase.io", extra="atoms").read
        form = xyz_form(path)
        try:
            frames = [frame_of(atoms) for atoms in reader(path, index=index, **form)]
        except InputError:
            raise
        except Exception as error:  # ASE's readers raise whatever the text makes them stumble over
            raise InputError(f"structures: cannot read {path}: {type(error).__name__}: {error}; is it whole?") from error
    if not frames:
        raise InputError(f"structures: {path} holds no configuration")
    return frames


def xyz_form(path: Path) -> dict[str, str]:
    """``{"format": "extxyz"}`` for extended XYZ, also compressed, else nothing: what ASE's readers are told.

    InputError for a file that announces more atoms than it has lines, for which memory would be taken.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix not in (".xyz", ".extxyz"):
        return {}
    left, place = 0, 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for line in stream:
                if left:
                    left -= 1
                    continue
                first = line.split()[:1]
                if first and not (first[0].isdigit() and len(first[0]) < 16):
                    break  # nothing that a count could be: the reader says what it is
                left, place = (int(first[0]) + 1, place + 1) if first else (0, place)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"structures: cannot read {path}: {reason(error)}; is it whole?") from error
    if left:
        raise InputError(f"structures: {path} ends {left} lines too early, in configuration {place - 1}; is it whole?")
    return {"format": "extxyz"}


def _slice(index: str) -> slice:
    try:
        return slice(*(int(part) if part else None for part in index.split(":")))
    except ValueError as error:
        raise InputError(f"structures: index is written as a slice, such as ':100' or '::10', got {index!r}") from error


def frame_of(atoms: Any) -> dict[str, Any]:
    """A frame of ``ase.Atoms`` with its labels, from its calculator, info or arrays."""
    frame: dict[str, Any] = {
        "pos": _double(atoms.get_positions()),
        "z": torch.as_tensor(atoms.get_atomic_numbers(), dtype=torch.int64),
    }
    if len(frame["z"]) and not 1 <= int(frame["z"].min()) <= int(frame["z"].max()) <= LAST:
        raise InputError(
            f"structures: atomic numbers are 1 to {LAST}, got {sorted({*frame['z'].tolist()} - {*range(1, LAST + 1)})}"
        )
    if atoms.cell.rank == 3:
        frame |= {"cell": _double(atoms.cell.array), "periodic": tuple(map(bool, atoms.pbc))}
    elif atoms.pbc.any():
        raise InputError(
            f"structures: periodic along {atoms.pbc.tolist()}, but the cell has rank {atoms.cell.rank}; give all three vectors"
        )
    known = {**(atoms.calc.results if atoms.calc is not None else {}), **atoms.info, **atoms.arrays}
    found = {label: known[name] for label, names in NAMES.items() for name in names[::-1] if name in known}
    if "energy" in found:
        frame["energy"] = _double(float(found["energy"])).reshape(())
    if "forces" in found:
        frame["forces"] = _double(found["forces"])
    if "stress" in found:
        frame["stress"] = _matrix(found["stress"])
    elif "virial" in found and "cell" in frame:
        frame["stress"] = -_matrix(found["virial"]) / torch.linalg.det(frame["cell"]).abs()
    frame |= {
        label: _double(found[label]).reshape(shape)
        for label, shape in (("dipole", (3,)), ("polarizability", (3, 3)))
        if label in found
    }
    if word := next((atoms.info[name] for name in ("group", "config_type") if name in atoms.info), None):
        frame["group"] = str(word)
    return frame


def _matrix(given: Any) -> Tensor:
    """Six numbers in Voigt's order (xx, yy, zz, yz, xz, xy), nine or a matrix, as ``(3, 3)``."""
    x = _double(given)
    return x[[0, 5, 4, 5, 1, 3, 4, 3, 2]].view(3, 3) if x.numel() == 6 else x.reshape(3, 3)


def _double(x: Any) -> Tensor:
    return torch.as_tensor(np.asarray(x, dtype=np.float64)).clone()


class Structures(Dataset):
    """Frames with their neighbors within ``r_max``, searched once and kept; floating numbers but energies in ``dtype``.

    Energies stay float64: totals are large and what matters is small. InputError for frames of which some have a label and some
    do not (``labels`` says which are wanted; None: those that the first has), and for what :func:`neighbor_list` refuses.
    """

    def __init__(
        self, frames: Sequence[Frame], r_max: float, *, labels: Sequence[str] | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.frames, self.r_max, self.dtype = list(frames), r_max, dtype
        if not self.frames:
            raise InputError("structures: no configuration")
        self.labels = (
            tuple(name for name in ("energy", "forces", "stress", "dipole", "polarizability") if name in self.frames[0])
            if labels is None
            else tuple(labels)
        )
        for place, frame in enumerate(self.frames):
            if missing := [name for name in self.labels if name not in frame]:
                raise InputError(f"structures: configuration {place} has no {missing[0]}; it holds {sorted(frame)}")
            if wrong := [name for name in self.labels if not bool(frame[name].isfinite().all())]:
                raise InputError(f"structures: {wrong[0]} of configuration {place} is NaN or infinite; leave it out")
        self.kept: dict[int, dict[str, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        if place not in self.kept:
            try:
                self.kept[place] = sample_of(self.frames[place], self.r_max, self.labels, self.dtype)
            except InputError as error:
                raise InputError(f"configuration {place}: {error}") from None
        return self.kept[place]

    def counts(self) -> Tensor:
        """Atoms of every structure, ``(len,)``."""
        return torch.tensor([len(frame["z"]) for frame in self.frames])

    def sizes(self) -> Tensor:
        """Edges of every structure, ``(len,)``: what a batch costs. All neighbors are searched, and kept."""
        return torch.tensor([self[place]["edge_index"].shape[1] for place in range(len(self))])

    def collate(self, samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """A batch: atoms one after the other, ``edge_index`` and ``batch`` shifted, one row per structure of the rest."""
        return join(samples)


def sample_of(frame: Frame, r_max: float, labels: Sequence[str] = (), dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What a potential takes of one frame, and its labels."""
    pos, cell = frame["pos"], frame.get("cell")
    edge_index, shift = neighbor_list(pos, r_max, cell=cell, periodic=frame.get("periodic", False))
    sample = {"pos": pos.to(dtype), "z": frame["z"], "edge_index": edge_index, "shift": shift}
    if cell is not None:
        sample["cell"] = cell.to(dtype)
    for name in labels:
        sample[name] = frame[name] if name == "energy" else frame[name].to(dtype)
    return sample


def join(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """See :meth:`Structures.collate`; where some have a cell and some have none, these get a wide one that never repeats."""
    counts = torch.tensor([len(sample["z"]) for sample in samples])
    starts = counts.cumsum(0) - counts
    out = {name: torch.cat([sample[name] for sample in samples]) for name in ("pos", "z", "shift")}
    out["edge_index"] = torch.cat(
        [sample["edge_index"] + start for sample, start in zip(samples, starts.tolist(), strict=True)], 1
    )
    out["batch"] = torch.repeat_interleave(torch.arange(len(samples)), counts)
    if any("cell" in sample for sample in samples):
        out["cell"] = torch.stack(
            [sample["cell"] if "cell" in sample else WIDE * torch.eye(3).to(out["pos"]) for sample in samples]
        )
    if "forces" in samples[0]:
        out["forces"] = torch.cat([sample["forces"] for sample in samples])
    return out | {name: torch.stack([s[name] for s in samples]) for name in PER_STRUCTURE if name in samples[0]}
