"""Ranges cover every receiver once, errors arrive, and small work stays at home."""

import itertools
import os
import threading

import pytest
import torch

from coset.ops.backends.llvm import threads
from coset.ops.index import Index


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_ranges_cover_all_receivers_evenly(parts, generator):
    values = (torch.rand(1000, generator=generator) ** 3 * 90).long()
    pointer = Index(values, 100).pointer
    ranges = threads.bounds(pointer, parts)
    assert ranges[0] == 0
    assert ranges[-1] == 100
    assert ranges == sorted(ranges)
    load = [int(pointer[b] - pointer[a]) + b - a for a, b in itertools.pairwise(ranges)]
    largest = int((pointer[1:] - pointer[:-1]).max()) + 1
    assert max(load) - 1100 / parts <= largest


def test_ranges_of_nothing():
    assert threads.bounds(torch.zeros(1, dtype=torch.int64), 2) == [0, 0, 0]
    assert threads.bounds(torch.tensor([0, 5]), 3) in ([0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1])


def test_every_range_runs_once_beside_the_others():
    together = threading.Barrier(3, timeout=20)
    seen = []

    def call(part, first, last):
        together.wait()
        seen.append((part, first, last, threading.current_thread().name))

    for _ in range(5):
        seen.clear()
        threads.run(call, [0, 4, 9, 10])
        assert sorted(s[:3] for s in seen) == [(0, 0, 4), (1, 4, 9), (2, 9, 10)]
        assert len({name for *_, name in seen}) == 3


@pytest.mark.parametrize("bad", [0, 1])
def test_errors_arrive_after_all_have_ended(bad):
    ended = []

    def call(part, first, last):
        ended.append(part)
        if part == bad:
            raise RuntimeError(f"part {part}")

    with pytest.raises(RuntimeError, match=f"part {bad}"):
        threads.run(call, [0, 1, 2])
    assert sorted(ended) == [0, 1]


def test_small_work_is_not_divided(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert threads.parts(10) == 1
    assert threads.parts(2 * threads.LEAST) == 2
    assert threads.parts(100 * threads.LEAST) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_workers():
    threads.run(lambda *_: None, [0, 1, 2])
    child = os.fork()
    if child == 0:
        done = []
        threads.run(lambda part, *_: done.append(part), [0, 1, 2])
        os._exit(0 if sorted(done) == [0, 1] else 1)
    assert os.waitpid(child, 0)[1] == 0
