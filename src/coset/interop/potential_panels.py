"""What fills the panels of a potential's page: arrays of :class:`coset.interop.potential_audit.PotentialAudit`, by panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coset.figures import potential as draw


def labelled(found: Any) -> bool:
    """Whether any structure has a label of energy or forces."""
    return bool(np.isfinite(found.orbit_forces_labels).any() or np.isfinite(found.orbit_energy_labels).any())


def orbits(found: Any, axes: Sequence[Any]) -> None:
    """Two panels: errors in energy and forces over a turn, against the labels where there are any."""
    if not labelled(found):
        consensus(found, axes)
        return
    for panel, values, unit, what in zip(
        axes, (found.orbit_energy_labels, found.orbit_forces_labels), ("meV per atom", "meV per angstrom"),
        ("energy", "forces"), strict=True,
    ):  # fmt: skip
        known = values[np.isfinite(values).all(1)]
        if len(known):
            draw.orbit_panel(panel, found.angles, {"": known}, unit, f"error of {what}, against labels", log=False)
        else:
            draw.empty_panel(panel, f"the data have no {what}", f"error of {what}")


def consensus(found: Any, axes: Sequence[Any]) -> None:
    """Two panels: how far energy and forces are from their mean over a turn."""
    single = {"energy": found.single_orbit_energy, "forces": found.single_orbit_forces}
    main = {"energy": found.orbit_energy, "forces": found.orbit_forces}
    for panel, what, unit in zip(axes, main, ("meV per atom", "meV per angstrom"), strict=True):
        series = {found.dtype or "this calculator": main[what]} | ({"float32": single[what]} if found.single else {})
        draw.orbit_panel(panel, found.angles, series, unit, f"{what}: change over a turn", log=True)


def laws_of(found: Any, panel: Any) -> None:
    """Laws against their limits, in both precisions."""
    judged = [check for check in found.checks if not check["skipped"]]
    names = [check["name"] for check in judged]
    series = {found.dtype or "this calculator": np.array([check["error"] / check["limit"] for check in judged])}
    if found.single:
        ratios = {check["name"]: check["error"] / check["limit"] for check in found.single if not check["skipped"]}
        series["float32"] = np.array([ratios.get(name, np.nan) for name in names])
    draw.laws_panel(panel, names, series)


def edge(found: Any, axes: Sequence[Any]) -> None:
    """Two panels: energy and its slope while an atom crosses the cutoff."""
    if not len(found.cutoff_r):
        for panel in axes:
            draw.empty_panel(panel, "no cutoff was found", "crossing the cutoff")
        return
    beyond = found.cutoff_energy[-1]
    draw.edge_panel(axes[0], found.cutoff_r, 1e3 * (found.cutoff_energy - beyond), found.cutoff, "energy, meV", "energy")
    draw.edge_panel(axes[1], found.cutoff_r, 1e3 * found.cutoff_slope, found.cutoff, "dE/dr, meV per angstrom", "slope")


def run_of(found: Any, panel: Any) -> None:
    """The run, in both precisions."""
    if not len(found.time):
        draw.empty_panel(panel, "no run", "constant energy")
        return
    runs = {found.dtype or "this calculator": (found.time, found.total)}
    if len(found.single_time):
        runs["float32"] = (found.single_time, found.single_total)
    curves = {name: (time, 1e3 * (total - total[0]) / found.run_atoms) for name, (time, total) in runs.items()}
    draw.run_panel(panel, curves, f"{found.run_atoms} atoms at constant energy")
