"""What an audit of a potential shows: errors over rotations, laws against their limits, the cutoff, energy at constant energy.

Every panel function draws into axes that it is given, so that the overview and the page share them. Series are by name; the
first is drawn in front. Energies in meV, per atom where said, lengths in angstrom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coset.figures.style import COLORS, FAINT, INK, color, figure, marker

LEAST = 1e-13  #: where a log axis puts zero
Series = Mapping[str, np.ndarray]
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def orbit_panel(panel: Any, angles: np.ndarray, series: Series, unit: str, title: str, *, log: bool) -> None:
    """Errors (structures, K) over ``angles`` (K,), each structure a thin line, the mean thick; from 0 on unless ``log``."""
    turn = np.append(angles, angles[0] + 360)
    for place, (name, rows) in enumerate(series.items()):
        rows = np.maximum(rows, LEAST) if log else rows
        closed = np.concatenate([rows, rows[:, :1]], 1)
        panel.plot(turn, closed.T, color=color(place), lw=0.7, alpha=0.35, zorder=2.5 - 0.1 * place)
        panel.plot(turn, closed.mean(0), color=color(place), lw=2.2, label=name, zorder=3 - 0.1 * place)
    panel.set(xlim=(0, 360), xticks=range(0, 361, 60), xlabel="turned by, degrees", ylabel=unit)
    if log:
        panel.set_yscale("log")
    else:
        panel.set_ylim(0, 1.15 * max(float(np.nanmax(rows)) for rows in series.values()) or 1)
    if len(series) > 1:
        panel.legend(fontsize=8, frameon=False)
    _named(panel, title)


def laws_panel(panel: Any, names: Sequence[str], series: Series) -> None:
    """Errors over limits by law, a marker for each series; what is not met lies right of the line and is filled with red."""
    places = np.arange(len(names))
    for i, (name, given) in enumerate(series.items()):
        ratios = np.clip(np.nan_to_num(given, nan=1e9), 1e-9, 1e9)
        shades = [COLORS[1] if ratio > 1 else COLORS[0] for ratio in ratios]
        edge = {"facecolors": shades if i == 0 else "white", "edgecolors": shades}
        panel.scatter(ratios, places + 0.18 * i, s=44, marker=marker(i), lw=1.4, zorder=3, label=name, **edge)
    panel.axvline(1.0, color=INK, lw=1, ls=":")
    panel.set(xscale="log", xlabel="error / limit  (right of the dotted line: not met)")
    panel.set_yticks(places, names)
    panel.invert_yaxis()
    if len(series) > 1:
        panel.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    _named(panel, "laws" if len(series) > 1 else "every law against its limit")


def edge_panel(panel: Any, r: np.ndarray, values: np.ndarray, cutoff: float, unit: str, title: str) -> None:
    """A quantity while an atom crosses the cutoff, over the distance from it; a gap is left at the cutoff itself."""
    off = 1e3 * (r - cutoff)
    for side in (off < 0, off >= 0):
        panel.plot(off[side], values[side], "-o", color=color(0), lw=1.2, ms=3)
    panel.axvline(0.0, color=FAINT, lw=1.2, ls="--")
    panel.set(xlabel=f"distance less {cutoff:.4g} A, in 0.001 A", ylabel=unit)
    panel.ticklabel_format(useOffset=False, axis="y", style="sci", scilimits=(-3, 4))
    _named(panel, title)


def run_panel(panel: Any, curves: Curves, title: str) -> None:
    """Total energies over time, from their start."""
    for place, (name, (time, energy)) in enumerate(curves.items()):
        panel.plot(time, energy, color=color(place), lw=1.6, ls="-" if place == 0 else "--", label=name)
    panel.set(xlabel="time, ps", ylabel="total energy, meV per atom")
    if len(curves) > 1:
        panel.legend(fontsize=8, frameon=False)
    _named(panel, title)


def empty_panel(panel: Any, why: str, title: str) -> None:
    """A panel that says why it is empty."""
    panel.text(0.5, 0.5, why, ha="center", va="center", transform=panel.transAxes, color=INK, fontsize=9, wrap=True)
    panel.set(xticks=[], yticks=[])
    _named(panel, title)


def panels(rows: int, columns: int, size: tuple[float, float], title: str = "") -> tuple[Any, list[Any]]:
    """A figure with a faint grid and its axes, row by row."""
    made, axes = figure(rows, columns, size=size)
    for panel in axes.flat:
        panel.grid(color=FAINT, lw=0.6)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made, list(axes.flat)


def _named(panel: Any, title: str) -> None:
    panel.set_title(title, fontsize=10, color=INK)
