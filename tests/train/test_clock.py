import pytest

from coset.train import clock as module
from coset.train.clock import Clock
from coset.train.run import Run


class Time:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


def test_without_a_deadline_no_time_is_used_up(time):
    clock = Clock(Run())
    clock.start(1)
    time.now += 1e6
    clock.tick()
    assert (clock.share, clock.due) == (0.0, False)
    assert clock.used == 1e6


def test_the_share_goes_on_over_calls(time):
    clock = Clock(Run(deadline=1210.0))
    time.now = 1010.0  # the allowance begins when training starts
    clock.start(1)
    time.now += 50
    clock.tick()
    assert clock.share == 0.25
    again = Clock(Run(deadline=time.now + 400))
    again.before = clock.used
    again.start(1)
    again.tick()
    assert again.share == 50 / 400
    time.now += 350
    again.tick()
    assert again.share == 1.0


def test_a_deadline_that_has_passed_is_all_of_it(time):
    clock = Clock(Run(deadline=999.0))
    clock.start(1)
    clock.tick()
    assert clock.share == 1.0


def test_checkpoints_are_due_at_intervals_where_there_is_a_folder(time, tmp_path):
    clock, nowhere = Clock(Run(folder=tmp_path, every=60)), Clock(Run(every=60))
    clock.start(1)
    nowhere.start(1)
    seen = []
    for _ in range(13):
        time.now += 10
        clock.tick()
        nowhere.tick()
        seen.append(clock.due)
        assert not nowhere.due
    assert [place for place, due in enumerate(seen) if due] == [5, 11]
