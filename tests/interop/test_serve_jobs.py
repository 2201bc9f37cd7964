"""The queue of coset serve: the newest question of a page wins, and a full queue refuses."""

import threading
import time
from pathlib import Path

from coset.interop.serve_jobs import Jobs, Refused


class Stub:
    """A worker that answers when it is let go."""

    def __init__(self):
        self.go, self.asked = threading.Event(), []

    def ask(self, job, key, seconds):
        self.asked.append(job)
        self.go.wait(10)
        return {"job": job}

    def close(self):
        self.go.set()


def stubbed(waiting=2):
    jobs = Jobs(Path("."), {}, waiting=waiting)
    jobs.workers = [Stub()]
    jobs.free.clear()
    jobs.free.append(jobs.workers[0])
    return jobs, jobs.workers[0]


def put(jobs, out, job, **more):
    """Ask in a thread; what came of it goes to ``out[job]``."""

    def asked():
        try:
            out[job] = jobs.run(job, "", **more)["job"]
        except Refused as error:
            out[job] = error.status

    before = len(jobs.queue), len(jobs.free), len(out)
    thread = threading.Thread(target=asked, daemon=True)
    thread.start()
    end = time.monotonic() + 5
    while (len(jobs.queue), len(jobs.free), len(out)) == before and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.01)
    return thread


def test_the_newest_question_of_a_page_wins():
    jobs, worker = stubbed()
    out = {}
    threads = [put(jobs, out, turn, client="c", turn=turn) for turn in range(6)]
    threads.append(put(jobs, out, "other", client="d", turn=0))
    threads.append(put(jobs, out, "late", client="c", turn=2))
    worker.go.set()
    for thread in threads:
        thread.join(5)
    assert out == {0: 0, 1: 409, 2: 409, 3: 409, 4: 409, 5: 5, "other": "other", "late": 409}
    assert worker.asked == [0, 5, "other"]
    assert (jobs.queue, len(jobs.free)) == ([], 1)


def test_a_full_queue_refuses_and_one_who_has_gone_is_skipped():
    jobs, worker = stubbed(waiting=2)
    out = {}
    threads = [put(jobs, out, n, client=f"c{n}", there=lambda n=n: n != 1) for n in range(4)]
    assert out == {3: 429}
    worker.go.set()
    for thread in threads:
        thread.join(5)
    assert out == {0: 0, 1: 409, 2: 2, 3: 429}
    assert worker.asked == [0, 2]
