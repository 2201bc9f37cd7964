"""Energy and forces of MACE: microseconds per atom and peak memory on molecules, a crystal and boxes of water.

    python benchmarks/potentials.py                          # 128x0e+128x1o, one thread, float32
    python benchmarks/potentials.py --hidden 32x0e+32x1o --out potentials.json

Each system runs in a process of its own, so that peak memory is its own; times are processor seconds, the least of several.
Weights are untrained: they do not change the cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from coset.data.structures import join, sample_of
from coset.models.atoms.mace import MACE

SYSTEMS = ("molecules", "salt", "water", "water 2x2x2")
R_MAX = 5.0


def molecules() -> list[dict]:
    """Ten molecules of 15 atoms, about 12 neighbors each."""
    generator = torch.Generator().manual_seed(0)
    frames = []
    for _ in range(10):
        grid = torch.cartesian_prod(*[torch.arange(3.0)] * 3).double()[:15] * 1.5
        pos = grid + 0.2 * torch.randn(15, 3, generator=generator, dtype=torch.float64)
        frames.append({"pos": pos, "z": torch.tensor([6] * 5 + [1] * 8 + [8] * 2)})
    return frames


def salt() -> list[dict]:
    """A periodic crystal of 64 atoms, rock salt of two species with a bond of 2.82 angstrom."""
    place = torch.cartesian_prod(*[torch.arange(4)] * 3)
    z = torch.where(place.sum(1) % 2 == 0, 1, 8)
    return [{"pos": 2.82 * place.double(), "z": z, "cell": 11.28 * torch.eye(3).double(), "periodic": (True,) * 3}]


def water(repeat: int = 1) -> list[dict]:
    """64 molecules of water at its density on a lattice, turned at random; repeated along all axes."""
    generator = torch.Generator().manual_seed(0)
    side, arm = 3.105, torch.tensor([[0.0, 0.0, 0.0], [0.757, 0.586, 0.0], [-0.757, 0.586, 0.0]], dtype=torch.float64)
    turns = torch.linalg.qr(torch.randn(64, 3, 3, generator=generator, dtype=torch.float64)).Q
    centers = side * torch.cartesian_prod(*[torch.arange(4)] * 3).double()
    box = (centers[:, None] + arm @ turns).reshape(-1, 3)
    shifts = 4 * side * torch.cartesian_prod(*[torch.arange(repeat)] * 3).double()
    pos = (box[None] + shifts.reshape(-1, 1, 3)).reshape(-1, 3)
    z = torch.tensor([8, 1, 1] * (len(pos) // 3))
    return [{"pos": pos, "z": z, "cell": 4 * side * repeat * torch.eye(3).double(), "periodic": (True,) * 3}]


FRAMES = {"molecules": molecules, "salt": salt, "water": water, "water 2x2x2": lambda: water(2)}


def measure(system: str, hidden: str, repeats: int) -> dict[str, float]:
    """Figures of one system, in this process."""
    torch.set_num_threads(1)
    batch = join([sample_of(frame, R_MAX) for frame in FRAMES[system]()])
    model = MACE((1, 6, 8), R_MAX, hidden=hidden).eval()
    before, best = peak(), float("inf")
    for _ in range(repeats):
        began = time.process_time()
        with torch.no_grad():
            model(**batch)
        best = min(best, time.process_time() - began)
    atoms, edges = len(batch["z"]), batch["edge_index"].shape[1]
    figures = {"atoms": atoms, "edges_per_atom": edges / atoms, "microseconds_per_atom": 1e6 * best / atoms}
    return figures | {"peak_mb": peak(), "peak_before_mb": before}


def peak() -> float:
    """The largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="128x0e+128x1o", help="irreps of the two layers")
    parser.add_argument("--repeats", type=int, default=6, help="calls, of which the fastest counts")
    parser.add_argument("--system", choices=SYSTEMS, help="measure this one alone, in this process")
    parser.add_argument("--out", help="a JSON file")
    given = parser.parse_args()
    if given.system:
        print(json.dumps(measure(given.system, given.hidden, given.repeats)))
        return
    found = {}
    for system in SYSTEMS:
        words = [sys.executable, __file__, "--system", system, "--hidden", given.hidden, "--repeats", str(given.repeats)]
        found[system] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        told = ", ".join(f"{name} {value:.4g}" for name, value in found[system].items())
        print(f"{system}: {told}", flush=True)
    if given.out:
        with open(given.out, "w") as file:
            json.dump({"hidden": given.hidden, "torch": torch.__version__, "systems": found}, file, indent=1)


if __name__ == "__main__":
    main()
