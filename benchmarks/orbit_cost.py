"""What auditing an orbit costs: 500 digits x 72 rotations against the plain forward passes plus the resampling.

The floor is what nobody can avoid: every sample transformed once for each angle, and one forward pass of the model on each
of these pictures, in batches of the same size. Run: ``python benchmarks/orbit_cost.py --out accept``; it passes at 1.3 x.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.equivariance import equivariance_error
from coset.audits.orbits import orbits
from coset.audits.passes import BATCH
from coset.contract import Contract
from coset.data.digits import SIZE, digits
from coset.groups.matrix import SO
from coset.recipe import Request
from coset.records import to_json, write_atomically
from coset.reps.fields import Field
from coset.reps.image import Image

LIMIT = 1.3


def network() -> nn.Module:
    """The digits task's plain CNN in size and shape."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(),
        nn.Linear(256, 10),
    ).eval()  # fmt: skip


def plain(model: nn.Module, contract: Contract, x: Tensor, angles: int) -> None:
    """Every picture resampled and passed through the model, nothing else."""
    group, kind = SO(2), contract.inputs[0][1].kind
    g = group.grid(angles)
    step = max(1, BATCH // len(x))
    with torch.no_grad():
        for start in range(0, angles, step):
            moved = kind.move(group, g[start : start + step], x.unsqueeze(0), {})
            model(moved.flatten(0, 1))


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median of process time: other programs on the machine do not count."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def run(out: Path | None, *, samples: int = 500, angles: int = 72, repeats: int = 3) -> dict[str, Any]:
    """Compare the error audit and the orbit run with the floor, in float32."""
    start = time.perf_counter()
    data = digits(Request(size="cpu"))
    x, y = data.test["x"][:samples].float(), data.test["y"][:samples]
    model = network()
    contract = Contract(SO(2), Field(("B", "1"), Image(size=SIZE, disc=True)), "B x 10 x scalar")
    plain(model, contract, x, angles)
    floor = seconds(lambda: plain(model, contract, x, angles), repeats)
    audit = seconds(lambda: equivariance_error(model, contract, x, samples=angles, dtype="float32"), repeats)
    orbit = seconds(lambda: orbits(model, x, contract, truth=y, samples=angles), repeats)
    figures = {
        "samples": len(x), "angles": angles, "floor_seconds": floor, "audit_seconds": audit, "orbit_seconds": orbit,
        "audit_ratio": audit / floor, "orbit_ratio": orbit / floor,
    }  # fmt: skip
    result = {
        "what": "orbit_cost", "figures": figures, "thresholds": {"ratio": LIMIT},
        "passed": max(figures["audit_ratio"], figures["orbit_ratio"]) <= LIMIT, "seconds": time.perf_counter() - start,
    }  # fmt: skip
    if out is not None:
        write_atomically(out / "orbit_cost.json", json.dumps(to_json(result), indent=2))
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    result = run(parser.parse_args().out)
    print(json.dumps(to_json(result), indent=2))
    sys.exit(0 if result["passed"] else 1)
