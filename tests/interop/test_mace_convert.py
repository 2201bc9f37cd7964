"""A converted model is the model: on what mace-torch answered, and where one number is changed it is not.

``mace_torch.npz`` holds what the process with mace-torch said about a tiny model with random weights (two heads, a first layer
without residual); ``benchmarks/accept/convert_mace.py --golden`` writes it, and compares larger models on the spot.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from coset.cli.app import run
from coset.errors import InputError
from coset.interop import mace_convert
from coset.interop.mace_convert import convert_mace, difference, extract, random_structures
from coset.interop.mace_convert_weights import config_of, potential_of
from coset.interop.potential_file import load_potential

NAMES = ("energy", "forces", "stress")


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("mace_torch.npz"), allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    facts = json.loads(str(found.pop("facts")))
    arrays = {name: torch.from_numpy(value) for name, value in found.items()}
    samples = [
        {name.split(".", 2)[2]: value for name, value in arrays.items() if name.startswith(f"sample.{k}.")} for k in (0, 1)
    ]
    return facts, arrays, samples, [{name: arrays[f"answers.{k}.{name}"] for name in NAMES} for k in (0, 1)]


def changed(arrays, name, factor=1.01):
    return {**arrays, name: factor * arrays[name]}


# ---------------------------------------------------------------------- the function is the same


def test_energies_forces_and_stress_are_those_of_mace_torch(golden):
    facts, arrays, samples, answers = golden
    gap = difference(potential_of(facts, arrays, head=1), samples, answers)
    assert gap.relative < 1e-12
    assert gap.structures == 2
    assert float(answers[0]["forces"].abs().max()) > 0.01


def test_a_number_that_is_none_is_no_agreement(golden):
    facts, arrays, samples, answers = golden
    for value in (float("nan"), float("inf")):
        told = [{**answers[0], "forces": answers[0]["forces"] * value}, answers[1]]
        assert difference(potential_of(facts, arrays, head=1), samples, told).relative == float("inf")


def test_another_head_is_another_function(golden):
    facts, arrays, samples, answers = golden
    assert difference(potential_of(facts, arrays, head=0), samples, answers).relative > 1e-2


@pytest.mark.parametrize(
    "name",
    [
        "embedding", "layers.0.up", "layers.0.down", "layers.0.skip", "layers.0.mix", "layers.1.skip", "layers.1.down",
        "layers.0.radial.weight.0", "layers.0.radial.weight.1", "layers.1.product.0.1.weight", "layers.1.product.0.2.weight",
        "layers.0.product.1.2.weight", "readouts.0.first", "readouts.1.first", "readouts.1.last", "prefactor", "frequencies",
        "scale", "shift", "references",
    ],
)  # fmt: skip
def test_every_array_counts(golden, name):
    facts, arrays, samples, answers = golden
    assert difference(potential_of(facts, changed(arrays, name), head=1), samples, answers).relative > 1e-7


def test_tables_of_the_radial_network_approach_it_and_a_spline_is_its_table(golden):
    facts, arrays, samples, answers = golden
    gaps = [
        difference(potential_of(facts, arrays, head=1, radial="knots", intervals=n), samples, answers).relative
        for n in (16, 32, 64)
    ]
    assert gaps[1] < gaps[0] / 4
    assert gaps[2] < gaps[1] / 4
    spline = potential_of(facts, arrays, head=1, radial="spline", intervals=64)
    assert difference(spline, samples, answers).relative == pytest.approx(gaps[2], rel=1e-6)
    assert not any("mlp" in name for name in spline.state_dict())


def test_elements_may_stand_in_any_order(golden):
    facts, arrays, samples, answers = golden
    turned = dict(arrays)
    turned["numbers"], turned["references"] = arrays["numbers"].flip(0), arrays["references"].flip(1)
    for name in arrays:
        if name == "embedding" or name.endswith(".skip") or (".product." in name and name.endswith(".weight")):
            turned[name] = arrays[name].flip(0)
    model = potential_of(facts, turned, head=1)
    assert model.elements == (1, 8)
    assert difference(model, samples, answers).relative < 1e-12


def test_one_product_for_all_elements_is_that_product_for_each(golden):
    facts, arrays, samples, _ = golden
    one = {n: v[:1] if ".product." in n and n.endswith(".weight") else v for n, v in arrays.items()}
    both = {n: v[[0, 0]] if ".product." in n and n.endswith(".weight") else v for n, v in arrays.items()}
    a, b = (potential_of(facts, given)(**{**samples[0], "cell": samples[0]["cell"][None]}) for given in (one, both))
    assert torch.equal(a["energy"], b["energy"])


# ---------------------------------------------------------------------- what is refused


def test_tables_that_are_no_couplings_of_ours_are_refused(golden):
    facts, arrays, *_ = golden
    wrong = dict(arrays)
    wrong["layers.0.product.0.2.couplings"] = arrays["layers.0.product.0.2.couplings"].clone()
    wrong["layers.0.product.0.2.couplings"][0, 1] += 0.1  # a scalar with a component of a vector
    with pytest.raises(InputError, match="not spanned"):
        potential_of(facts, wrong)
    wrong = dict(arrays, **{"layers.1.conv.out": arrays["layers.1.conv.out"].roll(1, -1)})
    with pytest.raises(InputError, match="convolution differs"):
        potential_of(facts, wrong)


def fact(path, value):
    def change(facts):
        *way, last = path
        for step in way:
            facts = facts[step]
        facts[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("harmonics", 1, 2), 1, "harmonics"),
        (("layers", 0, "out", 0, 0), 3, "features"),
        (("layers", 1, "edge", 0, 0), 3, "irreps of their own"),
        (("layers", 1, "product", "orders", 0), 3, "correlations"),
        (("layers", 1, "radial", "sizes", 1), 9, "radial networks"),
        (("layers", 1, "radial", "activations"), ["tanh"], "silu is known"),
        (("layers", 1, "neighbors"), 1.0, "neighbors"),
        (("layers", 1, "skip"), False, "residual"),
        (("readouts", 0, "kind"), "NonLinearReadoutBlock", "readouts"),
    ],
)
def test_architectures_that_ours_lacks_are_refused_with_the_reason(golden, path, value, reason):
    facts, arrays, *_ = golden
    facts = copy.deepcopy(facts)
    fact(path, value)(facts)
    with pytest.raises(InputError, match=reason):
        config_of(facts, arrays, 0, "network", 64)


def test_files_that_hold_no_model_of_energies_are_refused_by_the_process_that_opens_them(tmp_path):
    for value, reason in ((nn.Linear(2, 2), "it is a Linear"), ({"model": {}}, "a checkpoint of a training")):
        torch.save(value, tmp_path / "a.model")
        with pytest.raises(InputError, match=reason):
            extract(tmp_path / "a.model", sys.executable)
    (tmp_path / "a.model").write_text("nothing")
    with pytest.raises(InputError, match="could not read it"):
        extract(tmp_path / "a.model", sys.executable)
    with pytest.raises(InputError, match="cannot be run"):
        extract(tmp_path / "a.model", str(tmp_path / "python"))


# ---------------------------------------------------------------------- the whole way


@pytest.fixture
def pickled(golden, tmp_path, monkeypatch):
    """A file in place of a pickle, and its reader in place of a process with mace-torch."""
    facts, arrays, *_ = golden
    monkeypatch.setattr(mace_convert, "extract", lambda *args: (facts, arrays))
    monkeypatch.setattr(
        mace_convert, "random_structures", lambda elements, seed: random_structures(elements, seed=seed, count=1)
    )
    (tmp_path / "a.model").write_text("pickle")
    return tmp_path / "a.model"


def test_the_command_writes_one_file_and_says_how_far_it_is(pickled, capsys):
    command = ["convert", "mace", str(pickled), "--trust-pickle", "--head", "scan"]
    assert run(command) == 0
    assert "differs  energy" in capsys.readouterr().out
    model = load_potential(pickled.with_suffix(".safetensors"))
    notes = model.description["notes"]
    assert notes["head"] == "scan"
    assert notes["difference"]["relative"] < 1e-12
    assert run([*command, "--radial", "spline", "--json", "--out", str(pickled.parent / "b.safetensors")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert 1e-9 < told["differences"]["spline on all"]["relative"] < 1e-3
    assert load_potential(told["file"]).config["radial"] == "spline"


def test_nothing_is_written_that_disagrees(pickled, golden, monkeypatch):
    facts, arrays, *_ = golden
    monkeypatch.setattr(mace_convert, "extract", lambda *args: (facts, changed(arrays, "answers.0.forces", 1 + 1e-8)))
    with pytest.raises(InputError, match="differs from mace-torch by"):
        convert_mace(pickled, trust_pickle=True, head="scan")
    assert not pickled.with_suffix(".safetensors").exists()


def test_a_pickle_is_opened_only_when_it_is_trusted(pickled, capsys):
    assert run(["convert", "mace", str(pickled)]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    for options, reason in (
        ({"head": "b3lyp"}, "unknown head"),
        ({}, "choose one with --head"),
        ({"radial": "table"}, "radial form"),
    ):
        with pytest.raises(InputError, match=reason):
            convert_mace(pickled, trust_pickle=True, **options)
    with pytest.raises(InputError, match="no file"):
        convert_mace(pickled.parent / "b.model", trust_pickle=True)


def test_random_structures_hold_every_element_and_no_two_atoms_touch():
    frames = random_structures(range(1, 30), seed=3)
    assert {int(z) for frame in frames for z in frame["z"]} == set(range(1, 30))
    assert all(float(torch.pdist(frame["pos"]).min()) > 0.5 for frame in frames)
