"""coset audit: the document that others rely on, verdicts as exit codes, models that we did not write, bad input."""

import json

import numpy as np
import pytest

from coset.audits.verdict import Audit
from coset.cli.app import run

NETS = """
import torch
from torch import nn

torch.manual_seed(0)
cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))

def total(x):
    return x.sum((-1, -2))

def forces(pos, charge):
    centered = pos - pos.mean(0)
    return centered * charge

def leaning(pos, charge):
    return pos * charge + torch.tensor([0.0, 0.0, 1.0], dtype=pos.dtype)

def words(x):
    return "yes"
"""
KEYS = {
    "schema", "group", "contract", "per_element", "layers", "floor", "verdict", "error", "interval", "tolerance", "dtype",
    "samples", "seed",
}  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    random = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random.normal(size=(12, 1, 8, 8)))
    np.savez(tmp_path / "points.npz", pos=random.normal(size=(7, 3)), charge=random.normal(size=(7, 1)))
    np.save(tmp_path / "hole.npy", np.full((2, 1, 8, 8), np.nan))
    return tmp_path


def image(target, *more, group="C(4)", data="images.npy"):
    return ["audit", target, "--group", group, "--in", "image", "--out-rep", "invariant", "--data", data, *more]


def points(target, *more):
    fields = ["--in", "pos=N x position", "--in", "charge=N x 1 x scalar", "--out-rep", "N x vector"]
    return ["audit", target, "--group", "E(3)", *fields, "--data", "points.npz", *more]


def test_json_holds_what_was_promised(place, capsys):
    assert run(image("nets.py:cnn", "--json", "--seed", "3")) == 1
    told = json.loads(capsys.readouterr().out)
    assert set(told) >= KEYS
    assert told["verdict"] == "FAIL"
    assert (told["schema"], told["seed"], told["dtype"], told["group"]) == (1, 3, "float64", "C(4)")
    assert told["contract"] == "C(4): image -> scalar"
    assert len(told["per_element"]) == 4
    assert told["interval"][0] <= told["error"] <= told["interval"][1]
    assert [set(layer) for layer in told["layers"]] == [{"name", "error"}] * 3


def test_verdicts_are_exit_codes(place, capsys):
    assert run(image("nets.py:total")) == 0
    assert "verdict  PASS" in capsys.readouterr().out
    assert run(image("nets.py:cnn")) == 1
    shown = capsys.readouterr().out
    assert "verdict  FAIL" in shown
    assert "coset symmetrize nets.py:cnn --group 'C(4)' --in image --out-rep invariant --how average" in shown
    assert run(image("nets.py:cnn", "--tolerance", "100")) == 0


def test_named_fields_and_a_broken_twin(place, capsys):
    assert run(points("nets.py:forces", "--json")) == 0
    assert run(points("nets.py:leaning", "--json")) == 1
    good, bad = capsys.readouterr().out.split("}\n{")
    assert json.loads(good + "}")["error"] < 1e-12
    assert json.loads("{" + bad)["error"] > 0.1


def test_a_pipeline_that_we_did_not_write(place, capsys):
    pytest.importorskip("sklearn")
    (place / "pipe.py").write_text(
        "from sklearn.datasets import load_digits\nfrom sklearn.linear_model import RidgeClassifier\n"
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\n"
        "x, y = load_digits(return_X_y=True)\nmodel = make_pipeline(StandardScaler(), RidgeClassifier()).fit(x, y)\n"
    )
    assert run(image("pipe.py:model.decision_function", "--json", data="digits")) == 1
    assert json.loads(capsys.readouterr().out)["error"] > 0.1


def test_files_are_those_of_the_document(place, capsys):
    assert run(image("nets.py:cnn", "--json", "--out", "out/deep")) == 1
    told = json.loads(capsys.readouterr().out)
    assert json.loads((place / "out" / "deep" / "audit.json").read_text()) == told
    stored = Audit.load(place / "out" / "deep" / "audit.npz")
    assert {**stored.to_json(), "contract": told["contract"], "claim": "exact"} == told


def test_the_same_seed_tells_the_same(place, capsys):
    run(image("nets.py:cnn", "--json", "--samples", "6", group="SO(2)"))
    run(image("nets.py:cnn", "--json", "--samples", "6", group="SO(2)"))
    first, second = capsys.readouterr().out.split("}\n{")
    assert first + "}" == "{" + second.rstrip("\n")


