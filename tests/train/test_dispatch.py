from pathlib import Path

import pytest

from coset.errors import InputError
from coset.interop.target import load_object
from coset.train.agenda import Agenda
from coset.train.dispatch import dispatch, keep, perform, worker_count
from coset.train.folder import open_folder
from coset.train.plan import Plan
from coset.train.progress import Display

task = load_object(f"{Path(__file__).parent / 'tiny_task.py'}:task")
KEY = ("noisy", 0)


@pytest.fixture
def plan():
    return Plan(task, "tiny", [task.method("noisy")], task.methods)


def job(folder, **changes):
    place = {"out": str(folder.path), "token": folder.environment["token"]}
    return {"method": "noisy", "seed": 0, "deadline": "inf", **place, **changes}


def test_a_worker_that_cannot_reach_the_folder_sends_its_files(plan, tmp_path):
    with open_folder(tmp_path / "a", {}, "") as near, open_folder(tmp_path / "b", {}, "") as far:
        seen = []
        here = perform(plan, job(near), seen.append)
        there = perform(plan, job(far, token="another folder at the same path"), seen.append)
        assert here["files"] == {}
        assert not (far.path / "rows").exists()
        keep(near, plan, KEY, here)
        keep(far, plan, KEY, there)
        assert near.finished[KEY].metrics == far.finished[KEY].metrics
        assert (near.finished[KEY].task, near.finished[KEY].versions) == ("tiny", near.environment["versions"])
        names = [sorted(p.name for p in (f.path / "rows/noisy/0").iterdir()) for f in (near, far)]
        assert names[0] == names[1]
    assert {"epoch", "epochs", "loss", "note"} <= set(seen[0])


def test_rows_without_names_stay_in_this_process(plan, tmp_path):
    with open_folder(tmp_path, {}, "") as folder, Display(1, enabled=False) as display:
        agenda = Agenda([KEY], {}, workers=2)
        ((key, outcome),) = dispatch(agenda, plan, folder, display, target="nowhere:nothing", names=None)
        assert key == KEY
        assert "files" in outcome
        with pytest.raises(InputError, match="names"):
            dispatch(agenda, plan, folder, display, target="", names=None, ray="local")
        plan.devices = 2
        with pytest.raises(InputError, match="names"):
            dispatch(agenda, plan, folder, display, target="", names=None)


def test_there_are_never_more_workers_than_rows(plan):
    assert worker_count(plan, 8, 3) == 3
    assert worker_count(plan, None, 0) == 1
    plan.device = "cuda"
    assert worker_count(plan, None, 9) == 1
    with pytest.raises(InputError, match="workers"):
        worker_count(plan, 0, 3)
