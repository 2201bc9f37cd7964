"""Tracks on the ground from above, one per heading asked for: does a policy go everywhere as well as anywhere?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, figure

RUNAWAY = 1.5  #: panels reach this much further than the median track: what runs away leaves them


def tracks(named: Mapping[str, Any], headings: Any, *, sector: tuple[float, float] | None = None, title: str = "") -> Any:
    """A panel for each name: tracks (E, T, 2) in meters, NaN after their end, from the origin; ``headings`` (E,) in radians.

    A track has the color of its heading, whose direction is drawn as a short ray outside; what runs away leaves the panel.
    ``sector`` (radians), where training took place, is shaded. Raises InputError for shapes that do not fit.
    """
    headings = np.asarray(headings, dtype=float)
    arrays = {name: np.asarray(value, dtype=float) for name, value in named.items()}
    if not arrays or any(a.ndim != 3 or a.shape[::2] != (len(headings), 2) for a in arrays.values()):
        raise InputError(f"tracks: expected tracks ({len(headings)}, T, 2), got {[a.shape for a in arrays.values()]}")
    moved = {name: a - a[:, :1] for name, a in arrays.items()}
    ends = [np.nanmax(np.linalg.norm(a, axis=-1), axis=-1) for a in moved.values()]
    reach = RUNAWAY * float(np.median(np.concatenate(ends))) or 1.0
    made, axes = figure(1, len(moved), size=(4.2, 4.4))
    for panel, (name, paths) in zip(axes.flat, moved.items(), strict=True):
        if sector is not None:
            angles = np.linspace(*sector, 60)
            panel.fill(*(1.25 * reach * np.array([[0, *np.cos(angles)], [0, *np.sin(angles)]])), color=FAINT, alpha=0.35, lw=0)
        for path, heading in zip(paths, headings, strict=True):
            tone, way = _tone(heading), np.array([np.cos(heading), np.sin(heading)])
            panel.plot(*(reach * np.outer(way, (1.08, 1.22))), color=tone, lw=3)
            panel.plot(path[:, 0], path[:, 1], color=tone, lw=1.6)
            last = path[~np.isnan(path[:, 0])][-1]
            panel.plot(*last, "o", color=tone, ms=4)
        panel.plot(0, 0, "+", color=INK, ms=8)
        panel.set_aspect("equal")
        panel.set_xlim(-1.3 * reach, 1.3 * reach)
        panel.set_ylim(-1.3 * reach, 1.3 * reach)
        panel.set_xlabel("x, meters")
        panel.set_ylabel("y, meters")
        panel.set_title(name, fontsize=11, color=INK)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def _tone(heading: float) -> tuple[float, float, float]:
    """A color for every angle, the same at -pi and pi, of nearly equal lightness."""
    turns = np.array([0.0, 2 * np.pi / 3, 4 * np.pi / 3])
    red, green, blue = 0.48 + 0.34 * np.cos(heading - turns)
    return float(red), float(green), float(blue)
