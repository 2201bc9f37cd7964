"""Object code kept on disk between processes, by a digest of everything that it was made from.

The folder is ``kernels`` in ``$COSET_CACHE``, else in ``coset`` in the user's cache. Files are written whole or not at all,
begin with the digest of their content and are made anew when that does not match; any number of processes may read and write
at once.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

from coset.errors import InputError
from coset.records import write_atomically

ENVIRONMENT = "COSET_CACHE"
_MARK = b"coset kernel 1\n"


def folder() -> Path:
    """Where compiled kernels are kept."""
    base = os.environ.get(ENVIRONMENT) or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coset"
    return Path(base) / "kernels"


def read(digest: str) -> bytes | None:
    """The object code kept under ``digest``, or None if there is none or the file is damaged."""
    try:
        content = (folder() / f"{digest}.o").read_bytes()
    except OSError:
        return None
    mark, check, code = content[: len(_MARK)], content[len(_MARK) : len(_MARK) + 32], content[len(_MARK) + 32 :]
    return code if mark == _MARK and hashlib.sha256(code).digest() == check else None


def write(digest: str, code: bytes) -> None:
    """Keep ``code`` under ``digest``; a folder that cannot be written costs a warning, not the run."""
    try:
        write_atomically(folder() / f"{digest}.o", _MARK + hashlib.sha256(code).digest() + code)
    except (OSError, InputError) as error:
        warnings.warn(f"compiled kernels are not kept ({error}); set {ENVIRONMENT}", RuntimeWarning, stacklevel=2)


def clear() -> int:
    """Remove every kept kernel; gives how many there were."""
    kept = list(folder().glob("*.o"))
    for path in kept:
        path.unlink(missing_ok=True)
    return len(kept)
