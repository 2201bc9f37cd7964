"""The first five minutes, timed: every command of docs/start.md in its own process, and whether it prints what stands there."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from coset.report.acceptance import Bound, main
from coset.report.transcript import difference, files, steps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "start.md"
BOUNDS = (
    Bound("doctor_s", "<", 3.0, "issue on what the user sees: doctor under 3 s"),
    Bound("first_audit_s", "<", 10.0, "issue on what the user sees: first audit number under 10 s"),
    Bound("unlike_the_page", "==", 0, "every step's output is what the docs show"),
)


def measure() -> dict[str, Any]:
    """Seconds of every command, from the shell's point of view, and those whose output or exit code differs."""
    text = PAGE.read_text()
    seconds, unlike = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files(text).items():
            (Path(folder) / name).write_text(content)
        for step in steps(text):
            began = time.perf_counter()
            program = [sys.executable, "-m", *shlex.split(step.line)]
            done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
            seconds[step.line] = round(time.perf_counter() - began, 2)
            wrong = difference(step.output, done.stdout.splitlines())
            if wrong or done.returncode != step.code:
                unlike[step.line] = wrong or f"exit {done.returncode}"
    audit = next(value for line, value in seconds.items() if line.startswith("coset audit"))
    return {
        "doctor_s": seconds["coset doctor"], "first_audit_s": audit, "all_s": round(sum(seconds.values()), 1),
        "unlike_the_page": len(unlike), "seconds": seconds, "unlike": unlike,
    }  # fmt: skip


if __name__ == "__main__":
    main("start", __doc__, measure, BOUNDS)
