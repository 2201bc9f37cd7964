"""What ``coset serve`` shows of a folder: which paths it opens, what lies there, and the page that lists it.

A path is refused unless it stays inside the folder after links are followed; hidden files, sources and pickles are never
served. Nothing that is found is executed: an audit page is written anew from its JSON, other pages are shown in a sandbox.
"""

from __future__ import annotations

import html
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from coset.errors import InputError
from coset.report.audit_page import template

#: what is served as it is, by suffix
TYPES = {
    ".html": "text/html; charset=utf-8", ".json": "application/json", ".jsonl": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8",
    ".bib": "text/plain; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml", ".npz": "application/octet-stream",
    ".safetensors": "application/octet-stream",
}  # fmt: skip
DEEP, MANY = 6, 2000  #: folders below the served one that are looked into


@dataclass(frozen=True)
class Entry:
    """A folder that holds something to look at."""

    path: str  #: from the served folder on, with slashes; "" for itself
    kind: str  #: audit, run or page
    about: str  #: in words
    file: str = ""  #: the page, for what is served as it is


class Folder:
    """A folder and nothing outside it; InputError for one that is none."""

    def __init__(self, root: str | Path) -> None:
        if not Path(root).is_dir():
            raise InputError(
                f"no folder {root}; name one written by coset audit --out or coset compare, or one that holds such"
            )
        self.root = Path(root).resolve()

    def file(self, path: str) -> Path:
        """A regular file under the folder, links followed; InputError for any other path."""
        parts = path.split("/")
        if any(not part or part.startswith(".") or "\\" in part or "\0" in part for part in parts):
            raise InputError(f"no file {path!r} in the served folder")
        try:
            found = self.root.joinpath(*parts).resolve(strict=True)
            inside = found.is_relative_to(self.root) and found.is_file()
        except (OSError, RuntimeError, ValueError):
            inside = False
        if not inside:
            raise InputError(f"no file {path!r} in the served folder")
        return found

    def static(self, path: str) -> tuple[int, int, str]:
        """``(descriptor, size, type)`` of a file that is served as it is; InputError for any other."""
        found = self.file(path)
        if found.suffix not in TYPES or any(part.startswith(".") for part in found.relative_to(self.root).parts):
            raise InputError(f"no file {path!r} in the served folder")
        try:
            descriptor = os.open(found, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            raise InputError(f"no file {path!r} in the served folder") from error
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            os.close(descriptor)
            raise InputError(f"no file {path!r} in the served folder")
        return descriptor, about.st_size, TYPES[found.suffix]

    def walk(self) -> list[tuple[PurePosixPath, list[str]]]:
        """Folders with the names of their files, the served one first, no links followed, in order."""
        out: list[tuple[PurePosixPath, list[str]]] = []
        for place, folders, files in os.walk(self.root):
            here = PurePosixPath(Path(place).relative_to(self.root).as_posix())
            folders[:] = sorted(f for f in folders if not f.startswith(".")) if len(here.parts) < DEEP else []
            out.append((here, sorted(files)))
            if len(out) >= MANY:
                break
        return out

    def entries(self) -> list[Entry]:
        """All that can be looked at."""
        out = []
        for here, files in self.walk():
            path = "" if here == PurePosixPath(".") else str(here)
            if "audit.html" in files:
                out.append(Entry(path, "audit", self._verdict(path)))
            elif "report.html" in files:
                out.append(Entry(path, "run", "comparison of methods", "report.html"))
            else:
                out += [Entry(path, "page", "page", name) for name in files if name.endswith(".html")]
        return out

    def models(self, name: str) -> list[PurePosixPath]:
        """Folders of saved models whose last two parts are ``name``, as an audit calls them; links are not followed."""
        found = []
        for here, files in self.walk():
            whole = PurePosixPath(self.root.as_posix()) / here
            own = all(not (self.root / here / file).is_symlink() for file in ("model.json", "model.safetensors"))
            if "model.json" in files and "/".join(whole.parts[-2:]) == name and own:
                found.append(here)
        return found

    def _verdict(self, path: str) -> str:
        try:
            told = json.loads(self.file(f"{path}/audit.json" if path else "audit.json").read_text())
            return f"{told['verdict']}, error {float(told['error']):.2g}: {told['contract']}"
        except (InputError, OSError, ValueError, KeyError, TypeError):
            return ""


def index_page(folder: Folder) -> str:
    """The list of what there is, as a page without scripts."""
    rows = "".join(_row(entry) for entry in folder.entries())
    body = f"<table><tbody>{rows}</tbody></table>" if rows else (
        "<p>Nothing here yet. <code>coset audit TARGET ... --out FOLDER</code> writes an audit, "
        "<code>coset compare TASK</code> a comparison.</p>"
    )  # fmt: skip
    name = html.escape(folder.root.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<title>coset: {name}</title><link rel="icon" href="data:,"><style>{template("style.css")}'
        "@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --text: #e8eaed; --soft: #a3adb8; --line: #363c43; "
        "--accent: #6cbcf0; } } a { color: var(--accent); } td { text-align: left; white-space: normal; }</style></head>"
        f'<body><main id="content"><h1>{name}</h1>{body}</main></body></html>'
    )


def _row(entry: Entry) -> str:
    if entry.kind == "audit":
        address = f"/audit/{quote(entry.path)}"
    else:
        address = "/files/" + quote(f"{entry.path}/{entry.file}" if entry.path else entry.file)
    name = entry.path or "."
    if entry.kind == "page":
        name = f"{name}/{entry.file}"
    return (
        f'<tr><td><a href="{address}">{html.escape(name)}</a></td><td>{entry.kind}</td><td>{html.escape(entry.about)}</td></tr>'
    )
