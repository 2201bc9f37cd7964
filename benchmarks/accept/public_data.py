"""The commands that take public data, end to end on the small real pieces: MNIST, CIFAR-10, TU graphs, ETH-UCY, CMU.

    python benchmarks/accept/public_data.py --data FOLDER --size smoke

FOLDER is the folder of public data beside the repository by default. At size ``smoke`` every row of a task is trained for a
moment and judged; with ``--size full`` these are the runs of the papers, where the pieces are whole.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from coset.comparison import compare
from coset.errors import InputError
from coset.report.acceptance import Bound, main

BESIDE = str(Path(__file__).resolve().parents[3] / "shared" / "data")


def commands(data: Path, spare: Path) -> dict[str, dict[str, Path]]:
    """For every task its data by name; sets that are kept as arrays are written in their public form below ``spare``."""
    mnist, motion = data / "images" / "mnist_test10k.npz", data / "motion"
    return {
        "flowing_digits": {"mnist": mnist},
        "flowing_classes": {"mnist": mnist},
        "affine_digits": {"mnist": mnist},
        "cifar10_shift": {
            "cifar10": data / "images" / "cifar10_train500perclass_jpg.zip",
            "test": data / "images" / "cifar10_test100perclass_jpg.zip",
        },
        "tu_graphs": {"mutag": public_graphs(data / "graphs" / "tu" / "MUTAG.npz", spare)},
        "pedestrians": {"scenes": motion / "eth_ucy"},
        "walking": {"mocap": motion / "cmu_mocap" / "run_subject09_joints.npz"},
    }


def public_graphs(stored: Path, spare: Path) -> Path:
    """A TU set kept as arrays, written as the text files in which it is published; their folder."""
    from graphs import converted  # the script beside this one

    return converted(stored, spare)


def measure(*, data: str = BESIDE, size: str = "smoke") -> dict[str, Any]:
    """For every command the rows that were trained, and whether all their metrics are numbers."""
    if not Path(data).is_dir():
        raise InputError(f"no folder {data}; name the public data with --data")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as spare:
        for task, files in commands(Path(data), Path(spare)).items():
            with tempfile.TemporaryDirectory() as out:
                rows = compare(task, size=size, files=files, out=out, progress=False)
            figures[task] = {row.method: {k: round(v, 4) for k, v in row.metrics.items()} for row in rows}
    values = [value for rows in figures.values() for row in rows.values() for value in row.values()]
    return {"tasks": figures, "finite": bool(np.isfinite(values).all()), "ran": len(figures)}


BOUNDS = (Bound("ran", "==", 7, "issue 4, (c): end to end on the small real pieces"), Bound("finite", "==", True))

if __name__ == "__main__":
    main("public_data", __doc__, measure, BOUNDS)
