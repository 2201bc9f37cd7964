"""Orbits over two coordinates: maps of translations, and of scale against angle, side by side with one color range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, MAP, figure, limits, series


def heatmap(
    values: Any, rows: Sequence[float] | np.ndarray, columns: Sequence[float] | np.ndarray, *,
    labels: tuple[str, str] = ("y", "x"), label: str = "value", title: str = "", limit: tuple[float, float] | None = None,
    origin: tuple[float, float] | None = None,
) -> Any:  # fmt: skip
    """A cell for every pair of coordinates; ``values`` is ``(rows, columns)`` or a mapping of such arrays (panels).

    The first row is drawn at the bottom. ``labels`` names rows, then columns; ``origin`` is the coordinate of the
    identity, drawn as a cross. Raises InputError for shapes that do not fit.
    """
    rows, columns = np.asarray(rows, dtype=float), np.asarray(columns, dtype=float)
    named = series(values, "heatmap")
    low, high = limits(named, limit)
    made, axes = figure(1, len(named), size=(4.6, 4.0))
    for panel, (name, array) in zip(axes.flat, named.items(), strict=True):
        if array.shape != (len(rows), len(columns)):
            raise InputError(f"heatmap: {name or 'values'} has shape {array.shape}, expected {(len(rows), len(columns))}")
        drawn = panel.pcolormesh(_edges(columns), _edges(rows), array, cmap=MAP, vmin=low, vmax=high)
        if origin is not None:
            panel.plot(origin[1], origin[0], "+", color="white", ms=12, mew=2.5)
            panel.plot(origin[1], origin[0], "+", color=INK, ms=10, mew=1.0)
        panel.set_xlabel(labels[1])
        panel.set_ylabel(labels[0])
        panel.set_title(name or title, fontsize=11, color=INK)
    _colorbar(made, drawn, axes, label)
    if title and len(named) > 1:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def _colorbar(made: Any, drawn: Any, axes: Any, label: str) -> None:
    bar = made.colorbar(drawn, ax=axes.ravel().tolist(), shrink=0.85)
    bar.set_label(label, color=INK)
    bar.outline.set_edgecolor(FAINT)


def _edges(centers: np.ndarray) -> np.ndarray:
    """Borders of the cells around increasing or decreasing centers."""
    if len(centers) == 1:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
