"""A comparison killed with SIGKILL at random moments, started again each time, ends as an unbroken one: metrics bit for bit."""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coset.records import read_results, write_atomically

KILLS = 6
COMMAND = """
import sys
from coset.comparison import compare
task, size, out, *methods = sys.argv[1:]
compare(task, methods or None, size=size, out=out, seeds=2, progress=False)
"""


def start(task: str, size: str, out: Path, methods: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", COMMAND, task, size, str(out), *methods])


def wait_for_rows(process: subprocess.Popen, out: Path, since: float) -> float:
    """Seconds from ``since`` until the comparison has written something new about a row, or has ended."""
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if any(path.stat().st_mtime > since for path in out.glob("rows/*/*/*")):
                break
        time.sleep(0.01)
    return time.time() - since


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def summary(out: Path) -> list:
    """What must agree: order, metrics and errors of all results, and the trained weights."""
    weights = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("model.safetensors"))
    }
    return [[(r.method, r.seed, r.metrics, r.errors, r.parameters) for r in read_results(out)], weights]


def run(out: Path, *, task: str = "digits", size: str = "smoke", kills: int = KILLS, seed: int = 0, methods=()) -> dict:
    began, methods = time.time(), list(methods)
    chance = random.Random(seed)
    orphans, moments, rows_kept = 0, [], []
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        process = start(task, size, whole, methods)
        quiet = wait_for_rows(process, whole, began)  # imports and data
        if process.wait():
            raise RuntimeError("the unbroken comparison failed")
        length = time.time() - began
        for _ in range(kills):
            process, since = start(task, size, broken, methods), time.time()
            wait_for_rows(process, broken, since)
            moment = chance.uniform(0.0, min(0.7, 1.5 / kills)) * (length - quiet)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if process.poll() is not None:
                break
            workers = children(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(2.0)
            orphans += sum(map(alive, workers))
            moments.append(round(moment, 2))
            with contextlib.suppress(Exception):
                rows_kept.append(len(read_results(broken)))
        if start(task, size, broken, methods).wait():
            raise RuntimeError("the comparison started again failed")
        same = summary(whole) == summary(broken)
        rows = len(read_results(whole))
        leftovers = len(list(broken.rglob(".*.part"))) + len(list(broken.rglob("*.resume.safetensors")))
    found = {
        "what": "resume",
        "figures": {
            "rows": rows,
            "seconds_unbroken": length,
            "killed_after_seconds_of_rows": moments,
            "rows_kept_at_each_kill": rows_kept,
            "bitwise_equal": same,
            "orphans": orphans,
            "leftover_files": leftovers,
        },
        "thresholds": {"bitwise_equal": True, "orphans": 0, "leftover_files": 0, "kills": 1},
        "passed": same and not orphans and not leftovers and len(moments) >= 1,
        "seconds": time.time() - began,
    }
    write_atomically(out / "resume.json", json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--task", default="digits")
    parser.add_argument("--size", default="smoke")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--method", action="append", default=[], help="only these rows")
    given = parser.parse_args()
    found = run(given.out, task=given.task, size=given.size, kills=given.kills, methods=given.method)
    print(json.dumps(found, indent=1))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
