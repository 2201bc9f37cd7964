"""Functions run in processes of their own: JSON lines in, JSON lines out, nothing pickled, no ``__main__`` imported again.

Started as ``python -m coset.train.worker module:function``. A line on stdin is a job; every answer on stdout is
``{"id", "event": "progress" | "done" | "failed", "value"}``. What the function prints goes to stderr. The process ends the
moment its stdin closes, so that none outlives a parent that was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TextIO

from coset import errors
from coset.errors import CosetError

#: glibc gives every large block back to the system and asks for it again in the next step; keeping it saves a fifth of the time
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


class WorkerFailed(RuntimeError):
    """A process died, or its function raised something that is no error of ours."""


class Worker:
    """One process, one job at a time; its answers are put on ``answers`` as (worker, answer), None when it has ended."""

    def __init__(self, target: str, answers: queue.SimpleQueue, *, variables: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coset.train.worker", target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for the parent, which ends its workers
            env={**ALLOCATOR, **os.environ, **(variables or {})},
        )
        self.answers = answers
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, job: Any, number: int = 0) -> None:
        """Hand over a job; the answer comes through the queue."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.write(json.dumps({"id": number, "job": job}) + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:  # it died: the listener says so
                pass

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.answers.put((self, json.loads(line)))
        self.answers.put((self, None))


def failure(value: Mapping[str, str]) -> Exception:
    """The error that a function raised in its process: an error of ours is itself again, another keeps its traceback."""
    kind = getattr(errors, value["type"], None)
    if isinstance(kind, type) and issubclass(kind, CosetError):
        return kind(value["message"])
    return WorkerFailed(f"{value['type']}: {value['message']}\n{value['traceback']}")


def describe(error: BaseException) -> dict[str, str]:
    """What :func:`failure` reads."""
    text = "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "traceback": text}


def resolve(target: str) -> Callable[[Any, Callable[[Any], None]], Any]:
    """``module:function`` of this package."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def serve(target: str, stdin: TextIO, answers: TextIO) -> None:
    """Answer jobs until stdin closes."""
    jobs: queue.SimpleQueue = queue.SimpleQueue()
    lock = threading.Lock()

    def read() -> None:
        for line in stdin:
            jobs.put(json.loads(line))
        os._exit(0)  # the parent has gone, or needs us no more: stop in the middle of anything

    def answer(number: int, event: str, value: Any) -> None:
        with lock:
            answers.write(json.dumps({"id": number, "event": event, "value": value}) + "\n")
            answers.flush()

    threading.Thread(target=read, daemon=True).start()
    function = None
    while True:
        asked = jobs.get()
        number = asked["id"]
        try:
            function = function or resolve(target)
            answer(number, "done", function(asked["job"], partial(answer, number, "progress")))
        except Exception as error:
            answer(number, "failed", describe(error))


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as _answers:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.stdin, _answers)
