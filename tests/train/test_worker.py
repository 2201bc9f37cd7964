import os
import queue
import signal
import time

import pytest

from coset.errors import InputError, MissingExtra
from coset.train.worker import Worker, WorkerFailed, describe, failure


@pytest.fixture
def answers():
    return queue.SimpleQueue()


def test_errors_travel_as_what_they_are():
    assert isinstance(failure(describe(InputError("wrong"))), InputError)
    assert str(failure(describe(MissingExtra("needs x")))) == "needs x"
    foreign = failure(describe(ZeroDivisionError("zero")))
    assert isinstance(foreign, WorkerFailed)
    assert "ZeroDivisionError: zero" in str(foreign)
    assert isinstance(failure({"type": "require", "message": "m", "traceback": ""}), WorkerFailed)


def test_a_process_answers_refuses_and_dies(answers):
    """One process for all three: starting it takes seconds."""
    worker = Worker("coset.train.worker:echo_for_tests", answers)
    try:
        worker.send({"x": 1}, number=7)
        _, answer = answers.get(timeout=120)
        assert (answer["id"], answer["event"], answer["value"]["type"]) == (7, "failed", "AttributeError")
        os.kill(worker.process.pid, signal.SIGKILL)
        assert answers.get(timeout=60) == (worker, None)
        worker.send({"x": 2})  # to a dead process: no exception, the listener has said so
    finally:
        worker.close()


def test_a_process_ends_when_nobody_listens(answers):
    worker = Worker("json:dumps", answers)
    worker.process.stdin.close()
    end = time.time() + 60
    while worker.process.poll() is None and time.time() < end:
        time.sleep(0.05)
    assert worker.process.returncode == 0
    worker.close()
