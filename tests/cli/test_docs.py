"""coset docs: every task has a picture, every task, system and Markdown page a page, and all links lead somewhere."""

import json
import re
from importlib import import_module

import pytest

from coset.cli.app import run
from coset.cli.docs import picture_of
from coset.interop.listing import models, task_names
from coset.report.systems import path_of


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The whole site, with pictures and rows of two tasks."""
    out = tmp_path_factory.mktemp("site")
    assert run(["docs", "--out", str(out), "--tasks", "nbody,signal"]) == 0
    return out


def test_every_link_leads_to_a_page_and_every_anchor_to_a_place_in_it(site):
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    anchors = {page.resolve(): set(re.findall(r' id="([^"]+)"', text)) for page, text in pages.items()}
    for page, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            if link.startswith(("http://", "https://", "mailto:")):
                continue
            file, _, part = link.partition("#")
            target = (page.parent / file).resolve() if file else page.resolve()
            assert target.is_file(), (page.name, link)
            assert not part or part in anchors[target], (page.name, link)


def test_nothing_is_asked_of_a_network(site):
    for page in site.rglob("*.*"):
        if page.suffix in (".html", ".css", ".js"):
            assert not re.search(r"""(?:src|<link[^>]*href)=["']https?:|@import|url\(|fetch\(""", page.read_text()), page


def test_every_room_and_every_system_has_a_page(site):
    for entry in models():
        assert (site / path_of(entry.place)).is_file(), entry.place
        assert (site / "models" / f"{entry.place.split('.')[2]}.html").is_file()
    egnn = (site / "models" / "points" / "egnn.html").read_text()
    for part in ("Contract:", "tasks/nbody.html", "hidden: int = 64", "Rows that use it"):
        assert part in re.sub("<[^>]*span[^>]*>", "", egnn), part


def test_every_markdown_page_is_on_the_site_and_in_the_menu(site, root):
    text = (site / "index.html").read_text()
    for page in (root / "docs").rglob("*.md"):
        assert f'href="{page.relative_to(root / "docs").with_suffix(".html").as_posix()}"' in text, page.name
    for link in re.findall(r'"link": "|^    \("([^"]+)"', (root / "src/coset/cli/docs.py").read_text(), re.M):
        assert (site / link).is_file(), link


def test_the_search_finds_what_is_there(site):
    index = json.loads((site / "search.js").read_text().removeprefix("const PAGES=").rstrip(";\n"))
    assert {page["p"] for page in index} == {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    assert any("quaternion_to_xyzw" in page["w"] for page in index if page["p"] == "conventions.html")


def test_a_folder_without_pages_is_refused(tmp_path, capsys):
    assert run(["docs", "--out", str(tmp_path), "--pages", str(tmp_path)]) == 2
    assert "Markdown" in capsys.readouterr().err


def test_an_unknown_task_is_refused(tmp_path, capsys):
    assert run(["docs", "--out", str(tmp_path), "--tasks", "nbdy"]) == 2
    assert "nbody" in capsys.readouterr().err


@pytest.mark.parametrize("name", task_names())
def test_every_task_has_a_picture(name):
    made = picture_of(name, import_module(f"coset.tasks.{name}").task)
    assert any(panel.images or panel.collections or panel.lines for panel in made.axes)
