"""``coset cite``: BibTeX of whatever a run used, and of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from coset.cli.options import AsJson

Run = Annotated[Path, Parameter(help="A folder written by coset compare or coset train, or the FOLDER of a row in it.")]
Keys = Annotated[bool, Parameter(help="Print the keys only, with the rows that used them.")]


def cite(folder: Run, /, *, keys: Keys = False, json: AsJson = False) -> int:
    """Print BibTeX of whatever a run used."""
    from coset.cli.show import emit, table
    from coset.report.cite import cited

    entries = cited(folder)
    if json:
        emit(entries)
    elif keys:
        table(("key", "used by"), [(entry["key"], entry["methods"]) for entry in entries])
    else:
        print("\n\n".join(f"% {entry['methods']}\n{entry['bibtex']}" for entry in entries))
    return 0
