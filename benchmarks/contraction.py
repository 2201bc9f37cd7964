"""Symmetric contraction against mace-torch: us per node, one thread, process CPU time, medians of alternating samples.

mace-torch pins e3nn 0.4.4 and runs in an environment of its own (``--mace-python PATH``, or one that is made once in a cache
folder); samples of both sides alternate. Beside them: the time of a matrix product of equal FLOPs, and our first call with an
empty kernel cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

import torch

from coset.ops.symmetric_contraction import SymmetricContraction, symmetric_contraction
from coset.records import write_atomically

MACE = "mace-torch==0.3.16"
WORKER = Path(__file__).with_name("mace_worker.py")
CASES = (("3 -> 0", 3, "128x0e", 3), ("3 -> 1", 3, "128x1o", 3), ("3 -> 0 + 1", 3, "128x0e+128x1o", 3))
MUST, REACH = {"forward": 40.0, "both": 15.0}, 200.0
SPECIES = 2


class MaceProcess:
    """A running :mod:`mace_worker`; ``python`` is the interpreter of an environment with mace-torch."""

    def __init__(self, python: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __enter__(self) -> "MaceProcess":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        self._process.wait()

    def ask(self, **order: object) -> dict:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the mace-torch process ended with code {self._process.wait()} on {order}")
        return json.loads(line)


def mace_python(given: str | None = None) -> str:
    """The interpreter of an environment with mace-torch: ``given``, or that of an environment made in the cache folder."""
    if given:
        return given
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coset" / MACE.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making an environment with {MACE} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", MACE], check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return str(python)


def irreps(lmax: int, channels: int = 128) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


def calls(
    c: SymmetricContraction, nodes: int, backend: str, dtype: torch.dtype = torch.float32
) -> dict[str, Callable[[], object]]:
    """What is timed on our side."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(nodes, c.rows, 128, generator=generator, dtype=dtype)
    w = torch.randn(SPECIES, c.paths_total, 128, generator=generator, dtype=dtype)
    species = torch.randint(0, SPECIES, (nodes,), generator=generator)
    leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]

    def forward() -> None:
        with torch.no_grad():
            c(x, w, species, backend=backend)

    def both() -> None:
        out = c(*leaves, species, backend=backend)
        torch.autograd.grad(out, leaves, torch.ones_like(out))

    return {"forward": forward, "both": both}


def sample(call: Callable[[], object], least: float = 0.05) -> float:
    """Process CPU seconds of one call, from as many as ``least`` seconds take."""
    began, count = time.process_time(), 0
    while time.process_time() - began < least:
        call()
        count += 1
    return (time.process_time() - began) / count


def equal_flops(flops: float) -> float:
    """Seconds of a square matrix product, scaled to ``flops``."""
    a = torch.randn(512, 512)
    return min(sample(lambda: a @ a) for _ in range(5)) * flops / (2 * 512**3)


def first_call(lmax: int, out: str, correlation: int) -> float:
    """CPU seconds of the first forward and backward in a fresh process with an empty kernel cache, imports apart."""
    code = (
        "import time, torch; torch.set_num_threads(1); from coset.ops.symmetric_contraction import symmetric_contraction\n"
        "began = time.process_time()\n"
        f"c = symmetric_contraction({irreps(lmax)!r}, {out!r}, {correlation})\n"
        "x = torch.randn(4, c.rows, 128).requires_grad_(); w = torch.randn(1, c.paths_total, 128).requires_grad_()\n"
        "y = c(x, w, torch.zeros(4, dtype=torch.int64)); y.square().sum().backward()\n"
        "print(time.process_time() - began)"
    )
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"COSET_CACHE": cache}, capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def rows(python: str, *, nodes: int = 256, rounds: int = 7, backends: tuple[str, ...] = ("cpu", "torch")) -> list[dict]:
    """One row per case, pass and backend: ``{"case", "pass", "backend", "ours_us", "mace_us", "ratio", ...}``."""
    found = []
    for name, lmax, out, correlation in CASES:
        c = symmetric_contraction(irreps(lmax), out, correlation)
        mine = {backend: calls(c, nodes, backend) for backend in backends}
        with MaceProcess(python) as mace:
            mace.ask(
                do="build",
                irreps_in=irreps(lmax),
                irreps_out=out,
                correlation=correlation,
                species=SPECIES,
                nodes=nodes,
                dtype="float32",
            )
            for what in ("forward", "both"):
                theirs: list[float] = []
                ours: dict[str, list[float]] = {backend: [] for backend in backends}
                mace.ask(do="time", what=what, repeat=1)
                for backend in backends:
                    mine[backend][what]()
                for _ in range(rounds):
                    theirs.append(mace.ask(do="time", what=what, repeat=1)["seconds"])
                    for backend in backends:
                        ours[backend].append(sample(mine[backend][what]))
                floor = equal_flops(2 * c.polynomials.operations * nodes * 128 * (1 if what == "forward" else 4))
                for backend in backends:
                    a, b = statistics.median(ours[backend]) / nodes * 1e6, statistics.median(theirs) / nodes * 1e6
                    row = {
                        "case": name,
                        "pass": what,
                        "backend": backend,
                        "nodes": nodes,
                        "ours_us": a,
                        "mace_us": b,
                        "ratio": b / a,
                    }
                    found.append(row | {"matmul_us": floor / nodes * 1e6})
    return found


def run(out: Path, python: str, *, nodes: int = 256, rounds: int = 7) -> dict:
    """The table as ``contraction.json``; passed if the kernels reach the ratios asked for and compile in 4 s."""
    began = time.perf_counter()
    table = rows(python, nodes=nodes, rounds=rounds)
    compiling = {name: first_call(lmax, irreps_out, correlation) for name, lmax, irreps_out, correlation in CASES}
    passed = all(row["ratio"] >= MUST[row["pass"]] for row in table if row["backend"] == "cpu") and max(compiling.values()) <= 4
    thresholds = {"ratio": MUST, "reach": REACH, "first_call_s": 4.0}
    figures = {"rows": table, "first_call_s": compiling}
    result = {"what": "contraction", "figures": figures, "thresholds": thresholds, "passed": passed}
    result["seconds"] = round(time.perf_counter() - began, 1)
    write_atomically(out / "contraction.json", json.dumps(result, indent=2) + "\n")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mace-python", help="interpreter of an environment with mace-torch")
    parser.add_argument("--nodes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = run(given.out, mace_python(given.mace_python), nodes=given.nodes, rounds=given.rounds)
    for row in result["figures"]["rows"]:
        name = f"{row['case']:10s} {row['pass']:8s} {row['backend']:6s}"
        sides = f"ours {row['ours_us']:8.2f} us  mace-torch {row['mace_us']:8.1f} us  x{row['ratio']:6.1f}"
        print(f"{name} {sides}  matmul {row['matmul_us']:.2f} us")
    print("first call, s:", {name: round(seconds, 2) for name, seconds in result["figures"]["first_call_s"].items()})
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
