"""Files become data with statistics that are said aloud; metrics are their formulas; one command trains on two files."""

import functools
import json
import math

import pytest
import torch

from coset.cli.app import run
from coset.data.stillinger import clusters, crystals, labelled
from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import potential
from coset.tasks.potential import assemble, own_data, set_aside

F64 = torch.float64


@functools.cache
def molecules():
    return clusters(9, 4, seed=0)


def written(path, frames, **names):
    """Frames as extended XYZ, written here and not by the library that reads them."""
    names = {"energy": "energy", "forces": "forces", "stress": "stress"} | names
    lines = []
    for frame in frames:
        about = [f"{names['energy']}={frame['energy'].item():.17g}"] if "energy" in frame else []
        if "cell" in frame:
            about += ['Lattice="' + " ".join(f"{x:.17g}" for x in frame["cell"].flatten().tolist()) + '"', 'pbc="T T T"']
        if "stress" in frame:
            about.append(f'{names["stress"]}="' + " ".join(f"{x:.17g}" for x in frame["stress"].T.flatten().tolist()) + '"')
        forces = "forces" in frame
        about.append("Properties=species:S:1:pos:R:3" + (f":{names['forces']}:R:3" if forces else ""))
        lines += [str(len(frame["z"])), " ".join(about)]
        for i, z in enumerate(frame["z"].tolist()):
            row = [*frame["pos"][i].tolist(), *(frame["forces"][i].tolist() if forces else [])]
            lines.append({14: "Si", 32: "Ge"}[z] + " " + " ".join(f"{x:.17g}" for x in row))
    path.write_text("\n".join(lines) + "\n")
    return path


def asked(size="cpu", options=(), **files):
    return Request(size, 0, tuple(files.items()), options)


def without(frames, *labels):
    return [{name: value for name, value in frame.items() if name not in labels} for frame in frames]


# ---------------------------------------------------------------------- data


def test_files_become_sets_and_all_that_is_used_is_said(tmp_path, capsys):
    frames = crystals(20, seed=0)
    train = written(tmp_path / "a.extxyz", frames, energy="REF_energy", forces="REF_forces", stress="REF_stress")
    test = written(tmp_path / "b.xyz", crystals(5, seed=1))
    data = own_data(asked(train=train, test=test, options=(("cutoff", "3.5"),)))
    assert (len(data.train), len(data.valid), len(data.test["test"])) == (18, 2, 5)
    assert data.train.r_max == 3.5
    assert data.train.labels == ("energy", "forces", "stress")
    kept = [float(f["energy"]) for f in (*data.train.frames, *data.valid.frames)]
    assert sorted(kept) == sorted(float(f["energy"]) for f in frames), "each once, and to the last digit"
    said = capsys.readouterr()
    assert not said.out
    for word in ("2 of 20 training configurations set aside (seed 0)", "least squares over 18", "Si, Ge", "cutoff 3.5 A",
                 "neighbors", "eV per atom"):  # fmt: skip
        assert word in said.err
    assert "warning" not in said.err
    for contract in potential.contracts:
        assert contract.origin(data.audit).keys() == data.audit.keys()
    assert data.audit["pos"].dtype == F64
    assert set(data.audit) == {"pos", "z", "edge_index", "shift", "cell", "batch"}


def test_given_validation_and_isolated_atoms_are_used(tmp_path, capsys):
    frames = molecules()[:8]
    alone = [
        {"pos": torch.zeros(1, 3, dtype=F64), "z": torch.tensor([z]), "energy": torch.tensor(e, dtype=F64)}
        for z, e in ((14, -1.5), (32, -2.5))
    ]
    files = {"train": frames[:5], "valid": frames[5:7], "test": frames[7:], "isolated": alone}
    data = own_data(asked(**{name: written(tmp_path / f"{name}.xyz", some) for name, some in files.items()}))
    assert (len(data.train), len(data.valid)) == (5, 2)
    assert data.info["statistics"].references.energies == ((14, -1.5), (32, -2.5))
    said = capsys.readouterr().err
    assert "isolated atoms" in said
    assert "set aside" not in said