def test_several_dtypes_tell_rounding_from_breaking(place, capsys):
    assert run(image("nets.py:cnn", "--dtype", "float64", "--dtype", "float32")) == 1
    assert "not rounding" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (image("nets.py:cnn", group="C(-4)"), "C(n)"),
        (image("nets.py:cnn", group="SO[3]"), "SO"),
        (image("nets.py:cnn", group="CC(4)"), "did you mean 'C'"),
        (image("nets.py:cn"), "did you mean 'cnn'"),
        (image("nets.py:words"), "expected outputs"),
        (image("nets.py:cnn", data="hole.npy"), "128 of 128 values are NaN"),
        (image("nets.py:cnn", data="points.npz"), "name one"),
        (image("nets.py:cnn", group="SO(3)"), "SO(3)"),
        (["audit", "nets.py:cnn", "--group", "C(4)", "--in", "imagge", "--out-rep", "scalar", "--data", "images.npy"], "image"),
        (
            ["audit", "nets.py:cnn", "--group", "C(4)", "--in", "B x 3 x image", "--out-rep", "scalar", "--data", "images.npy"],
            "3",
        ),
        (image("nets.py:cnn", data="points.npz:pos"), "cannot take this data ((7, 3))"),
        (image("nets.py:cnn", "--out", "nets.py/below"), "name another folder"),
        (
            ["audit", "nets.py:cnn", "--group", 'S("N")', "--in", "image", "--out-rep", "scalar", "--data", "images.npy"],
            "index 'N'",
        ),
    ],
)
def test_bad_input_is_said_with_exit_code_2_and_leaves_nothing(place, capsys, line, says):
    before = {p.name for p in place.iterdir()} | {"__pycache__"}
    assert run(line) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out
    assert {p.name for p in place.iterdir()} <= before


def test_a_model_that_cannot_take_the_data_is_a_users_error(place, capsys):
    np.save(place / "small.npy", np.zeros((2, 1, 5, 5)))
    assert run(image("nets.py:cnn", data="small.npy")) == 2
    assert "nets.py:cnn cannot take this data ((2, 1, 5, 5))" in capsys.readouterr().err


def test_a_pickle_opens_only_where_it_is_trusted(place, capsys):
    import torch

    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).double(), place / "net.pt")
    assert run(image("net.pt")) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    assert run(image("net.pt", "--trust-pickle", "--json")) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "FAIL"


ROOMS = """
import coset
from coset import Contract, E, S, SO
from coset.groups.flows import Flow
from coset.groups.torus import Torus


class Blobs:
    contracts = tuple(Contract(S("N"), {"x": "N x 4 x scalar"}, "N x scalar", claim) for claim in ("exact", "broken"))

    def __call__(self, x):
        return x.sum(-1)


blobs = Blobs()


def parts(pos, part):
    return (pos[:, None] - pos[None]).square().sum(-1).mul(part[:, None] == part[None]).sum(-1)


def whole(pos, part):
    return (pos[:, None] - pos[None]).square().sum(-1).sum(-1)


def degree(x, edge_index):
    return x.new_zeros(len(x)).index_add(0, edge_index[1], x[edge_index[0]].sum(-1))


def movement(frames):
    return (frames[:, 1:] - frames[:, :-1]).square().sum((1, 2, 3, 4))


def mass(frames):
    return frames.sum((1, 2, 3, 4))


def policy(gravity, target):
    return (gravity * target).sum(-1, keepdim=True) + gravity[..., 2:]


def sampler(cond, noise):
    return cond.mean(1, keepdim=True) + noise[-1] * noise.square().sum(-1, keepdim=True).mean(0)


def leaning_sampler(cond, noise):
    return sampler(cond, noise) + noise[0, ..., :1]
"""

#: group, inputs, outputs and arrays of every kind of input; which of two callables passes
KINDS = [
    ("parts", "whole", 'E(3) ** "K"', ["pos=N x position", "part=N -> K"], "N x scalar"),
    ("degree", "rows", 'S("N")', ["x=N x 4 x scalar", "edge_index=2 x E -> N"], "N x scalar"),
    ("mass", "movement", "Flow(T(2), 1)", ["frames=B x frames"], "B x scalar"),
    ("mass", "first", "Torus(8, 8)", ["frames=B x frames"], "B x scalar"),
    (
        "policy",
        "heading",
        "Stabilizer(SO(3), [0.0, 0.0, 1.0])",
        ["gravity=B x N x vector", "target=B x N x vector"],
        "B x N x 1 x scalar",
    ),
    ("sampler", "leaning_sampler", "E(3)", ["cond=N x T x position", "noise=S x N x F x vector"], "N x F x position"),
]
MORE = """

def rows(x, edge_index):
    import torch
    return degree(x, edge_index) * torch.arange(len(x))

def first(frames):
    return frames[:, 0, 0, 0, 0]

def heading(gravity, target):
    return target[..., :1]
"""


