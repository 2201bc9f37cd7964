"""Clouds of points by label, side by side from one viewpoint: parts, groups of a partition, guesses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import INK, color, figure

VIEW = (12.0, -60.0)  #: elevation and azimuth, degrees
SIZE = 7.0  #: of a dot, points squared


def clouds(pos: np.ndarray, labels: Mapping[str, np.ndarray], *, title: str = "", beside: int = 0) -> Any:
    """The cloud ``pos`` ``(n, 3)`` once for every labeling ``(n,)``, in equal scale; colors repeat after seven labels.

    Labels are ordered by where they lie, so that neighbors differ in color. ``beside`` empty flat panels are added at the
    right: ``figure.axes[-beside:]``. Raises InputError for shapes that do not fit.
    """
    pos = np.asarray(pos, dtype=float)
    if pos.ndim != 2 or pos.shape[1] != 3 or not labels or any(len(label) != len(pos) for label in labels.values()):
        shapes = {name: np.shape(label) for name, label in labels.items()}
        raise InputError(f"clouds: points (n, 3) and labels (n,) by name, got {pos.shape} and {shapes}")
    made, axes = figure(1, len(labels) + beside, size=(3.2, 3.6))
    for column, (name, label) in enumerate(labels.items()):
        place = axes[0, column].get_subplotspec()
        axes[0, column].remove()
        panel = made.add_subplot(place, projection="3d")
        for i, one in enumerate(_in_order(pos, np.asarray(label))):
            panel.scatter(*pos[label == one].T, s=SIZE, color=color(i), depthshade=False, linewidths=0)
        middle, reach = (pos.max(0) + pos.min(0)) / 2, np.ptp(pos, axis=0).max() / 2
        for axis, at in zip("xyz", middle, strict=True):
            getattr(panel, f"set_{axis}lim")(at - reach, at + reach)
        panel.set_box_aspect((1, 1, 1), zoom=1.5)
        panel.set_axis_off()
        panel.view_init(*VIEW)
        panel.set_title(name, color=INK, fontsize=10)
    if title:
        made.suptitle(title, color=INK, fontsize=11)
    return made


def _in_order(pos: np.ndarray, label: np.ndarray) -> list[Any]:
    """Labels by the height of their centers."""
    return sorted(np.unique(label), key=lambda one: float(pos[label == one, 2].mean()))
