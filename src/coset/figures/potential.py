"""The page of a potential: errors over rotations, laws against their limits, the cutoff, a run at constant energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.figures.style import COLORS, FAINT, INK, color, figure, marker

LEAST = 1e-17  #: where a log axis puts zero


def potential_page(
    title: str, angles: np.ndarray, orbits: np.ndarray, names: Sequence[str], ratios: np.ndarray,
    cutoff: tuple[np.ndarray, np.ndarray], motion: tuple[np.ndarray, np.ndarray],
) -> Any:  # fmt: skip
    """``orbits`` (structures, K) over ``angles`` (K,); ``ratios`` error / limit by law; (r, dE/dr); (ps, meV per atom)."""
    made, axes = figure(2, 2, size=(5.2, 3.6))
    turns, laws, edge, energy = axes.flat
    for i, row in enumerate(orbits[:7]):
        turns.scatter(angles, np.maximum(row, LEAST), s=18, color=color(i), marker=marker(i), label=f"structure {i}")
    turns.set(yscale="log", xlabel="angle of the rotation, degrees", ylabel="relative error of forces")
    turns.legend(fontsize=8, frameon=False)
    places = np.arange(len(names))
    shades = [COLORS[1] if not ratio <= 1 else COLORS[0] for ratio in ratios]
    laws.barh(places, np.nan_to_num(np.maximum(ratios, 1e-12), nan=1e6), color=shades, height=0.7)
    laws.axvline(1.0, color=INK, lw=1, ls=":")
    laws.set(xscale="log", xlabel="error / limit (right of the dotted line: not met)")
    laws.set_yticks(places, names)
    laws.invert_yaxis()
    _curve(edge, *cutoff, ("distance of an atom, angstrom", "dE/dr, eV per angstrom"), "no cutoff was found")
    _curve(energy, *motion, ("time, ps", "total energy, meV per atom"), "no run")
    for panel, what in zip(axes.flat, ("rotations", "laws", "crossing the cutoff", "constant energy"), strict=True):
        panel.set_title(what, fontsize=10, color=INK)
        panel.grid(color=FAINT, lw=0.6)
    made.suptitle(title, fontsize=11, color=INK)
    return made


def _curve(panel: Any, x: np.ndarray, y: np.ndarray, labels: tuple[str, str], absent: str) -> None:
    if not len(x):
        panel.text(0.5, 0.5, absent, ha="center", va="center", transform=panel.transAxes, color=INK)
    panel.plot(x, y, "-", marker="." if len(x) < 40 else None, color=color(0), lw=1.2)
    panel.set(xlabel=labels[0], ylabel=labels[1])
    panel.ticklabel_format(useOffset=False, axis="x")
    panel.locator_params(axis="x", nbins=5)