def test_setting_aside_is_a_split_that_repeats():
    frames = [{"place": i} for i in range(30)]
    kept, aside = set_aside(frames, 7)
    assert (len(kept), len(aside)) == (23, 7)
    assert sorted(f["place"] for f in kept + aside) == list(range(30))
    assert (kept, aside) == set_aside(frames, 7)
    assert set_aside(frames, 7, seed=1)[1] != aside
    with pytest.raises(InputError, match="3 configurations are too few to set 3 aside"):
        set_aside(frames[:3], 3)


def test_what_looks_wrong_is_said_with_the_name_of_the_set(capsys):
    frames = molecules()[:4]
    assemble(Request("cpu", 0), frames, frames[:1], {"hot": [*frames[1:2], *frames[1:2]]})
    said = capsys.readouterr().err
    assert "warning: hot: 1 of 2 configurations are doubles" in said
    assert said.count("warning") == 1


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (("test",), "no train data; give --train FILE"),
        (("train",), "no test data; give --test FILE"),
        (("train", "test", "tests"), "did you mean 'test'"),
    ],
)
def test_missing_files_are_asked_for(files, says, tmp_path):
    frames = molecules()[:3]
    with pytest.raises(InputError, match=says):
        own_data(asked(**{name: written(tmp_path / f"{name}.xyz", frames) for name in files}))


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (("forces",), (), "the training data have no forces; the first configuration holds"),
        (("energy",), (), "the training data have no energy"),
        ((), ("forces",), "the test data have no forces"),
        ((), ("energy",), "the test data have no energy"),
    ],
)
def test_missing_labels_are_told_before_training(train, test, says, tmp_path):
    frames = molecules()[:4]
    files = {
        name: written(tmp_path / f"{name}.xyz", without(frames, *gone)) for name, gone in (("train", train), ("test", test))
    }
    with pytest.raises(InputError, match=says):
        own_data(asked(**files))


def test_labels_that_some_have_are_told_and_unknown_elements_too(tmp_path):
    frames = molecules()[:6]
    mixed = written(tmp_path / "mixed.xyz", [*frames[:4], *without(frames[4:], "forces")])
    whole = written(tmp_path / "whole.xyz", frames)
    with pytest.raises(InputError, match=r"configuration \d has no forces"):
        own_data(asked(train=mixed, test=whole, valid=whole))
    silicon = [labelled(torch.tensor([[0.0, 0, 0], [r, 0, 0]]), torch.tensor([14, 14])) for r in (2.3, 2.4, 2.5)]
    with pytest.raises(InputError, match="test: Ge cannot be predicted, training data hold Si only"):
        assemble(Request("cpu", 0), silicon, silicon[:1], {"test": frames})


def test_a_stand_in_serves_smoke_without_files_only(capsys):
    data = own_data(Request("smoke", 0))
    assert len(data.train) == 12
    assert "stand in" in capsys.readouterr().err
    with pytest.raises(InputError, match="no train data"):
        own_data(Request("cpu", 0))


def test_smoke_cuts_what_is_given(tmp_path):
    data = own_data(asked("smoke", **{n: written(tmp_path / f"{n}.xyz", molecules() * 3) for n in ("train", "test")}))
    assert (len(data.train), len(data.valid), len(data.test["test"])) == (12, 2, 6)


# ---------------------------------------------------------------------- the command


def test_one_command_trains_on_files_of_ones_own(tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.extxyz", molecules(), energy="REF_energy", forces="REF_forces")
    written(tmp_path / "b.extxyz", molecules()[:3])
    line = ["train", "potential", "MACE", "--size", "smoke", "--train", "a.extxyz", "--test", "b.extxyz", "--cutoff", "4"]
    assert run([*line, "--out", "out", "--set", "epochs=1", "--json"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert "cutoff 4 A" in shown.err
    assert "least squares over 8 configurations" in shown.err
    assert result["metrics"]["force_gap"] < 1e-5
    assert all(math.isfinite(value) for value in result["metrics"].values())
    assert max(entry["after"] for entry in result["errors"].values()) < 1e-10
    for word in ("--data train=", "--data test=", "--option cutoff=4"):
        assert word in result["command"]
    assert run([*line, "--option", "cutoff=5", "--out", "other"]) == 2
    assert "say the same" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