@pytest.mark.parametrize(("keeps", "breaks", "group", "inputs", "output"), KINDS, ids=[f"{k[2]} on {k[0]}" for k in KINDS])
def test_every_kind_of_input_is_reached(place, capsys, keeps, breaks, group, inputs, output):
    (place / "rooms.py").write_text(ROOMS + MORE)
    words = [word for spec in inputs for word in ("--in", spec)]
    for name, code in ((keeps, 0), (breaks, 1)):
        assert run(["audit", f"rooms.py:{name}", "--group", group, *words, "--out-rep", output, "--samples", "8"]) == code, name
        assert ("PASS" if code == 0 else "FAIL") in capsys.readouterr().out


def test_without_options_the_target_is_held_to_what_it_promises(place, capsys):
    (place / "rooms.py").write_text(ROOMS)
    assert run(["audit", "rooms.py:blobs"]) == 0
    assert capsys.readouterr().out.count("verdict") == 2
    assert run(["audit", "rooms.py:blobs", "--json", "--out", "deep"]) == 0
    assert [one["claim"] for one in json.loads(capsys.readouterr().out)["audits"]] == ["exact", "broken"]
    assert (place / "deep" / "1" / "audit.json").is_file()
    assert run(["audit", "rooms.py:parts"]) == 2
    assert "states no contract" in capsys.readouterr().err


def test_the_sample_of_a_task_is_data(place, capsys):
    fields = ["--in", "pos=B x N x position", "--in", "vel=B x N x vector", "--in", "charge=B x N x scalar"]
    (place / "rooms.py").write_text("def center(pos, vel, charge):\n    return pos.mean(1)\n")
    line = ["audit", "rooms.py:center", "--group", "E(3)", *fields, "--out-rep", "B x position", "--data"]
    assert run([*line, "task:nbody", "--samples", "8"]) == 0
    assert run([*line, "task:nbodies"]) == 2
    assert "nbody" in capsys.readouterr().err


def test_a_model_of_another_dtype_is_told_from_a_fault_of_ours(place, capsys):
    (place / "rooms.py").write_text("import torch\n\ndef coarse(x):\n    return x.flatten(1) @ torch.ones(64, 2)\n")
    assert run(image("rooms.py:coarse")) == 2
    assert "in float32 it answers: --dtype float32" in capsys.readouterr().err
    assert run(image("rooms.py:coarse", "--dtype", "float32", "--dtype", "float64")) == 2
    assert "cannot take this data" in capsys.readouterr().err
    assert run(image("rooms.py:coarse", "--dtype", "float32")) == 0


def test_of_many_layers_those_around_the_first_offender_are_shown(place, capsys):
    (place / "rooms.py").write_text(
        "from torch import nn\n\nstill = [nn.Identity() for _ in range(20)]\n"
        "deep = nn.Sequential(*still, nn.Flatten(), nn.Linear(64, 2), *still)\n"
    )
    assert run(image("rooms.py:deep", "--json")) == 1
    assert len(json.loads(capsys.readouterr().out)["layers"]) == 42
    assert run(image("rooms.py:deep")) == 1
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert table[0].startswith("layer (16 of 42)")
    assert [line.split()[0] for line in table[1:4]] == ["18", "19", "20"]
    assert "flattening forgets" in table[3]
    assert len(table) == 17


def test_the_next_command_is_one_that_can_be_run(place, capsys):
    (place / "rooms.py").write_text(
        "def leaning(v):\n    return v * v\n\ndef nearly(v):\n    return v * v.new_tensor([1, 1, 1 + 1e-8])\n\n"
        "def first(x):\n    return x[:1, :1] + x[1:2, :1]\n"
    )
    np.save(place / "few.npy", np.random.default_rng(0).normal(size=(5, 3)))
    np.save(place / "many.npy", np.random.default_rng(0).normal(size=(20, 3)))

    def following(target, group, field, data):
        assert run(["audit", target, "--group", group, "--in", field[0], "--out-rep", field[1], "--data", data]) == 1
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("next")]

    sets, vectors = ("N x 3 x scalar", "1 x 1 x scalar"), ("N x vector", "N x vector")
    (line,) = following("rooms.py:leaning", "SO(3)", vectors, "few.npy")
    assert "--how" in line
    assert "--save" not in line  # a function is no torch module
    assert following("rooms.py:nearly", "SO(3)", vectors, "few.npy") == []  # rounding, and nothing to impose
    assert "--how average" in following("rooms.py:first", 'S("N")', sets, "few.npy")[0]
    assert following("rooms.py:first", 'S("N")', sets, "many.npy") == []  # 20! orders
