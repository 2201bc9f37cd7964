"""Pages are made from the modules: a task's rows, contracts, figures and sources, a room's models with their promises."""

from types import SimpleNamespace

from coset.contract import Contract
from coset.groups.finite import C
from coset.interop.listing import Entry
from coset.report.site import Page, models_page, paragraphs, task_page, write_site
from coset.task import Method, Task


def accuracy_percent(model, data):
    """Percent right."""
    return 0.0


TASK = Task(
    (Contract(C(4), "image", "B x scalar"),), lambda request: None, None, {"accuracy_percent": accuracy_percent},
    (Method("plain", lambda data: None, note="It <learns> poses.", axes={"model": "cnn"}, source="cohen2016",
            reference={"accuracy_percent": 93.2}),),
)  # fmt: skip


def test_docstrings_become_paragraphs_with_code_and_formulas():
    parts = paragraphs("First.\n\nSee :mod:`coset.nn` and ``x < y``.\n\n    y = f(x)\n      + 1\n")
    assert parts == [
        {"code": False, "text": "See <code>coset.nn</code> and <code>x &lt; y</code>."},
        {"code": True, "text": "y = f(x)\n  + 1"},
    ]


def test_a_task_page_says_what_its_rows_teach_and_where_they_are_from(tmp_path):
    module = SimpleNamespace(__doc__="What it is about.\n\nMore of it.")
    page = task_page("turns", module, TASK, picture="pictures/turns.png")
    write_site(tmp_path, [page], {}, ["images"])
    text = (tmp_path / "tasks" / "turns.html").read_text()
    expected = ["turns: What it is about", "More of it.", "coset compare turns", "It &lt;learns&gt; poses.", "C(4)", "93.2"]
    expected += ["Percent right", "Group Equivariant Convolutional Networks", "../pictures/turns.png", "../models/images.html"]
    for part in expected:
        assert part in text, part


def test_a_models_page_holds_every_system_of_the_room(tmp_path):
    entries = [
        Entry("Net(width=3)", "Images to logits", "coset.models.images.net", ("C(4) exact",)),
        Entry("Other()", "Else", "coset.models.images.other"),
    ]
    page = models_page("images", entries, {"coset.models.images.net": "A net.", "coset.models.images.other": "Another."})
    write_site(
        tmp_path, [page, Page("index.html", "Tasks", cards=[{"name": "a", "link": "tasks/a.html", "summary": "s"}])], {}, []
    )
    text = (tmp_path / "models" / "images.html").read_text()
    for part in ("Net(width=3)", "Contract: C(4) exact.", "A net", "Another", "Else."):
        assert part in text, part
    assert 'href="tasks/a.html"' in (tmp_path / "index.html").read_text()
