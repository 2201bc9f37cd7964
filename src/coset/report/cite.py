"""Citations of whatever a run used: the entries of ``coset/references.bib`` that its methods name as their source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any


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
