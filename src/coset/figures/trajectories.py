"""Trajectories: a fan of sampled futures beside what happened, in the plane or as the three projections of space."""

from __future__ import annotations

from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, color, figure

AXES = ("x", "y", "z")


def fans(
    cond: np.ndarray, truth: np.ndarray, samples: np.ndarray, *, title: str = "", unit: str = "", planes: int | None = None
) -> Any:
    """A row per scene: given frames (full line), what happened (dashed, a ring at its end) and samples (thin, a dot each).

    ``cond`` ``(scenes, N, Tc, n)`` (Tc may be 0), ``truth`` ``(scenes, N, T, n)``, ``samples`` ``(scenes, K, N, T, n)``; nodes
    that hold NaN are left out. In three dimensions a column for each of the planes xy, xz, yz, or for the first ``planes`` of
    them. InputError for other shapes.
    """
    cond, truth, samples = (np.asarray(value, dtype=float) for value in (cond, truth, samples))
    if truth.ndim != 4 or truth.shape[-1] not in (2, 3) or samples.ndim != 5 or samples.shape[2:] != truth.shape[1:]:
        raise InputError(
            f"fans: truth (scenes, N, T, 2 or 3), samples (scenes, K, N, T, n); got {truth.shape}, {samples.shape}"
        )
    if cond.shape[:2] != truth.shape[:2] or len(samples) != len(truth):
        raise InputError(f"fans: {len(truth)} scenes of {truth.shape[1]} nodes, cond has shape {cond.shape}")
    pairs = [(0, 1)] if truth.shape[-1] == 2 else [(0, 1), (0, 2), (1, 2)]
    pairs = pairs[:planes]
    made, axes = figure(len(truth), len(pairs), size=(3.6, 3.4))
    for row, (given, true, drawn) in enumerate(zip(cond, truth, samples, strict=True)):
        for column, (a, b) in enumerate(pairs):
            panel = axes[row, column]
            _scene(panel, given[..., [a, b]], true[..., [a, b]], drawn[..., [a, b]])
            panel.set_xlabel(f"{AXES[a]} {unit}".strip(), fontsize=8, color=INK)
            panel.set_ylabel(f"{AXES[b]} {unit}".strip(), fontsize=8, color=INK)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    made.suptitle(title, fontsize=11, color=INK)
    return made


def _scene(panel: Any, given: np.ndarray, true: np.ndarray, drawn: np.ndarray) -> None:
    """One panel: every node in a color of its own."""
    nodes = [i for i in range(len(true)) if np.isfinite(true[i]).all()]
    for place, i in enumerate(nodes):
        tone, first = color(place), place == 0
        start = given[i, -1:] if given.shape[1] else drawn[0, i, :0]
        for k, path in enumerate(drawn[:, i]):
            line = np.concatenate([start, path])
            panel.plot(*line.T, color=tone, lw=0.8, alpha=0.45, label="samples" if first and not k else None)
            panel.plot(*path[-1:].T, ".", color=tone, ms=4, alpha=0.7)
        line = np.concatenate([start, true[i]])
        panel.plot(*line.T, "--", color=INK, lw=1.0, label="what happened" if first else None)
        panel.plot(*true[i, -1:].T, "o", mfc="none", mec=INK, ms=5)
        panel.plot(*given[i].T, color=tone, lw=2.2, label="given" if first and given.shape[1] else None)
    panel.set_aspect("equal", adjustable="datalim")
    panel.grid(color=FAINT, lw=0.5)
