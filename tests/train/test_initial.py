"""A training starts from a trained model: its weights, bit for bit; of a potential architecture, cutoff and what it knows."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from coset.cli.app import run
from coset.comparison import train
from coset.data.stillinger import clusters
from coset.data.structures import Structures, sample_of
from coset.errors import InputError
from coset.interop.potential_file import save_potential
from coset.models.atoms.equiformer_v3 import EquiformerV3
from coset.models.atoms.facet import Facet
from coset.models.atoms.mace import MACE
from coset.models.atoms.nequip import NequIP
from coset.models.atoms.tdn import TDN
from coset.recipe import Data, Request
from coset.tasks.potential import EQUIFORMERS, FACETS, MACES, NEQUIPS, TDNS, assemble
from coset.train.checkpoint import load_model, save_model
from coset.train.initial import Initial, continued, extended, nearest, refitted

TINY = str(Path(__file__).parent / "tiny_task.py") + ":task"
KINDS = {"mace": (MACE, MACES), "nequip": (NequIP, NEQUIPS), "facet": (Facet, FACETS), "tdn": (TDN, TDNS),
         "equiformer": (EquiformerV3, EQUIFORMERS)}  # fmt: skip
pytest.importorskip("lightning")


@functools.cache
def molecules():
    return clusters(12, 5, seed=0)


def potential(kind="mace", elements=(14, 32), **changes):
    torch.manual_seed(0)
    cls, sizes = KINDS[kind]
    each = {"references": [1.0 + z for z in range(len(elements))], "scale": [0.5 + z for z in range(len(elements))]}
    return cls(elements, 4.0, **{**sizes["smoke"], **each, **changes}).double().eval()


# ---------------------------------------------------------------------- elements


@pytest.mark.parametrize("kind", KINDS)
def test_new_elements_start_as_another_and_leave_the_known_ones_alone(kind):
    old = potential(kind)
    new = extended(old, {6: 14, 14: 14, 32: 32}, [1.0, 1.0, 2.0]).eval()
    sample = sample_of(molecules()[0], 4.0, dtype=torch.float64)
    before, after = old(**sample), new(**sample)
    replaced = new(**{**sample, "z": torch.where(sample["z"] == 14, 6, sample["z"])})
    for name in ("energy", "forces", "energies"):
        assert torch.equal(before[name], after[name])
        assert torch.equal(before[name], replaced[name])
    assert new.elements == (6, 14, 32)
    assert new.scale == (0.5, 0.5, 1.5)


def test_the_most_similar_element_is_of_the_nearest_group_then_period():
    known = (1, 6, 8, 26)
    wanted = {3: 1, 7: 6, 9: 8, 14: 6, 16: 8, 17: 8, 27: 26, 44: 26, 2: 8}
    assert {z: nearest(z, known) for z in wanted} == wanted
    assert nearest(34, (8, 16)) == 16
    assert nearest(92, (6, 57)) == 57
    assert nearest(16, (8, 34)) == 8


# ---------------------------------------------------------------------- references


def relabelled(model, frames, offsets):
    """Frames whose energies are the model's interaction energies and one offset for each element."""
    made = []
    for frame in frames:
        out = model(**sample_of(frame, 4.0, dtype=torch.float64))
        extra = sum(offsets[int(z)] for z in frame["z"])
        made.append({**frame, "energy": out["interaction"].squeeze(0) + extra})
    return made


def test_references_are_refitted_such_that_the_model_as_it_is_fits_best():
    model = potential(elements=(1, 14, 32))
    frames = relabelled(model, molecules(), {14: -7.0, 32: 3.0})
    found, reason = refitted(model, Structures(frames, 4.0, dtype=torch.float64))
    assert found == pytest.approx([1.0, -7.0, 3.0], abs=1e-9)  # hydrogen does not occur
    assert "12 configurations" in reason
    assert refitted(model, None)[0] == [1.0, 2.0, 3.0]


def prepared(frames, cutoff="4.0", isolated=()):
    request = Request("smoke", 0, (), (("cutoff", cutoff),))
    return assemble(request, frames, frames[:2], {"test": frames[:2]}, isolated=isolated)


def test_a_potential_is_taken_as_it_is_for_the_elements_of_both(capsys):
    old = potential(elements=(1, 14), hidden="6x0e+6x1o", references=[-3.0, 2.0])
    data = prepared(molecules())
    built = potential(elements=(14, 32), hidden="4x0e+4x1o").float()
    made = continued(old, built, data)
    said = capsys.readouterr().err
    assert made.config["hidden"] == "6x0e+6x1o"
    assert made.elements == (1, 14, 32)
    assert made.references[0] == -3.0
    assert next(made.parameters()).dtype == torch.float32
    assert "Ge is new and starts as Si" in said
    assert "H do not occur" in said
    weight = made.layers.embed.weight
    assert torch.equal(weight, old.layers.embed.weight[[0, 1, 1]].float())


def test_what_one_composition_cannot_tell_stays_as_it_was_known(capsys):
    frames = [molecules()[0]] * 4
    old, built = potential(elements=(14, 32), references=[2.0, 5.0]), potential(references=[-1.0, -9.0])
    made = continued(old, built, prepared(frames))
    shift = [now - before for now, before in zip(made.references, (2.0, 5.0), strict=True)]
    counts = [int((frames[0]["z"] == z).sum()) for z in (14, 32)]
    assert shift[0] * counts[1] == pytest.approx(shift[1] * counts[0], rel=1e-9)


