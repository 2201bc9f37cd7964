"""Lists kept between calls: reading the source of every system again takes longer than a command may.

The file ``listing.json`` stands in ``$COSET_CACHE``, else in ``coset`` in the user's cache, under a key made of the names,
sizes and times of all source files: a file that is added, changed or removed makes it stale. What cannot be read or written
is simply made anew. Nothing heavy is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coset.interop.listing import LISTS, ROOT, Entry


def lists(names: Sequence[str]) -> dict[str, list[Entry]]:
    """The lists of these names, from the kept file where it is fresh; written there where all are asked for."""
    key = _key()
    kept = _read(key)
    if kept is not None:
        return {name: [_entry(**entry) for entry in kept[name]] for name in names}
    found = {name: LISTS[name]() for name in names}
    if set(names) == set(LISTS):
        content = {name: [asdict(entry) for entry in entries] for name, entries in found.items()}
        _write(json.dumps({"key": key, "lists": content}))
    return found


def _entry(name: str, summary: str, place: str, contracts: list[str], papers: list[str]) -> Entry:
    return Entry(name, summary, place, tuple(contracts), tuple(papers))


def _write(text: str) -> None:
    """The whole file or nothing, and no complaint."""
    file = _file()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_name(f".{file.name}.{os.getpid()}")
        own.write_text(text)
        os.replace(own, file)


def _file() -> Path:
    base = os.environ.get("COSET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coset"
    return Path(base) / "listing.json"


def _key() -> str:
    """Names, sizes and times of the sources, as a digest."""
    digest = hashlib.sha256()
    for room in sorted(LISTS.keys() | {"symmetrizers", "interop"}):
        for folder, _, files in sorted(os.walk(ROOT / room)):
            for name in sorted(files):
                if name.endswith(".py"):
                    about = os.stat(os.path.join(folder, name))
                    digest.update(f"{folder}/{name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read(key: str) -> dict[str, list[dict[str, Any]]] | None:
    try:
        stored = json.loads(_file().read_text())
        return stored["lists"] if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
