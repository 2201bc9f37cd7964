"""What all pictures share: a figure without global state, colors that color-blind readers tell apart, plain axes.

Every function of this room takes arrays and returns a ``matplotlib.figure.Figure`` that has its own Agg canvas; nothing is
drawn on a screen and ``pyplot`` is never imported. Colors: Okabe and Ito, *Color Universal Design* (2008); maps: cividis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coset.errors import InputError, require

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5F5F5F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MAP = "cividis"  #: of values without a sign
SIGNED = "PuOr"  #: of values about zero
INK = "#222222"
FAINT = "#BBBBBB"


def figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (5.0, 4.0), projection: str | None = None) -> Any:
    """A figure and its axes, an object array ``(rows, columns)``; ``size`` is that of one panel in inches."""
    module = require("matplotlib.figure", extra="report")
    agg = require("matplotlib.backends.backend_agg", extra="report")
    made = module.Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained", facecolor="white")
    agg.FigureCanvasAgg(made)
    axes = made.subplots(rows, columns, squeeze=False, subplot_kw={"projection": projection} if projection else {})
    for panel in axes.flat:
        plain(panel)
    return made, axes


def plain(panel: Any) -> None:
    """Thin grey frame and grid, dark text: what stands out is the data."""
    for name, spine in panel.spines.items():
        spine.set_visible(name in ("left", "bottom", "polar"))
        spine.set_color(FAINT)
    panel.tick_params(colors=INK, labelsize=9)
    panel.set_axisbelow(True)


def color(i: int) -> str:
    """The i-th color of a series, the same in every figure."""
    return COLORS[i % len(COLORS)]


def marker(i: int) -> str:
    """The i-th marker of a series: shape repeats what color says."""
    return MARKERS[i % len(MARKERS)]


def series(values: Any, what: str) -> dict[str, np.ndarray]:
    """One array or a mapping of them as named float arrays; InputError for none or for empty ones."""
    named = values if isinstance(values, Mapping) else {"": values}
    out = {name: np.asarray(array, dtype=float) for name, array in named.items()}
    if not out or any(array.size == 0 for array in out.values()):
        raise InputError(f"{what}: nothing to draw, expected at least one non-empty array")
    return out


def limits(named: Mapping[str, np.ndarray], given: tuple[float, float] | None) -> tuple[float, float]:
    """The range shared by all panels: the one given, else that of the finite values, widened where it is a point."""
    if given is not None:
        return given
    flat = np.concatenate([array[np.isfinite(array)].ravel() for array in named.values()])
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5 * max(abs(low), 1e-12), high + 0.5 * max(abs(high), 1e-12))
