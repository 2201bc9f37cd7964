"""``ray="local"`` writes the same metrics, bit for bit, as one process.

Not called ray.py: a script's folder comes first on the path, and its name would hide the package.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from coset.comparison import compare
from coset.records import write_atomically


def run(out: Path, *, task: str = "digits", size: str = "smoke", seeds: int = 1, methods: list[str] | None = None) -> dict:
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        options = {"methods": methods, "size": size, "seeds": seeds, "progress": False}
        here = compare(task, out=Path(folder) / "here", workers=1, **options)
        seconds_here = time.time() - began
        there = compare(task, out=Path(folder) / "there", ray="local", **options)
    same = [(r.method, r.seed, r.metrics, r.errors) for r in here] == [(r.method, r.seed, r.metrics, r.errors) for r in there]
    found = {
        "what": "ray_local",
        "figures": {
            "rows": len(here),
            "bitwise_equal": same,
            "seconds_one_process": seconds_here,
            "seconds_ray": time.time() - began - seconds_here,
        },
        "thresholds": {"bitwise_equal": True},
        "passed": same and len(here) > 0,
        "seconds": time.time() - began,
    }
    write_atomically(out / "ray_local.json", json.dumps(found, indent=1) + "\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("accept"))
    parser.add_argument("--task", default="digits")
    parser.add_argument("--size", default="smoke")
    parser.add_argument("--method", action="append", help="only these rows")
    given = parser.parse_args()
    found = run(given.out, task=given.task, size=given.size, methods=given.method)
    print(json.dumps(found, indent=1))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
