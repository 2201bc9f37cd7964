"""GIN is right half of the time on cycle pairs, exactly, whatever its weights; two epochs give finite results."""

import math

import pytest
import torch

from coset.comparison import compare
from coset.recipe import Request
from coset.tasks import cycle_pairs


@pytest.fixture(scope="module")
def data():
    return cycle_pairs.task.data(Request("smoke", 0))


@pytest.mark.parametrize("name", ["GIN", "global order 2"])
def test_rows_bounded_by_colour_refinement_are_right_half_of_the_time(name, data):
    for seed in range(3):
        torch.manual_seed(seed)
        model = cycle_pairs.task.method(name).build(data).double()

        def f(x, edge_index, batch, model=model):
            # rounding at 1e-13 must not decide a tie
            return model.eval()(x.double(), edge_index, batch).mul(1e8).round()

        for part in data.test.values():
            assert part.percent_correct(f) == pytest.approx(50, abs=1e-9)


def test_two_epochs_give_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare("cycle_pairs", ["SPEN, 1 step"], size="smoke", out=tmp_path / "run", progress=False)
    for row in rows:
        assert set(row.metrics) == {"accuracy_percent", "cycles_percent", "regular_percent"}
        assert all(math.isfinite(value) for value in row.metrics.values())
        assert row.errors['S("N")']["after"] < 1e-10


@pytest.mark.slow
def test_ego_networks_see_the_cycles(tmp_path):
    pytest.importorskip("lightning")
    rows = compare("cycle_pairs", ["GIN", "SPEN, 1 step"], size="cpu", out=tmp_path / "run", progress=False)
    assert [row.metrics["accuracy_percent"] for row in rows] == [50.0, 100.0]
