"""Which row comes next, and three ways to run rows: here, in processes of this machine, or on a Ray cluster.

A row can wait for another whose training it shares. With a budget, a row that starts gets its share of the time left:
``left * workers / rows still to come``, of which :data:`TRAINING` is for training and the rest for measuring. Rows that
are not reached before the time is up are left for the next call.
"""

from __future__ import annotations

import math
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from coset.errors import require
from coset.train.worker import Worker, WorkerFailed, describe, failure, resolve

TRAINING = 0.75  #: part of a row's share of the budget after which training stops
Key = Any  #: what rows are known by: method and seed
Outcome = tuple[Any, Any]  #: (key, result or the Exception that it ended with)
Listener = Callable[[Any, Any], None]  #: (key, what the row reports while it runs)


class Agenda:
    """Rows in order, each perhaps after another one; and the time there is."""

    def __init__(self, keys: Sequence[Key], after: Mapping[Key, Key], *, workers: int = 1, budget: float | None = None) -> None:
        self.waiting = list(keys)
        self.after = {key: first for key, first in after.items() if first in keys}
        self.workers = workers
        self.end = math.inf if budget is None else time.time() + budget

    def take(self) -> Key | None:
        """The next row that waits for nobody; None if there is none now, or no time."""
        if time.time() >= self.end:
            return None
        for key in self.waiting:
            if key not in self.after:
                self.waiting.remove(key)
                return key
        return None

    def deadline(self) -> float:
        """When the training of the row just taken must stop (seconds since the epoch)."""
        if math.isinf(self.end):
            return math.inf
        left = max(self.end - time.time(), 0.0)
        return time.time() + TRAINING * left * min(1.0, self.workers / (len(self.waiting) + 1))

    def finish(self, key: Key) -> None:
        """Free the rows that waited for this one."""
        self.after = {row: first for row, first in self.after.items() if first != key}


def run_here(agenda: Agenda, call: Callable[[Any, float], Any]) -> Iterator[Outcome]:
    """One row after the other in this process; ``call(key, deadline)``."""
    while (key := agenda.take()) is not None:
        try:
            outcome = call(key, agenda.deadline())
        except Exception as error:
            outcome = error
        agenda.finish(key)
        yield key, outcome


def run_processes(agenda: Agenda, target: str, job: Callable[[Any, float], Any], listen: Listener) -> Iterator[Outcome]:
    """Rows spread over ``agenda.workers`` processes; ``job(key, deadline)`` is the JSON that one gets."""
    answers: queue.SimpleQueue = queue.SimpleQueue()
    idle: list[Worker] = [Worker(target, answers) for _ in range(min(agenda.workers, len(agenda.waiting)))]
    busy: dict[Worker, Key] = {}
    try:
        while True:
            while idle and (key := agenda.take()) is not None:
                busy[idle[-1]] = key
                idle.pop().send(job(key, agenda.deadline()))
            if not busy:
                return
            worker, answer = answers.get()
            if worker not in busy:
                continue
            if answer is not None and answer["event"] == "progress":
                listen(busy[worker], answer["value"])
                continue
            key = busy.pop(worker)
            agenda.finish(key)
            if answer is None:
                code = worker.process.wait()
                idle.append(Worker(target, answers))
                yield key, WorkerFailed(f"the process of row {key} ended with code {code} (killed, or out of memory)")
            else:
                idle.append(worker)
                yield key, answer["value"] if answer["event"] == "done" else failure(answer["value"])
    finally:
        for worker in [*idle, *busy]:
            worker.close()


def run_ray(agenda: Agenda, target: str, job: Callable[[Any, float], Any], address: str) -> Iterator[Outcome]:
    """A Ray task for each row; ``address`` is ``local`` or a cluster's. Only names and JSON travel.

    Raises MissingExtra without Ray, ConnectionError where no cluster answers.
    """
    ray = require("ray", extra="ray")
    own = not ray.is_initialized()
    if own:
        where = {"num_cpus": agenda.workers} if address == "local" else {}
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **where)
    remote = ray.remote(num_cpus=1, max_retries=0)(call_by_name)
    busy: dict[Any, Key] = {}
    try:
        agenda.workers = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        while True:
            while len(busy) < agenda.workers and (key := agenda.take()) is not None:
                busy[remote.remote(target, job(key, agenda.deadline()))] = key
            if not busy:
                return
            (ready,), _ = ray.wait(list(busy), num_returns=1)
            key = busy.pop(ready)
            try:
                answer = ray.get(ready)
                outcome = answer["value"] if answer["event"] == "done" else failure(answer["value"])
            except ray.exceptions.RayError as error:
                outcome = WorkerFailed(f"the Ray task of row {key} failed: {error}")
            agenda.finish(key)
            yield key, outcome
    finally:
        if own:
            ray.shutdown()


def call_by_name(target: str, job: Any) -> dict[str, Any]:
    """What a Ray task does: import the function and call it."""
    try:
        return {"event": "done", "value": resolve(target)(job, lambda value: None)}
    except Exception as error:
        return {"event": "failed", "value": describe(error)}
