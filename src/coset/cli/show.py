"""What commands print: results to stdout (a table, plain text away from a terminal, or JSON), progress to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coset.errors import MissingExtra

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


def finish(results: Sequence[Result], out: Path | None, as_json: bool) -> None:
    """Results of a run to stdout, its page into the run folder (where the extra ``report`` is there)."""
    from coset.report.html import write_report
    from coset.report.table import text_table

    if as_json:
        for result in results:
            print(result.to_line())
    elif results:
        table(*text_table(results))
    folder = out or _newest(Path("runs"))
    if not results or folder is None:
        return
    try:
        note(f"report: {write_report(folder)}")
    except MissingExtra as error:
        note(f"results: {folder}/results.jsonl; for a page: {error}, then coset report {folder}")


def _newest(root: Path) -> Path | None:
    """The run folder that was written last."""
    return max(
        (p.parent for p in root.glob("*/environment.json")),
        key=lambda p: (p / "environment.json").stat().st_mtime,
        default=None,
    )
