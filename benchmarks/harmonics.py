"""Spherical harmonics: nanoseconds per vector, ours beside e3nn and sphericart, forward and forward with backward.

One thread, float32, normalized input, all degrees 0..L. The peers take turns in one process, the minimum over rounds of process
time is kept. The process is a child that ends without cleaning up, because sphericart crashes at exit beside torch; peers that
are not installed are left out. ``measure`` is what other benchmarks call.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

COUNTS, DEGREES = (10_000, 100_000), (1, 2, 3, 4, 5, 6, 7, 8)


def measure(counts=COUNTS, degrees=DEGREES, *, rounds: int = 9) -> list[dict]:
    """One row per count and degree: ``{"vectors", "lmax", "<who> f", "<who> fb", ...}`` in ns per vector; first call in s."""
    command = [sys.executable, __file__, "--child", json.dumps([list(counts), list(degrees), rounds])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(counts: list[int], degrees: list[int], rounds: int) -> list[dict]:
    """The rows, measured here."""
    import torch

    from coset.ops.spherical_harmonics import spherical_harmonics

    torch.set_num_threads(1)
    rows = []
    for lmax in degrees:
        began = time.process_time()
        v = torch.ones(1, 3, requires_grad=True)
        spherical_harmonics(lmax, v).sum().backward()
        first = time.process_time() - began
        for count in counts:
            row: dict = {"vectors": count, "lmax": lmax, "ours first call s": round(first, 3)}
            calls = {f"{who} {what}": call for who, f in peers(lmax).items() for what, call in tasks(f, count, lmax).items()}
            rows.append(row | interleaved(calls, rounds, count))
    return rows


def peers(lmax: int) -> dict[str, Callable]:
    """Functions of ``(n, 3)`` vectors by name."""
    from coset.ops.spherical_harmonics import spherical_harmonics

    found: dict[str, Callable] = {
        "ours": lambda v: spherical_harmonics(lmax, v),
        "ours torch": lambda v: spherical_harmonics(lmax, v, backend="torch"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from e3nn import o3

            found["e3nn"] = lambda v: o3.spherical_harmonics(list(range(lmax + 1)), v, True, "component")
        except ImportError:
            pass
        try:
            from sphericart.torch import SphericalHarmonics

            found["sphericart"] = SphericalHarmonics(lmax).compute
        except ImportError:
            pass
    return found


def tasks(f: Callable, count: int, lmax: int) -> dict[str, Callable]:
    """Forward on plain vectors, and forward with backward."""
    import torch

    generator = torch.Generator().manual_seed(0)
    v = torch.randn(count, 3, generator=generator)
    g = torch.randn(count, (lmax + 1) ** 2, generator=generator)
    w = v.clone().requires_grad_()
    return {"f": lambda: f(v), "fb": lambda: torch.autograd.grad(f(w), w, g)}


def interleaved(calls: dict[str, Callable], rounds: int, count: int) -> dict[str, float]:
    """The least ns per vector of each call, taken in turns after one call to warm up."""
    least = dict.fromkeys(calls, float("inf"))
    for turn in range(rounds + 1):
        for name, call in calls.items():
            repeat = max(1, 20_000 // count)
            began = time.process_time()
            for _ in range(repeat):
                call()
            if turn:
                least[name] = min(least[name], (time.process_time() - began) / repeat / count * 1e9)
    return {name: round(value, 2) for name, value in least.items()}


def table(rows: list[dict]) -> str:
    """The rows as text."""
    names = [name for name in rows[0] if name.endswith((" f", " fb"))]
    lines = ["  ".join(["vectors L ".rjust(10), *(name.rjust(13) for name in names)])]
    lines += [f"{row['vectors']:>8} {row['lmax']}  " + "  ".join(f"{row[name]:13.2f}" for name in names) for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(*json.loads(given.child))), flush=True)
        os._exit(0)
    measured = measure(rounds=given.rounds)
    print(table(measured))
    if given.out:
        given.out.write_text(json.dumps(measured, indent=2) + "\n")
