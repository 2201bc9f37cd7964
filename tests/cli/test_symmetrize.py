"""coset symmetrize: what it bought is true of what was saved, and what is saved comes back."""

import json

import numpy as np
import pytest
import torch

from coset.cli.app import run
from coset.interop.target import load_target

NETS = """
import torch
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 10)).double()

def total(x):
    return x.flatten(1)[:, :3]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    np.save(tmp_path / "images.npy", np.random.default_rng(0).normal(size=(12, 1, 8, 8)))
    return tmp_path


def line(target, *more, outputs="B x 10 x scalar"):
    return [
        "symmetrize",
        target,
        "--group",
        "C(4)",
        "--in",
        "B x 1 x image",
        "--out-rep",
        outputs,
        "--data",
        "images.npy",
        *more,
    ]


def test_average_is_exact_saved_and_read_back(place, capsys):
    assert run(line("nets.py:net", "--how", "average", "--save", "out", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["before"] > 0.1
    assert told["error"]["after"] < 1e-12
    assert told["seconds_per_call"]["before"] > 0
    assert json.loads((place / "out" / "symmetrize.json").read_text()) == told

    exact = load_target("out:nets.py:net")
    x = torch.from_numpy(np.load("images.npy"))
    torch.testing.assert_close(exact(x), exact(torch.rot90(x, 1, (2, 3))), rtol=0, atol=1e-12)
    audit = ["audit", "out:nets.py:net", "--group", "C(4)", "--in", "B x 1 x image", "--out-rep", "B x 10 x scalar"]
    assert run([*audit, "--data", "images.npy", "--json"]) == 0


def test_training_lowers_the_error(place, capsys):
    pytest.importorskip("lightning")
    assert run(line("nets.py:net", "--how", "regularize", "--size", "smoke", "--save", "out", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["after"] < told["error"]["before"]
    assert told["claim"] == "learned"


def test_what_cannot_be_saved_is_said_before_the_work(place, capsys):
    assert run(line("nets.py:total", "--save", "out", outputs="B x 3 x scalar")) == 2
    assert "--save keeps torch modules" in capsys.readouterr().err
    assert not (place / "out").exists()
    assert run(line("nets.py:total", outputs="B x 3 x scalar")) == 0
    assert "exact" in capsys.readouterr().out


def test_a_way_that_does_not_exist_names_those_that_do(place, capsys):
    assert run(line("nets.py:net", "--how", "frames", "--save", "out")) == 2
    assert "possible: average" in capsys.readouterr().err
    assert not (place / "out").exists()
