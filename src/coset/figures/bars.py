"""Bars and lines: errors by element, by candidate symmetry, and along a parameter such as scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import COLORS, FAINT, INK, color, figure, marker, series


def bars(
    names: Sequence[str], values: Any, *, low: Any = (), high: Any = (), floor: float = 0.0,
    marked: Sequence[int] = (), label: str = "relative equivariance error", title: str = "", log: bool = False,
) -> Any:  # fmt: skip
    """A horizontal bar per name, with its interval; ``marked`` bars are of the second color; ``floor`` is shaded."""
    values = np.asarray(values, dtype=float)
    if not len(names) or values.shape != (len(names),):
        raise InputError(f"bars: {len(names)} names, values of shape {values.shape}")
    made, axes = figure(size=(6.4, max(2.0, 0.28 * len(names) + 1.2)))
    panel = axes[0, 0]
    drawn = np.maximum(values, 1e-17) if log else values
    tones = [COLORS[1] if i in set(marked) else COLORS[0] for i in range(len(names))]
    panel.barh(np.arange(len(names)), drawn, color=tones, height=0.7)
    if len(low):
        spread = np.abs(np.stack([drawn - np.asarray(low), np.asarray(high) - drawn]))
        panel.errorbar(drawn, np.arange(len(names)), xerr=spread, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    if log:
        panel.set_xscale("log")
    if floor > 0:
        panel.axvspan(panel.get_xlim()[0], floor, color=FAINT, alpha=0.4, lw=0)
        panel.text(floor, -0.9, " floor", fontsize=8, color=INK, va="center")
    panel.set_yticks(np.arange(len(names)), names)
    panel.invert_yaxis()
    panel.set_xlabel(label)
    panel.set_title(title, fontsize=11, color=INK)
    panel.grid(axis="x", color=FAINT, lw=0.6)
    return made


def lines(x: Sequence[float] | np.ndarray, values: Any, *, labels: tuple[str, str], title: str = "", band: Any = None,
          limit: tuple[float, float] | None = None, log: bool = False) -> Any:  # fmt: skip
    """Series over one coordinate (a scale, a shift); ``log`` makes the coordinate logarithmic."""
    x = np.asarray(x, dtype=float)
    named = series(values, "lines")
    made, axes = figure(size=(6.0, 3.6))
    panel = axes[0, 0]
    if band is not None:
        panel.fill_between(x, *band, color=FAINT, alpha=0.5, lw=0)
    for i, (name, array) in enumerate(named.items()):
        if array.shape != x.shape:
            raise InputError(f"lines: {name or 'values'} has shape {array.shape}, the coordinate {x.shape}")
        panel.plot(x, array, marker(i) + "-", color=color(i), lw=1.5, ms=4, label=name or None)
    if log:
        panel.set_xscale("log")
    if limit:
        panel.set_ylim(*limit)
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    panel.set_title(title, fontsize=11, color=INK)
    panel.grid(color=FAINT, lw=0.6)
    if any(named):
        panel.legend(fontsize=9, frameon=False)
    return made
