"""Jobs of ``coset serve``: a few processes, a short queue, the newest question of a page first, a time for each.

A question that is still waiting when the same page asks the next one is given up at once, so that a thousand quick drags cost
no more than the first and the last. A job that takes too long, or that brings its process down, ends that process only.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coset.errors import InputError

CLIENTS = 256  #: pages whose newest question is remembered
STARTING = 120.0  #: seconds that loading of a model may take on top of the time of a job


class Refused(Exception):
    """A job that gave no answer: its kind, the words for it, and the status of HTTP."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class Worker:
    """A process of :mod:`coset.interop.serve_worker`, started when first asked and again after it ended."""

    def __init__(self, root: Path, targets: Mapping[str, str]) -> None:
        self.start = json.dumps({"root": str(root), "targets": dict(targets)}).encode() + b"\n"
        self.process: subprocess.Popen[bytes] | None = None
        self.loaded: set[str] = set()  #: what was opened since it started

    def ask(self, job: Mapping[str, Any], key: str, seconds: float) -> dict[str, Any]:
        """The answer to a job; ``key`` names what must be loaded for it.

        Refused after ``seconds`` (longer while it loads), and where the process ends.
        """
        if self.process is None or self.process.poll() is not None:
            self.process = self._launch()
        process, limit = self.process, seconds + (0.0 if key in self.loaded else STARTING)
        try:
            line = _exchange(process, json.dumps(job).encode() + b"\n", limit)
        except BaseException:  # also an interrupt: what it would answer belongs to nobody
            self.close()
            raise
        if line is None:
            self.close()
            raise Refused(504, "late", f"the model took longer than {limit:g} s; its process was ended")
        if not line:
            self.close()
            raise Refused(
                502, "died", f"the process that runs the model ended (exit {process.returncode}); the next call starts it"
            )
        self.loaded.add(key)
        return json.loads(line)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.loaded.clear()
        # a session of its own: Ctrl-C is for the server, which ends it
        process = subprocess.Popen(
            [sys.executable, "-m", "coset.interop.serve_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).write(self.start)
        return process

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self.process = self.process, None
        self.loaded.clear()
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                _pipe(stream).close()


def _pipe(stream: Any) -> Any:
    if stream is None:
        raise InputError("the process has no pipe")
    return stream


def _exchange(process: subprocess.Popen[bytes], job: bytes, seconds: float) -> bytes | None:
    """The answering line; empty where the process ended, None where time did."""
    try:
        _pipe(process.stdin).write(job)
    except BrokenPipeError:
        return b""
    reader, parts, end = _pipe(process.stdout).fileno(), [], time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            part = os.read(reader, 1 << 20)
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts)
            if not part:
                return b""
    return None


@dataclass(eq=False)
class _Ticket:
    client: str
    turn: int
    superseded: bool = False


class Jobs:
    """``workers`` processes, at most ``waiting`` jobs before them, ``seconds`` for each."""

    def __init__(
        self, root: Path, targets: Mapping[str, str], *, workers: int = 1, waiting: int = 8, seconds: float = 30.0
    ) -> None:
        self.seconds, self.limit = seconds, waiting
        self.workers = [Worker(root, targets) for _ in range(workers)]
        self.free = deque(self.workers)
        self.queue: list[_Ticket] = []
        self.newest: OrderedDict[str, int] = OrderedDict()
        self.changed = threading.Condition()
        self.closed = False

    def run(
        self, job: Mapping[str, Any], key: str, *, client: str = "", turn: int = 0, there: Callable[[], bool] = lambda: True
    ) -> dict[str, Any]:
        """The answer to a job. Refused where a newer one of the same client came, where the queue is full, and by the worker.

        ``there`` says whether whoever asked still waits; nothing is run for one who has gone.
        """
        worker = self._turn(_Ticket(client, turn))
        try:
            if not there():
                raise Refused(409, "superseded", "whoever asked has gone")
            return worker.ask(job, key, self.seconds)
        finally:
            with self.changed:
                self.free.append(worker)
                self.changed.notify_all()

    def _turn(self, ticket: _Ticket) -> Worker:
        """Wait for a process."""
        end = time.monotonic() + self.seconds + STARTING
        with self.changed:
            self._announce(ticket)
            waiting = sum(not one.superseded for one in self.queue)
            if waiting >= self.limit + len(self.free):
                raise Refused(429, "busy", f"{waiting} questions are waiting already; ask again in a moment")
            self.queue.append(ticket)
            try:
                while not (self.free and next(one for one in self.queue if not one.superseded) is ticket):
                    left = end - time.monotonic()
                    if left <= 0 or self.closed:
                        raise Refused(503, "busy", "no process came free in time; ask again in a moment")
                    self.changed.wait(left)
                    if ticket.superseded:
                        raise Refused(409, "superseded", "a newer question of the same page came")
                return self.free.popleft()
            finally:
                self.queue.remove(ticket)
                self.changed.notify_all()

    def _announce(self, ticket: _Ticket) -> None:
        """Give up what the same client asked before; Refused where it has asked something newer already."""
        if not ticket.client:
            return
        if self.newest.get(ticket.client, -1) > ticket.turn:
            raise Refused(409, "superseded", "a newer question of the same page came")
        self.newest[ticket.client] = ticket.turn
        self.newest.move_to_end(ticket.client)
        while len(self.newest) > CLIENTS:
            self.newest.popitem(last=False)
        for one in self.queue:
            if one.client == ticket.client:
                one.superseded = True  # and leaves the queue by itself
        self.changed.notify_all()

    def close(self) -> None:
        """End all processes."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for worker in self.workers:
            worker.close()
