"""``coset docs``: the pages about tasks and models, with a picture of every task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def docs(
    *,
    out: Annotated[Path, Parameter(help="Folder of the pages; index.html is the gallery.")] = Path("site"),
    tasks: Annotated[str | None, Parameter(help="Names joined by commas; all when left out.")] = None,
) -> int:
    """Write pages about every task and model, and a gallery with one picture from every task."""
    import ast
    from collections import defaultdict
    from importlib import import_module

    from coset.cli.options import check_writable, names_of
    from coset.cli.show import note
    from coset.interop.listing import models, task_names
    from coset.report.site import Page, models_page, task_page, write_site

    check_writable(out)
    pages, pictures, cards = [], {}, []
    for name in names_of(tasks, task_names(), "task") or task_names():
        note(f"drawing {name}")
        module = import_module(f"coset.tasks.{name}")
        path = f"pictures/{name}.png"
        pictures[path] = picture_of(name, module.task)
        pages.append(task_page(name, module, module.task, picture=path))
        summary = pages[-1].title.partition(": ")[2]
        cards.append({"name": name, "link": pages[-1].path, "picture": path, "summary": summary})
    rooms: dict[str, list[Any]] = defaultdict(list)
    for entry in models():
        rooms[entry.place.split(".")[2]].append(entry)
    for room, entries in rooms.items():
        sources = {entry.place: Path(str(import_path(entry.place))).read_text() for entry in entries}
        texts = {place: ast.get_docstring(ast.parse(text)) or "" for place, text in sources.items()}
        pages.append(models_page(room, entries, texts))
    opening = "One picture from every task: a sample, and the same sample moved by the symmetry that is true of the problem."
    pages.append(Page("index.html", "Tasks", [{"code": False, "text": opening}], cards=cards))
    print(write_site(out, pages, pictures, sorted(rooms)))
    return 0


def import_path(place: str) -> Path:
    """The file of a module of this package, without importing it."""
    from coset.interop.listing import ROOT

    return ROOT.joinpath(*place.split(".")[1:]).with_suffix(".py")


def picture_of(name: str, task: Any) -> Any:
    """The portrait of a task at its smallest size."""
    from coset.recipe import Request
    from coset.report.portrait import plain_portrait, portrait

    data = task.data(Request("smoke"))
    if data.audit is None or not task.contracts:
        return plain_portrait(data.test if isinstance(data.test, dict) else data.train, title=name)
    return portrait(task.contracts, data.audit, title=name)
