"""Citations of whatever a run used: the entries of ``coset/references.bib`` that its methods name as their source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from coset.errors import InputError
from coset.records import read_results, read_task, slug


@cache
def references() -> dict[str, str]:
    """All BibTeX entries of the library by key."""
    text = files("coset").joinpath("references.bib").read_text(encoding="utf-8")
    return {match.group(1): match.group(0).strip() for match in re.finditer(r"^@\w+\{([^,\s]+),.*?^\}", text, re.M | re.S)}


def citations(methods: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, str]]:
    """``[{key, methods, bibtex}]`` of the sources that the named methods give, in their order.

    ``methods`` maps a method's name to its description, whose ``source`` holds keys separated by commas or spaces.
    """
    used: dict[str, list[str]] = {}
    for name in names:
        for key in re.split(r"[,\s]+", str(methods.get(name, {}).get("source", "")).strip()):
            if key:
                used.setdefault(key, []).append(name)
    known = references()
    return [{"key": key, "methods": ", ".join(own), "bibtex": known[key]} for key, own in used.items() if key in known]


def software() -> dict[str, str]:
    """The entry of this package, in the manner of :func:`citations`."""
    bibtex = (
        "@software{coset,\n  author  = {{The coset authors}},\n"
        "  title   = {coset: symmetry in machine learning, measured, imposed, learned, compared},\n"
        f"  version = {{{version('coset')}}},\n}}"
    )
    return {"key": "coset", "methods": "all of it", "bibtex": bibtex}


def cited(folder: str | Path) -> list[dict[str, str]]:
    """This package and the sources of every finished row of a run folder; of one row, where ``folder`` is that of a row.

    Sources are those that the run itself kept (``task.json``). InputError for a folder without results.
    """
    folder = Path(folder).absolute()
    inside = folder.parent.parent.name == "rows"
    run = folder.parents[2] if inside else folder
    done = list(dict.fromkeys(result.method for result in read_results(run)))
    names = [name for name in done if not inside or slug(name) == folder.parent.name]
    if not names:
        raise InputError(
            f"no finished row in {folder}; expected a folder written by coset compare or coset train, or a row of it"
        )
    if not (run / "task.json").is_file():
        raise InputError(f"{run}/task.json, which names the sources of its methods, cannot be read: there is none")
    return [software(), *citations(read_task(run).get("methods", {}), names)]
