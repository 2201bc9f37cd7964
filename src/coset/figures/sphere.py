"""Orbits of rotations of space: directions on two hemispheres, and axis-angle balls seen as discs."""

from __future__ import annotations

from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.heatmap import _colorbar
from coset.figures.style import FAINT, INK, MAP, figure, limits, series


def sphere(
    directions: np.ndarray, values: Any, *, label: str = "value", title: str = "", limit: tuple[float, float] | None = None
) -> Any:
    """Values at unit vectors ``(k, 3)``: the upper and the lower hemisphere as equal-area discs, seen from above.

    ``values`` is ``(k,)`` or a mapping of such arrays (one row of panels each). Projection: Lambert's, radius
    ``sqrt(1 - |z|)``, so that equal solid angles are equal areas.
    """
    directions = np.asarray(directions, dtype=float)
    named = series(values, "sphere")
    low, high = limits(named, limit)
    made, axes = figure(len(named), 2, size=(3.8, 3.8))
    upper = directions[:, 2] >= 0
    for row, (name, array) in zip(axes, named.items(), strict=True):
        if array.shape != (len(directions),):
            raise InputError(f"sphere: {name or 'values'} has shape {array.shape}, expected {(len(directions),)}")
        for panel, half, side in zip(row, (upper, ~upper), ("upper half (z ≥ 0)", "lower half, seen from above"), strict=True):
            place = equal_area(directions[half])
            drawn = panel.scatter(place[:, 0], place[:, 1], c=array[half], cmap=MAP, vmin=low, vmax=high, s=_size(half.sum()))
            _rim(panel)
            panel.set_title(f"{name}: {side}" if name else side, fontsize=10, color=INK)
    _colorbar(made, drawn, axes, label)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def axis_angle_disc(
    axes_angles: np.ndarray, values: Any, *, label: str = "value", title: str = "", limit: tuple[float, float] | None = None
) -> Any:
    """Rotations given as axis times angle ``(k, 3)`` in radians: three discs, for the planes xy, xz and yz.

    Each disc holds the rotations whose axis lies within 30 degrees of its plane: direction of the axis around the disc,
    angle (0 to 180 degrees) as the radius; the center is the identity. Coverage that a plane lacks stays empty.
    """
    turns = np.asarray(axes_angles, dtype=float)
    named = series(values, "axis_angle_disc")
    low, high = limits(named, limit)
    made, panels = figure(len(named), 3, size=(3.6, 3.7))
    angle = np.linalg.norm(turns, axis=1)
    axis = turns / np.where(angle > 0, angle, 1)[:, None]
    for row, (name, array) in zip(panels, named.items(), strict=True):
        if array.shape != angle.shape:
            raise InputError(f"axis_angle_disc: {name or 'values'} has shape {array.shape}, expected {angle.shape}")
        for panel, (i, j, plane) in zip(row, ((0, 1, "xy"), (0, 2, "xz"), (1, 2, "yz")), strict=True):
            near = np.hypot(axis[:, i], axis[:, j]) >= np.cos(np.pi / 6) - 1e-9
            near |= angle == 0
            way = np.arctan2(axis[near, j], axis[near, i])
            radius = angle[near] / np.pi
            drawn = panel.scatter(
                radius * np.cos(way), radius * np.sin(way), c=array[near], cmap=MAP, vmin=low, vmax=high, s=_size(near.sum())
            )
            _rim(panel)
            panel.set_title(f"{name + ': ' if name else ''}axis near the {plane} plane", fontsize=10, color=INK)
    _colorbar(made, drawn, panels, label)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made


def equal_area(directions: np.ndarray) -> np.ndarray:
    """Lambert's equal-area place ``(k, 2)`` in the unit disc of unit vectors of one hemisphere."""
    flat = directions[:, :2]
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(length > 0, length, 1) * np.sqrt(np.clip(1 - np.abs(directions[:, 2:]), 0, 1))


def _rim(panel: Any) -> None:
    turn = np.linspace(0, 2 * np.pi, 181)
    panel.plot(np.cos(turn), np.sin(turn), color=FAINT, lw=1)
    panel.set_aspect("equal")
    panel.set_xlim(-1.08, 1.08)
    panel.set_ylim(-1.08, 1.08)
    panel.set_axis_off()


def _size(count: int) -> float:
    """Marker area in points squared that fills a disc of about 200 points with ``count`` dots."""
    return float(np.clip(2.6e4 / max(count, 1), 8, 260))


def plane_discs(values: Any, planes: tuple[str, ...] = ("xy", "xz", "yz"), *, label: str = "value", title: str = "",
                limit: tuple[float, float] | None = None) -> Any:  # fmt: skip
    """Heat map of rotations about axes in a plane, one disc per plane: axis direction around, angle (0 to 180°) outwards.

    ``values`` is ``(planes, directions, angles)`` with equal steps, the first direction along the plane's first axis and the
    first angle 0; or a mapping of such arrays (one row of discs each).
    """
    named = series(values, "plane_discs")
    low, high = limits(named, limit)
    made, panels = figure(len(named), len(planes), size=(3.6, 3.8), projection="polar")
    for row, (name, array) in zip(panels, named.items(), strict=True):
        if array.ndim != 3 or array.shape[0] != len(planes):
            raise InputError(
                f"plane_discs: {name or 'values'} has shape {array.shape}, expected ({len(planes)}, directions, angles)"
            )
        directions, angles = array.shape[1:]
        step = 2 * np.pi / directions
        around = np.arange(directions + 1) * step - step / 2
        outward = np.clip((np.arange(angles + 1) - 0.5) * 180 / max(angles - 1, 1), 0, 180)
        for panel, plane, grid in zip(row, planes, array, strict=True):
            drawn = panel.pcolormesh(around, outward, grid.T, cmap=MAP, vmin=low, vmax=high)
            panel.set_xticks([0, np.pi / 2, np.pi, 3 * np.pi / 2], [plane[0], plane[1], f"-{plane[0]}", f"-{plane[1]}"])
            panel.set_yticks([90, 180], ["90°", "180°"])
            panel.tick_params(axis="y", colors="white", labelsize=8)
            panel.grid(color="white", alpha=0.3, lw=0.5)
            panel.set_title(f"{name + ': ' if name else ''}axis in the {plane} plane", fontsize=10, color=INK, pad=10)
    _colorbar(made, drawn, panels, label)
    if title:
        made.suptitle(title, fontsize=12, color=INK)
    return made
