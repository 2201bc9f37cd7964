"""The command's frame: quick to answer, exit codes that mean something, no traceback for a user's mistake."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from coset.cli import app
from coset.cli.app import VERBS, run

QUICK = [["--help"], ["list"], ["list", "models"], ["doctor", "--help"], ["audit", "--help"], ["--version"]]


def cli(line, **variables):
    command = [sys.executable, "-m", "coset", *line]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("line", QUICK, ids=" ".join)
def test_quick_commands_import_no_torch(line):
    code = (
        "import sys\nfrom coset.cli.app import run\ncode = run(sys.argv[1:])\n"
        "heavy = {'torch', 'numpy', 'scipy', 'lightning', 'sklearn', 'plotly'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\nsys.exit(code or len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("line", [["--help"], ["list"], ["doctor", "--help"]], ids=" ".join)
def test_quick_commands_answer_in_a_third_of_a_second(line):
    """Wall time where the machine is free; processor time of the child where it is not."""

    def once() -> float:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        cli(line)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return min(used, time.perf_counter() - start)

    assert min(once() for _ in range(5)) < 0.3


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_shows_an_example(verb, capsys):
    assert run([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"coset {verb}" in shown.partition("Example:")[2]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["audti"], 'Did you mean "audit"'),
        (["list", "group"], "groups"),
        (["audit", "x:y", "--group", "C(4)"], "belong together"),
        (
            ["audit", "x:y", "--group", "C(4)", "--in", "image", "--out-rep", "image", "--data", "digits", "--dtype", "float"],
            "float64",
        ),
        (["report", "/no/such/folder"], "no results.jsonl in /no/such/folder"),
        (["train", "digits"], "METHOD"),
    ],
)
def test_misuse_is_said_with_exit_code_2(line, says, capsys):
    assert run(line) == app.USAGE
    shown = capsys.readouterr()
    assert says in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setenv("COSET_DEBUG", "1")
    assert run(["report", "/no/such/folder"]) == app.USAGE
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_passed_off_as_a_users(monkeypatch, capsys):
    names = {}  # as if it stood in a file of ours
    exec(compile("def broken(*_):\n    raise RuntimeError('a bug')", app.__file__, "exec"), names)
    monkeypatch.setattr("coset.interop.kept.lists", names["broken"])
    assert run(["list", "groups"]) == app.FAULT
    assert "a bug" in capsys.readouterr().err


def test_version_is_that_of_the_distribution(capsys):
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"coset {version('coset')}"


def test_lists_are_plain_text_away_from_a_terminal_and_json_on_demand(capsys):
    assert run(["list", "groups"]) == 0
    plain = capsys.readouterr().out
    assert plain.startswith("groups")
    assert not set("│┃━\x1b") & set(plain)
    assert run(["list", "groups", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    assert [line.split("  ")[0] for line in plain.splitlines()[1:]] == [entry["name"] for entry in told["groups"]]


def test_doctor_in_text_and_json(capsys):
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "self-check" in text
    assert ": ok (" in text
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is True
    assert told["versions"]["torch"] in text
    for_users = {"train", "report", "track", "ray", "triton", "control", "atoms", "test", "export", "hub"}
    assert set(told["extras"]) == for_users | {"graphs", "peers"}


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m coset list groups --json | head -n 1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def wrong(tmp_path, text, *line):
    """The command on a file of the user's with this text: exit code and what was said."""
    (tmp_path / "mine.py").write_text(text)
    done = subprocess.run([sys.executable, "-m", "coset", *line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


TASK = """
from torch import nn
from coset.recipe import Data, Recipe
from coset.task import Method, Task
import torch
task = Task(contracts=(), data=lambda request: Data({"x": torch.zeros(2)}, {}), objective=None, metrics={}, headline="",
            methods=(Method("m", lambda data: nn.Linear(2, 1.5), ()),), recipe={"smoke": Recipe()})
"""


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (TASK.replace(' headline="",', ""), ["compare", "mine.py:task", "--size", "smoke"], "mine.py, line "),
        ("def f(x): raise SystemExit(5)", ["audit", "mine.py:f", "--group", "C(4)", "--in", "B x vector", "--out-rep",
                                           "B x vector"], "mine.py, line 1: the program was ended there (SystemExit 5)"),
    ],
    ids=["a task that raises", "a model that exits"],
)  # fmt: skip
def test_what_code_of_the_user_raises_is_laid_at_its_line(text, line, says, tmp_path):
    code, said = wrong(tmp_path, text, *line)
    assert code == 2, said
    assert says in said


def test_a_fault_of_ours_below_code_of_the_user_stays_ours():
    from coset.interop.target import blame
    from coset.reps.fields import Fields

    with pytest.raises(Exception) as ours:  # noqa: PT011  (whatever it is)
        Fields(3)
    with pytest.raises(ValueError, match="Expecting") as theirs:
        json.loads("{")
    assert blame(ours.value) == ""
    assert blame(theirs.value).startswith(__file__)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("line", [["list", "groups"], ["--help"], ["cite", "--help"]], ids=" ".join)
def test_output_that_cannot_be_written_is_said(line):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "coset", *line], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("coset: cannot read or write standard output or an open file: No space left")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(36, "File name too long", "aaa"), "cannot read or write aaa: File name too long"),
        (MemoryError("Unable to allocate 2 TiB"), "not enough memory (Unable to allocate 2 TiB)"),
        (RuntimeError("[enforce fail] can't allocate memory: you tried 8 bytes\nmore"), "not enough memory"),
    ],
    ids=["name", "memory", "torch"],
)
def test_what_the_system_refuses_is_no_fault_of_ours(error, says, monkeypatch, capsys):
    def refuse():
        raise error

    monkeypatch.setattr(app, "build", refuse)
    assert run(["list"]) == 2
    assert says in capsys.readouterr().err
