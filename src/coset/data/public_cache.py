"""Public sets on this machine: downloaded once into a cache, checked, and found there by the tasks.

    folder = fetch_set("acac")                          # coset data fetch acac
    cached("acac")                                      # that folder, or None

The cache is the folder COSET_DATA, else ``coset`` in the platform's own place for caches. A file whose checksum is not known
beforehand is trusted at its first download: what came is recorded beside it (``NAME.sha256``), and every later check compares.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from coset.data.fetch import Told, digest_of, fetch, matches, unpack
from coset.data.public_sets import SETS, PublicSet, Remote, set_of
from coset.errors import InputError
from coset.records import write_atomically


def cache_folder() -> Path:
    """Where public sets are kept."""
    if given := os.environ.get("COSET_DATA"):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "coset"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "coset" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coset"


def fetch_set(
    name: str | PublicSet,
    folder: Path | None = None,
    *,
    progress: Callable[[Remote], Told] = lambda remote: lambda done, whole: None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Download what is not there yet, unpack archives, compare all checksums; the folder of the set.

    ``progress(remote)`` is called before a download and gives what hears of its bytes. InputError as for
    :func:`coset.data.fetch.fetch`, and for a file that is there but is not what it should be.
    """
    chosen = set_of(name) if isinstance(name, str) else name
    folder = (folder or cache_folder()) / chosen.folder
    for remote in chosen.files:
        path = folder / remote.name
        expected = remote.digest or _recorded(path)
        if path.is_file():
            if expected and not matches(path, expected):
                raise InputError(
                    f"{path} is not as it was published or first downloaded ({expected}); remove it and run coset data fetch "
                    f"{chosen.name} again"
                )
        else:
            found = fetch(remote.url, path, digest=expected, size=remote.size, progress=progress(remote))
            if not expected:
                say(f"{path.name}: no checksum is published; trusted now and recorded: {found}")
        if not expected:
            write_atomically(_record(path), f"{digest_of(path)}\n")
        missing = {member: folder / to for member, to in remote.members if not (folder / to).is_file()}
        if missing:
            unpack(path, missing)
    return folder


def cached(name: str) -> Path | None:
    """The folder of a set, or of one whose name begins with ``name:``, where one is complete; nothing is read."""
    for each in SETS.values():
        if name in (each.name, each.name.partition(":")[0]):
            folder = cache_folder() / each.folder
            if all((folder / part).is_file() for part in each.names):
                return folder
    return None


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded(path: Path) -> str:
    record = _record(path)
    return record.read_text().strip() if record.is_file() else ""
