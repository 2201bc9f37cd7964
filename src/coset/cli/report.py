"""``coset report``: the page of a run folder, written again from its files."""

from __future__ import annotations

from pathlib import Path


def report(folder: Path, /) -> int:
    """Write the page of a run folder again.

    Parameters
    ----------
    folder
        A folder written by coset compare or coset train.
    """
    from coset.report.html import write_report

    print(write_report(folder))
    return 0
