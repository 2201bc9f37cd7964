import copy
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from coset.interop.target import load_object
from coset.recipe import Data
from coset.task import Method, Stage
from coset.train.plan import Plan
from coset.train.rows import PeakMemory, _until, load_stage, place, run_row, save_stage
from coset.train.run import Trace

task = load_object(f"{Path(__file__).parent / 'tiny_task.py'}:task")
FIGURES = ("metrics", "errors", "parameters", "reference")


def run(method, folder, *, own=task, seed=0, report=None, **changes):
    plan = Plan(own, "tiny", [method], [*own.methods, method], seeds=(seed,), **changes)
    return run_row(own, plan.data(seed), plan.row((method.name, seed), folder), report)


def figures(result):
    return {name: getattr(result, name) for name in FIGURES}


def test_a_row_leaves_its_result_and_its_files(tmp_path):
    result, note = run(task.method("noisy"), tmp_path)
    assert set(result.metrics) == {"accuracy_percent", "margin"}
    assert result.errors["C(4)"]["dtype"] == "float64"
    assert result.errors["C(4)"]["before"] != result.errors["C(4)"]["after"] > 0
    assert result.reference == {"accuracy_percent": 90.0}
    assert result.parameters == 58
    assert result.seconds_per_step > 0
    assert result.train_seconds > 10 * result.seconds_per_step
    assert result.peak_memory_bytes > 2**20
    assert note == ""
    names = {path.name for path in (tmp_path / "rows/noisy/0").iterdir()}
    assert names == {"answers.npz", "curve.csv", "model.json", "model.safetensors", "stage-1.safetensors"}


def test_an_average_over_the_group_is_exact_and_its_training_is_shared(tmp_path):
    first, _ = run(task.method("noisy"), tmp_path)
    calls = []
    second, _ = run(task.method("noisy + average"), tmp_path, report=calls.append)
    alone, _ = run(task.method("noisy + average"), tmp_path / "alone")
    assert calls == []
    assert figures(second) == figures(alone)
    assert second.errors["C(4)"]["after"] < 1e-10 < second.errors["C(4)"]["before"] == first.errors["C(4)"]["before"]
    assert (second.train_seconds, second.seconds_per_step) == (first.train_seconds, first.seconds_per_step)


def test_figures_do_not_depend_on_what_ran_before(tmp_path):
    data = task.data
    torch.manual_seed(123)
    one, _ = run(task.method("noisy, then tuned"), tmp_path / "a", seed=2)
    run(task.method("plain"), tmp_path / "b", seed=1)
    torch.rand(7)
    two, _ = run(task.method("noisy, then tuned"), tmp_path / "c", seed=2)
    other, _ = run(task.method("noisy, then tuned"), tmp_path / "d", seed=3)
    assert figures(one) == figures(two) != figures(other)
    assert task.data is data


def test_what_a_stage_prepares_is_seeded_too(tmp_path):
    def shake(model, data):
        with torch.no_grad():
            [p.add_(torch.randn_like(p)) for p in model.parameters()]
        return model, data

    method = Method("shaken", task.methods[0].build, (Stage(prepare=shake, loop=None), Stage(prepare=shake, loop=None)))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(figures(run(method, tmp_path / str(seed))[0]))
    assert found[0] == found[1] != figures(run(method, tmp_path / "other", seed=1)[0])


def test_a_model_without_stages_is_judged_once(tmp_path):
    result, _ = run(task.method("closed form"), tmp_path)
    assert result.errors["C(4)"]["before"] == result.errors["C(4)"]["after"] == 0
    assert result.metrics["accuracy_percent"] == 100
    assert result.train_seconds == result.seconds_per_step == 0


def test_a_row_may_spoil_its_data(tmp_path):
    def spoil(model, data):
        data.train["x"].zero_()
        data.test["x"].zero_()
        return model, data

    bad = Method("bad", task.methods[0].build, (Stage(prepare=spoil),))
    plan = Plan(task, "tiny", [bad], [])
    kept = copy.deepcopy(plan.data(0))
    run_row(task, plan.data(0), plan.row(("bad", 0), tmp_path))
    assert torch.equal(plan.data(0).train["x"], kept.train["x"])


