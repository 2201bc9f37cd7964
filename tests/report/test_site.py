"""Pages of tasks are made from their modules; every page has the menu, and the search knows what is read on it."""

import json
from types import SimpleNamespace

import torch

from coset.contract import Contract
from coset.groups.finite import C
from coset.report.site import Page, citations_page, task_page, write_site
from coset.task import Method, Task

MENU = [("Learn", [("Start", "start.html")]), ("Systems", [("Images", "models/images.html")])]


def accuracy_percent(model, data):
    """Percent right."""
    return 0.0


TASK = Task(
    (Contract(C(4), "image", "B x scalar"),), lambda request: None, None, {"accuracy_percent": accuracy_percent},
    (Method("plain", lambda data: torch.nn.Linear(3, 2), note="It <learns> poses.", axes={"model": "cnn"}, source="cohen2016",
            reference={"accuracy_percent": 93.2}),),
)  # fmt: skip


def index(folder):
    text = (folder / "search.js").read_text()
    return {page["p"]: page for page in json.loads(text.removeprefix("const PAGES=").rstrip(";\n"))}


def test_a_task_page_says_what_its_rows_teach_and_where_they_are_from(tmp_path):
    module = SimpleNamespace(__doc__="What it is about.\n\nMore of it.")
    page = task_page("turns", module, TASK, picture="pictures/turns.png")
    write_site(tmp_path, [page], {}, MENU)
    text = (tmp_path / "tasks" / "turns.html").read_text()
    expected = ["turns: What it is about", "More of it.", "coset compare turns", "It &lt;learns&gt; poses.", "C(4)", "93.2"]
    expected += ["Percent right", "Group Equivariant Convolutional Networks", "../pictures/turns.png", "../models/images.html"]
    for part in expected:
        assert part in text, part


def test_the_menu_marks_the_page_itself_and_leads_to_all_others(tmp_path):
    write_site(tmp_path, [Page("start.html", "Start"), Page("models/images.html", "Images")], {}, MENU)
    inner = (tmp_path / "models" / "images.html").read_text()
    assert '<a href="../start.html">Start</a>' in inner
    assert '<a href="../models/images.html" aria-current="page">' in inner
    assert (tmp_path / "start.html").read_text().count("aria-current") == 1


def test_the_search_knows_titles_headings_and_words_of_what_is_read(tmp_path):
    text = "<p>One &amp; two.</p>"
    page = Page("a.html", "Of <frames>", text, headings=((2, "how", "How"),), sections=[{"title": "To do it"}])
    write_site(tmp_path, [page, citations_page()], {}, MENU)
    found = index(tmp_path)
    assert found["a.html"]["t"] == "Of <frames>"
    assert found["a.html"]["h"] == [["how", "How"], ["to-do-it", "To do it"]]
    assert "One & two." in found["a.html"]["w"]
    assert "Start" not in found["a.html"]["w"]  # the menu is on every page
    assert "Group Equivariant" in (tmp_path / "citations.html").read_text()


def test_a_picture_is_drawn_or_copied(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    write_site(tmp_path / "out", [], {"pictures/a.png": tmp_path / "a.png"}, MENU)
    assert (tmp_path / "out" / "pictures" / "a.png").read_bytes() == b"png"
