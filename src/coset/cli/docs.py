"""``coset docs``: the site, with guides, a page per task and per system, a gallery and a search; opens from disk."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coset.interop.listing import Entry
    from coset.report.site import Menu, Page
    from coset.report.systems import Use

HERE = "docs"  #: folder of the Markdown pages, in the repository or in the current folder
OPENING = "<p>Symmetry in machine learning: measure it on any model, impose it on any model, learn it, compare.</p>"
GALLERY = "<p>One picture from every task: a sample, and the same sample moved by the symmetry that is true of the problem.</p>"
#: cards of the front page: path, name, what a reader finds there
FRONT = (
    (
        "start.html",
        "The first five minutes",
        "Measure, repair, compare, train: each a command, with what it prints.",
    ),
    ("tutorials/own_image_model.html", "A model of your own", "Audit an image model, repair it, keep it so."),
    ("tutorials/ci.html", "Prove it in your CI", "A contract as a test: one fixture of pytest, or Hypothesis."),
    ("potentials.html", "Potentials", "Train, audit and use an interatomic potential."),
    ("gallery.html", "Gallery", "Every task in a picture, with its rows and what they teach."),
    ("glossary.html", "Words and conventions", "Names, shapes, units, signs, and how others write them."),
)


def docs(
    *,
    out: Annotated[Path, Parameter(help="Folder of the pages; index.html is the front page.")] = Path("site"),
    tasks: Annotated[str | None, Parameter(help="Names joined by commas; all when left out.")] = None,
    pages: Annotated[
        Path | None, Parameter(help="Folder of Markdown pages; docs of the repository or here when left out.")
    ] = None,
) -> int:
    """Write the site: guides, a page per task with a picture, a page per system, citations, search."""
    from coset.cli.options import check_writable, names_of
    from coset.cli.show import note
    from coset.interop.listing import task_names
    from coset.report.guide import Guides, menu, read_guides
    from coset.report.site import citations_page, write_site

    check_writable(out)
    folder = markdown_folder(pages)
    if folder is None:
        note("no Markdown pages found; --pages names their folder")
    guides = read_guides(folder) if folder else Guides()
    made, pictures, uses = task_pages(names_of(tasks, task_names(), "task") or tuple(task_names()))
    texts = [*guides.pages, conventions_page(), citations_page()]
    systems, rooms = system_pages(uses)
    top = [front(texts), gallery(made, pictures)]
    listed: Menu = [
        *menu(texts),
        ("Tasks", [("Gallery", "gallery.html"), *((page.title.partition(": ")[0], page.path) for page in made)]),
        ("Systems", [(page.title, page.path) for page in rooms]),
    ]
    print(write_site(out, [*top, *texts, *made, *rooms, *systems], {**pictures, **guides.pictures}, listed))
    return 0


def markdown_folder(given: Path | None) -> Path | None:
    """The folder of the Markdown pages: the one given, that of the repository, or ``docs`` here; InputError if not there."""
    from coset.errors import InputError
    from coset.interop.listing import ROOT

    if given is not None:
        if not any(given.rglob("*.md")):
            raise InputError(f"--pages {given}: expected a folder with Markdown pages (*.md)")
        return given
    return next((place for place in (ROOT.parents[1] / HERE, Path(HERE)) if (place / "start.md").is_file()), None)


def task_pages(names: Sequence[str]) -> tuple[list[Page], dict[str, Any], dict[str, list[Use]]]:
    """The pages of tasks, their pictures by path, and what their rows are made of by module."""
    from collections import defaultdict
    from importlib import import_module

    from coset.cli.show import note
    from coset.recipe import Request
    from coset.report.site import task_page
    from coset.report.systems import uses

    pages, pictures, used = [], {}, defaultdict(list)
    for name in names:
        note(f"drawing {name}")
        module = import_module(f"coset.tasks.{name}")
        data = module.task.data(Request("smoke"))
        pictures[f"pictures/{name}.png"] = picture_of(name, module.task, data)
        pages.append(task_page(name, module, module.task, picture=f"pictures/{name}.png"))
        for place, use in uses(name, [(method, method.build(data)) for method in module.task.methods]):
            used[place].append(use)
    return pages, pictures, used


def system_pages(uses: Mapping[str, Sequence[Use]]) -> tuple[list[Page], list[Page]]:
    """The pages of systems, and those of the rooms they stand in."""
    from collections import defaultdict

    from coset.interop.listing import ROOT, models
    from coset.report.systems import room_of, room_page, system_page

    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in models():
        entries[entry.place].append(entry)
    for room in ("symmetrizers", "objectives"):
        for path in sorted((ROOT / room).glob("[!_]*.py")):
            place = f"coset.{room}.{path.stem}"
            entries[place] = made_in(place, path.read_text(encoding="utf-8"))
    systems: list[Page] = []
    rooms: dict[str, list[Entry]] = defaultdict(list)
    for place, own in entries.items():
        promises = {entry.name.partition("(")[0]: entry.contracts for entry in own}
        text = import_path(place).read_text(encoding="utf-8")
        systems.append(system_page(place, text, promises, uses.get(place, ())))
        rooms[room_of(place)] += own
    return systems, [room_page(room, own) for room, own in rooms.items()]


def made_in(place: str, text: str) -> list[Entry]:
    """One entry for a module that is no model: its name and what it gives."""
    from coset.interop.listing import Entry
    from coset.report.prose import first

    return [Entry(place.rpartition(".")[2], first(ast.get_docstring(ast.parse(text))) + ".", place)]


def import_path(place: str) -> Path:
    """The file of a module of this package, without importing it."""
    from coset.interop.listing import ROOT

    return ROOT.joinpath(*place.split(".")[1:]).with_suffix(".py")


def front(texts: Sequence[Page]) -> Page:
    """The front page: what this is, how it is installed, where to begin; only cards of pages that are there."""
    from coset.report.prose import code
    from coset.report.site import Page

    there = {page.path for page in texts} | {"gallery.html"}
    cards = [{"link": path, "name": name, "summary": says} for path, name, says in FRONT if path in there]
    body = OPENING + code('pip install ".[all]"  # in a clone of the repository\ncoset doctor\n', "sh")
    return Page("index.html", "coset", body, cards=cards)


def gallery(pages: Sequence[Page], pictures: Mapping[str, Any]) -> Page:
    """One picture from every task, each leading to its page."""
    from coset.report.site import Page

    cards = []
    for page in pages:
        name, _, summary = page.title.partition(": ")
        cards.append({"name": name, "link": page.path, "picture": page.picture, "summary": summary})
    return Page("gallery.html", "Gallery", GALLERY, cards=cards)


def conventions_page() -> Page:
    """How others write the same things, and the functions that convert, from the module of these functions."""
    from coset.report.prose import docstring, first
    from coset.report.site import Page
    from coset.report.systems import functions_of

    text = import_path("coset.reps.conventions").read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text))
    body = f"<p>{first(doc)}.</p>" + docstring(doc)
    return Page("conventions.html", "Conventions and converters", body, sections=functions_of(text))


def picture_of(name: str, task: Any, data: Any = None) -> Any:
    """The portrait of a task at its smallest size."""
    from coset.recipe import Request
    from coset.report.portrait import plain_portrait, portrait

    data = data or task.data(Request("smoke"))
    if data.audit is None or not task.contracts:
        return plain_portrait(data.test if isinstance(data.test, dict) else data.train, title=name)
    return portrait(task.contracts, data.audit, title=name)
