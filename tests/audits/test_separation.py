"""Distances tell what a model sees from what it is blind to, and are drawn with the pairs that no model may separate."""

import numpy as np
import pytest
import torch

from coset.audits.separation import THRESHOLD, Separation, distances, separation
from coset.errors import InputError

PAIRS = {
    "shifted": ({"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([2.0, 3.0])}),
    "reversed": ({"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([2.0, 1.0])}),
}


def distance(model, a, b):
    return distances(model, {"": (a, b)})[""]


def spread(x):
    return (x.max() - x.min()).view(1)


def test_blindness_is_zero_distance():
    assert distance(spread, *PAIRS["shifted"]) == 0
    assert distance(lambda x: x.sum().view(1), *PAIRS["shifted"]) == pytest.approx(2 / 5)
    assert distance(lambda x: torch.zeros(1), *PAIRS["shifted"]) == 0


def test_modules_are_measured_in_double_and_stay_as_they_are():
    layer = torch.nn.Linear(2, 1)
    layer.train()
    assert distance(lambda x: layer(x.float()), *PAIRS["reversed"]) > 0

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.drop = torch.nn.Linear(2, 50), torch.nn.Dropout(0.5)

        def forward(self, x):
            assert x.dtype == torch.float64
            return self.drop(self.inner(x))

    net = Net()
    same = (PAIRS["shifted"][0],) * 2
    assert distance(net, *same) == 0, "dropout is off"
    assert net.training
    assert net.inner.weight.dtype == torch.float32


def test_the_finding_saves_loads_and_draws(tmp_path):
    pytest.importorskip("matplotlib")
    found = separation(spread, PAIRS, {"shifted": False, "reversed": True}, bound="spread")
    assert found.separated == [False, False]
    again = Separation.load(found.save(tmp_path / "s.npz"))
    assert again.names == ["shifted", "reversed"]
    assert np.array_equal(again.distances, found.distances)
    made = again.plot()
    assert len(made.axes[0].patches) >= 2
    assert THRESHOLD < 1e-6


def test_no_pairs_are_refused():
    with pytest.raises(InputError, match="no pairs"):
        separation(spread, {})
