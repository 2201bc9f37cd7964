"""What the flowing tasks measure: errors per step, the trained and the longer half, the unseen speed, growth of the state."""

import numpy as np
import pytest
import torch
from torch import nn

from coset.nn.flow_rnn import FlowCell
from coset.recipe import Request
from coset.tasks import flowing_classes, flowing_digits


class Perfect(nn.Module):
    """Knows the future of the sequences that it is given, and is wrong by ``step`` at every step."""

    def __init__(self, data, names=("frames", "future")):
        super().__init__()
        self.known = {
            frames.numpy().tobytes(): future for frames, future in zip(*(data.test[name] for name in names), strict=True)
        }

    def forward(self, frames, ahead):
        future = torch.stack([self.known[one.numpy().tobytes()] for one in frames])[:, :ahead]
        return future + torch.arange(1.0, ahead + 1).view(1, -1, 1, 1, 1)


@pytest.fixture(scope="module")
def data():
    return flowing_digits.flowing_digits(Request("smoke"))


def test_errors_are_counted_step_by_step(data):
    model = Perfect(data)
    assert flowing_digits.errors(model, data.test["frames"], data.test["future"], batch=5).tolist() == pytest.approx(
        [(i + 1) ** 2 for i in range(10)], rel=1e-5
    )
    assert flowing_digits.trained_mse(model, data) == pytest.approx(np.mean([i**2 for i in range(1, 6)]), rel=1e-5)
    assert flowing_digits.longer_mse(model, data) == pytest.approx(np.mean([i**2 for i in range(6, 11)]), rel=1e-5)


def test_the_unseen_speed_reads_the_fast_sequences(data):
    model = Perfect(data, ("fast_frames", "fast_future"))
    assert flowing_digits.fast_mse(model, data) == pytest.approx(np.mean([i**2 for i in range(1, 6)]), rel=1e-5)


def test_the_curve_holds_both_speeds(data):
    torch.manual_seed(0)
    model = flowing_digits.recurrent(data)
    found = flowing_digits.error_curve(model, data)
    assert found.values.shape == (2, 10)
    assert found.values[0, :5].mean() == pytest.approx(flowing_digits.trained_mse(model, data))
    assert found.values[1, :5].mean() == pytest.approx(flowing_digits.fast_mse(model, data))


class Doubling(FlowCell):
    """A state that doubles with every frame."""

    def forward(self, x, h):
        return 2 * h + (h == 0)


class Rollout(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = Doubling(1, 1, reach=0)

    def forward(self, frames, ahead):
        return frames[:, -1:].expand(-1, ahead, -1, -1, -1)


def test_growth_is_the_factor_per_step(data):
    assert flowing_digits.state_growth(Rollout(), data) == pytest.approx(2.0)


def test_rows_have_equal_parameters_but_for_the_learned_moves(data):
    count = {method.name: sum(p.numel() for p in method.build(data).parameters()) for method in flowing_digits.task.methods}
    assert count["G-RNN"] == count["FERNN V1"] == count["FERNN V2"] == count["FERNN V1, bounded"]
    assert count["G-RNN, learned moves"] > count["FERNN V1"]


def test_classes_are_read_at_both_speeds():
    labels = flowing_classes.flowing_classes(Request("smoke"))

    class Constant(nn.Module):
        def forward(self, frames):
            return torch.nn.functional.one_hot(torch.full((len(frames),), 3), 10).float()

    for name, metric in (("y", flowing_classes.accuracy_percent), ("fast_y", flowing_classes.fast_accuracy_percent)):
        assert metric(Constant(), labels) == pytest.approx(100 * float((labels.test[name] == 3).float().mean()))