def test_isolated_atoms_are_references_where_they_are_known(capsys):
    atoms = [
        {"z": torch.tensor([z]), "pos": torch.zeros(1, 3).double(), "energy": torch.tensor(e).double()}
        for z, e in ((14, -4.0), (32, -5.0))
    ]
    data = prepared(molecules(), isolated=atoms)
    built = potential(references=[-4.0, -5.0])
    assert continued(potential(), built, data).references == (-4.0, -5.0)
    assert "isolated atoms" in capsys.readouterr().err


def test_another_cutoff_of_the_data_is_refused():
    with pytest.raises(InputError, match="prepared for 3"):
        continued(potential(), potential(), prepared(molecules(), cutoff="3.0"))


def test_a_weight_that_cannot_follow_the_elements_is_refused():
    class Squared(MACE):
        def __init__(self, elements, r_max, **rest):
            super().__init__(elements, r_max, **rest)
            self.extra = nn.Parameter(torch.zeros(len(elements) ** 2))

    old = Squared((14, 32), 4.0, **MACES["smoke"])
    with pytest.raises(InputError, match="extra does not follow"):
        extended(old, {6: 14, 14: 14, 32: 32}, [0.0, 0.0, 0.0])


# ---------------------------------------------------------------------- weights of other models


class Foreign(nn.Linear):
    """A model of the user's."""


def test_weights_go_into_what_the_method_builds_and_misfits_are_named(tmp_path):
    old = Foreign(3, 2)
    save_model(tmp_path, old, contracts=())
    start = Initial.of_folder(tmp_path)
    assert start.cutoff is None
    assert start.model is None
    made = start.begin(Foreign(3, 2), Data(None, None))
    assert torch.equal(made.weight, old.weight)
    with pytest.raises(InputError, match=r"weight is \(2, 3\) there and \(2, 4\) here"):
        start.begin(Foreign(4, 2), Data(None, None))
    with pytest.raises(InputError, match=r"bias is .* absent here"):
        start.begin(Foreign(3, 2, bias=False), Data(None, None))
    with pytest.raises(InputError, match="holds a Foreign, this method builds a Linear"):
        start.begin(nn.Linear(3, 2), Data(None, None))


# ---------------------------------------------------------------------- runs


def test_a_run_starts_from_another_and_is_continued_from_that_file_only(tmp_path):
    first = {"size": "smoke", "progress": False}
    train(TINY, "plain", out=tmp_path / "a", **first)
    row = tmp_path / "a/rows/plain/0"
    again = {**first, "set": {"lr": 1e-12, "weight_decay": 0.0}, "out": tmp_path / "b", "seed": 1}
    train(TINY, "plain", init=row, **again)
    weights = [dict(Initial.of_folder(folder).weights) for folder in (row, tmp_path / "b/rows/plain/1")]
    for name in ("0.weight", "3.weight", "3.bias"):
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-8, rtol=0)
    request = json.loads((tmp_path / "b/environment.json").read_text())
    assert request["request"]["init"] == Initial.of_folder(row).request()
    assert f"--init {row / 'model.safetensors'}" in request["command"]
    assert train(TINY, "plain", init=row / "model.json", resume=True, **again).seed == 1
    for other in (None, tmp_path / "b/rows/plain/1"):
        with pytest.raises(InputError, match="init was"):
            train(TINY, "plain", init=other, resume=True, **again)
    with pytest.raises(InputError, match=r"no model\.json"):
        train(TINY, "plain", init=tmp_path, out=tmp_path / "c", **first)


def test_the_cutoff_of_a_potential_is_that_of_the_data(tmp_path, capsys):
    save_potential(potential("mace"), tmp_path / "old.safetensors")
    command = ["train", "potential", "MACE", "--size", "smoke", "--init", str(tmp_path / "old.safetensors")]
    assert run([*command, "--out", str(tmp_path / "a"), "--cutoff", "5"]) == 2
    assert "sees 4 angstrom" in capsys.readouterr().err
    assert run(["train", "potential", "NequIP", *command[3:], "--out", str(tmp_path / "b")]) == 2
    assert "holds a MACE, this method builds a NequIP" in capsys.readouterr().err


def test_elements_that_only_the_model_knows_may_be_judged_on():
    both = molecules()
    alone = [{**frame, "z": torch.full_like(torch.as_tensor(frame["z"]), 14)} for frame in both]
    with pytest.raises(InputError, match="Ge cannot be predicted"):
        assemble(Request("smoke"), alone[:8], alone[8:], {"test": both}, cutoff=4.0)
    start = Initial(Path("old"), "", "MACE", {}, potential("mace"))
    data = assemble(Request("smoke", elements=start.elements), alone[:8], alone[8:], {"test": both}, cutoff=4.0)
    built = potential("mace", elements=(14,)).float()
    model = start.begin(built, data, tell=False)
    batch = data.test["test"].collate([data.test["test"][i] for i in range(2)])
    assert set(batch["z"].tolist()) == {14, 32}
    assert model(**{name: batch[name] for name in data.audit if name in batch})["energy"].isfinite().all()


@pytest.mark.slow
def test_one_command_fine_tunes_a_potential(tmp_path, capsys):
    save_potential(potential("mace", elements=(1, 14)), tmp_path / "old.safetensors")
    out = tmp_path / "run"
    command = ["train", "potential", "MACE", "--size", "smoke", "--init", str(tmp_path / "old.safetensors"), "--out", str(out)]
    assert run(command) == 0
    assert "cutoff 4 A" in capsys.readouterr().err
    assert load_model(out / "rows/mace/0").elements == (1, 14, 32)
