"""Wigner matrices of all degrees 0..L from rotation matrices: microseconds per rotation, ours beside e3nn.

One thread, everybody in turns in one process, the least process time over rounds. ``measure`` is what other benchmarks call.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from tables.timing import interleaved

COUNT, DEGREES = 10_000, (1, 2, 3, 4, 6)


def measure(count: int = COUNT, degrees=DEGREES, *, rounds: int = 5) -> list[dict]:
    """One row per degree and dtype: ``{"lmax", "dtype", "<who> f", "<who> fb"}`` in microseconds per rotation."""
    from coset.groups.orthogonal import SO
    from coset.reps.wigner import wigner_blocks

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from e3nn import o3

    rows = []
    for dtype in (torch.float32, torch.float64):
        rotation = SO(3).sample(count, generator=torch.Generator().manual_seed(0), dtype=dtype)
        for lmax in degrees:
            peers = {
                "ours": lambda r, lmax=lmax: wigner_blocks(lmax, r),
                "e3nn": lambda r, lmax=lmax: [o3.Irrep(l, 1).D_from_matrix(r) for l in range(lmax + 1)],
            }
            calls = {}
            for who, f in peers.items():
                leaf = rotation.clone().requires_grad_()
                calls[f"{who} f"] = lambda f=f, r=rotation: f(r)
                calls[f"{who} fb"] = lambda f=f, leaf=leaf: torch.autograd.grad(sum(d.sum() for d in f(leaf)), leaf)
            seconds = interleaved(calls, rounds)
            times = {name: round(value.least / count * 1e6, 3) for name, value in seconds.items()}
            rows.append({"lmax": lmax, "dtype": str(dtype).removeprefix("torch."), **times})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    measured = measure(rounds=given.rounds)
    for row in measured:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if given.out:
        given.out.write_text(json.dumps(measured, indent=2) + "\n")
