"""Processes killed with SIGKILL at random moments and started again: they end as a run nobody broke, and nothing is left.

Each is forked from a process that has imported everything, so that the moments fall into the work and not into imports. Two
processes in one folder belong here, too: one does the work, the other says so or does the same.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from coset.report.audit_page import read_payload

from .verdict import LEFT, unreadable

TIMED = ("seconds_per_step", "train_seconds", "peak_memory_bytes")  #: what differs from run to run
PAIRS = 12  #: couples of processes in one folder
AUDIT = ("--group", "C(4)", "--in", "B x vector", "--out-rep", "B x 1 x scalar", "--data", "plane.npy", "--samples", "6")

#: what is killed: verb, words, words of the second start
JOBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "compare": (("task.py:task", "--methods", "noisy,closed form,noisy + average", "--size", "smoke"), ()),
    "train": (("task.py:task", "noisy", "--size", "smoke", "--checkpoint-every", "0.02s"), ("--resume",)),
    "audit": (("nets.py:radius", *AUDIT), ()),
    "md": (("potential.safetensors", "--atoms", "water.extxyz", "--steps", "12", "--every", "2", "--keep", "3"), ()),
}


def started(words: Sequence[str], log: Path) -> int:
    """A process that runs a command; its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        os.sched_getaffinity = lambda pid: {0}  # type: ignore[assignment]  # rows run in the process that is killed
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1), os.dup2(stream.fileno(), 2)
        sys.argv = ["coset", *words]
        from coset.cli.app import run

        code = run(words)
        sys.stdout.flush()
        os._exit(code)
    finally:
        os._exit(99)


