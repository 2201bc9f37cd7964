"""A potential in one file: what was saved is loaded; what was cut, altered or written by others is refused."""

import json

import pytest
import safetensors.torch
import torch

import coset
from coset.data.stillinger import crystals
from coset.data.structures import Structures
from coset.errors import InputError
from coset.interop.potential_file import load_potential, read_description, save_potential
from coset.models.atoms.mace import MACE
from coset.train.checkpoint import save_model


def make(dtype=torch.float64, **more):
    torch.manual_seed(0)
    return MACE((14, 32), 4.0, hidden="4x0e+4x1o", lmax=1, correlation=2, references=(-100.25, -200.5), **more).to(dtype)


@pytest.fixture
def batch():
    data = Structures(crystals(2), 4.0, labels=(), dtype=torch.float64)
    return data.collate([data[0], data[1]])


@pytest.fixture
def file(tmp_path):
    return save_potential(make(), tmp_path / "deep" / "si.safetensors", data="crystals of two species", author="us", year=2026)


def test_what_was_saved_is_loaded(file, batch):
    told, want = load_potential(file)(**batch), make().eval()(**batch)
    assert all(torch.equal(told[name], want[name]) for name in want)


def test_the_file_says_what_it_is(file):
    about = read_description(file)
    assert about["model"]["class"] == "coset.models.atoms.mace.MACE"
    assert about["elements"] == [14, 32]
    assert about["cutoff"] == 4.0
    assert about["units"] == {"energy": "eV", "length": "angstrom"}
    assert about["data"] == "crystals of two species"
    assert about["notes"] == {"author": "us", "year": 2026}
    assert {contract["name"] for contract in about["contracts"]} == {"E(3)", 'S("N")'}
    assert load_potential(file).description == about
    assert json.loads(json.dumps(about)) == about


def test_single_precision_and_references_survive(tmp_path):
    model = load_potential(save_potential(make(torch.float32), tmp_path / "a"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.references == (-100.25, -200.5)


def test_a_row_of_a_run_is_a_potential_too(tmp_path, batch):
    save_model(tmp_path / "row", make())
    for name in ("", "model.json", "model.safetensors"):
        assert torch.equal(load_potential(tmp_path / "row" / name)(**batch)["energy"], make().eval()(**batch)["energy"])


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.999])
def test_a_cut_file_is_refused(file, keep):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match="damaged"):
        load_potential(file)


def test_one_flipped_bit_is_refused(file):
    whole = bytearray(file.read_bytes())
    whole[-1000] ^= 1
    file.write_bytes(bytes(whole))
    with pytest.raises(InputError, match="damaged"):
        load_potential(file)


def test_an_altered_description_is_refused(file):
    whole = file.read_bytes()
    assert whole.count(b"crystals of two") == 1
    file.write_bytes(whole.replace(b"crystals of two", b"crystals of ten"))
    with pytest.raises(InputError, match="changed since"):
        load_potential(file)


def test_foreign_files_are_refused(tmp_path):
    safetensors.torch.save_file({"w": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="another program"):
        load_potential(tmp_path / "other.safetensors")
    (tmp_path / "x.pt").write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputError, match="no safetensors"):
        load_potential(tmp_path / "x.pt")
    with pytest.raises(InputError, match="no file"):
        load_potential(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no model\.json"):
        load_potential(tmp_path)


def test_only_potentials_are_saved_and_loaded(tmp_path):
    with pytest.raises(InputError, match="got Linear"):
        save_potential(torch.nn.Linear(1, 1), tmp_path / "a")
    with pytest.raises(InputError, match="units"):
        save_potential(make(), tmp_path / "a", units={"time": "fs"})
    from coset.models.points.egnn import EGNN

    save_model(tmp_path / "row", EGNN())
    with pytest.raises(InputError, match="not an interatomic potential"):
        load_potential(tmp_path / "row")
    assert not (tmp_path / "a").exists()


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        save_potential(make(), file, data="other")
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_the_short_way_to_a_calculator(file):
    assert type(coset.load_calculator(file)).__mro__[1].__name__ == "Calculator"


def test_other_units_do_not_run_in_ase(tmp_path):
    path = save_potential(make(), tmp_path / "a", units={"energy": "kcal/mol"})
    with pytest.raises(InputError, match="kcal/mol"):
        coset.load_calculator(path)
