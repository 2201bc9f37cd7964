"""Failure as a feature: generated cases over all commands and loaders, and processes killed at random moments.

Every case has a number, from which it is made again: ``python benchmarks/accept/fuzz.py --case 1234``. A campaign that was
broken off goes on (``--fresh`` begins again); what failed stands in ``fuzz.cases.jsonl`` beside the result.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from fuzzing import kills as killing  # noqa: E402
from fuzzing import lane, loaders, stock  # noqa: E402

from coset.report.acceptance import Bound, main  # noqa: E402

CASES, KILLS = 5000, 200
BATCH = 40  #: cases of one process
SOURCE = "issue on what the user sees: fuzzing"


def measure(
    *, cases: int = CASES, kills: int = KILLS, seed: int = 0, case: int = -1, quick: bool = False, fresh: bool = False,
    room: str = "", first: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Run what is missing of the campaign; counts of cases, faults by kind, kills and what became of them."""
    if quick:
        cases, kills, fresh = min(cases, 150), min(kills, 3), True
    place = Path(room or tempfile.mkdtemp(prefix="fuzz-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        lane.warm()
        good = place / "stock"
        if not (place / "stock.made").exists():
            shutil.rmtree(good, ignore_errors=True)
            state, _ = lane.forked(lambda: _made(good), wall=600)
            if not (place / "stock.made").exists():
                raise RuntimeError(f"the good files could not be made: {state}")
        if case >= 0:
            return _one(case, seed, good, place)
        log = Log(place / "cases.jsonl", f"{seed} {_sources()}", fresh)
        _cases(range(first, first + cases), seed, good, place, log)
        killed = killing.campaign(kills, seed, place, log)
        return _figures(log, killed)
    finally:
        if not room:
            shutil.rmtree(place, ignore_errors=True)


def _made(good: Path) -> None:
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        stock.build(good)
    good.with_name("stock.made").touch()


class Log:
    """Results of cases, a line each, appended as they come; those of an earlier run of the same sources count."""

    def __init__(self, path: Path, key: str, fresh: bool) -> None:
        self.path, self.results = path, {}
        lines = [] if fresh or not path.exists() else path.read_text().splitlines()
        if lines and lines[0] == json.dumps({"key": key}):
            for line in lines[1:]:
                with contextlib.suppress(ValueError):  # the last line of a run that was killed
                    found = json.loads(line)
                    self.results[found["case"]] = found
        else:
            path.write_text(json.dumps({"key": key}) + "\n")

    def add(self, found: dict[str, Any]) -> None:
        self.results[found["case"]] = found
        with self.path.open("a") as stream:
            stream.write(json.dumps(found) + "\n")


def _sources() -> str:
    """The library and the campaign as they are: a digest of names and contents."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in ("src/coset", "benchmarks/fuzzing"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cases(numbers: range, seed: int, good: Path, place: Path, log: Log) -> None:
    """Run the cases that have no result yet, many in one process; one that ends its process is told by that."""
    tables = loaders.table()
    waiting = [number for number in numbers if number not in log.results]
    began, total = time.monotonic(), len(waiting)
    while waiting:
        running, state = lane.batched(waiting[:BATCH], seed, good, place, tables, log.add)
        if running is not None:
            log.add({"case": running, "kind": "case", "what": "?", "code": None, "faults": [state]})
        waiting = [number for number in waiting if number not in log.results]
        spent = time.monotonic() - began
        wrong = sum(bool(found["faults"]) for found in log.results.values())
        print(f"{total - len(waiting)} of {total} cases, {wrong} with faults, {spent:.0f} s", file=sys.stderr, flush=True)


def _one(number: int, seed: int, good: Path, place: Path) -> dict[str, Any]:
    tables = loaders.table()
    lane.prepare(place / "home")
    found = lane.run_case(number, seed, good, place, tables)
    logs = place / f"case-{number}.out"
    for name in ("stdout", "stderr"):
        if (logs / name).is_file():
            print(f"--- {name}\n{(logs / name).read_text(errors='replace')}", file=sys.stderr)
    print(json.dumps(found, indent=1), file=sys.stderr)
    return {"cases": 1, "faults": len(found["faults"]), "tracebacks": 0, "lost": 0, "kills": 0, "killed_and_not_the_same": 0}


def _figures(log: Log, killed: dict[str, Any]) -> dict[str, Any]:
    cases = [found for found in log.results.values() if found["kind"] not in ("kill", "pair")]
    kinds = collections.Counter(
        fault.partition(":")[0] if fault.startswith("half") else fault for c in cases for fault in c["faults"]
    )
    lost = sum(n for fault, n in kinds.items() if fault.startswith(("lost", "half-written")))
    outside = sum(n for fault, n in kinds.items() if not fault.startswith(("lost", "half-written", "left behind")))
    codes = collections.Counter(str(c["code"]) for c in cases)
    seconds = sorted(c.get("seconds", 0) for c in cases) or [0]
    return {
        "cases": len(cases), "commands": sum(c["kind"] == "command" for c in cases),
        "loaders": sum(c["kind"] == "loader" for c in cases), "codes": dict(codes), "tracebacks": outside,
        "faults": sum(bool(c["faults"]) for c in cases), "lost": lost, "slowest_s": seconds[-1],
        "median_s": seconds[len(seconds) // 2], "kinds": dict(kinds.most_common()), **killed,
    }  # fmt: skip


def bounds(*, cases: int, kills: int, case: int, quick: bool, **_: Any) -> tuple[Bound, ...]:
    """The issue's figures; of a sample and of a single case fewer."""
    asked = (1, 0) if case >= 0 else (min(cases, 150), min(kills, 3)) if quick else (cases, kills)
    return (
        Bound("cases", ">=", asked[0], f"{SOURCE}: at least 5,000 generated cases over commands and loaders"),
        Bound("tracebacks", "==", 0, f"{SOURCE}: 0 tracebacks reaching the user"),
        Bound("faults", "==", 0, "no case with anything wrong: codes, messages, leftovers, time, memory"),
        Bound("lost", "==", 0, f"{SOURCE}: 0 lost results"),
        Bound("kills", ">=", asked[1], f"{SOURCE}: 200 SIGKILLs during compare, train and audit"),
        Bound("killed_and_not_the_same", "==", 0, f"{SOURCE}: every one resumed to the same result"),
        *([Bound("pairs_with_faults", "==", 0, f"{SOURCE}: two processes in one folder")] if asked[1] else []),
    )


if __name__ == "__main__":
    main("fuzz", __doc__, measure, bounds)
