"""Models of mace-torch with random weights, converted: how far energies, forces and stresses are from mace-torch's own.

    python benchmarks/accept/convert_mace.py --python /path/to/python-with-mace-torch
    python benchmarks/accept/convert_mace.py --python ... --golden tests/interop/mace_torch.npz   # a test's file

Every configuration is written by ``benchmarks/mace_models.py``, converted by ``coset.interop.mace_convert`` in float64 and
compared on random molecules and crystals in which every element occurs. The radial networks are kept ("network"); for one
configuration their tables ("knots", "spline") are measured as well. Refusals are checked too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.interop.mace_convert import convert_mace, extract, random_structures, sample
from coset.report.acceptance import Bound, main

MODELS: dict[str, dict[str, Any]] = {
    "L0": {"hidden": "8x0e", "correlation": 3},
    "L1": {"hidden": "8x0e+8x1o", "correlation": 3},
    "L2, correlation 2": {"hidden": "4x0e+4x1o+4x2e", "correlation": 2, "lmax": 2, "elements": [1, 8]},
    "one layer": {"hidden": "8x0e", "layers": 1, "correlation": 2, "elements": [6, 14, 29, 79]},
    "three layers": {"hidden": "4x0e+4x1o", "layers": 3, "correlation": 2, "lmax": 2, "envelope": 6},
    "MACE": {"kind": "MACE", "first": ""},
    "no residuals": {"first": "", "rest": ""},
    "two heads": {"heads": ["pbe", "scan"], "hidden": "4x0e+4x1o", "correlation": 2},
    "one product for all": {"use_agnostic_product": True, "correlation": 2},
    "128x0e+128x1o": {"hidden": "128x0e+128x1o", "network": [64, 64, 64], "readout": 16, "r_max": 5.0},
    "float32": {"dtype": "float32"},
    "float32, widened": {"dtype": "float32", "widened": True},
}
REFUSED: dict[str, dict[str, Any]] = {
    "repulsion": {"pair_repulsion": True},
    "distances": {"distance_transform": "Agnesi"},
    "gaussians": {"radial_type": "gaussian"},
    "density": {"rest": "Density"},
}


def measure(*, python: Path = Path(sys.executable), golden: str | None = None) -> dict[str, Any]:
    if golden is not None:
        return write_golden(python, Path(golden))
    figures: dict[str, Any] = {"float64": {}, "float32": {}, "tables": {}, "refused": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in MODELS.items():
            path = make(python, Path(folder) / "a.model", settings)
            heads = settings.get("heads")
            found = convert_mace(path, folder, trust_pickle=True, python=python, head=heads and heads[-1])
            figures[settings.get("dtype", "float64")][name] = found.exact.relative
            print(f"{name}: {found.exact}", file=sys.stderr, flush=True)
        path = make(python, Path(folder) / "a.model", MODELS["L1"])
        for radial in ("knots", "spline"):
            kept = convert_mace(path, folder, trust_pickle=True, python=python, radial=radial).kept
            figures["tables"][radial] = kept.relative
            print(f"{radial}: {kept}", file=sys.stderr, flush=True)
        for name, settings in REFUSED.items():
            figures["refused"][name] = refusal(python, make(python, Path(folder) / "a.model", settings))
            print(f"{name}: {figures['refused'][name]}", file=sys.stderr, flush=True)
    return figures | {
        "worst_float64": max(figures["float64"].values()),
        "worst_float32": max(figures["float32"].values()),
        "worst_table": max(figures["tables"].values()),
        "all_refused": all(figures["refused"].values()),
    }


def make(python: Path, path: Path, settings: dict[str, Any]) -> Path:
    script = Path(__file__).parents[1] / "mace_models.py"
    subprocess.run([str(python), str(script), str(path), json.dumps(settings)], check=True, capture_output=True)
    return path


def refusal(python: Path, path: Path) -> str:
    """The reason, empty where there was none."""
    try:
        convert_mace(path, path.parent, trust_pickle=True, python=python)
    except InputError as error:
        return str(error).partition(": ")[2]
    return ""


def write_golden(python: Path, file: Path) -> dict[str, Any]:
    """What the process with mace-torch answers for a tiny model, as the tests read it: no pickle, some kilobytes."""
    settings = {
        "hidden": "2x0e+2x1o", "elements": [1, 8], "lmax": 2, "correlation": 2, "network": [4], "readout": 2, "r_max": 3.0,
        "first": "", "heads": ["pbe", "scan"],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = make(python, Path(folder) / "a.model", settings)
        samples = [sample(frame, 3.0) for frame in random_structures([1, 8], count=1)]
        facts, arrays = extract(path, str(python), samples, 1)
    told = {f"sample.{k}.{name}": value for k, given in enumerate(samples) for name, value in given.items()}
    np.savez_compressed(file, facts=np.array(json.dumps(facts)), **{n: v.numpy() for n, v in (arrays | told).items()})
    return {"bytes": file.stat().st_size}


def bounds(*, python: Path = Path(sys.executable), golden: str | None = None) -> tuple[Bound, ...]:
    if golden is not None:
        return ()
    return (
        Bound("worst_float64", "<=", 1e-9, "issue 5: converted models agree with mace-torch; asked 1e-9 relative in float64"),
        Bound("worst_float32", "<=", 2e-5, "tables of a float32 model are rounded to it"),
        Bound("worst_table", "<=", 1e-3, "expected: 256 intervals for radial networks with random weights"),
        Bound("all_refused", "==", True, "what cannot be represented is refused with the reason"),
    )


if __name__ == "__main__":
    main("convert_mace", __doc__, measure, bounds)