def ended(pid: int, after: float = 300.0) -> int | None:
    """The exit code of a process that ended by itself; None for one that was killed ``after`` seconds."""
    end = time.monotonic() + after
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def summary(folder: Path) -> dict[str, Any]:
    """What must agree, by file: everything but the page, times of day and seconds."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (".lock", "environment.json")):
        name, raw = str(path.relative_to(folder)), path.read_bytes()
        if path.name == "results.jsonl":
            found[name] = [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in raw.decode().splitlines()]
        elif path.suffix == ".csv":
            rows = csv.DictReader(raw.decode().splitlines())
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                found[name] = {key: hashlib.sha1(stored[key].tobytes()).hexdigest() for key in stored.files}
        elif path.name == "audit.html":
            page = read_payload(path)
            for model in page["models"]:
                model["seconds"] = model["memory"] = 0
            found[name] = page
        elif path.name in ("report.html", "state.safetensors") or path.name.startswith("stage-"):
            found[name] = "there"  # seconds stand in them
        else:
            found[name] = hashlib.sha1(raw).hexdigest()
    return found


def remains(folder: Path) -> list[str]:
    """What is half-written or left behind."""
    left = [p.name for p in folder.rglob("*") if LEFT.search(p.name) or p.name.endswith(".resume.safetensors")]
    broken = [f"{p.name}: {wrong}" for p in folder.rglob("*") if p.is_file() and (wrong := unreadable(p))]
    return [f"left behind: {name}" for name in left] + [f"half-written: {name}" for name in broken]


class Killer:
    """Jobs in a room, each with the unbroken run that the broken ones are held against."""

    def __init__(self, place: Path, seed: int) -> None:
        self.room, self.seed = place / "kills", seed
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir(parents=True)
        for name in ("task.py", "nets.py", "plane.npy", "potential.safetensors", "water.extxyz"):
            shutil.copy(place / "stock" / name, self.room)
        os.chdir(self.room)
        self.wholes: dict[str, tuple[dict[str, Any], float]] = {}

    def words(self, verb: str, *, again: bool) -> list[str]:
        given, more = JOBS[verb]
        return [verb, *given, "--out", "seen", *(more if again else ())]

    def clear(self) -> Path:
        """Every run is called ``seen``, for pages and results name their command."""
        folder = self.room / "seen"
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def whole(self, verb: str) -> tuple[dict[str, Any], float]:
        """The unbroken run: what it left, and how long it took."""
        if verb not in self.wholes:
            folder, began = self.clear(), time.monotonic()
            code = ended(started(self.words(verb, again=False), self.room / "log"))
            if code != 0:
                raise RuntimeError(f"the unbroken {verb} ended with {code}: {(self.room / 'log').read_text()[-400:]}")
            self.wholes[verb] = summary(folder), time.monotonic() - began
        return self.wholes[verb]

    def broken(self, number: int, kills: int) -> dict[str, Any]:
        """One job killed ``kills`` times at random moments, then left alone."""
        chance = Random(f"{self.seed}:kill:{number}")
        verb = chance.choice(["compare"] * 5 + ["train"] * 5 + ["audit"] * 4 + ["md"])
        want, length = self.whole(verb)
        folder, faults, moments = self.clear(), [], []
        for attempt in range(kills):
            moment = chance.uniform(0.0, 0.95) * length
            code = ended(started(self.words(verb, again=attempt > 0), self.room / "log"), moment)
            if code is not None:  # done before its time: it starts anew
                if code != 0:
                    faults.append(f"{verb}, started again, ended with {code}: {(self.room / 'log').read_text()[-300:]}")
                    break
                self.clear()
                code = ended(started(self.words(verb, again=False), self.room / "log"), moment / 2)
                if code is not None:
                    continue
                moment /= 2
            moments.append(round(moment, 3))
        code = ended(started(self.words(verb, again=True), self.room / "log"))
        if code != 0:
            faults.append(f"{verb} did not go on, it ended with {code}: {(self.room / 'log').read_text()[-300:]}")
        else:
            got = summary(folder)
            faults += [f"{verb}: {name} differs" for name in sorted({*want, *got}) if want.get(name) != got.get(name)]
            faults += remains(folder)
        return {
            "kind": "kill",
            "verb": verb,
            "moments": moments,
            "of_seconds": round(length, 2),
            "faults": faults,
            "code": code,
        }

    def pair(self, number: int) -> dict[str, Any]:
        """Two processes in one folder: what is there in the end is what one alone leaves."""
        verb = ("compare", "train", "audit", "md")[number % 4]
        want, length = self.whole(verb)
        folder, faults = self.clear(), []
        first = started(self.words(verb, again=False), self.room / "log")
        time.sleep(Random(f"{self.seed}:pair:{number}").uniform(0.0, 0.8) * length)
        second = started(self.words(verb, again=True), self.room / "log2")
        codes = [ended(first), ended(second)]
        said = [(self.room / name).read_text() for name in ("log", "log2")]
        for code, text in zip(codes, said, strict=True):
            if code != 0 and not (code == 2 and "in use by another" in text):
                faults.append(f"{verb} beside another ended with {code}: {text[-300:]}")
        if 0 in codes:
            got = summary(folder)
            faults += [
                f"{verb} beside another: {name} differs" for name in sorted({*want, *got}) if want.get(name) != got.get(name)
            ]
        else:
            faults.append(f"{verb}: neither of two did the work")
        faults += remains(folder)
        return {"kind": "pair", "verb": verb, "codes": codes, "faults": faults, "code": max(c or 0 for c in codes)}


def campaign(count: int, seed: int, place: Path, log: Any) -> dict[str, Any]:
    """At least ``count`` kills, and the pairs; counts of both and what was wrong."""
    if not count:
        return {"kills": 0, "killed_and_not_the_same": 0, "pairs": 0}
    here = Path.cwd()
    killer = Killer(place, seed)
    pairs = PAIRS if count > 20 else 2

    def once(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in log.results:
            log.add({**make(), "case": name})
        return log.results[name]

    done, number = 0, 0
    try:
        while done < count and number < 2 * count:
            found = once(f"kill-{number}", lambda n=number: killer.broken(n, min(1 + n % 3, count)))
            done += len(found["moments"]) if found["verb"] != "md" else 0  # which comes on top
            number += 1
            print(f"{done} of {count} kills, {found['verb']}: {found['faults'] or 'the same'}", file=sys.stderr, flush=True)
        couples = [once(f"pair-{n}", lambda n=n: killer.pair(n)) for n in range(pairs)]
    finally:
        os.chdir(here)
    broken = [log.results[f"kill-{n}"] for n in range(number)]
    by_verb = {verb: sum(len(one["moments"]) for one in broken if one["verb"] == verb) for verb in JOBS}
    return {
        "kills": done, "kills_by_verb": by_verb, "jobs_killed": number,
        "killed_and_not_the_same": sum(bool(one["faults"]) for one in broken),
        "pairs": len(couples), "pairs_with_faults": sum(bool(one["faults"]) for one in couples),
        "kill_faults": sorted({fault[:200] for one in (*broken, *couples) for fault in one["faults"]}),
    }  # fmt: skip
