"""Subgraph networks against message passing: cycle pairs, and MUTAG in ten folds (spen sheet, b).

`--data` is MUTAG in the TU text form (folder or zip) or as the npz of the shared data, which is converted first.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np

from coset.comparison import compare
from coset.data.tu import write_tu
from coset.report.acceptance import Bound, main

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "graphs" / "tu" / "MUTAG.npz"
GIN, SPEN = "GIN", "SPEN, 1 step"


def converted(path: Path, folder: Path) -> Path:
    """The set itself, or the text form of an npz with ``y, ptr, node_label, edge_index`` written into ``folder``."""
    if path.suffix != ".npz":
        return path
    with np.load(path) as stored:
        graph = np.repeat(np.arange(len(stored["y"])), np.diff(stored["ptr"]))
        parts = {"arcs": stored["edge_index"].T, "graph": graph, "labels": stored["y"], "node_labels": stored["node_label"]}
        return write_tu(folder, path.stem, parts)


def measure(*, data: str = str(SHARED), folds: int = 10, size: str = "cpu") -> dict:
    """Accuracy on cycle pairs by kind (percent), and on MUTAG by fold; both rows with the same recipe."""
    with tempfile.TemporaryDirectory() as scratch:
        pairs = compare("cycle_pairs", [GIN, SPEN], size=size, out=Path(scratch) / "pairs", progress=False)
        files = {"mutag": converted(Path(data), Path(scratch))}
        rows = compare("tu_graphs", [GIN, SPEN], size=size, seeds=folds, files=files, out=Path(scratch) / "tu", progress=False)
    figures: dict = {"cycle_pairs": {row.method: row.metrics for row in pairs}, "mutag": {}}
    for name in (GIN, SPEN):
        own = [row for row in rows if row.method == name]
        parts = {key: [row.metrics[key] for row in own] for key in ("accuracy_percent", "valid_percent")}
        figures["mutag"][name] = {
            **{key: round(statistics.fmean(values), 2) for key, values in parts.items()},
            "folds": [round(value, 1) for value in parts["accuracy_percent"]],
            "deviation": round(statistics.stdev(parts["accuracy_percent"]), 2) if len(own) > 1 else 0.0,
            "train_seconds": round(sum(row.train_seconds for row in own), 1),
        }
    figures["mutag"]["spen_minus_gin"] = figures["mutag"][SPEN]["accuracy_percent"] - figures["mutag"][GIN]["accuracy_percent"]
    return figures


BOUNDS = (
    Bound(f"cycle_pairs.{SPEN}.accuracy_percent", "==", 100.0, "spen sheet (b), expectation"),
    Bound(f"cycle_pairs.{GIN}.accuracy_percent", "==", 50.0, "spen sheet (b), expectation"),
    Bound("mutag.spen_minus_gin", ">=", -2.0, "spen sheet (b), expectation"),
)

if __name__ == "__main__":
    main("graphs", __doc__, measure, BOUNDS)
