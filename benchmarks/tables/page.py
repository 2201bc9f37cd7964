"""A table as data, as text and as HTML; a page carries the command, the commit and the machine that its numbers come from."""

import html
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as Grid

from coset.records import write_atomically

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Table:
    """Rows of equal keys; numbers stay numbers, a missing one is None. Keys that begin with ``_`` are saved, not shown."""

    name: str
    title: str
    note: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """All keys, in the order of their first use."""
        return list(dict.fromkeys(key for row in self.rows for key in row if not key.startswith("_")))


def provenance() -> dict[str, str]:
    """Where numbers come from."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return {
        "command": "python " + " ".join(sys.argv),
        "commit": commit.stdout.strip() or "unknown",
        "machine": f"{cpu}, {torch.get_num_threads()} thread(s)",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}",
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def show(table: Table, origin: dict[str, str]) -> None:
    """Print a table with its origin."""
    grid = Grid(title=table.title, caption=f"{table.note}\n{origin['command']} at {origin['commit']}", title_justify="left")
    for column in table.columns:
        grid.add_column(column, justify="left" if isinstance(table.rows[0].get(column), str) else "right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*(cell(row.get(column)) for column in table.columns))
    Console(width=max(160, Console().width)).print(grid)


def cell(value: Any) -> str:
    """Three digits of a number, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def save(tables: Sequence[Table], out: Path, origin: dict[str, str]) -> None:
    """``products.json`` and ``products.html``."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(
        out / "products.json", json.dumps({"origin": origin, "tables": [asdict(t) for t in tables]}, indent=2) + "\n"
    )
    body = "".join(_section(table) for table in tables)
    about = "".join(f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>" for name, text in origin.items())
    page = f"<!doctype html><meta charset=utf-8><title>Equivariant products</title><style>{STYLE}</style>"
    page += f"<h1>Equivariant products: measured</h1><dl>{about}</dl>{body}"
    write_atomically(out / "products.html", page)


def _section(table: Table) -> str:
    words = {column for row in table.rows for column, value in row.items() if isinstance(value, str)}
    names = ((' class="text"' if column in words else "", html.escape(column)) for column in table.columns)
    head = "<tr>" + "".join(f"<th{kind}>{name}</th>" for kind, name in names) + "</tr>"
    rows = "".join("<tr>" + "".join(_td(row.get(column), column) for column in table.columns) + "</tr>" for row in table.rows)
    text = f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
    return f"<section>{text}<table>{head}{rows}</table></section>"


def _td(value: Any, column: str) -> str:
    kind = "text" if isinstance(value, str) else "ratio" if column.startswith("×") else "number"
    return f'<td class="{kind}">{html.escape(cell(value))}</td>'


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 78rem; padding: 0 1.5rem; color: #1c1c1c; }
h1 { font-weight: 600; font-size: 1.6rem; } h2 { font-weight: 600; font-size: 1.15rem; margin: 2.5rem 0 .2rem; }
p { margin: 0 0 .8rem; color: #555; max-width: 60rem; }
dl { color: #555; font-size: .85rem; } dl div { display: flex; gap: 1rem; } dt { width: 6rem; } dd { margin: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th { text-align: right; font-weight: 500; color: #555; border-bottom: 1px solid #999; padding: .25rem .7rem; }
td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #eee; } td.text, th.text { text-align: left; }
td.ratio { font-weight: 600; }
"""
