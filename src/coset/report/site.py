"""The site: a front page, a gallery with one picture from every task, a page per task, and a page per system.

Everything stands in the modules already, docstrings, contracts, rows and their sources; this only lays it out (jinja2, extra
``report``). Pages of systems are made by :mod:`coset.report.systems`, those in Markdown by :mod:`coset.report.guide`; gathering
it all is the command's work, :mod:`coset.cli.docs`. No page needs a network, and all work from disk.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coset.errors import require
from coset.records import write_atomically
from coset.report.cite import references
from coset.report.prose import TAG, docstring, first, slug
from coset.report.table import label, number

Menu = list[tuple[str, list[tuple[str, str]]]]  #: headings, each with the names and paths of its pages
INDEXED = 6000  #: characters of a page that the search looks into


@dataclass
class Page:
    """One page: where it goes, title and text (HTML), headings for the search, a picture, cards that lead on, sections.

    A section is a mapping with ``title`` and any of ``body`` (HTML), ``head`` with ``rows`` of a table, ``sources``; a cell is
    a text, or ``{"text": ..., "link": path on the site}``.
    """

    path: str
    title: str
    body: str = ""
    headings: tuple[tuple[int, str, str], ...] = ()
    picture: str = ""
    cards: list[dict[str, str]] = field(default_factory=list)
    sections: list[dict[str, Any]] = field(default_factory=list)


def task_page(name: str, module: Any, task: Any, *, picture: str) -> Page:
    """What a task is, its contracts, its rows with what each teaches and the papers' figures, how to run it."""
    references_of = [
        [method.name, label(metric), number(float(value)) if isinstance(value, (int, float)) else str(value)]
        for method in task.methods
        for metric, value in method.reference
    ]
    sections: list[dict[str, Any]] = [
        {"title": "Run it", "body": f"<pre>coset compare {name}\ncoset compare {name} --size full --seeds 3</pre>"},
        {
            "title": "What is true of the problem",
            "head": ["group", "input", "output", "claim"],
            "rows": [[str(c.group), str(c.inputs), str(c.outputs), c.claim] for c in task.contracts],
        },
        {
            "title": "Rows",
            "head": ["method", "axes", "what it teaches"],
            "rows": [[m.name, ", ".join(str(value) for _, value in m.axes), m.note] for m in task.methods],
        },
        {
            "title": "Metrics",
            "head": ["metric", "is"],
            "rows": [[label(k), first(v.__doc__)] for k, v in task.metrics.items()],
        },
    ]
    if references_of:
        sections.append({"title": "Figures of the papers", "head": ["method", "metric", "published"], "rows": references_of})
    sections.append(sources_of([method.source for method in task.methods]))
    title = f"{name}: {first(module.__doc__)}"
    return Page(f"tasks/{name}.html", title, docstring(module.__doc__), picture=picture, sections=sections)


def sources_of(named: Sequence[str]) -> dict[str, Any]:
    """The section with the BibTeX entries of all keys in ``named``, texts with keys separated by commas or blanks."""
    known = references()
    keys = dict.fromkeys(key for text in named for key in re.split(r"[,\s]+", text) if key in known)
    return {"title": "Sources", "sources": [{"key": key, "bibtex": known[key]} for key in keys]}


def citations_page() -> Page:
    """How to cite what a run used, and every source of the library."""
    body = (
        "<p><code>coset cite DIR</code> prints BibTeX of whatever a run used: this package, and the sources of the rows that"
        " finished in it. <code>--keys</code> lists the keys and the rows that use them.</p>"
        "<pre>coset cite runs/digits\ncoset cite runs/digits --keys</pre><p>These are all sources of the library.</p>"
    )
    return Page("citations.html", "Citations", body, sections=[sources_of([" ".join(references())])])


def write_site(out: Path, pages: Sequence[Page], pictures: Mapping[str, Any], menu: Menu) -> Path:
    """Write ``pages`` and ``pictures`` below ``out``, with what the search needs; the path of the front page.

    ``pictures`` are matplotlib figures or files to copy, by their paths on the site.
    """
    jinja = require("jinja2", extra="report")
    loader = jinja.PackageLoader("coset.report", "templates")
    environment = jinja.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["slug"] = slug
    template = environment.get_template("site.html.j2")
    for path, picture in pictures.items():
        write_atomically(out / path, picture.read_bytes() if isinstance(picture, Path) else _png(picture))
    index = []
    for page in pages:
        root = "../" * page.path.count("/")
        text = template.render(page=page, root=root, menu=menu)
        write_atomically(out / page.path, text)
        index.append(_entry(page, text))
    write_atomically(out / "search.js", f"const PAGES={json.dumps(index, ensure_ascii=False, separators=(',', ':'))};\n")
    for name in ("site.css", "site.js"):
        write_atomically(out / name, loader.get_source(environment, name)[0])
    return out / "index.html"


def _png(picture: Any) -> bytes:
    stream = io.BytesIO()
    picture.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    return stream.getvalue()


def _entry(page: Page, text: str) -> dict[str, Any]:
    """What the search knows of a page: path, title, headings with their addresses, words."""
    main = TAG.sub(" ", text.partition("<main")[2].partition("</main>")[0].partition(">")[2])
    headings = [[address, plain] for _, address, plain in page.headings]
    headings += [[slug(section["title"]), section["title"]] for section in page.sections]
    return {"p": page.path, "t": page.title, "h": headings, "w": " ".join(_unescape(main).split())[:INDEXED]}


def _unescape(text: str) -> str:
    from html import unescape

    return unescape(text)
