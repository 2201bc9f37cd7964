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
    from coset.interop.kept import lists
    from coset.interop.listing import LISTS

    found = lists([what] if what else list(LISTS))
    if json:
        emit({"schema": 1, **{name: [asdict(entry) for entry in entries] for name, entries in found.items()}})
        return 0
    for i, (name, entries) in enumerate(found.items()):
        if i:
            print()
        columns = {"contracts": any(e.contracts for e in entries), "papers": any(e.papers for e in entries)}
        shown = [column for column, used in columns.items() if used]
        head = [name, "what it is", *shown]
        rows = [[e.name, e.summary, *("; ".join(getattr(e, column)) for column in shown)] for e in entries]
        table(head, rows)
    return 0
