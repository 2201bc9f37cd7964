"""The digits table on all test images, three seeds: every row within the thresholds that its calibration set, per seed."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from coset.comparison import compare
from coset.records import Result, write_atomically

SEEDS = 3
#: row, figure, smallest, largest; figures are metrics in percent, or the error under a contract
THRESHOLDS = (
    ("plain", "upright_percent", 97, None),
    ("plain", "orbit_percent", None, 40),
    ("plain", "SO(2)", 0.8, None),
    ("augmented, 20 epochs", "orbit_percent", 92.5, None),
    ("augmented, 60 epochs", "orbit_percent", 95.5, None),
    ("constrained augmentation", "upright_percent", 96.5, None),
    ("constrained augmentation", "orbit_percent", 93, None),
    ("soft regularizer, weight 3", "orbit_percent", 82, None),
    ("soft regularizer, weight 3", "SO(2)", None, 0.25),
    ("canonicalized", "orbit_percent", 96.5, None),
    ("canonicalized", "worst_angle_percent", 96, None),
    ("canonicalized", "SO(2)", None, 0.12),
    ("frame averaging, SO(2)", "orbit_percent", 96.5, None),
    ("frame averaging, SO(2)", "worst_angle_percent", 96, None),
    ("frame averaging, SO(2)", "SO(2)", None, 0.12),
    ("Zernike + relative phases", "orbit_percent", 94, None),
    ("circular-harmonic CNN", "orbit_percent", 92, None),
    ("circular-harmonic CNN", "worst_angle_percent", 86, None),
    ("C8 convolution + jitter", "orbit_percent", 92, None),
    ("C8 convolution", "orbit_percent", 50, 85),
)
EXACT = (
    "plain + orbit average", "augmented + orbit average", "canonicalized", "frame averaging, SO(2)", "frame averaging, O(2)",
    "Zernike magnitudes", "pseudo-Zernike magnitudes", "Fourier-Mellin magnitudes", "Zernike + relative phases",
    "circular-harmonic CNN", "C8 convolution", "C8 convolution + jitter",
)  # fmt: skip


def figure(result: Result, name: str) -> float:
    return result.metrics[name] if name in result.metrics else result.errors[name]["after"]


def judge(rows: dict[str, Result]) -> dict[str, dict]:
    """Every threshold on one seed: what was asked, what came, whether it holds."""
    found = {}
    for row, name, low, high in THRESHOLDS:
        value = figure(rows[row], name)
        holds = (low is None or value >= low) and (high is None or value <= high)
        found[f"{row}: {name}"] = {"at_least": low, "at_most": high, "figure": value, "holds": holds}
    for row in EXACT:
        value = figure(rows[row], "C(4)")
        found[f"{row}: C(4)"] = {"at_least": None, "at_most": 1e-10, "figure": value, "holds": value <= 1e-10}
    pairs = (
        (
            "constrained augmentation",
            "clean + uniform, weight 1",
            "orbit_percent",
            lambda a, b: a >= b - 0.5,
            "not below - 0.5",
        ),
        ("augmented + orbit average", "augmented, 20 epochs", "SO(2)", lambda a, b: a <= 0.5 * b, "at most half of"),
    )
    for row, other, name, holds, words in pairs:
        a, b = figure(rows[row], name), figure(rows[other], name)
        found[f"{row}: {name} {words} {other}"] = {"figure": a, "against": b, "holds": holds(a, b)}
    return found


def run(out: Path) -> dict:
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        results = compare("digits", size="full", seeds=SEEDS, out=folder)
    seeds = {seed: judge({r.method: r for r in results if r.seed == seed}) for seed in range(SEEDS)}
    table = {f"{r.method}, seed {r.seed}": {**r.metrics, **{k: v["after"] for k, v in r.errors.items()}} for r in results}
    broken = [f"seed {seed}: {name}" for seed, found in seeds.items() for name, entry in found.items() if not entry["holds"]]
    return {
        "what": "digits",
        "figures": table,
        "thresholds": {str(seed): found for seed, found in seeds.items()},
        "broken": broken,
        "passed": not broken,
        "seconds": time.time() - began,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    arguments = parser.parse_args()
    found = run(arguments.out)
    write_atomically(arguments.out / "digits.json", json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: found[key] for key in ("broken", "passed", "seconds")}, indent=1))
    sys.exit(0 if found["passed"] else 1)
