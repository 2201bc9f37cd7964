"""Rows handed to wherever they run, and what comes back taken into the run folder."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import queue
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from coset.errors import InputError
from coset.records import Result, write_atomically
from coset.train.agenda import Agenda, Outcome, run_here, run_processes, run_ray
from coset.train.folder import Folder
from coset.train.plan import Key, Plan
from coset.train.progress import Display
from coset.train.ranks import environments, external
from coset.train.rows import run_row
from coset.train.worker import Worker, WorkerFailed, failure


def dispatch(
    agenda: Agenda,
    plan: Plan,
    folder: Folder,
    display: Display,
    *,
    target: str,
    names: dict[str, Any] | None,
    ray: str | None = None,
) -> Iterator[Outcome]:
    """Outcomes of all rows of the agenda as they end: what :func:`perform` returns, or the exception of a row.

    ``target`` names the function that other processes call with a job, ``names`` are what they make the plan from; without
    names, or with one worker, rows run in this process. Raises InputError where names are needed and there are none.
    """
    elsewhere = ray is not None or (plan.devices > 1 and external() is None)
    if elsewhere and names is None:
        raise InputError(
            "other processes get names; a Task or model made in this process cannot be sent, name it as FILE.py:task"
        )
    place = {"out": str(folder.path.resolve()), "token": folder.environment["token"]}

    def job(key: Key, deadline: float) -> dict[str, Any]:
        return {"plan": names, "method": key[0], "seed": key[1], "deadline": str(deadline), **place}

    if ray is not None:
        return run_ray(agenda, target, job, ray)
    if elsewhere:
        return _run_ranks(agenda, target, job, plan.devices, display)
    if names is None or agenda.workers == 1:
        return run_here(agenda, lambda key, end: perform(plan, job(key, end), partial(display.update, key)))
    return run_processes(agenda, target, job, display.update)


def perform(plan: Plan, job: Mapping[str, Any], report: Callable[[Any], None]) -> dict[str, Any]:
    """Run one row: its result as a line, a note, and its files where the run folder cannot be reached from here."""
    key: Key = (job["method"], job["seed"])
    deadline, shared = float(job["deadline"]), Path(job["out"])

    def tell(seen: Any) -> None:
        report({name: str(v) if isinstance(v, float) else v for name, v in dataclasses.asdict(seen).items()})

    if _token(shared) == job["token"]:
        result, note = run_row(plan.task, plan.data(key[1]), plan.row(key, shared, deadline), tell)
        return {"result": result.to_line(), "note": note, "files": {}}
    with tempfile.TemporaryDirectory() as away:
        row = plan.row(key, Path(away), deadline)
        result, note = run_row(plan.task, plan.data(key[1]), row, tell)
        made = {str(p.relative_to(away)): p.read_bytes() for p in row.folder.rglob("*") if p.is_file()}
    files = {name: base64.b64encode(content).decode() for name, content in made.items()}
    return {"result": result.to_line(), "note": note, "files": files}


def keep(folder: Folder, plan: Plan, key: Key, outcome: Mapping[str, Any]) -> str:
    """Take a finished row into the folder; what to say about it."""
    for name, content in outcome["files"].items():
        write_atomically(folder.path / name, base64.b64decode(content))
    about = folder.environment
    result = dataclasses.replace(
        Result.from_line(outcome["result"]),
        task=plan.name,
        command=about["command"],
        commit=about["commit"],
        versions=about["versions"],
    )
    folder.keep(result, plan.keys)
    if outcome["note"]:
        folder.note(f"{key[0]}/{key[1]}", outcome["note"])
    headline = ", ".join(f"{name} {value:.4g}" for name, value in list(result.metrics.items())[:2])
    return f"{headline} ({result.train_seconds:.1f} s of training)" + (f"; {outcome['note']}" if outcome["note"] else "")


def worker_count(plan: Plan, asked: int | None, rows: int) -> int:
    """Processes for so many rows: one per core on the CPU, one on an accelerator, unless asked otherwise."""
    if asked is not None and asked < 1:
        raise InputError(f"workers is a number of processes >= 1, got {asked}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or (cores if plan.device == "cpu" else 1), rows))


def _run_ranks(agenda: Agenda, target: str, job: Any, devices: int, display: Display) -> Iterator[Outcome]:
    """One row in several processes that share its batches; the first one's answer counts, any failure ends all."""
    key = agenda.take()
    answers: queue.SimpleQueue = queue.SimpleQueue()
    ranks = [Worker(target, answers, variables=variables) for variables in environments(devices)]
    try:
        for worker in ranks:
            worker.send(job(key, agenda.deadline()))
        while True:
            worker, answer = answers.get()
            if answer is None:
                yield key, WorkerFailed(f"a process of {key} ended with code {worker.process.wait()}")
                return
            if answer["event"] == "failed":
                yield key, failure(answer["value"])
                return
            if worker is ranks[0] and answer["event"] == "done":
                yield key, answer["value"]
                return
            if worker is ranks[0]:
                display.update(key, answer["value"])
    finally:
        for worker in ranks:
            worker.close()


def _token(path: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads((path / "environment.json").read_text())["token"]
    return None
