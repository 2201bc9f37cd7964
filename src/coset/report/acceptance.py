"""Acceptance runs: what was measured beside what was asked, in one file, with one exit code.

A script in ``benchmarks/accept`` names a function that measures and the bounds that its figures must keep::

    def measure(*, seeds: int = 3, size: str = "cpu") -> dict[str, Any]: ...

    BOUNDS = (Bound("ratio.error_percent", "<=", 0.6, "orthogonal-moments sheet (b), measured"),)

    if __name__ == "__main__":
        main("moments", __doc__, measure, BOUNDS)

Keyword arguments of the function become options; ``--out FOLDER`` receives ``moments.json``, written whole.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import operator
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coset.errors import InputError
from coset.records import to_json, write_atomically

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq}


@dataclass(frozen=True)
class Bound:
    """One condition: the figure (a dotted path into what was measured), the relation, the value, where it comes from."""

    figure: str
    relation: Literal["<=", ">=", "<", ">", "=="]
    value: float | int | bool
    source: str = ""  #: the sheet's words, and whether the figure was measured there or is calibrated here

    def __post_init__(self) -> None:
        if self.relation not in COMPARISONS:
            raise InputError(f"Bound: the relation is one of {', '.join(COMPARISONS)}, got {self.relation!r}")

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure keeps the bound; a NaN keeps none. InputError for a figure that was not measured."""
        value = figure_of(figures, self.figure)
        return not (isinstance(value, float) and math.isnan(value)) and COMPARISONS[self.relation](value, self.value)


def figure_of(figures: Mapping[str, Any], path: str) -> Any:
    """``figures["a"]["b"]`` for ``"a.b"``; a key may hold dots itself. InputError where nothing is there."""
    if path in figures:
        return figures[path]
    for cut in (i for i, letter in enumerate(path) if letter == "."):
        inner = figures.get(path[:cut])
        if isinstance(inner, Mapping):
            return figure_of(inner, path[cut + 1 :])
    raise InputError(f"no figure {path!r} was measured, only {', '.join(map(str, figures))}")


def judge(what: str, figures: Mapping[str, Any], bounds: Sequence[Bound]) -> dict[str, Any]:
    """The result as it is written: figures, every bound with what was measured, and whether all hold."""
    rows = [
        {
            "figure": bound.figure,
            "asked": f"{bound.relation} {bound.value}",
            "measured": figure_of(figures, bound.figure),
            "holds": bound.holds(figures),
            "source": bound.source,
        }
        for bound in bounds
    ]
    return {"what": what, "passed": all(row["holds"] for row in rows), "bounds": rows, "figures": dict(figures)}


def main(
    what: str,
    about: str | None,
    measure: Callable[..., Mapping[str, Any]],
    bounds: Sequence[Bound] | Callable[..., Sequence[Bound]],
    argv: Sequence[str] | None = None,
) -> None:
    """Measure with the options of the command line, write ``OUT/what.json``, print it, exit 0 or 1.

    ``bounds`` may be a function of the same options, for runs whose smaller version asks less.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("accept"), help="folder of the result file (default: accept)")
    for name, parameter in inspect.signature(measure).parameters.items():
        _option(parser, name, parameter.default)
    given = vars(parser.parse_args(argv))
    out = given.pop("out")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    began = time.perf_counter()
    figures = measure(**given)
    result = judge(what, figures, bounds(**given) if callable(bounds) else bounds)
    result |= {"options": given, "seconds": round(time.perf_counter() - began, 1), "torch": torch.__version__}
    text = json.dumps(to_json(result), indent=2)
    write_atomically(out / f"{what}.json", text + "\n")
    print(text)
    sys.exit(0 if result["passed"] else 1)


def _option(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
    elif default is None or isinstance(default, (str, Path)):
        parser.add_argument(flag, default=default, type=type(default) if default is not None else str)
    elif isinstance(default, (int, float)):
        parser.add_argument(flag, default=default, type=type(default), help=f"default: {default}")
    else:
        raise InputError(f"acceptance: option {flag} needs a default that is a number, a string, a bool or None")
