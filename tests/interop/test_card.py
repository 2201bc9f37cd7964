"""A model folder with a card: every figure is the run's own, and what is loaded is what was saved."""

import json
import sys
import types

import pytest
import torch
from torch import nn

from coset.audits.equivariance import equivariance_error
from coset.contract import Contract, attach
from coset.errors import InputError, MissingExtra
from coset.groups.matrix import O
from coset.interop.card import load_folder, save_folder, write_card
from coset.models.points.egnn import EGNN
from coset.records import Result, slug, write_results
from coset.train.checkpoint import save_model


@pytest.fixture
def row(tmp_path):
    """A row in its run."""
    done = Result(
        "nbody", "EGNN, small", 3, "smoke", {"error_mse": 0.125}, {}, 7, 0.1, 1.0, 1, {"error_mse": 0.0071}, "coset train"
    )
    told = {
        "description": ["Five charged particles."],
        "methods": {done.method: {"note": "Moves with space.", "source": "satorras2021"}},
    }
    run = tmp_path / "run"
    folder = run / "rows" / slug(done.method) / "3"
    save_model(folder, EGNN(), metrics=done.metrics, errors={"E(3)": 2.5e-16})
    write_results(run, [done])
    (run / "task.json").write_text(json.dumps(told))
    return folder


def head_of(card):
    lines = card.split("---\n")[1].splitlines()
    return {line.partition(": ")[0]: json.loads(line.partition(": ")[2]) for line in lines}


def test_a_card_says_what_the_run_knows(row, tmp_path):
    path = write_card(row, out=tmp_path / "hub", license="MIT")
    assert {file.name for file in path.parent.iterdir()} == {"README.md", "model.json", "model.safetensors"}
    card = path.read_text()
    for said in (
        "# EGNN, small (nbody)", "coset.models.points.egnn.EGNN", "Moves with space.", "| E(3) |", "| E(3) | 2.50e-16 |",
        "| error_mse | 0.125 | 0.0071 |", "Five charged particles.", "`MIT`", "@inproceedings{satorras2021", "@software{coset",
        "load_folder", "`coset train`",
    ):  # fmt: skip
        assert said in card
    head = head_of(card)
    assert head["license"] == "mit"
    assert head["model-index"][0]["results"][0]["metrics"] == [{"type": "error_mse", "name": "error_mse", "value": 0.125}]
    assert {"equivariance", "E(3)"} <= set(head["tags"])


def test_what_is_loaded_is_what_was_saved(row, tmp_path):
    write_card(row, out=tmp_path / "hub")
    again = load_folder(tmp_path / "hub")
    assert type(again) is EGNN
    kept = torch.equal
    assert all(kept(a, b) for a, b in zip(again.state_dict().values(), load_folder(row).state_dict().values(), strict=True))
    assert "Not stated" in write_card(row).read_text()  # the license, in the row's own folder
    assert "license" not in head_of((row / "README.md").read_text())


def test_a_model_in_memory_is_saved_with_its_measured_error(tmp_path, generator):
    torch.manual_seed(0)
    model = attach(nn.Linear(3, 3), Contract(O(3), "N x vector", "N x vector", "broken", name="turned"))
    x = torch.randn(8, 3, generator=generator)
    folder = save_folder(model, tmp_path / "own", sample=x, data="normal numbers | pipes", name="A line")
    card = (folder / "README.md").read_text()
    error = equivariance_error(model, model.contracts[0], x)
    assert f"| turned | {error:.2e} |" in card
    assert "# A line" in card
    assert json.loads((folder / "model.json").read_text())["errors"] == {"turned": error}


def test_damage_and_misuse_are_said(row, tmp_path):
    with pytest.raises(InputError, match="SPDX"):
        write_card(row, license="my own, see below")
    with pytest.raises(InputError, match="no folder"):
        load_folder(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no model\.json"):
        write_card(tmp_path)
    with open(row / "model.safetensors", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match="damaged, or changed"):
        write_card(row)
    assert not (row / "README.md").exists()


def test_a_hub_is_asked_through_its_own_package(row, monkeypatch):
    asked = []
    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = lambda *given, **how: asked.append((given, how)) or str(row)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert type(load_folder("someone/egnn", revision="v1")) is EGNN
    assert asked[0][0] == ("someone/egnn",)
    assert asked[0][1]["revision"] == "v1"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"coset\[hub\]"):
        load_folder("someone/egnn")
