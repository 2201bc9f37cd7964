"""Trainings of a potential, killed within epochs with SIGKILL and resumed, end as unbroken ones: weights and metrics bitwise.

The command is ``coset train potential MACE --size smoke`` on generated clusters, with a checkpoint every 0.05 seconds; it is
killed at random moments after the training's first checkpoint, and the last call ends it. Once as it is, once with batches
that are cut by edges and worked off in micro-batches.
"""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coset.records import read_results
from coset.report.acceptance import Bound, main

COMMAND = "from coset.cli.app import main; main()"
MEASURED = ("microseconds_per_atom", "peak_mb")
SETTINGS = {
    "plain": ("epochs=6", "batch=1", "precision=32"),
    "edges": ("epochs=10", "batch=3", "edges=50", "accumulate=2", "warmup=0.1", "schedule=cosine"),
}


def start(out: Path, settings: tuple[str, ...], *, resume: bool) -> subprocess.Popen:
    """The command in a process of its own."""
    words = ["train", "potential", "MACE", "--size", "smoke", "--out", str(out), "--checkpoint-every", "0.05"]
    words += [word for text in settings for word in ("--set", text)] + (["--resume"] if resume else [])
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", COMMAND, *words], **silent)


def done(process: subprocess.Popen) -> str:
    """What it said, when it has ended."""
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"the training failed: {said[-2000:]}")
    return said


def killed(process: subprocess.Popen, out: Path, moment: float) -> bool:
    """Kill it so long after its next checkpoint; False if it has ended before."""
    since = time.time()
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if any(path.stat().st_mtime > since for path in out.rglob("*.resume.safetensors")):
                time.sleep(moment)
                break
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return True


def summary(out: Path) -> list[Any]:
    """What must agree: metrics but those of time and memory, errors, the trained weights."""
    found = [{k: v for k, v in r.metrics.items() if k not in MEASURED} for r in read_results(out)]
    files = sorted(out.rglob("model.safetensors"))
    return [found, [r.errors for r in read_results(out)], [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]]


def measure(*, kills: int = 4, seed: int = 0) -> dict[str, Any]:
    """For both settings: are they equal, how often was it killed, how often did it go on within an epoch."""
    chance, found = random.Random(seed), {}
    for name, settings in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            whole, broken = Path(folder) / "whole", Path(folder) / "broken"
            done(start(whole, settings, resume=False))
            hits = sum(
                killed(start(broken, settings, resume=turn > 0), broken, chance.uniform(0, 0.4)) for turn in range(kills)
            )
            within = "goes on after step" in done(start(broken, settings, resume=True))
            leftovers = len(list(broken.rglob("*.resume.safetensors"))) + len(list(broken.rglob(".*.part")))
            same = summary(whole) == summary(broken)
        found[name] = {
            "bitwise_equal": same,
            "kills": hits,
            "last_went_on_within_an_epoch": within,
            "leftover_files": leftovers,
        }
    return found


ASKED = "issue 5: resume after SIGKILL mid-epoch to the same trajectory (CPU, bitwise)"
BOUNDS = tuple(
    bound
    for name in SETTINGS
    for bound in (
        Bound(f"{name}.bitwise_equal", "==", True, ASKED),
        Bound(f"{name}.kills", ">=", 1, ASKED),
        Bound(f"{name}.leftover_files", "==", 0, "nothing is left behind"),
    )
)

if __name__ == "__main__":
    main("resume_atoms", __doc__, measure, BOUNDS)
