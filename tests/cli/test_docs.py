"""coset docs: every task has a page and a picture, every room of models a page."""

import re
from importlib import import_module

import pytest

from coset.cli.app import run
from coset.cli.docs import picture_of
from coset.interop.listing import models, task_names


def test_pages_are_written_and_their_links_lead_somewhere(tmp_path, capsys):
    assert run(["docs", "--out", str(tmp_path), "--tasks", "nbody,signal"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
    rooms = {entry.place.split(".")[2] for entry in models()}
    assert {page.stem for page in (tmp_path / "models").glob("*.html")} == rooms
    for page in tmp_path.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()):
            assert (page.parent / link).is_file(), (page.name, link)


def test_an_unknown_task_is_refused(tmp_path, capsys):
    assert run(["docs", "--out", str(tmp_path), "--tasks", "nbdy"]) == 2
    assert "nbody" in capsys.readouterr().err


@pytest.mark.parametrize("name", task_names())
def test_every_task_has_a_picture(name):
    made = picture_of(name, import_module(f"coset.tasks.{name}").task)
    assert any(panel.images or panel.collections or panel.lines for panel in made.axes)
