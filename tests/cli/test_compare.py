"""coset compare, train and report: the files of a run, the table, resuming, a model of the user's, bad input."""

import json

import pytest

from coset.cli.app import run

pytest.importorskip("lightning")

TASK = '''
"""Points in the plane, labelled by their distance from the origin."""

import torch
from torch import nn

from coset.contract import Contract
from coset.groups.finite import C
from coset.recipe import Data, Recipe, Request
from coset.task import Method, Task

turns = Contract(C(4), "B x vector", "B x 2 x scalar")


def points(request: Request) -> Data:
    x = torch.randn(90, 2, generator=torch.Generator().manual_seed(request.seed))
    y = (x.norm(dim=-1) > 1.2).long()
    train, valid, test = ({"x": a, "y": b} for a, b in zip(x.split(30), y.split(30), strict=True))
    return Data(train, test, audit=test["x"][:8], valid=valid)


def net(data):
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))


def distance(x):
    r = x.norm(dim=-1, keepdim=True)
    return torch.cat([1.2 - r, r - 1.2], -1)


def loss(model, batch):
    return {"loss": nn.functional.cross_entropy(model(batch["x"]), batch["y"])}


def accuracy(model, data):
    return 100.0 * (model(data.test["x"]).argmax(-1) == data.test["y"]).float().mean().item()


task = Task(
    contracts=(turns,),
    data=points,
    objective=loss,
    metrics={"accuracy_percent": accuracy},
    methods=(Method("plain", net), Method("wide, twice", net)),
    recipe={size: Recipe(epochs=2, batch=15) for size in ("smoke", "cpu", "full")},
)
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(TASK)
    return tmp_path


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_comparison_writes_table_page_and_files(place, capsys):
    assert run(["compare", "tiny.py:task", "--size", "smoke", "--out", "out", "--with", "tiny.py:distance"]) == 0
    shown = capsys.readouterr()
    assert [line.split("  ")[0] for line in shown.out.splitlines()] == ["method", "plain", "wide, twice", "tiny.py:distance"]
    results = lines(place / "out")
    assert [r["method"] for r in results] == ["plain", "wide, twice", "tiny.py:distance"]
    assert results[2]["errors"]["C(4)"]["after"] < 1e-6 < results[0]["errors"]["C(4)"]["after"]
    assert results[0]["command"].startswith("coset compare tiny.py:task")
    if (place / "out" / "report.html").exists():
        assert "report: out/report.html" in shown.err
    else:
        assert 'pip install "coset[report]"' in shown.err

    before = (place / "out" / "results.jsonl").read_bytes()
    assert run(["compare", "tiny.py:task", "--size", "smoke", "--out", "out", "--with", "tiny.py:distance", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == results
    assert (place / "out" / "results.jsonl").read_bytes() == before, "finished rows are kept"


def test_one_row_trains_resumes_and_is_reported(place, capsys):
    line = ["train", "tiny.py:task", "wide, twice", "--out", "out", "--set", "epochs=1", "--seed", "4"]
    assert run(line) == 0
    (result,) = lines(place / "out")
    assert (result["method"], result["seed"]) == ("wide, twice", 4)
    assert run(line) == 2
    assert "--resume" in capsys.readouterr().err
    assert run([*line, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result

    assert run(["report", "out"]) == 0
    assert capsys.readouterr().out.strip() == "out/report.html"
    assert (place / "out" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["compare", "digit"], "did you mean 'digits'"),
        (["compare", "tiny.py:task", "--methods", "plane"], "did you mean 'plain'"),
        (["compare", "tiny.py:net"], "not a Task"),
        (["compare", "tiny.py:task", "--set", "epoch=1"], "did you mean 'epochs'"),
        (["compare", "tiny.py:task", "--set", "epochs=many"], "epochs"),
        (["compare", "tiny.py:task", "--set", "epochs"], "name=value"),
        (["compare", "tiny.py:task", "--budget", "soon"], "90s"),
        (["compare", "tiny.py:task", "--seeds", "0"], "seeds"),
        (["compare", "tiny.py:task", "--data", "a=none.npz"], "none.npz"),
        (["compare", "tiny.py:task", "--train", "none.xyz"], "none.xyz"),
        (["compare", "tiny.py:task", "--cutoff", "5"], "option 'cutoff'"),
        (["compare", "potential", "--option", "cutof=5"], "did you mean 'cutoff'"),
        (["compare", "potential", "--cutoff", "wide"], "wide"),
        (["compare", "potential", "--option", "cutoff=5", "--cutoff", "4"], "say the same"),
        (["compare", "tiny.py:task", "--with", "tiny.py:nets"], "did you mean 'net'"),
        (["compare", "tiny.py:task", "--out", "tiny.py/run"], "name another folder"),
        (["train", "tiny.py:task", "plan", "--out", "out"], "did you mean 'plain'"),
    ],
)
def test_bad_input_is_said_with_exit_code_2_and_leaves_nothing(place, capsys, line, says):
    assert run(line) == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out
    assert {p.name for p in place.iterdir()} <= {"tiny.py", "__pycache__"}


def test_a_folder_of_another_request_or_version_is_refused(place, capsys):
    assert run(["train", "tiny.py:task", "plain", "--size", "smoke", "--out", "out"]) == 0
    assert run(["compare", "tiny.py:task", "--size", "cpu", "--out", "out"]) == 2
    assert "another --out" in capsys.readouterr().err
    text = (place / "out" / "results.jsonl").read_text()
    (place / "out" / "results.jsonl").write_text(text.replace('"schema": 1', '"schema": 99'))
    assert run(["report", "out"]) == 2
    assert "schema 99" in capsys.readouterr().err


def test_a_model_that_cannot_take_the_data_is_told_as_that(place, capsys):
    """A module of torch's own has no line of the user's in its traceback."""
    (place / "other.py").write_text("from torch import nn\nwide = nn.Linear(5, 2)\n")
    line = ["compare", "tiny.py:task", "--size", "smoke", "--out", "out", "--methods", "plain", "--with", "other.py:wide"]
    assert run(line) == 2
    said = capsys.readouterr().err
    assert "other.py:wide cannot take the data of this task: RuntimeError" in said
    assert "Traceback" not in said
