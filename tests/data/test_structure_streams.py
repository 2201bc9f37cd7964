"""Whatever holds configurations gives the same frames one after the other, in eV and angstrom; damage names the place."""

import json
import sys
import zlib

import numpy as np
import pytest
import torch

from coset.data.array_frames import read_deepmd
from coset.data.store_write import write_store
from coset.data.structure_streams import ENERGIES, LENGTHS, stream_structures
from coset.data.structures import read_structures
from coset.errors import InputError, MissingExtra

ase_io = pytest.importorskip("ase.io")
from ase.build import bulk  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402


def copper(count=4):
    made = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    path = tmp_path_factory.mktemp("known") / "a.traj"
    ase_io.write(path, copper())
    return read_structures(path)


def same(found, known, tolerance=0.0):
    found = list(found)
    assert len(found) == len(known)
    for mine, theirs in zip(found, known, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            if isinstance(value, torch.Tensor):
                assert torch.allclose(mine[name], value, rtol=0, atol=tolerance), name
            else:
                assert mine[name] == value


@pytest.mark.parametrize("name", ["a.traj", "a.extxyz", "a.xyz.gz", "a.db", "a.json", "a.safetensors"])
def test_every_kind_of_file_gives_the_same_frames(name, known, tmp_path):
    path = tmp_path / name
    if name.endswith((".db", ".json")):
        with pytest.importorskip("ase.db").connect(path) as database:
            for atoms in copper():
                database.write(atoms)
    elif name.endswith(".safetensors"):
        write_store(known, path)
    else:
        ase_io.write(path, copper(), **({} if "xyz" not in name else {"format": "extxyz"}))
    same(stream_structures(path), known, tolerance=1e-7 if "xyz" in name else 1e-15)


def rows_of(atoms, encode):
    """What ASE's database interface stores of a configuration."""
    from ase.db.row import AtomsRow

    row = AtomsRow(atoms)
    kept = {name: row[name] for name in row.__dict__ if name[0] != "_" and name not in row._keys and name != "id"}
    return zlib.compress(encode(kept | {"cell": np.asarray(kept["cell"]), "data": {}, "key_value_pairs": {}}).encode())


def test_an_lmdb_of_ase_rows_is_read_without_those_that_were_deleted(known, tmp_path):
    lmdb = pytest.importorskip("lmdb")
    from ase.io.jsonio import encode

    with lmdb.open(str(tmp_path / "a.aselmdb"), subdir=False, map_size=2**24) as made, made.begin(write=True) as writing:
        for number, atoms in enumerate(copper(), 1):
            if number != 2:
                writing.put(str(number).encode(), rows_of(atoms, encode))
        writing.put(b"nextid", zlib.compress(b"5"))
        writing.put(b"deleted_ids", zlib.compress(json.dumps([2]).encode()))
    same(stream_structures(tmp_path / "a.aselmdb"), [known[0], *known[2:]], 1e-15)
    same(stream_structures(tmp_path), [known[0], *known[2:]], 1e-15)


def test_an_lmdb_by_ase_itself_is_read(known, tmp_path):
    pytest.importorskip("ase_db_backends")
    pytest.importorskip("lmdb")
    from ase.db import connect

    with connect(tmp_path / "a.aselmdb", type="aselmdb") as database:
        for atoms in copper():
            database.write(atoms)
        database.delete([2])
    same(stream_structures(tmp_path / "a.aselmdb"), [known[0], *known[2:]], 1e-15)


def test_an_lmdb_of_pickles_is_not_opened(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "a.lmdb"), subdir=False, map_size=2**24) as made, made.begin(write=True) as writing:
        writing.put(b"0", b"\x80\x04.")
    with pytest.raises(InputError, match="holds no ASE rows; older files hold pickles, which are not opened"):
        list(stream_structures(tmp_path / "a.lmdb"))


def test_an_lmdb_needs_a_package_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "a.aselmdb").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r'needs lmdb: pip install "coset\[atoms\]"'):
        list(stream_structures(tmp_path / "a.aselmdb"))


