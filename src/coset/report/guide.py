"""The Markdown pages of a repository as pages of the site: where each goes, how they link, in which order they are read."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from coset.report.prose import article
from coset.report.site import Menu, Page

PICTURES = (".png", ".jpg", ".svg")
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")  #: pages that lie beside the folder of the others
#: heading of the menu, and its pages by their paths on the site, in the order of reading; what is not named comes behind
ORDER = {
    "Learn": ("start", "readme", "potentials", "irreps"),
    "Guides": ("guides/audit", "guides/symmetrize", "guides/images", "guides/points", "guides/graphs", "guides/motion"),
    "Tutorials": (
        "tutorials/own_image_model", "tutorials/adapt", "tutorials/outside", "tutorials/ci", "tutorials/add_a_system",
    ),
    "Reference": (
        "glossary", "conventions", "files", "conformance", "robustness", "citations", "design", "contributing", "changelog",
    ),
}  # fmt: skip
FOLDERS = {"guides": "Guides", "tutorials": "Tutorials"}


@dataclass
class Guides:
    """All pages below a folder: as HTML, and the pictures that they show."""

    pages: list[Page] = field(default_factory=list)
    pictures: dict[str, Path] = field(default_factory=dict)


def read_guides(folder: Path) -> Guides:
    """Every ``*.md`` below ``folder`` and the usual ones beside it; a link to what is not on the site becomes plain text."""
    sources = {path.resolve(): _place(path, folder) for path in sorted(folder.rglob("*.md"))}
    beside = [folder.parent / name for name in BESIDE]
    sources |= {path.resolve(): _place(path, None) for path in beside if path.is_file()}
    found = Guides()
    for path, place in sources.items():

        def link(target: str, path: Path = path, place: str = place) -> str | None:
            return _address(target, path, place, sources, found.pictures)

        made = article(path.read_text(encoding="utf-8"), link)
        found.pages.append(Page(place, made.title, body=made.body, headings=made.headings))
    return found


def menu(pages: list[Page]) -> Menu:
    """The Markdown pages among ``pages`` under the headings of :data:`ORDER`."""
    place = {stem: heading for heading, stems in ORDER.items() for stem in stems}
    rank = {stem: i for i, stem in enumerate(place)}
    stems = {page.path.removesuffix(".html"): page for page in pages}
    filed: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ORDER}
    for stem in sorted(stems, key=lambda stem: (rank.get(stem, len(rank)), stem)):
        heading = place.get(stem) or FOLDERS.get(stem.partition("/")[0], "Reference")
        filed[heading].append((SHORT.get(stem, stems[stem].title.removeprefix("Guide: ")), stems[stem].path))
    return [(heading, links) for heading, links in filed.items() if links]


SHORT = {"readme": "Overview", "changelog": "Changes", "start": "The first five minutes"}


def _place(path: Path, folder: Path | None) -> str:
    """Where a page goes: as it lies in the folder; in small letters at the top, if it lies beside."""
    relative = path.relative_to(folder).as_posix() if folder else path.name.lower()
    return relative.removesuffix(".md") + ".html"


def _address(target: str, path: Path, place: str, sources: dict[Path, str], pictures: dict[str, Path]) -> str | None:
    """Where a link of the page at ``path`` leads on the site, seen from its ``place``; None if nowhere."""
    if target.startswith(("#", "http://", "https://", "mailto:")):
        return target
    file, mark, part = target.partition("#")
    found = (path.parent / file).resolve()
    if found in sources:
        return posixpath.relpath(sources[found], posixpath.dirname(place) or ".") + mark + part
    if found.suffix in PICTURES and found.is_file():
        pictures[f"pictures/pages/{found.name}"] = found
        return posixpath.relpath(f"pictures/pages/{found.name}", posixpath.dirname(place) or ".")
    return None
