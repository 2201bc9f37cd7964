"""``coset list``: what there is, read without importing it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

What = Literal["groups", "reps", "methods", "models", "tasks"]


def listing(what: What | None = None, /, *, json: bool = False) -> int:
    """List groups, reps, methods, models or tasks.

    Parameters
    ----------
    what
        Which list; all of them when left out.
    json
        Print one JSON document instead of tables.
    """
    from coset.cli.show import emit, table
    from coset.interop.listing import LISTS

    found = {name: LISTS[name]() for name in ([what] if what else LISTS)}
    if json:
        emit({"schema": 1, **{name: [asdict(entry) for entry in entries] for name, entries in found.items()}})
        return 0
    for i, (name, entries) in enumerate(found.items()):
        if i:
            print()
        promises = any(entry.contracts for entry in entries)
        head = [name, "what it is", *(["contracts"] if promises else [])]
        rows = [[e.name, e.summary, *(["; ".join(e.contracts)] if promises else [])] for e in entries]
        table(head, rows)
    return 0