def test_metrics_see_the_tasks_own_data(tmp_path):
    def shrink(model, data):
        return model, replace(data, train={name: value[:16] for name, value in data.train.items()}, test=None, audit=None)

    result, _ = run(Method("few", task.methods[0].build, (Stage(prepare=shrink),)), tmp_path)
    assert "accuracy_percent" in result.metrics
    assert result.errors["C(4)"]["after"] > 0


def test_any_callable_and_any_loop_can_be_a_row(tmp_path):
    def nearest(data):
        return lambda x: x

    def loop(model, objective, data, recipe, run):
        run.trace.steps += 3
        radius = recipe.lr
        return lambda x: torch.cat([radius - x.norm(dim=-1, keepdim=True), x.norm(dim=-1, keepdim=True) - radius], -1)

    result, note = run(Method("own", nearest, (Stage(recipe={"lr": 1.2}, loop=loop),)), tmp_path)
    assert result.metrics["accuracy_percent"] == 100
    assert result.errors["C(4)"]["before"] is None
    assert result.errors["C(4)"]["after"] < 1e-6
    assert result.parameters == 0
    assert note == ""


def test_no_audit_data_no_errors(tmp_path):
    silent = replace(task, data=lambda request: replace(task.data(request), audit=None))
    assert run(task.method("plain"), tmp_path, own=silent)[0].errors == {}


def test_a_model_that_cannot_be_described_is_judged_all_the_same(tmp_path):
    def odd(data):
        from coset.contract import Attached

        return Attached(task.methods[0].build(data), (replace(task.contracts[0], view=lambda y: y),))

    result, note = run(Method("odd", odd, ()), tmp_path)
    assert result.metrics
    assert "model not saved" in note
    assert not (tmp_path / "rows/odd/0/model.json").exists()


def test_a_deadline_is_told_and_not_kept_for_others(tmp_path):
    plan = Plan(task, "tiny", [task.method("noisy")], task.methods)
    _, note = run_row(task, plan.data(0), plan.row(("noisy", 0), tmp_path, deadline=1.0))
    assert "time was up in epoch 1 of 6" in note
    assert not (tmp_path / "rows/noisy/0/stage-1.safetensors").exists()


def test_every_stage_gets_its_part_of_the_time(tmp_path):
    """By epochs: 6 and 4 of a stage that is tuned after; the last has all that is left."""
    plan = Plan(task, "tiny", [task.method("noisy, then tuned")], task.methods)
    row = plan.row(("noisy, then tuned", 0), tmp_path, deadline=time.time() + 100)
    assert [recipe.epochs for recipe in row.recipes] == [6, 4]
    assert _until(row, 1) - time.time() == pytest.approx(60, abs=1)
    assert _until(row, 2) - time.time() == pytest.approx(100, abs=1)
    assert _until(replace(row, deadline=1.0), 1) <= time.time()
    assert _until(replace(row, deadline=math.inf), 1) == math.inf


def test_a_stage_of_another_architecture_is_trained_again(tmp_path):
    save_stage(tmp_path / "s", nn.Linear(2, 2), Trace(steps=4))
    assert load_stage(tmp_path / "s", nn.Linear(2, 3)) is None
    assert load_stage(tmp_path / "none", nn.Linear(2, 2)) is None
    model = nn.Linear(2, 2)
    assert load_stage(tmp_path / "s", model) == Trace(steps=4)


def test_threads_are_given_back(tmp_path):
    before = torch.get_num_threads()
    run(task.method("closed form"), tmp_path)
    assert torch.get_num_threads() == before


def test_the_peak_is_of_what_comes_after():
    peak = PeakMemory("cpu")
    before = peak.read()
    block = torch.ones(64 * 2**20 // 4)
    assert peak.read() - before > 32 * 2**20
    del block
    assert PeakMemory("cpu").read() < before + 32 * 2**20


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_everything_in_data_moves(device):
    data = Data({"x": torch.ones(2)}, (torch.ones(1), [torch.ones(1), "text"]), info={"n": 3})
    moved = place(data, device)
    assert moved.train["x"].device.type == device
    assert moved.test[1][0].device.type == device
    assert moved.test[1][1] == "text"
    assert moved.info == {"n": 3}
