"""``coset data``: convert, check, and train on what was converted, with no other change than the name of the file."""

import json

import numpy as np
import pytest
import torch

from coset.cli.app import run
from coset.data.stillinger import clusters, crystals
from coset.data.store import Store, Streamed, dataset_of
from coset.data.store_write import write_store
from coset.recipe import Recipe, Request
from coset.tasks.potential import assemble, own_data

CUTOFF = 4.0


def arrays(path, frames, **change):
    """An npz: numbers are kept to the last bit."""
    rows = {"z": "z", "R": "pos", "F": "forces", "E": "energy"}
    np.savez(path, **{name: np.stack([np.asarray(f[label]) for f in frames]) for name, label in rows.items()}, **change)
    return path


@pytest.fixture(scope="module")
def frames():
    return clusters(14, 4, seed=1)


@pytest.fixture
def files(frames, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays("a.npz", frames)
    arrays("b.npz", frames[:3])


def test_convert_check_and_what_they_say(files, capsys):
    assert run(["data", "convert", "a.npz", "b.npz", "--out", "all.safetensors"]) == 0
    shown = capsys.readouterr().out
    assert "17 configurations of 4 atoms (Si, Ge), 0 periodic, with energy, forces" in shown
    assert "3 of 17 configurations are doubles of others" in shown
    assert "made of     a.npz, b.npz (given in eV, angstrom)" in shown
    assert "no isolated atom of Si, Ge" in shown
    assert run(["data", "check", "all.safetensors"]) == 0
    assert capsys.readouterr().out == shown
    assert run(["data", "check", "all.safetensors", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["configurations"], told["atoms"], told["doubles"], told["schema"]) == (17, 68, 3, 1)
    assert run(["data", "check", "a.npz", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["labels"] == told["labels"] == ["energy", "forces"]
    assert plain["warnings"] == []


def test_units_and_precision_reach_the_file(files, frames, capsys):
    line = ["data", "convert", "a.npz", "--out", "a.safetensors", "--energy-unit", "kcal/mol", "--precision", "float32"]
    assert run(line) == 0
    assert "(given in kcal/mol, angstrom)" in capsys.readouterr().out
    store = Store("a.safetensors")
    assert torch.equal(store[3]["energy"], frames[3]["energy"] * 0.0433641042418009)
    assert store.arrays["pos"][0] == "<f4"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--out", "a.safetensors"], "name at least one file"),
        (["a.npz", "--out", "a.lmdb"], "--out ends with .safetensors, got a.lmdb"),
        (["a.npz", "--out", "there.safetensors"], "is there already; remove it"),
        (["nowhere.npz", "--out", "a.safetensors"], "nowhere.npz does not exist"),
        (["a.npz", "--out", "a.safetensors", "--energy-unit", "Ry"], "unknown unit of energy 'Ry'"),
        (["nan.npz", "--out", "a.safetensors"], "configuration 0: energy is NaN or infinite; leave it out (--skip)"),
    ],
)
def test_misuse_is_one_line_and_leaves_nothing(line, says, files, frames, tmp_path, capsys):
    (tmp_path / "there.safetensors").write_text("mine")
    arrays("nan.npz", [frames[0] | {"energy": torch.tensor(float("nan"))}, *frames[1:3]])
    before = sorted(tmp_path.iterdir())
    assert run(["data", "convert", *line]) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.safetensors").read_text() == "mine"


def test_what_cannot_be_stored_is_left_out_on_demand(files, frames, capsys):
    arrays("nan.npz", [frames[0] | {"energy": torch.tensor(float("nan"))}, *frames[1:3]])
    assert run(["data", "convert", "nan.npz", "--out", "a.safetensors", "--skip"]) == 0
    shown = capsys.readouterr()
    assert "warning: 1 configurations were left out" in shown.err
    assert "2 configurations of 4 atoms" in shown.out


def test_damage_is_told_by_check_and_before_training(files, tmp_path, capsys):
    run(["data", "convert", "a.npz", "--out", "a.safetensors"])
    whole = bytearray((tmp_path / "a.safetensors").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(whole)
    capsys.readouterr()
    for line in (
        ["data", "check", "a.safetensors"],
        ["train", "potential", "MACE", "--train", "a.safetensors", "--test", "b.npz"],
    ):
        assert run(line) == 2
        assert "not as it was written (checksum); copy or convert it again" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["convert", "check", "fetch", "list"])
def test_every_part_has_its_help(verb, capsys):
    assert run(["data", verb, "--help"]) == 0
    assert f"Usage: coset data {verb}" in capsys.readouterr().out


# ---------------------------------------------------------------------- training


def test_a_converted_file_is_the_same_data_to_a_task(files, capsys):
    run(["data", "convert", "a.npz", "--out", "a.safetensors"])
    made = []
    for end in ("npz", "safetensors"):
        capsys.readouterr()
        data = own_data(Request("cpu", files=(("train", f"a.{end}"), ("test", "b.npz")), options=(("cutoff", "4"),)))
        made.append((data, capsys.readouterr().err))
    (plain, said), (large, told) = made
    assert isinstance(large.train, Streamed)
    assert told.replace("-0.0000", "0.0000") == said.replace("-0.0000", "0.0000"), (
        "the same words, statistics to all digits that are printed"
    )
    for name in ("train", "valid"):
        mine, theirs = getattr(large, name), getattr(plain, name)
        assert len(mine) == len(theirs)
        for i in range(len(mine)):
            assert all(torch.equal(mine[i][key], theirs[i][key]) for key in theirs[i])
    assert all(torch.equal(large.audit[key], plain.audit[key]) for key in plain.audit)


def test_stores_serve_training_validation_and_test(tmp_path, capsys):
    frames = crystals(8, seed=2)
    store = write_store(frames, tmp_path / "a.safetensors")
    data = assemble(Request("cpu"), store[:5], store[5:6], {"test": store[6:]}, isolated=store[:0], cutoff=CUTOFF)
    assert data.train.labels == data.test["test"].labels == ("energy", "forces", "stress")
    from coset.interop.potential_metrics import predictions
    from coset.tasks.potential import mace

    data.info["scale"] = "smoke"
    seen = [batch["energy"] for _, batch in predictions(mace(data).eval(), data.test["test"])]
    assert torch.equal(torch.cat(seen), torch.stack([frame["energy"] for frame in frames[6:]]))


def test_training_on_a_converted_file_is_the_same_to_the_last_bit(frames, tmp_path):
    pytest.importorskip("lightning")
    from coset.models.atoms.mace import MACE
    from coset.objectives.energy_forces import EnergyForces
    from coset.recipe import Data
    from coset.train.fit import fit

    weights = []
    for given in (frames, write_store(frames, tmp_path / "a.safetensors")):
        torch.manual_seed(0)
        model = MACE((14, 32), r_max=CUTOFF, hidden="4x0e+4x1o", lmax=1, correlation=2, network=(8,), readout=4)
        train = dataset_of(given, CUTOFF)
        fit(model, EnergyForces(1.0, 1.0), Data(train, None), Recipe(epochs=2, batch=4, lr=1e-2))
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_the_command_trains_on_converted_files(files, monkeypatch, capsys):
    pytest.importorskip("lightning")
    run(["data", "convert", "a.npz", "--out", "a.safetensors"])
    capsys.readouterr()
    line = ["train", "potential", "MACE", "--size", "smoke", "--cutoff", "4", "--set", "epochs=1", "--out", "out", "--json"]
    assert run([*line, "--train", "a.safetensors", "--test", "a.safetensors"]) == 0
    shown = capsys.readouterr()
    assert "least squares over 12 configurations" in shown.err
    assert json.loads(shown.out)["metrics"]["force_gap"] < 1e-5