def test_several_sources_follow_one_another_and_folders_hold_systems(tmp_path):
    generator = np.random.default_rng(0)
    for name, count in (("data_1", 2), ("data_0", 3)):
        (tmp_path / "w" / name / "set.000").mkdir(parents=True)
        (tmp_path / "w" / name / "type.raw").write_text("0\n1\n")
        (tmp_path / "w" / name / "type_map.raw").write_text("O H\n")
        for array, shape in (("coord", 6), ("force", 6), ("box", 9), ("energy", 1)):
            np.save(tmp_path / "w" / name / "set.000" / f"{array}.npy", generator.normal(size=(count, shape)))
    parts = [list(read_deepmd(tmp_path / "w" / name)) for name in ("data_0", "data_1")]
    same(stream_structures(tmp_path / "w"), [*parts[0], *parts[1]])
    np.savez(tmp_path / "a.npz", z=np.array([8, 1]), R=generator.normal(size=(2, 2, 3)))
    assert len(list(stream_structures(tmp_path / "a.npz", tmp_path / "w" / "data_0"))) == 5
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="is no DeePMD system and holds none"):
        list(stream_structures(tmp_path / "nothing"))


def test_units_are_converted_when_told_so(known, tmp_path):
    path = write_store(known, tmp_path / "a.safetensors").path
    energy, length = ENERGIES["kcal/mol"], LENGTHS["bohr"]
    for mine, theirs in zip(stream_structures(path, energy="kcal/mol", length="bohr"), known, strict=True):
        assert torch.equal(mine["pos"], theirs["pos"] * length)
        assert torch.equal(mine["cell"], theirs["cell"] * length)
        assert torch.equal(mine["energy"], theirs["energy"] * energy)
        assert torch.allclose(mine["forces"], theirs["forces"] * energy / length, rtol=1e-15)
        assert torch.allclose(mine["stress"], theirs["stress"] * energy / length**3, rtol=1e-15)
        assert torch.equal(mine["z"], theirs["z"])
    for unit, says in (({"energy": "kcal"}, "did you mean 'kcal/mol'"), ({"length": "nm"}, "unknown unit of length 'nm'")):
        with pytest.raises(InputError, match=says):
            list(stream_structures(path, **unit))


def test_units_are_those_of_ase():
    units = pytest.importorskip("ase.units")
    theirs = {"kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol, "hartree": units.Hartree, "eV": 1.0}
    assert all(abs(ENERGIES[name] / value - 1) < 1e-7 for name, value in theirs.items())
    assert abs(LENGTHS["bohr"] / units.Bohr - 1) < 1e-7


def test_damage_is_told_with_the_place(tmp_path):
    ase_io.write(tmp_path / "a.extxyz", copper(), format="extxyz")
    text = (tmp_path / "a.extxyz").read_text()
    (tmp_path / "letter.extxyz").write_text(text[:-40] + "x" + text[-39:])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "noise.db").write_bytes(b"\x01" * 999)
    np.savez(tmp_path / "none.npz", z=np.array([8, 1]), R=np.zeros((0, 2, 3)))
    for name, says in (("letter.extxyz", "after 3 configurations"), ("empty.npz", "is it whole"), ("noise.db", "is it whole"),
                       ("none.npz", "holds no configuration"), ("nowhere.traj", "does not exist")):  # fmt: skip
        with pytest.raises(InputError, match=says):
            list(stream_structures(tmp_path / name))


def test_an_lmdb_that_was_cut_or_altered_does_not_take_the_process_with_it(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "a.lmdb"), subdir=False, map_size=2**20) as made, made.begin(write=True) as writing:
        writing.put(b"nextid", zlib.compress(b"40"))
        for number in range(1, 40):
            writing.put(str(number).encode(), bytes(3000))
    raw = (tmp_path / "a.lmdb").read_bytes()
    for content in (raw[:9000], raw[:3], b"", raw[:8192] + bytes(255 for _ in raw[8192:])):
        (tmp_path / "a.lmdb").write_bytes(content)
        with pytest.raises(InputError, match=r"is it whole|holds no ASE rows"):
            list(stream_structures(tmp_path / "a.lmdb"))
