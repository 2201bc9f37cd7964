"""Orbits of a planar rotation: a closed line around the circle, one for each model or sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, color, figure, limits, marker, series


def polar(
    angles: Sequence[float] | np.ndarray, values: Any, *, label: str = "value", title: str = "",
    limit: tuple[float, float] | None = None, band: Any = None, marked: Any = (), discrete: bool = False,
) -> Any:  # fmt: skip
    """Value against the angle (degrees, counter-clockwise, 0 to the right).

    ``values`` is ``(angles,)`` or a mapping of such arrays; ``band`` a pair ``(low, high)`` of arrays or numbers drawn as
    a grey ring (an interpolation floor, quantiles of samples); ``marked`` holds the indices of exact elements, drawn as
    rings; ``discrete`` draws dots without a line (a finite cyclic group). Raises InputError for unequal lengths.
    """
    angles = np.asarray(angles, dtype=float)
    named = series(values, "polar")
    for name, array in named.items():
        if array.shape != angles.shape:
            raise InputError(f"polar: {name or 'values'} has shape {array.shape}, the angles {angles.shape}")
    made, axes = figure(size=(5.2, 5.0), projection="polar")
    panel = axes[0, 0]
    low, high = limits(named, limit)
    turn = np.deg2rad(np.append(angles, angles[0] + 360))
    if band is not None:
        bottom, top = (np.broadcast_to(np.asarray(edge, dtype=float), angles.shape) for edge in band)
        panel.fill_between(
            turn, _closed(np.clip(bottom, low, high)), _closed(np.clip(top, low, high)), color=FAINT, alpha=0.5, lw=0
        )
    for i, (name, array) in enumerate(named.items()):
        if not discrete:
            panel.plot(turn, _closed(array), color=color(i), lw=1.8, label=name or None)
        panel.plot(np.deg2rad(angles) if discrete else [], array if discrete else [], marker(i), color=color(i), ms=6,
                   label=(name or None) if discrete else None)  # fmt: skip
        if len(marked):
            at = np.asarray(marked, dtype=int)
            panel.plot(np.deg2rad(angles[at]), array[at], marker(i), mfc="white", mec=color(i), ms=7, mew=1.5)
    # a margin on both sides, so that values at the lowest and the highest are still seen to turn
    panel.set_ylim(low - 0.08 * (high - low), high + 0.03 * (high - low))
    panel.set_rlabel_position(67.5)
    panel.grid(color=FAINT, lw=0.6)
    panel.set_title(title or label, fontsize=11, color=INK, pad=14)
    if title:
        panel.set_xlabel(label, fontsize=9, color=INK)
    if any(named):
        made.legend(loc="outside lower center", ncols=min(len(named), 3), fontsize=9, frameon=False)
    return made


def _closed(array: np.ndarray) -> np.ndarray:
    return np.append(array, array[0])


def spectrum(
    amplitudes: Any, *, label: str = "amplitude", title: str = "Fourier spectrum of the orbit", shown: int = 24
) -> Any:
    """Amplitude by frequency (per full turn) of a cyclic orbit; frequency 4 is that of the pixel grid.

    ``amplitudes`` is ``(frequencies,)`` from frequency 0 on, or a mapping of such arrays.
    """
    named: Mapping[str, np.ndarray] = series(amplitudes, "spectrum")
    made, axes = figure(size=(6.0, 3.2))
    panel = axes[0, 0]
    width = 0.8 / len(named)
    for i, (name, array) in enumerate(named.items()):
        count = min(len(array), shown + 1)
        panel.bar(
            np.arange(1, count) + (i - (len(named) - 1) / 2) * width, array[1:count], width, color=color(i), label=name or None
        )
    panel.set_xlabel("frequency (per turn)")
    panel.set_ylabel(label)
    panel.set_title(title, fontsize=11, color=INK)
    panel.grid(axis="y", color=FAINT, lw=0.6)
    if any(named):
        panel.legend(fontsize=9, frameon=False)
    return made
