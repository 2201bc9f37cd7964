"""Configurations of any source one after the other, in units of ours: what a converter reads.

    for frame in stream_structures("train.extxyz.gz", "more.npz", energy="kcal/mol"):
        ...

A source is extended XYZ (also .gz) or whatever else ASE reads frame by frame; an ASE database (.db, .json); an LMDB of ASE rows
(``.aselmdb``, ``.lmdb``, as fairchem's), or a folder of such files; npz; a DeePMD system, or a folder of them; a set that was
converted before. The older LMDB files of the Open Catalyst Project hold pickles, which are not opened.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coset.data.array_frames import read_deepmd, read_npz
from coset.data.lmdb_rows import lmdb_values
from coset.data.store import Store, is_store
from coset.data.structures import frame_of, xyz_form
from coset.errors import InputError, MissingExtra, require, unknown

ENERGIES = {"eV": 1.0, "kcal/mol": 0.0433641042418009, "kJ/mol": 0.010364269656262, "hartree": 27.211386245988}  #: in eV
LENGTHS = {"angstrom": 1.0, "bohr": 0.529177210903}  #: in angstrom
LMDBS, DATABASES = (".aselmdb", ".lmdb"), (".db", ".json")


def stream_structures(*paths: str | Path, energy: str = "eV", length: str = "angstrom") -> Iterator[dict[str, Any]]:
    """Frames of all ``paths`` in order, converted from these units. InputError for what :func:`frames_in_file` refuses."""
    if energy not in ENERGIES:
        raise unknown("unit of energy", energy, ENERGIES)
    if length not in LENGTHS:
        raise unknown("unit of length", length, LENGTHS)
    for path in paths:
        empty = True
        for frame in frames_in_file(Path(path)):
            empty = False
            yield in_units(frame, ENERGIES[energy], LENGTHS[length])
        if empty:
            raise InputError(f"structures: {path} holds no configuration")


def in_units(frame: dict[str, Any], energy: float, length: float) -> dict[str, Any]:
    """A frame whose energy and length are given in these many eV and angstrom; dipoles and polarizabilities stay."""
    if energy == length == 1:
        return frame
    factors = {
        "pos": length, "cell": length, "energy": energy, "forces": energy / length, "stress": energy / length**3
    }  # fmt: skip
    return {name: value * factors[name] if name in factors else value for name, value in frame.items()}


def frames_in_file(path: Path) -> Iterator[dict[str, Any]]:
    """Frames of one source. InputError for a missing, damaged or unknown one, which names the configuration."""
    if not path.exists():
        raise InputError(f"structures: {path} does not exist")
    if path.is_dir():
        return _folder(path)
    if is_store(path):
        return iter(Store(path))  # type: ignore[arg-type]
    if path.suffix == ".npz":
        return read_npz(path)
    return _checked(path, _lmdb(path) if path.suffix in LMDBS else _ase(path))


def _folder(path: Path) -> Iterator[dict[str, Any]]:
    if (path / "type.raw").is_file():
        yield from read_deepmd(path)
        return
    parts = [part for part in sorted(path.iterdir()) if part.suffix in LMDBS or (part / "type.raw").is_file()]
    if not parts:
        raise InputError(f"structures: {path} is no DeePMD system and holds none, and no LMDB files either")
    for part in parts:
        yield from frames_in_file(part)


def _checked(path: Path, found: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """Frames of ``ase.Atoms``; readers raise whatever the bytes make them stumble over."""
    place = 0
    try:
        for atoms in found:
            yield frame_of(atoms)
            place += 1
        return
    except MissingExtra:
        raise
    except InputError as error:
        raise InputError(f"{path}: configuration {place}: {error}") from None
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    raise InputError(f"structures: cannot read {path} after {place} configurations: {told}; is it whole?")


def _ase(path: Path) -> Iterator[Any]:
    if path.suffix in DATABASES:
        rows = require("ase.db", extra="atoms").connect(path).select()
        return (row.toatoms() for row in rows)
    return require("ase.io", extra="atoms").iread(path, index=":", **xyz_form(path))


def _lmdb(path: Path) -> Iterator[Any]:
    """Rows by their numbers: compressed JSON under "1", "2", ..., as many as "nextid" says; deleted ones are left out."""
    require("lmdb", extra="atoms")
    decode = require("ase.io.jsonio", extra="atoms").decode
    row_of = require("ase.db.row", extra="atoms").AtomsRow
    with lmdb_values(path) as value:
        following = value("nextid")
        if following is None:
            raise InputError("this LMDB holds no ASE rows; older files hold pickles, which are not opened: convert them there")
        for number in range(1, decode(zlib.decompress(following).decode())):
            if (stored := value(str(number))) is not None:
                yield row_of(decode(zlib.decompress(stored).decode()) | {"id": number}).toatoms()
