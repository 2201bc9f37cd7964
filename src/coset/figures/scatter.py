"""Samples as points in the plane: an embedding of their orbits, or cost against error of several models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.heatmap import _colorbar
from coset.figures.style import FAINT, INK, MAP, color, figure, marker


def embedding(points: np.ndarray, values: np.ndarray, *, labels: Sequence[Any] | None = None, label: str = "orbit mean",
              title: str = "samples by their orbits", named: Sequence[int] = ()) -> Any:  # fmt: skip
    """Points ``(k, 2)`` colored by ``values`` ``(k,)``; ``labels`` stand in the markers, ``named`` samples get their index."""
    points, values = np.asarray(points, dtype=float), np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or len(values) != len(points) or not len(points):
        raise InputError(f"embedding: expected points (k, 2) and values (k,), got {points.shape} and {values.shape}")
    made, axes = figure(size=(6.0, 5.0))
    panel = axes[0, 0]
    drawn = panel.scatter(
        points[:, 0], points[:, 1], c=values, cmap=MAP, s=70 if labels is not None else 28, edgecolors="white", lw=0.5
    )
    if labels is not None:
        middle = (values.min() + values.max()) / 2
        for (x, y), text, value in zip(points, labels, values, strict=True):
            panel.text(x, y, str(text), ha="center", va="center", fontsize=6, color="white" if value <= middle else INK)
    for i in named:
        panel.annotate(f"#{i}", points[i], xytext=(5, 5), textcoords="offset points", fontsize=8, color=INK)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_title(title, fontsize=11, color=INK)
    _colorbar(made, drawn, axes, label)
    return made


def tradeoff(names: Sequence[str], x: Any, y: Any, *, labels: tuple[str, str],
             size: Sequence[float] = (), log: bool = True, title: str = "") -> Any:  # fmt: skip
    """One marker per model: ``x`` (an error, log axis) against ``y``; marker area by ``size`` (memory, time)."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if not len(names) or x.shape != (len(names),) or y.shape != x.shape:
        raise InputError(f"tradeoff: {len(names)} names, x of shape {x.shape}, y of shape {y.shape}")
    area = np.full(len(x), 70.0) if not len(size) else 40 + 260 * np.asarray(size, dtype=float) / np.max(size)
    made, axes = figure(size=(6.4, 4.4))
    panel = axes[0, 0]
    for i, name in enumerate(names):
        at = max(x[i], 1e-17) if log else x[i]
        panel.scatter(at, y[i], s=area[i], color=color(i), marker=marker(i), edgecolors="white", zorder=2)
        panel.annotate(name, (at, y[i]), xytext=(7, 4), textcoords="offset points", fontsize=8, color=INK)
    if log:
        panel.set_xscale("log")
    panel.margins(0.15)
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    panel.set_title(title, fontsize=11, color=INK)
    panel.grid(color=FAINT, lw=0.6)
    return made
