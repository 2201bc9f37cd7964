"""Acetylacetone is read in its published split; without its files only the smallest size runs, on a stand-in."""

import gzip

import pytest

from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import acac

TABLE = {"isolated_atoms": 1, "train_300K": 60, "test_MD_300K": 4, "test_MD_600K": 3}
NAMES = ["force_mae_300k_mev_a", "energy_mae_300k_mev", "force_mae_600k_mev_a", "energy_mae_600k_mev"]


def molecule(i):
    place = 1.1 + 0.01 * i
    about = 'Properties=species:S:1:pos:R:3:forces:R:3 config_type=300K pbc="F F F"'
    box = 'Lattice="50 0 0 0 50 0 0 0 50"'
    return f"2\n{box} {about} energy={-1040 - place}\nC 0 0 0 {i} 0 0\nH {place} 0 0 {-i} 0 0\n"


ATOMS = "".join(f"1\nProperties=species:S:1:pos:R:3 energy={e}\n{s} 0 0 0\n" for s, e in (("H", -13.5), ("C", -1026.5)))


@pytest.fixture
def folder(tmp_path):
    for stem, count in TABLE.items():
        content = ATOMS if stem == "isolated_atoms" else "".join(map(molecule, range(count)))
        (tmp_path / f"{stem}.extxyz.gz").write_bytes(gzip.compress(content.encode()))
    return tmp_path


def test_the_split_is_the_published_one(folder):
    data = acac.task.data(Request("cpu", 0, (("acac", folder),)))
    assert (len(data.train), len(data.valid)) == (10, 50)
    assert {name: len(test) for name, test in data.test.items()} == {"300K": 4, "600K": 3}
    assert data.info["statistics"].references.energies == ((1, -13.5), (6, -1026.5))
    assert data.info["statistics"].references.reason == "isolated atoms"
    assert data.info["r_max"] == 5.0
    assert acac.task.data(Request("cpu", 0, (("acac", folder),), (("cutoff", "4"),))).info["r_max"] == 4.0


def test_a_file_that_lacks_is_named(folder):
    (folder / "test_MD_600K.extxyz.gz").unlink()
    with pytest.raises(InputError, match=r"has no file test_MD_600K .*; it holds isolated_atoms"):
        acac.task.data(Request("cpu", 0, (("acac", folder),)))


def test_without_files_smoke_runs_on_a_stand_in_with_the_same_metrics():
    data = acac.task.data(Request("smoke", 0))
    assert list(data.test) == ["300K", "600K"]
    assert set(NAMES) < set(acac.task.metrics)
    assert next(iter(acac.task.metrics)) == "force_mae_300k_mev_a", "the headline"
    with pytest.raises(InputError, match="--data acac=FOLDER"):
        acac.task.data(Request("cpu", 0))


@pytest.mark.slow
def test_the_public_files_fit(shared_data):
    data = acac.task.data(Request("cpu", 0, (("acac", shared_data / "atoms/botnet_acac"),)))
    assert (len(data.train), len(data.valid)) == (450, 50)
    assert [len(test) for test in data.test.values()] == [650, 650]
    assert data.info["statistics"].elements == (1, 6, 8)
    assert 1.0 < data.info["statistics"].scale < 1.1
