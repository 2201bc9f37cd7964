"""The code of README and docs runs; its commands parse; docstring examples say the truth."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

from coset.cli.app import OPENING, VERBS, build

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    ".".join(p.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for p in sorted((ROOT / "src" / "coset").rglob("*.py"))
    if ">>>" in p.read_text()
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    names: dict[str, object] = {"__name__": page.stem}
    exec(compile(code, str(page), "exec"), names)
    assert "coset" in names


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
