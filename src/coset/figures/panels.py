"""Samples as they are: pictures, film strips, clouds of points, paths and graphs, one row of panels each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.style import FAINT, INK, color, figure


def picture_rows(rows: Sequence[tuple[str, np.ndarray]], *, title: str = "") -> Any:
    """Rows of pictures, each a name and an array ``(k, C, H, W)`` with one or three channels, on a scale of its own row."""
    if not rows or any(array.ndim != 4 for _, array in rows):
        raise InputError("picture_rows: expected names with arrays (k, C, H, W)")
    columns = max(len(array) for _, array in rows)
    made, axes = figure(len(rows), columns, size=(1.25, 1.25))
    for line, (name, array) in zip(axes, rows, strict=True):
        low, high = float(np.nanmin(array)), float(np.nanmax(array))
        for i, panel in enumerate(line):
            panel.set_axis_off()
            if i < len(array):
                shown = (array[i] - low) / max(high - low, 1e-12)
                shown = shown[0] if len(shown) != 3 else np.moveaxis(shown, 0, -1)
                panel.imshow(shown, cmap="gray_r" if shown.ndim == 2 else None, vmin=0, vmax=1, interpolation="nearest")
        line[0].set_title(name, fontsize=9, color=INK, loc="left")
    if title:
        made.suptitle(title, fontsize=11, color=INK)
    return made


def point_panels(
    panels: Sequence[tuple[str, np.ndarray]],
    *,
    labels: np.ndarray | None = None,
    edges: np.ndarray | None = None,
    title: str = "",
) -> Any:
    """Clouds ``(n, 2 or 3)`` or paths ``(n, T, 2 or 3)`` side by side, drawn to one scale; colored by ``labels (n,)``.

    ``edges (2, E)`` joins points. Paths fade in along time and end in a dot.
    """
    if not panels or any(array.ndim not in (2, 3) or array.shape[-1] not in (2, 3) for _, array in panels):
        raise InputError("point_panels: expected names with arrays (n, 2 or 3) or (n, T, 2 or 3)")
    space = panels[0][1].shape[-1]
    made, axes = figure(1, len(panels), size=(2.9, 2.9), projection="3d" if space == 3 else None)
    everything = np.concatenate([array.reshape(-1, space) for _, array in panels])
    middle, reach = (everything.max(0) + everything.min(0)) / 2, max(float(np.ptp(everything, axis=0).max()) / 2, 1e-9)
    for panel, (name, array) in zip(axes.flat, panels, strict=True):
        kinds = np.arange(len(array)) * (array.ndim == 3) if labels is None else labels
        shades = [color(int(kind)) for kind in kinds]
        if edges is not None and array.ndim == 2:
            for a, b in edges.T:
                panel.plot(*array[[a, b]].T, color=FAINT, lw=0.8, zorder=1)
        ends = array if array.ndim == 2 else array[:, -1]
        if array.ndim == 3:
            for path, shade in zip(array, shades, strict=True):
                panel.plot(*path.T, color=shade, lw=1.2)
        panel.scatter(*ends.T, c=shades, s=14 if len(ends) > 64 else 30, **({"depthshade": False} if space == 3 else {}))
        _frame(panel, middle, reach, space)
        panel.set_title(name, fontsize=9, color=INK)
    if title:
        made.suptitle(title, fontsize=11, color=INK)
    return made


def _frame(panel: Any, middle: np.ndarray, reach: float, space: int) -> None:
    for axis, center in zip("xyz"[:space], middle, strict=True):
        getattr(panel, f"set_{axis}lim")(center - 1.05 * reach, center + 1.05 * reach)
        getattr(panel, f"set_{axis}ticks")([])
    if space == 2:
        panel.set_aspect("equal")
        panel.set_axis_off()
    else:
        panel.set_box_aspect((1, 1, 1))


def graph_panels(panels: Sequence[tuple[str, int, np.ndarray]], *, title: str = "") -> Any:
    """Graphs side by side, each a name, a number of nodes and edges ``(2, E)``, placed by their distances."""
    import networkx

    if not panels:
        raise InputError("graph_panels: no graph to draw")
    made, axes = figure(1, len(panels), size=(2.6, 2.6))
    for panel, (name, nodes, edges) in zip(axes.flat, panels, strict=True):
        graph = networkx.Graph()
        graph.add_nodes_from(range(nodes))
        graph.add_edges_from(map(tuple, np.asarray(edges).T.tolist()))
        at = _layout(networkx, graph)
        for a, b in graph.edges:
            panel.plot(*at[[a, b]].T, color=FAINT, lw=1.2, zorder=1)
        panel.scatter(*at.T, c=color(0), s=46, zorder=2)
        for i, (x, y) in enumerate(at):
            panel.text(x, y, str(i), fontsize=6, color="white", ha="center", va="center", zorder=3)
        panel.set_aspect("equal")
        panel.set_axis_off()
        panel.set_title(name, fontsize=9, color=INK)
    if title:
        made.suptitle(title, fontsize=11, color=INK)
    return made


def _layout(networkx: Any, graph: Any) -> np.ndarray:
    """Places ``(nodes, 2)``: every component by its distances, components side by side."""
    at, left = np.zeros((graph.number_of_nodes(), 2)), 0.0
    for part in sorted(map(sorted, networkx.connected_components(graph)), key=len, reverse=True):
        place = networkx.kamada_kawai_layout(graph.subgraph(part)) if len(part) > 1 else {part[0]: np.zeros(2)}
        own = np.array([place[i] for i in part]) * np.sqrt(len(part))
        at[part] = own - own.min(0) + [left, -np.ptp(own[:, 1]) / 2]
        left += np.ptp(own[:, 0]) + 1.0
    return at


def matrix_panels(panels: Sequence[tuple[str, np.ndarray]], *, title: str = "") -> Any:
    """Matrices ``(rows, columns)`` as heat maps on one scale, for numbers that are nowhere in space."""
    if not panels or any(array.ndim != 2 for _, array in panels):
        raise InputError("matrix_panels: expected names with matrices")
    low, high = (float(f([f(array) for _, array in panels])) for f in (np.min, np.max))
    made, axes = figure(1, len(panels), size=(2.9, 2.6))
    for panel, (name, array) in zip(axes.flat, panels, strict=True):
        panel.imshow(array, cmap="cividis", vmin=low, vmax=max(high, low + 1e-12), aspect="auto", interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_title(name, fontsize=9, color=INK)
    if title:
        made.suptitle(title, fontsize=11, color=INK)
    return made
