"""Citations of whatever a run used: BibTeX of its methods' sources, read from the run's own description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def citations(task: dict[str, Any], methods: Sequence[str]) -> list[dict[str, str]]:
    """``[{key, methods, bibtex}]`` of the sources named by these methods, in their order; unknown keys are left out."""
    entries = dict(task.get("citations", {}))
    used: dict[str, list[str]] = {}
    for method in methods:
        for key in str(task.get("methods", {}).get(method, {}).get("source", "")).replace(",", " ").split():
            used.setdefault(key, []).append(method)
    return [{"key": key, "methods": ", ".join(names), "bibtex": entries[key]} for key, names in used.items() if key in entries]
