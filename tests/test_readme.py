"""The code of README and docs runs; its commands parse; docstring examples say the truth."""

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from coset.cli.app import OPENING, VERBS, build, run
from coset.report.transcript import blocks as fenced
from coset.report.transcript import difference, files, steps

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [
    ".".join(p.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for p in sorted((ROOT / "src" / "coset").rglob("*.py"))
    if ">>>" in p.read_text()
]


def blocks(page: Path, language: str) -> list[str]:
    return fenced(page.read_text(), language)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A fresh current folder, from which a page may import the files that it asks its reader to save."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def save(page: Path, folder: Path) -> None:
    for name, text in files(page.read_text()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name_of)
def test_python_blocks_run(page, folder):
    save(page, folder)
    saved = files(page.read_text())
    for name in saved:  # imported or run further down
        assert page.read_text().count(Path(name).stem) > 1, name
    code = "\n".join(block for block in blocks(page, "python") if block not in saved.values())
    names: dict[str, object] = {"__name__": page.stem}
    exec(compile(code, str(page), "exec"), names)
    assert "coset" in names or saved


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of packages whose models the pages load
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "console")], ids=name_of)
def test_console_blocks_print_what_they_show(page, folder, capsys):
    save(page, folder)
    for step in steps(page.read_text()):
        code, printed = ran(shlex.split(step.line), folder, capsys)
        wrong = difference(step.output, printed.splitlines())
        assert (wrong, code) == (None, step.code), f"{step.line}\n{printed}"


def ran(words: list[str], folder: Path, capsys) -> tuple[int, str]:
    """Exit code and standard output: of coset in this process, of other programs (pytest, python) in one of their own."""
    if words[0] == "coset":
        capsys.readouterr()
        return run(words[1:]), capsys.readouterr().out
    program = [sys.executable] + (["-m"] if words[0] != "python" else []) + words[words[0] == "python" :]
    seen = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS")}
    done = subprocess.run(program, cwd=folder, env=seen, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def commands() -> list[str]:
    text = [block for page in PAGES for block in blocks(page, "sh")] + [OPENING] + [example for _, example in VERBS.values()]
    lines = "\n".join(text).replace("\\\n", " ").splitlines()
    return sorted({line.split("#")[0].strip() for line in lines if line.startswith("coset ")})


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    command, bound, _ = build().parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command is not None
    assert bound is not None


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert any(test.examples for test in doctest.DocTestFinder().find(module))
    assert doctest.testmod(module).failed == 0


def test_pages_name_files_that_exist():
    for page in PAGES:
        for link in re.findall(r"\]\(((?!http|#)[^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
