"""Files are written whole or not at all, leftovers go, and what is read again is right or refused in words."""

import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from coset.errors import InputError
from coset.records import Finding, Result, load_arrays, load_json, read_results, read_task, write_atomically

RESULT = {
    "schema": 1, "task": "t", "method": "m", "seed": 0, "size": "smoke", "metrics": {"a": 1.0},
    "errors": {"C(4)": {"before": 0.1, "after": "nan", "dtype": "float64"}}, "parameters": 3, "seconds_per_step": 0.1,
    "train_seconds": 1.0, "peak_memory_bytes": 5,
}  # fmt: skip


@pytest.fixture
def small_files():
    """No file of this process grows beyond 100 bytes, as on a full disk."""
    limits, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, old)


def test_on_a_full_disk_the_old_file_stays_and_nothing_else(tmp_path, small_files):
    write_atomically(tmp_path / "a", "old")
    with pytest.raises(InputError, match=r"cannot write .*a: File too large; free some space"):
        write_atomically(tmp_path / "a", "new" * 100)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.parametrize("name", ["x\0y", "\udcff" * 300, "a" * 300], ids=["zero byte", "no Unicode", "long"])
def test_names_that_no_file_can_have_are_refused(name, tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / name, "text")


def test_text_that_is_no_unicode_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "a", "\udcff")


def test_what_a_killed_process_was_writing_goes_and_what_a_living_one_writes_stays(tmp_path):
    code = (
        "import os, sys, coset.records as r\n"
        "os.replace = lambda a, b: (print(flush=True), sys.stdin.read())\n"
        "r.write_atomically(sys.argv[1], 'half')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        write_atomically(tmp_path / "a", "whole")
        assert len(list(tmp_path.glob(".a.*"))) == 1, "it is held by a process"
        writer.kill()
        writer.wait()
    (tmp_path / ".a.abcdefgh.part").touch()
    os.utime(tmp_path / ".a.abcdefgh.part", (0, 0))
    (tmp_path / ".a.settings").write_text("of the user")
    (tmp_path / ".a.ijklmnop.part").touch()  # somebody may be about to write
    write_atomically(tmp_path / "a", "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.ijklmnop.part", ".a.settings", "a"]


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2**50,)})


def _flipped(path: Path) -> None:
    np.savez(path, a=np.zeros(50))
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)


def _no_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.txt", "text")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b""), "neither"),
        (lambda path: path.write_bytes(b"\x93NUMPY\1\0F\0{"), "is it whole"),
        (lambda path: np.savez(path, a=np.array([{}], dtype=object)), "never unpickled"),
        (_huge, "is it whole"),
        (_flipped, "CRC"),
        (_no_array, "a.txt in it is no array"),
    ],
    ids=["missing", "folder", "empty", "cut", "objects", "huge", "flipped", "text"],
)
def test_arrays_are_read_whole_or_refused(make, says, tmp_path):
    make(tmp_path / "a.npz")
    with pytest.raises(InputError, match=says):
        load_arrays(tmp_path / "a.npz")


def test_arrays_come_back(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    np.savez(tmp_path / "b.npz", x=np.ones(2), y=np.array("word"))
    assert load_arrays(tmp_path / "a.npy")[""].tolist() == [0, 1, 2]
    assert {name: array.tolist() for name, array in load_arrays(tmp_path / "b.npz").items()} == {"x": [1, 1], "y": "word"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
def test_json_is_read_whole_or_refused(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="is it whole"):
        load_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", [name for name in RESULT if name != "schema"])
def test_a_result_of_other_kinds_is_refused(name):
    assert Result.from_line(json.dumps(RESULT)).metrics == {"a": 1.0}
    for wrong in ([], None, {"a": []}, True):
        with pytest.raises(InputError, match=r"results\.jsonl"):
            Result.from_line(json.dumps(RESULT | {name: wrong}))


def test_a_file_of_results_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "results.jsonl").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="is it whole"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"description": "text"}, {"contracts": [1]}, {"title": []}, {"methods": [1]}, {"methods": {"m": 1}},
     {"methods": {"m": {"note": 3}}}, {"methods": {"m": {"axes": {"symmetry": []}}}}],
    ids=str,
)  # fmt: skip
def test_a_description_of_a_task_of_other_kinds_is_refused(change, tmp_path):
    told = {"title": "t", "description": ["text"], "methods": {"m": {"note": "", "axes": {"layers": 3}, "source": ""}}}
    assert read_task(tmp_path) == {}
    (tmp_path / "task.json").write_text(json.dumps(told))
    assert read_task(tmp_path) == told
    (tmp_path / "task.json").write_text(json.dumps(told | change))
    with pytest.raises(InputError, match="not as it was written"):
        read_task(tmp_path)


def test_a_device_is_written_to_and_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        write_atomically(tmp_path / "pipe", "text")
        assert reader.stdout.read() == b"text"
    assert (tmp_path / "pipe").is_fifo()
    before = os.stat("/dev/null")
    write_atomically("/dev/null", "text")
    assert os.stat("/dev/null").st_ino == before.st_ino


@dataclass
class Found(Finding):
    values: np.ndarray
    word: str = ""


def test_a_finding_with_more_or_other_entries_is_refused(tmp_path):
    path = Found(np.ones(2), "a").save(tmp_path / "a.npz")
    assert Found.load(path).word == "a"
    whole = load_arrays(path)
    for change in ({"more": np.ones(1)}, {"__json__": np.array("[]")}, {"__json__": np.array("{")}, {"": np.ones(1)}):
        np.savez(path, **(whole | change))
        with pytest.raises(InputError, match=r"a\.npz"):
            Found.load(path)
