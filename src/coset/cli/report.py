"""``coset report``: the page of a run folder or of an audit, written again from its files."""

from __future__ import annotations

from pathlib import Path


def report(folder: Path, /) -> int:
    """Write the page of a run folder or of an audit again.

    Parameters
    ----------
    folder
        A folder written by coset compare, coset train or coset audit --out.
    """
    from coset.report.audit_page import read_payload, write_audit_page
    from coset.report.html import write_report

    page = folder / "audit.html"
    if page.is_file() and not (folder / "results.jsonl").is_file():
        print(write_audit_page(page, read_payload(page)))
        return 0
    print(write_report(folder))
    return 0
