"""Lattice force field on the Holstein model: what D4 and Z2 save at 4 and 16 configurations, and a quench by learned forces.

Rows of the task at size cpu: networks of about 8000 parameters, 500 steps, tested on 48 configurations of other trajectories.
The quench, 200 steps on 24 x 24 sites, is judged on the mean over seeds of the largest deviation of the order parameter, by the
row D4 x Z2 trained on 16 configurations.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coset.comparison import compare
from coset.report.acceptance import Bound, main

ROWS = ("plain", "plain, augmented", "plain, 8x wider", "D4", "D4 x Z2")
MEASURED = "lattice-force-field sheet (b), measured there"


def measure(*, seeds: int = 3, size: str = "cpu", conservative: bool = False) -> Mapping[str, Any]:
    """Means over seeds for every row and number of configurations, and the ratios that the sheet asks for."""
    rows = (*ROWS, "conservative D4") if conservative else ROWS
    tables = {f"{count} configurations": table(rows, count, size, seeds) for count in (4, 16)}
    ratios = {
        name: {row: means[row]["relative_rmse"] / means["plain"]["relative_rmse"] for row in rows}
        for name, means in tables.items()
    }
    best = tables["16 configurations"]["D4 x Z2"]
    return {"tables": tables, "over_plain": ratios, "quench_percent": best["quench_percent"], "oddness": best["oddness_error"]}


def table(rows: tuple[str, ...], count: int, size: str, seeds: int) -> dict[str, dict[str, float]]:
    """Every metric of every row trained on ``count`` configurations, means over seeds."""
    with TemporaryDirectory() as folder:
        found = compare("holstein", rows, size=size, seeds=seeds, set={"samples": count}, out=Path(folder) / "run", workers=1)
    mean = {
        row: {metric: sum(r.metrics[metric] for r in found if r.method == row) / seeds for metric in found[0].metrics}
        for row in rows
    }
    seconds = {row: sum(r.train_seconds for r in found if r.method == row) / seeds for row in rows}
    return {row: {**mean[row], "train_seconds": round(seconds[row], 1)} for row in rows}


BOUNDS = (
    Bound("over_plain.4 configurations.D4", "<=", 0.85, MEASURED),
    Bound("over_plain.4 configurations.D4 x Z2", "<=", 0.75, MEASURED),
    Bound("over_plain.16 configurations.D4", "<=", 0.85, MEASURED),
    Bound("over_plain.16 configurations.D4 x Z2", "<=", 0.75, MEASURED),
    Bound("quench_percent", "<=", 15.0, "lattice-force-field sheet (b), not measured there"),
    Bound("oddness", "<=", 1e-5, "lattice-force-field sheet, contract in float32"),
)

if __name__ == "__main__":
    main("holstein", __doc__, measure, BOUNDS)
