"""Orbits of finite groups: one tile per element, laid out as a Cayley graph or as the dihedral glyph of turns and flips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.heatmap import _colorbar
from coset.figures.style import FAINT, INK, MAP, figure, limits, series


def cayley(
    values: Any, names: Sequence[str], table: np.ndarray | None = None, *, generators: Sequence[int] = (), label: str = "value",
    title: str = "", limit: tuple[float, float] | None = None,
) -> Any:  # fmt: skip
    """Tiles around the identity, one ring per word length; edges join ``g`` and ``g s`` for every generator ``s``.

    ``values`` is ``(order,)`` or a mapping (panels); ``table[g, h] = g h``. Without a table or generators the tiles stand
    in rows. Raises InputError for lengths that do not fit.
    """
    named = series(values, "cayley")
    order = len(names)
    low, high = limits(named, limit)
    linked = table is not None and len(generators) > 0
    place = _rings(np.asarray(table), generators) if linked else _rows(order)
    made, axes = figure(1, len(named), size=(5.0, 4.6))
    for panel, (name, array) in zip(axes.flat, named.items(), strict=True):
        if array.shape != (order,):
            raise InputError(f"cayley: {name or 'values'} has shape {array.shape}, there are {order} elements")
        if linked:
            for g in range(order):
                for s in generators:
                    panel.plot(*place[[g, int(np.asarray(table)[g, s])]].T, color=FAINT, lw=1.2, zorder=1)
        size = np.clip(9000 / order, 160, 1500)
        drawn = panel.scatter(
            *place.T, c=array, cmap=MAP, vmin=low, vmax=high, s=size, marker="s", zorder=2, edgecolors="white"
        )
        for (x, y), text, value in zip(place, names, array, strict=True):
            dark = (value - low) / (high - low) < 0.55
            panel.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if dark else INK, zorder=3)
        panel.set_aspect("equal")
        panel.margins(0.15)
        panel.set_axis_off()
        panel.set_title(name or title, fontsize=11, color=INK)
    _colorbar(made, drawn, axes, label)
    if title and len(named) > 1:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def dihedral(values: np.ndarray, names: Sequence[Sequence[str]], *, rows: Sequence[str] = (), label: str = "value",
             title: str = "", limit: tuple[float, float] | None = None) -> Any:  # fmt: skip
    """The glyph of a product: a row of tiles per element of the second factor, as for 8 symmetries x time reversal.

    ``values`` and ``names`` are ``(rows, columns)``.
    """
    grid = np.asarray(values, dtype=float)
    if grid.ndim != 2 or grid.shape != (len(names), len(names[0])):
        raise InputError(f"dihedral: values of shape {grid.shape} do not fit {len(names)} rows of names")
    low, high = limits({"": grid}, limit)
    made, axes = figure(size=(max(0.95 * grid.shape[1] + 1.4, 4.0), 0.95 * grid.shape[0] + 1.2))
    panel = axes[0, 0]
    drawn = panel.pcolormesh(grid, cmap=MAP, vmin=low, vmax=high, edgecolors="white", linewidth=3)
    for i, row in enumerate(names):
        for j, text in enumerate(row):
            dark = (grid[i, j] - low) / (high - low) < 0.55
            panel.text(
                j + 0.5,
                i + 0.5,
                f"{text}\n{grid[i, j]:.2g}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else INK,
            )
    panel.set_xticks([])
    panel.set_yticks(np.arange(len(rows)) + 0.5, rows)
    panel.invert_yaxis()
    panel.set_aspect("equal")
    panel.set_title(title, fontsize=11, color=INK)
    _colorbar(made, drawn, axes, label)
    return made


def _rows(order: int) -> np.ndarray:
    wide = int(np.ceil(np.sqrt(order)))
    return np.array([(i % wide, -(i // wide)) for i in range(order)], dtype=float)


def _rings(table: np.ndarray, generators: Sequence[int]) -> np.ndarray:
    """Places ``(order, 2)``: radius is the word length; elements of a ring stand near their parents."""
    order = len(table)
    length, parent, ring = {0: 0}, {0: 0}, [0]
    while ring:
        grown = []
        for g in ring:
            for s in generators:
                for h in (int(table[g, s]), int(np.flatnonzero(table[:, s] == g)[0])):
                    if h not in length:
                        length[h], parent[h] = length[g] + 1, g
                        grown.append(h)
        ring = grown
    for g in range(order):  # what the generators do not reach stands outside
        length.setdefault(g, max(length.values()) + 1)
        parent.setdefault(g, 0)
    angle, place = {0: 0.0}, np.zeros((order, 2))
    for level in range(1, max(length.values()) + 1):
        members = sorted((g for g in length if length[g] == level), key=lambda g: (angle[parent[g]], g))
        for i, g in enumerate(members):
            angle[g] = 2 * np.pi * (i + 0.5 * (level % 2)) / len(members)
            radius = max(level, len(members) / 6)
            place[g] = radius * np.cos(angle[g]), radius * np.sin(angle[g])
    return place
