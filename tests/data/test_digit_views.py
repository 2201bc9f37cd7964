"""Views of digits: moved as they say, the same for everyone, none of a test digit in training."""

import math

import numpy as np
import pytest
import torch

from coset.data.digit_views import TurnShift, digit_views, taken
from coset.errors import InputError
from coset.recipe import Request


@pytest.fixture(scope="module")
def data():
    return digit_views(Request("smoke", 0))


def spot(row, column):
    x = torch.zeros(1, 1, 16, 16)
    x[0, 0, row, column] = 1.0
    return x


def center(x):
    """Of mass, to the right and up, in pixels from the middle."""
    place = torch.arange(16.0) - 7.5
    return float((x[0, 0].sum(0) * place).sum() / x.sum()), -float((x[0, 0].sum(1) * place).sum() / x.sum())


def test_turns_are_counter_clockwise_and_shifts_go_right_and_up():
    move = TurnShift().move
    right, up = center(move(spot(7, 7), torch.tensor([[0.0, 2.0, -1.0]]).double()))
    assert (right, up) == pytest.approx((-0.5 + 2, 0.5 - 1), abs=1e-4)
    start = center(spot(7, 12))
    turned = center(move(spot(7, 12), torch.tensor([[math.pi / 6, 0.0, 0.0]]).double()))
    angle = math.atan2(turned[1], turned[0]) - math.atan2(start[1], start[0])
    assert angle == pytest.approx(math.pi / 6, abs=0.05)


def test_draws_lie_within_their_range(generator):
    drawn = TurnShift(30, 2).draw(5000, generator)
    most = torch.tensor([math.pi / 6, 2, 2]).double()
    assert bool((drawn.abs() <= most).all())
    assert torch.allclose(drawn.abs().amax(0), most, rtol=1e-2)
    assert torch.allclose(drawn.mean(0), torch.zeros(3).double(), atol=0.05)


def test_views_are_fixed_and_carry_their_motions(data):
    again = digit_views(Request("smoke", 5))
    assert torch.equal(data.test["x"], again.test["x"])
    upright = data.audit[:3]
    found = taken(upright, torch.arange(3), 4, seed=9)
    assert found["x"].shape == (3, 4, 1, 16, 16)
    want = TurnShift().move(upright[1:2], found["motion"][1, 2:3].double())
    assert torch.allclose(found["x"][1, 2], want[0], atol=1e-5)


def test_no_digit_is_in_two_parts():
    data = digit_views(Request("cpu", 0))
    parts = [data.train["x"], data.valid["x"], data.audit]
    gaps = [torch.cdist(a.flatten(1), b.flatten(1)).min() for i, a in enumerate(parts) for b in parts[i + 1 :]]
    assert min(gaps) > 0.1
    assert [len(part) for part in parts[:2]] == [1050, 150]


def test_mnist_takes_their_place(tmp_path, generator):
    images = torch.randint(0, 256, (70, 28, 28), generator=generator).to(torch.uint8).numpy()
    np.savez(tmp_path / "m.npz", images=images, labels=np.arange(70) % 10)
    data = digit_views(Request("full", 0, (("mnist", tmp_path / "m.npz"),)))
    assert len(data.train["y"]) + len(data.valid["y"]) == 60
    assert data.test["x"].shape == (10, 20, 1, 16, 16)


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown data file"):
        digit_views(Request("smoke", 0, (("cifar", tmp_path),)))
    with pytest.raises(InputError, match="TurnShift"):
        TurnShift(-1.0)
