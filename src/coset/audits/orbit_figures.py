"""Which picture an orbit gets: a circle for angles, a map for two coordinates, discs for rotations, tiles for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from coset.errors import InputError
from coset.figures.bars import bars, lines
from coset.figures.heatmap import heatmap
from coset.figures.polar import polar
from coset.figures.sphere import axis_angle_disc, plane_discs
from coset.figures.tiles import cayley, dihedral

if TYPE_CHECKING:
    from coset.audits.orbit_result import OrbitResult


def draw(results: Mapping[str, OrbitResult], sample: int | None = None) -> Any:
    """One or several models on one grid; InputError where the grids differ."""
    first = next(iter(results.values()))
    for name, one in results.items():
        if one.axes != first.axes:
            raise InputError(f"orbits of {name!r} lie on another grid; run all models on the same elements")
    values = {name: one.aggregate() if sample is None else one.individual(sample) for name, one in results.items()}
    label = first.metric.replace("_", " ")
    title = f"{'all samples' if sample is None else f'sample {sample}'}, {first.group}, reference: {first.reference}"
    limit = (first.limit[0], first.limit[1]) if first.limit else None
    kinds = [axis["kind"] for axis in first.axes]
    coordinates = [np.asarray(axis["coordinates"]) for axis in first.axes]
    if kinds == ["element", "element", "rotation"]:
        return plane_discs(values, tuple(first.axes[0]["labels"]), label=label, title=title, limit=limit)
    if first.vectors is not None:
        return axis_angle_disc(
            first.vectors, {n: v.reshape(-1) for n, v in values.items()}, label=label, title=title, limit=limit
        )
    if kinds == ["angle"]:
        order = np.argsort(coordinates[0])
        band = None
        if len(results) == 1 and sample is None:
            flat = first.flat[:, order]
            band = (np.percentile(flat, 25, axis=0), np.percentile(flat, 75, axis=0))
        marked = np.flatnonzero(first.exact[order]) if first.exact is not None else ()
        return polar(
            coordinates[0][order], {n: v[order] for n, v in values.items()}, label=label, title=title, limit=limit, band=band,
            marked=marked, discrete=len(order) <= 12,
        )  # fmt: skip
    if kinds == ["scale"]:
        order = np.argsort(coordinates[0])
        return lines(
            coordinates[0][order],
            {n: v[order] for n, v in values.items()},
            labels=("scale", label),
            title=title,
            limit=limit,
            log=True,
        )
    if len(kinds) == 2 and "element" not in kinds:
        names = (first.axes[0]["name"], first.axes[1]["name"])
        origin = None
        if first.identity >= 0:
            i, j = np.unravel_index(first.identity, first.values.shape[1:])
            origin = (float(coordinates[0][i]), float(coordinates[1][j]))
        return heatmap(
            values, coordinates[0], coordinates[1], labels=names, label=label, title=title, limit=limit, origin=origin
        )
    if len(kinds) == 2 and len(results) == 1 and min(first.values.shape[1:]) <= 4:
        return _glyph(first, next(iter(values.values())), label, title, limit)
    lined = {n: v.reshape(-1) for n, v in values.items()}
    if len(first.names) <= 64:
        return cayley(lined, first.names, label=label, title=title, limit=limit)
    only = next(iter(lined.values()))
    worst = np.argsort(only if first.better == "higher" else -only)[:32]
    return bars([first.names[i] for i in worst], only[worst], label=label, title=f"{title}: the 32 worst elements")


def _glyph(result: OrbitResult, values: np.ndarray, label: str, title: str, limit: Any) -> Any:
    """Tiles with the short axis as rows: 8 symmetries of the square, forward and reversed in time."""
    long, short = (0, 1) if values.shape[0] >= values.shape[1] else (1, 0)
    grid = values.T if long == 0 else values
    names = [list(result.axes[long]["labels"])] * grid.shape[0]
    return dihedral(grid, names, rows=result.axes[short]["labels"], label=label, title=title, limit=limit)
