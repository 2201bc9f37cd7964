"""Pages about what there is: a gallery with one picture from every task, a page per task, a page per room of models.

Everything stands in the modules already, docstrings, contracts, rows and their sources; this only lays it out (jinja2, extra
``report``). Gathering it is the command's work: :mod:`coset.cli.docs`.
"""

from __future__ import annotations

import html
import inspect
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coset.errors import require
from coset.records import write_atomically
from coset.report.cite import references
from coset.report.table import label, number


@dataclass
class Page:
    """One page: where it goes, its title and prose, a picture, cards that lead elsewhere, and sections."""

    path: str
    title: str
    prose: list[dict[str, Any]] = field(default_factory=list)
    picture: str = ""
    cards: list[dict[str, str]] = field(default_factory=list)
    sections: list[dict[str, Any]] = field(default_factory=list)


def paragraphs(text: str | None) -> list[dict[str, Any]]:
    """A docstring's paragraphs after its first: indented blocks as code, marks of its language taken off, code kept."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text or ""))[1:]
    found = []
    for part in parts:
        if all(line.startswith("    ") for line in part.splitlines()):
            found.append({"code": True, "text": textwrap.dedent(part)})
            continue
        escaped = html.escape(re.sub(r":[a-z]+:`~?([^`]*)`", r"``\1``", " ".join(part.split())), quote=False)
        found.append({"code": False, "text": re.sub(r"``([^`]*)``", r"<code>\1</code>", escaped)})
    return found


def task_page(name: str, module: Any, task: Any, *, picture: str) -> Page:
    """What a task is, its contracts, its rows with what each teaches and the papers' figures, how to run it."""
    references_of = [
        [method.name, label(metric), number(float(value)) if isinstance(value, (int, float)) else str(value)]
        for method in task.methods
        for metric, value in method.reference
    ]
    keys = dict.fromkeys(key for method in task.methods for key in re.split(r"[,\s]+", method.source) if key)
    sections: list[dict[str, Any]] = [
        {
            "title": "Run it",
            "prose": [{"code": True, "text": f"coset compare {name}\ncoset compare {name} --size full --seeds 3"}],
        },
        {
            "title": "What is true of the problem",
            "head": ["group", "input", "output", "claim"],
            "rows": [[str(c.group), str(c.inputs), str(c.outputs), c.claim] for c in task.contracts],
        },
        {
            "title": "Rows",
            "head": ["method", "", "what it teaches"],
            "rows": [[m.name, ", ".join(str(value) for _, value in m.axes), m.note] for m in task.methods],
        },
        {
            "title": "Metrics",
            "head": ["metric", "is"],
            "rows": [[label(k), _first(v.__doc__)] for k, v in task.metrics.items()],
        },
    ]
    if references_of:
        sections.append({"title": "Figures of the papers", "head": ["method", "metric", "published"], "rows": references_of})
    known = references()
    sections.append({"title": "Sources", "sources": [{"key": key, "bibtex": known[key]} for key in keys if key in known]})
    title = _first(module.__doc__)
    return Page(f"tasks/{name}.html", f"{name}: {title}", paragraphs(module.__doc__), picture, sections=sections)


def models_page(room: str, entries: Sequence[Any], docs: Mapping[str, str]) -> Page:
    """All systems of a room: each file's docstring, then its models with what they promise."""
    sections = []
    for place in dict.fromkeys(entry.place for entry in entries):
        own = [entry for entry in entries if entry.place == place]
        opening = {"code": False, "text": html.escape(_first(docs[place]), quote=False)}
        sections.append(
            {
                "title": place.rpartition(".")[2].replace("_", " "),
                "prose": [opening, *paragraphs(docs[place])],
                "entries": [{"name": e.name, "text": e.summary + ".", "contracts": "; ".join(e.contracts)} for e in own],
            }
        )
    return Page(f"models/{room}.html", f"Models: {room}", sections=sections)


def write_site(out: Path, pages: Sequence[Page], pictures: Mapping[str, Any], rooms: Sequence[str]) -> Path:
    """Write ``pages`` and ``pictures`` (matplotlib figures by relative path) below ``out``; the path of its front page."""
    jinja = require("jinja2", extra="report")
    environment = jinja.Environment(loader=jinja.PackageLoader("coset.report", "templates"), autoescape=True, trim_blocks=True)
    template = environment.get_template("site.html.j2")
    for path, picture in pictures.items():
        stream = io.BytesIO()
        picture.savefig(stream, format="png", dpi=110, bbox_inches="tight")
        write_atomically(out / path, stream.getvalue())
    for page in pages:
        root = "../" * page.path.count("/")
        write_atomically(out / page.path, template.render(page=page, root=root, rooms=rooms))
    return out / "index.html"


def _first(text: str | None) -> str:
    """The first sentence of a docstring, without markup."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split()).replace("``", "").rstrip(".")
