"""Rows of runs become files that say where they come from; what is no potential is told so, and nothing is written."""

import json

import pytest
import torch
from torch import nn

pytest.importorskip("ase")

from coset.cli.app import run
from coset.data.stillinger import crystals
from coset.errors import InputError
from coset.interop.evaluation import evaluate
from coset.interop.potential_export import PROGRAMS, export, sources, usage
from coset.interop.potential_file import load_potential, read_description, save_potential
from coset.models.atoms.mace import MACE
from coset.models.images.cnn import CNN
from coset.records import Result, write_results
from coset.train.checkpoint import save_model


def make(seed=0, elements=(14, 32)):
    torch.manual_seed(seed)
    return MACE(elements, 4.0, hidden="2x0e+2x1o", lmax=1, correlation=2)


def result(method, seed):
    return Result(
        "potential", method, seed, "cpu", {"force_mae_mev_a": 20.0 + seed}, {}, 10, 0.1, 1.0, 1, command="coset train x"
    )


@pytest.fixture
def folder(tmp_path):
    """A run of two seeds of MACE and one of something that is no potential."""
    place = tmp_path / "run"
    rows = [("MACE", 0, make(0)), ("MACE", 1, make(1)), ("plain", 0, CNN())]
    for method, seed, model in rows:
        save_model(place / "rows" / method.lower() / str(seed), model)
    write_results(place, [result(method, seed) for method, seed, _ in rows])
    (place / "task.json").write_text(json.dumps({"description": ["Your structures.", "More."]}))
    return place


def test_a_row_becomes_a_file_that_says_where_it_comes_from(folder, tmp_path):
    (file,) = export([folder / "rows/mace/1"], tmp_path / "deep" / "a.safetensors", author="me")
    told = read_description(file)
    assert told["data"] == "potential: Your structures."
    assert told["notes"]["metrics"] == {"force_mae_mev_a": 21.0}
    assert (told["notes"]["method"], told["notes"]["seed"], told["notes"]["author"]) == ("MACE", 1, "me")
    frames = crystals(1)
    assert torch.equal(evaluate(file, frames)[0]["forces"], evaluate(make(1), frames)[0]["forces"])
    (again,) = export([file], tmp_path / "b.safetensors", data="else")
    assert read_description(again)["notes"]["metrics"] == {"force_mae_mev_a": 21.0}
    assert read_description(again)["data"] == "else"


def test_all_seeds_are_a_committee(folder, tmp_path):
    files = export([folder], tmp_path / "a.safetensors", method="MACE", committee=True)
    assert [file.name for file in files] == ["a-0.safetensors", "a-1.safetensors"]
    assert not (tmp_path / "a.safetensors").exists()
    answers = evaluate(files, crystals(1))
    assert answers[0]["forces_std"].max() > 0
    single = [evaluate(make(seed), crystals(1))[0]["energy"] for seed in (0, 1)]
    assert torch.isclose(answers[0]["energy"], torch.stack(single).mean())


@pytest.mark.parametrize("program", PROGRAMS)
def test_scripts_compile_and_name_the_file(folder, tmp_path, program):
    (file,) = export([folder / "rows/mace/0"], tmp_path / "a.safetensors")
    script = usage([file], program)
    compile(script, "script.py", "exec")
    assert repr(str(file)) in script
    if program == "lammps":
        assert "pair_coeff * * Si Ge" in script
        with pytest.raises(InputError, match="no committee"):
            usage([file, file], program)


def test_the_ase_script_runs(folder, tmp_path, monkeypatch, capsys):
    from ase.io import write

    from coset.interop.ase import atoms_of

    monkeypatch.chdir(tmp_path)
    write("structure.xyz", atoms_of(crystals(1)[0]), format="extxyz")
    files = export([folder], tmp_path / "a.safetensors", method="mace", committee=True)
    exec(compile(usage(files), "script.py", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) > len(crystals(1)[0]["z"])


def test_what_is_no_potential_is_refused_and_nothing_written(folder, tmp_path):
    out = tmp_path / "a.safetensors"
    for given, more, says in (
        ([folder / "rows/plain/0"], {}, r"holds a CNN, no interatomic potential; its folder is its export"),
        ([folder], {}, "3 models are meant"),
        ([folder], {"committee": True}, "CNN"),
        ([folder], {"method": "NequIP"}, "it holds MACE, plain"),
        ([folder / "rows/mace/0"], {"committee": True}, "at least two members"),
        ([tmp_path / "nowhere"], {}, "no run folder"),
        ([tmp_path], {}, "no run folder"),
    ):
        with pytest.raises(InputError, match=says):
            export(given, out, **more)
    with pytest.raises(InputError, match=r"NAME\.safetensors"):
        export([folder / "rows/mace/0"], tmp_path / "a.pt")
    save_potential(make(elements=(1, 8)), tmp_path / "water.safetensors")
    with pytest.raises(InputError, match="different elements"):
        export([folder / "rows/mace/0", tmp_path / "water.safetensors"], out, committee=True)
    assert not list(tmp_path.glob("a*"))


def test_damaged_rows_are_refused(folder, tmp_path):
    row = folder / "rows/mace/0"
    data = (row / "model.safetensors").read_bytes()
    (row / "model.safetensors").write_bytes(data[:-7])
    with pytest.raises(InputError, match="damaged"):
        export([row], tmp_path / "a.safetensors")
    (row / "model.json").unlink()
    with pytest.raises(InputError, match="was not kept"):
        sources([folder], "MACE")
    file = save_potential(make(), tmp_path / "b.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError):
        export([file], tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_the_command(folder, tmp_path, capsys):
    line = ["export", str(folder), "--method", "MACE", "--committee", "--out", str(tmp_path / "a.safetensors")]
    assert run(line) == 0
    out = capsys.readouterr().out
    assert "a-1.safetensors  MACE" in out
    assert "forces_std" in out
    assert run([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["files"]) == len(told["descriptions"]) == 2
    assert run(["export", str(folder / "rows/plain/0"), "--out", str(tmp_path / "c.safetensors")]) == 2
    assert "no interatomic potential" in capsys.readouterr().err
    assert isinstance(load_potential(tmp_path / "a-0.safetensors"), nn.Module)
