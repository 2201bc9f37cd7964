"""What commands print: results to stdout (a table, plain text away from a terminal, or JSON), progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coset.records import Result


def note(text: str) -> None:
    """A line of progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """One JSON document of plain values to stdout."""
    print(json.dumps(value, indent=2))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table to stdout: ruled on a terminal, columns of plain text elsewhere."""
    body = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        ruled = Table(title=title or None, title_justify="left", header_style="bold")
        for name in head:
            ruled.add_column(name, overflow="fold")
        for row in body:
            ruled.add_row(*(Text(cell) for cell in row))
        Console().print(ruled)
        return
    if title:
        print(title)
    widths = [max(len(line[i]) for line in [list(head), *body]) for i in range(len(head))]
    for line in [list(head), *body]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def results_of(results: Sequence[Result], as_json: bool) -> None:
    """Results of a run to stdout: a table, or one JSON object a line."""
    from coset.report.table import text_table

    if as_json:
        for result in results:
            print(result.to_line())
    elif results:
        table(*text_table(results))
