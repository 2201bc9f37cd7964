import time

import pytest

from coset.train.agenda import TRAINING, Agenda, run_here


def test_rows_that_share_a_training_wait_for_it():
    agenda = Agenda(["a", "b", "c", "d"], {"b": "a", "c": "b", "d": "gone"}, workers=2)
    assert [agenda.take(), agenda.take(), agenda.take()] == ["a", "d", None]
    agenda.finish("a")
    assert [agenda.take(), agenda.take()] == ["b", None]
    agenda.finish("b")
    assert agenda.take() == "c"


def test_a_row_that_fails_does_not_stop_the_others():
    def call(key, deadline):
        if key == "b":
            raise ValueError("b")
        return key

    outcomes = dict(run_here(Agenda(["a", "b", "c"], {"c": "b"}), call))
    assert outcomes["a"] == "a"
    assert isinstance(outcomes["b"], ValueError)
    assert outcomes["c"] == "c"


def test_a_budget_is_shared_among_the_rows_to_come():
    agenda = Agenda(list("abcd"), {}, workers=2, budget=100)
    agenda.take()
    assert agenda.deadline() - time.time() == pytest.approx(TRAINING * 50, abs=1)
    for _ in range(3):
        agenda.take()
    assert agenda.deadline() - time.time() == pytest.approx(TRAINING * 100, abs=1)


def test_no_row_starts_when_the_time_is_up():
    agenda = Agenda(["a", "b"], {}, budget=0.05)

    def call(key, deadline):
        time.sleep(0.1)
        return key

    assert list(run_here(agenda, call)) == [("a", "a")]
    assert agenda.waiting == ["b"]
