from dataclasses import replace
from pathlib import Path

import pytest

from coset.errors import ContractError, InputError
from coset.interop.target import load_object
from coset.recipe import Recipe
from coset.task import Method, Stage
from coset.train.plan import Plan, named, resolve_device

task = load_object(f"{Path(__file__).parent / 'tiny_task.py'}:task")


def plan(**changes):
    return Plan(**{"task": task, "name": "tiny", "methods": task.methods, "known": task.methods, **changes})


def test_rows_run_seed_by_seed_and_are_listed_method_by_method():
    found = plan(seeds=(0, 1), methods=task.methods[:2])
    assert found.keys == [("plain", 0), ("plain", 1), ("noisy", 0), ("noisy", 1)]
    assert found.by_seed() == [("plain", 0), ("noisy", 0), ("plain", 1), ("noisy", 1)]


def test_rows_wait_for_the_row_with_which_they_share_most_training():
    found = plan(seeds=(0, 1))
    assert found.after(found.by_seed()) == {
        ("noisy + average", 0): ("noisy", 0),
        ("noisy, then tuned", 0): ("noisy", 0),
        ("noisy + average", 1): ("noisy", 1),
        ("noisy, then tuned", 1): ("noisy", 1),
    }
    assert found.after([("noisy + average", 0), ("noisy, then tuned", 1)]) == {}


def test_rows_are_told_how_often_to_write_checkpoints(tmp_path):
    assert plan(every=5.0).row(("plain", 0), tmp_path).every == 5.0
    assert plan(every=5.0).request() == plan().request()  # which changes no figure


def test_a_shared_training_lives_with_the_first_such_method_chosen_or_not(tmp_path):
    alone = plan(methods=[task.method("noisy, then tuned")])
    row = alone.row(("noisy, then tuned", 3), tmp_path)
    assert row.homes == (tmp_path / "rows/noisy/3", tmp_path / "rows/noisy-then-tuned/3")
    assert row.folder == tmp_path / "rows/noisy-then-tuned/3"


def test_methods_that_build_otherwise_share_nothing():
    other = Method("other", lambda data: None, task.method("noisy").stages)
    found = plan(methods=[task.method("noisy"), other], known=())
    assert found.after(found.keys) == {}


def test_the_user_has_the_last_word_on_recipes_and_smoke_stays_small():
    noisy = task.method("noisy")
    assert plan().recipes(noisy)[0].epochs == 6
    assert plan(size="smoke").recipes(noisy)[0].epochs == 2
    assert plan(size="smoke", changes=(("epochs", "9"),)).recipes(noisy)[0].epochs == 9
    assert plan(changes=(("lr", "1e-4"),)).recipes(task.method("noisy, then tuned"))[1].lr == 1e-4
    wide = replace(task, recipe={"smoke": Recipe(samples=20)})
    many = Method("many", noisy.build, (Stage(recipe={"samples": 30}), Stage(recipe={"samples": 10})))
    recipes = Plan(wide, "t", [many], [], size="smoke").recipes(many)
    assert [r.samples for r in recipes] == [20, 10]


def test_data_of_a_seed_are_made_once(monkeypatch):
    made = []
    counting = replace(task, data=lambda request: (made.append(request), task.data(request))[1])
    found = plan(task=counting)
    assert found.data(4) is found.data(4)
    found.data(5)
    assert [(r.size, r.seed) for r in made] == [("cpu", 4), ("cpu", 5)]


def test_audit_data_with_nan_are_refused():
    def spoiled(request):
        data = task.data(request)
        return replace(data, audit=data.audit * float("nan"))

    with pytest.raises((InputError, ContractError), match=r"audit data.*NaN"):
        plan(task=replace(task, data=spoiled)).data(0)


def test_the_description_for_the_report():
    about = plan().about("First  words\nof it.\n\nMore.")
    assert about["description"] == ["First words of it.", "More."]
    assert about["contracts"] == ["C(4)"]
    assert about["headline"] == "accuracy_percent"
    assert about["methods"]["plain"] == {"note": "Nothing known.", "axes": {}, "source": ""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "huge"}, "size"),
        ({"size": "full"}, "no recipe for size"),
        ({"seeds": ()}, "seeds"),
        ({"methods": ()}, "no method"),
        ({"changes": (("lrr", "1"),)}, "'lr'"),
        ({"changes": (("epochs", "many"),)}, "is int"),
        ({"methods": task.methods[-1:], "changes": (("epochs", "many"),)}, "is int"),
        ({"files": (("mnist", Path("/nowhere")),)}, "no such file"),
        ({"device": "gpu"}, "cuda"),
        ({"device": "cuda:99"}, "torch sees"),
        ({"methods": [Method("a b", len), Method("a-b", len)]}, "share a folder"),
    ],
)
def test_what_does_not_exist_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        plan(**changes)


def test_settings_are_mappings_pairs_or_strings():
    expected = (("lr", "1e-3"), ("epochs", 3))
    assert named({"lr": "1e-3", "epochs": 3}, "--set") == expected == named(["lr=1e-3", ("epochs", 3)], "--set")
    assert named("lr=1e-3", "--set") == expected[:1]
    for wrong in ("lr", "=3", "lr="):
        with pytest.raises(InputError, match="name=value"):
            named([wrong], "--set")


def test_the_request_is_what_decides_figures(tmp_path):
    (tmp_path / "x").write_text("abc")
    found = plan(files=(("x", tmp_path / "x"),), changes=(("lr", 1e-3),)).request()
    assert found["files"] == [["x", str(tmp_path / "x"), 3]]
    assert found["set"] == [["lr", 1e-3]]
    assert "methods" not in found
    assert "seeds" not in found


def test_options_reach_the_data_and_decide_figures():
    seen = []
    told = replace(task, data=lambda request: (seen.append(request.options), task.data(request))[1], options=("cutoff",))
    found = plan(task=told, options=(("cutoff", "4"),))
    found.data(0)
    assert seen == [(("cutoff", "4"),)]
    assert found.request()["options"] == [["cutoff", "4"]]
    assert "options" not in plan().request(), "runs of before are still recognized"
    with pytest.raises(InputError, match="did you mean 'cutoff'"):
        plan(task=told, options=(("cutof", "4"),))


def test_auto_is_a_device():
    assert resolve_device("auto") in ("cpu", "cuda")
