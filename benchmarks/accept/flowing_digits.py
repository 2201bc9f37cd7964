"""FERNN with nine velocities against a convolutional RNN on flowing digits, to twice the trained length (flow-rnn sheet, b)."""

import tempfile
from typing import Any

from coset.comparison import compare
from coset.report.acceptance import Bound, main


def measure(*, seeds: int = 1, plain_epochs: int = 12, fernn_epochs: int = 4, size: str = "cpu") -> dict[str, Any]:
    """G-RNN for 12 epochs (3000 steps), FERNN for 4: errors on predicted frames 1-5 and 6-10, worst ratio over seeds."""
    rows = {}
    for name, epochs in (("G-RNN", plain_epochs), ("FERNN V1", fernn_epochs)):
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = compare(
                "flowing_digits", [name], size=size, seeds=seeds, set={"epochs": epochs}, out=folder, progress=False, workers=1
            )
    figures: dict[str, Any] = {
        name: [row.metrics | {"train_seconds": round(row.train_seconds, 1), "parameters": row.parameters} for row in found]
        for name, found in rows.items()
    }
    for key in ("trained_mse", "longer_mse", "fast_mse"):
        pairs = zip(figures["FERNN V1"], figures["G-RNN"], strict=True)
        figures[f"{key}_ratio"] = max(ours[key] / plain[key] for ours, plain in pairs)
    return figures


BOUNDS = (
    Bound("trained_mse_ratio", "<=", 0.5, "sheet (b), measured there: .0083 / .027"),
    Bound("longer_mse_ratio", "<=", 0.7, "sheet (b), measured there: .037 / .067"),
)

if __name__ == "__main__":
    main("flowing_digits", __doc__, measure, BOUNDS)
