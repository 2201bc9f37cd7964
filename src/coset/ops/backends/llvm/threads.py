"""A kernel over contiguous ranges of receivers, one range per thread, as many threads as torch may use.

Workers sleep on a queue: they cost nothing when idle and never spin. Work too small for waking them stays in the caller, and a
range that no worker has begun when the caller is done is done by the caller: on a busy machine threads help or stay away.
Ranges hold equal numbers of edges and are the same at every call, so results do not depend on who computes them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

import torch
from torch import Tensor

LEAST = 8_000_000  # multiply-adds that one more thread must have to be worth waking (about 0.2 ms)
_lock = threading.Lock()
_tasks: SimpleQueue[Task] = SimpleQueue()
_workers = 0


class Task:
    """One call, carried out once by whoever claims it."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._free, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        """Carry it out, unless somebody already does."""
        if not self._free.acquire(blocking=False):
            return
        try:
            self._call()
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def wait(self) -> None:
        """Until it is done, here if nobody has begun; raises its error."""
        self.run()
        self._done.acquire()
        if self._error is not None:
            raise self._error


def parts(work: int) -> int:
    """Into how many ranges ``work`` multiply-adds are divided: at most torch's number of threads, one if they are few."""
    return max(1, min(torch.get_num_threads(), work // LEAST))


def bounds(pointer: Tensor, count: int) -> list[int]:
    """Receivers ``b[0] = 0 <= b[1] <= ... <= b[count]`` so that ranges have about as many edges (``pointer`` as in Index)."""
    rows = len(pointer) - 1
    if count == 1:
        return [0, rows]
    # an isolated receiver has work too: its zeros are written
    load = pointer + torch.arange(rows + 1)
    cuts = torch.arange(1, count) * int(load[-1]) // count
    return [0, *torch.searchsorted(load, cuts).clamp(max=rows).tolist(), rows]


def run(call: Callable[[int, int, int], None], ranges: list[int]) -> None:
    """``call(part, first, last)`` for every range, the first in this thread, the others beside it."""
    others = [Task(lambda p=part: call(p, ranges[p], ranges[p + 1])) for part in range(1, len(ranges) - 1)]  # type: ignore[misc]
    if others:
        _employ(len(others))
    for task in others:
        _tasks.put(task)
    try:
        call(0, ranges[0], ranges[1])
    finally:
        for task in others:
            task.wait()


def _employ(count: int) -> None:
    """At least ``count`` workers."""
    global _workers
    with _lock:
        while _workers < count:
            threading.Thread(target=_work, name=f"coset-{_workers}", daemon=True).start()
            _workers += 1


def _work() -> None:
    while True:
        _tasks.get().run()


def _after_fork() -> None:
    """A forked process has no workers and an empty queue."""
    global _workers, _tasks, _lock
    _workers, _tasks, _lock = 0, SimpleQueue(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
