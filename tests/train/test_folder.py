import contextlib
import json
import threading
import time

import pytest

from coset.errors import InputError
from coset.records import Result, slug
from coset.train.folder import choose_folder, commit, locked, open_folder, versions

REQUEST = {"task": "t", "size": "cpu", "set": [["lr", "1e-3"]]}


def result(method="a", seed=0, **metrics):
    return Result("t", method, seed, "cpu", metrics or {"m": 0.1 + 0.2}, {}, 1, 0.0, 0.0, 0)


def test_finished_rows_are_found_again_in_the_order_of_the_table(tmp_path):
    order = [("a", 0), ("a", 1), ("b", 0)]
    with open_folder(tmp_path / "r", REQUEST, "coset compare t") as folder:
        for key in [("b", 0), ("a", 1), ("a", 0)]:
            folder.keep(result(*key), order)
        folder.note("b/0", "stopped")
    with open_folder(tmp_path / "r", REQUEST, "coset compare t") as folder:
        assert list(folder.finished) == order
        assert folder.environment["notes"] == {"b/0": "stopped"}
        assert folder.finished["a", 0].metrics == {"m": 0.1 + 0.2}
    about = json.loads((tmp_path / "r" / "environment.json").read_text())
    assert about["schema"] == 1
    assert about["versions"] == versions()
    assert {"torch", "python", "numpy"} <= set(about["versions"])


def test_another_request_is_told_what_differs(tmp_path):
    with open_folder(tmp_path, REQUEST, ""):
        pass
    with (
        pytest.raises(InputError, match=r"size was 'cpu', now 'full'.*--out"),
        open_folder(tmp_path, {**REQUEST, "size": "full"}, ""),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("environment.json", '{"schema": 7, "request": {}}', "another version"),
        ("environment.json", "{", "damaged"),
        ("environment.json", "[]", "another version"),
        ("environment.json", "[" * 100_000, "damaged"),
        ("environment.json", '{"schema": 1, "request": 3}', "damaged"),
        ("environment.json", '{"schema": 1, "request": {}, "notes": []}', "damaged"),
        ("results.jsonl", '{"schema": 1}\n', "without an environment"),
    ],
    ids=["version", "cut", "list", "deep", "request", "notes", "alone"],
)
def test_folders_of_other_origin_are_refused_and_left_alone(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message), open_folder(tmp_path, REQUEST, ""):
        pass
    assert (tmp_path / name).read_text() == content


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"), open_folder(tmp_path / "file" / "r", REQUEST, ""):
        pass


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("coset.train.folder.PATIENCE", 0.0)
    with (
        open_folder(tmp_path, REQUEST, ""),
        pytest.raises(InputError, match="in use"),
        open_folder(tmp_path, REQUEST, ""),
    ):
        pass
    with open_folder(tmp_path, REQUEST, "") as folder:
        assert folder.path == tmp_path


def test_a_folder_that_comes_free_is_waited_for(tmp_path):
    held = contextlib.ExitStack()
    held.enter_context(locked(tmp_path))
    waiting = threading.Timer(0.3, held.close)
    began = time.monotonic()
    waiting.start()
    with locked(tmp_path):
        assert time.monotonic() - began > 0.25
    waiting.join()


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    row = tmp_path / "rows" / "a" / "0"
    row.mkdir(parents=True)
    for name in (".curve.csv.x7yz_1ab", "stage-1.resume.safetensors"):
        (row / name).write_text("")
    (tmp_path / ".task.json.x7yz_1ab.part").write_text("")
    with open_folder(tmp_path, REQUEST, ""):
        assert [p.name for p in row.iterdir()] == ["stage-1.resume.safetensors"]
        assert not list(tmp_path.glob("*.part"))


def test_an_unfinished_run_is_gone_on_with_and_a_finished_one_is_not(tmp_path):
    first = choose_folder("t", REQUEST, root=tmp_path)
    assert first == tmp_path / "t-1"
    with open_folder(first, REQUEST, "") as folder:
        pass
    assert choose_folder("t", REQUEST, root=tmp_path) == first
    assert choose_folder("t", {**REQUEST, "size": "full"}, root=tmp_path) == tmp_path / "t-2"
    with open_folder(first, REQUEST, "") as folder:
        folder.write_environment(finished=True)
    assert choose_folder("t", REQUEST, root=tmp_path) == tmp_path / "t-2"


def test_names_become_folders():
    assert slug("Frame averaging, SO(2)") == "frame-averaging-so-2"
    assert slug("../../etc") == "etc"
    assert slug("...") == "row"


def test_the_commit_is_a_hash_or_nothing():
    assert set(commit()) <= set("0123456789abcdef+")
