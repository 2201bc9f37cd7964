import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from coset.comparison import compare, find_task, method_from_target, train
from coset.errors import InputError, MissingExtra
from coset.records import read_results
from coset.task import Method, Stage

TINY = f"{Path(__file__).parent / 'train' / 'tiny_task.py'}:task"
QUIET = {"progress": False, "workers": 1}


def figures(results):
    return [(r.task, r.method, r.seed, r.size, r.metrics, r.errors, r.parameters) for r in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken comparison in one process, two seeds."""
    out = tmp_path_factory.mktemp("whole")
    return out, compare(TINY, seeds=2, out=out, **QUIET)


def test_all_rows_are_there_in_the_tasks_order_and_in_the_files(whole):
    out, results = whole
    names = [m.name for m in find_task(TINY).methods]
    assert [(r.method, r.seed) for r in results] == [(name, seed) for name in names for seed in (0, 1)]
    assert figures(read_results(out)) == figures(results)
    assert all(r.command.startswith("coset compare") and r.versions["torch"] == torch.__version__ for r in results)
    about = json.loads((out / "environment.json").read_text())
    assert about["finished"] is True
    assert json.loads((out / "task.json").read_text())["headline"] == "accuracy_percent"


def test_a_finished_comparison_is_not_run_again(whole, monkeypatch):
    out, results = whole
    monkeypatch.setattr("coset.train.dispatch.run_row", lambda *a: pytest.fail("ran"))
    assert figures(compare(TINY, seeds=2, out=out, **QUIET)) == figures(results)
    assert figures(compare(TINY, ["noisy"], out=out, **QUIET)) == figures(results)[2:3]


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.mark.parametrize("moment", [3, 12, 22])
def test_a_comparison_broken_off_anywhere_ends_as_an_unbroken_one(whole, tmp_path, monkeypatch, moment):
    """At the given number of files written; SIGKILL itself is in benchmarks/accept/resume.py."""
    from coset import records

    count = []
    write = records.write_atomically

    def counting(path, content):
        count.append(path)
        if len(count) == moment:
            raise Killed
        write(path, content)

    for place in ("records", "train.state", "train.run", "train.folder", "train.checkpoint", "comparison"):
        monkeypatch.setattr(f"coset.{place}.write_atomically", counting)
    rows = ["noisy", "noisy + average", "noisy, then tuned"]
    with pytest.raises(Killed):
        compare(TINY, rows, out=tmp_path, **QUIET)
    monkeypatch.undo()
    expected = [row for row in figures(whole[1]) if row[1] in rows and row[2] == 0]
    assert figures(compare(TINY, rows, out=tmp_path, **QUIET)) == expected
    assert not list(tmp_path.rglob("*.resume.safetensors"))


def test_the_choice_of_rows_does_not_change_them(whole, tmp_path):
    some = compare(TINY, ["noisy, then tuned", "closed form"], out=tmp_path, **QUIET)
    assert figures(some) == [figures(whole[1])[6], figures(whole[1])[8]]


def test_models_made_here_are_judged_or_trained_in_this_process(tmp_path):
    task = find_task(TINY)
    given = {
        "ready": task.method("closed form").build(None),
        "made": task.method("plain").build,
        "row": Method("other name", task.method("plain").build, (Stage(recipe={"epochs": 1}),)),
    }
    results = compare(TINY, given, out=tmp_path, **QUIET)
    assert [r.method for r in results] == ["ready", "made", "row"]
    assert results[0].metrics["accuracy_percent"] == 100
    assert results[1].metrics == compare(task, ["plain"], out=tmp_path / "again", **QUIET)[0].metrics
    given["ready"] = nn.Linear(2, 2)
    again = compare(TINY, given, out=tmp_path, **QUIET)
    assert again[0].metrics["accuracy_percent"] < 100
    assert figures(again)[1:] == figures(results)[1:]
    with pytest.raises(InputError, match="names"):
        compare(task, given, ray="local", out=tmp_path / "ray", **QUIET)


def test_targets_are_further_rows(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def ready(x):\n    r = x.norm(dim=-1, keepdim=True)\n    return torch.cat([1.2 - r, r - 1.2], -1)\n"
        "def trained(data):\n    return nn.Linear(2, 2)\n"
        "def factory():\n    return nn.Linear(2, 2)\n"
    )
    targets = [f"{tmp_path / 'nets.py'}:{name}" for name in ("ready", "trained")]
    results = compare(TINY, ["closed form"], with_=targets, out=tmp_path / "out", **QUIET)
    assert [r.method for r in results] == ["closed form", "nets.py:ready", "nets.py:trained"]
    assert results[0].metrics == results[1].metrics
    assert results[2].train_seconds > 0 == results[1].train_seconds
    assert method_from_target(f"{tmp_path / 'nets.py'}:factory").stages == ()
    with pytest.raises(InputError, match="ready"):
        method_from_target(f"{tmp_path / 'nets.py'}:reday")


def test_a_failing_row_lets_the_others_finish(tmp_path):
    task = find_task(TINY)

    def broken(data):
        raise ZeroDivisionError("in the row")

    both = replace(task, methods=(Method("broken", broken), task.method("closed form")))
    with pytest.raises(ZeroDivisionError):
        compare(both, out=tmp_path, **QUIET)
    assert [r.method for r in read_results(tmp_path)] == ["closed form"]
    assert json.loads((tmp_path / "environment.json").read_text())["finished"] is False


def test_a_budget_cuts_training_short_and_says_so(tmp_path):
    few = compare(TINY, ["noisy", "plain"], budget=1e-9, out=tmp_path, **QUIET)
    assert few == []
    short = compare(TINY, ["noisy"], set={"epochs": 5000}, budget="2s", out=tmp_path / "short", **QUIET)
    notes = json.loads((tmp_path / "short/environment.json").read_text())["notes"]
    assert "time was up" in notes["noisy/0"]
    assert short[0].train_seconds < 60


def test_other_requests_versions_and_places_are_refused(whole, tmp_path):
    out, _ = whole
    with pytest.raises(InputError, match="size was 'cpu', now 'smoke'"):
        compare(TINY, size="smoke", out=out, **QUIET)
    with pytest.raises(InputError, match="set was"):
        compare(TINY, set=["lr=1"], out=out, **QUIET)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        compare(TINY, out=tmp_path / "file" / "out", **QUIET)
    before = sorted(tmp_path.rglob("*"))
    for wrong in (
        {"methods": ["plan"]},
        {"size": "big"},
        {"seeds": 0},
        {"set": ["lrr=1"]},
        {"set": ["lr"]},
        {"budget": "soon"},
        {"files": ["mnist=/nowhere"]},
        {"workers": 0},
        {"device": "tpu"},
    ):
        with pytest.raises(InputError):
            compare(TINY, out=tmp_path / "out", **{**QUIET, **wrong})
    assert sorted(tmp_path.rglob("*.jsonl")) == []
    assert before == [tmp_path / "file"]


def test_tasks_are_named_by_module_or_target():
    with pytest.raises(InputError, match="did you mean 'digits'"):
        find_task("digit")
    with pytest.raises(InputError, match="not a Task"):
        find_task(TINY.replace(":task", ":contract"))


def test_without_ray_the_line_that_installs_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"coset\[ray\]"):
        compare(TINY, out=tmp_path, ray="local", **QUIET)


def test_training_one_row_gives_the_row_of_the_comparison(whole, tmp_path):
    found = train(TINY, "noisy", seed=1, out=tmp_path, progress=False)
    assert figures([found]) == figures(whole[1])[3:4]
    with pytest.raises(InputError, match="--resume"):
        train(TINY, "noisy", seed=1, out=tmp_path, progress=False)
    again = train(TINY, "noisy", seed=1, out=tmp_path, resume=True, progress=False)
    assert again == found
    with pytest.raises(InputError, match="did you mean 'noisy'"):
        train(TINY, "nosy", out=tmp_path / "other", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [{"workers": 2}, {"ray": "local"}])
def test_rows_elsewhere_have_the_same_figures(whole, tmp_path, elsewhere):
    assert figures(compare(TINY, seeds=2, out=tmp_path, progress=False, **elsewhere)) == figures(whole[1])


@pytest.mark.slow
def test_two_processes_share_the_batches_of_a_row(tmp_path):
    options = {"set": {"precision": "64"}, "progress": False}
    one = train(TINY, "plain", out=tmp_path / "one", **options)
    two = train(TINY, "plain", out=tmp_path / "two", devices=2, **options)
    for name, value in one.metrics.items():
        assert two.metrics[name] == pytest.approx(value, rel=1e-6)
    staged = train(TINY, "noisy, then tuned", out=tmp_path / "staged", devices=2, progress=False)
    assert staged.metrics


@pytest.mark.slow
def test_a_worker_without_the_folder_sends_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.train.dispatch._token", lambda path: None)
    results = compare(TINY, ["noisy"], out=tmp_path, **QUIET)
    assert results[0].metrics
    names = {path.name for path in (tmp_path / "rows/noisy/0").iterdir()}
    assert {"answers.npz", "curve.csv", "model.json", "model.safetensors"} <= names
