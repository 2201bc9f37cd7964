"""Flowing digits move at constant velocity round the torus; the unseen speed is unseen; a user's MNIST is taken."""

import numpy as np
import pytest
import torch

from coset.contract import Contract
from coset.data.flowing_digits import flow, flowing_classes, flowing_digits, sequences, turn
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.flows import Flow
from coset.recipe import Request
from coset.reps.fields import Field
from coset.reps.frames import Frames


def test_a_digit_moves_by_its_velocity_every_frame(generator):
    digit = torch.rand(1, 1, 8, 8, generator=generator)
    frames = flow(digit, torch.tensor([[[3, 1]]]), torch.tensor([[[1, -2]]]), 4)
    for t in range(4):
        assert torch.equal(frames[0, t, 0], digit[0, 0].roll((3 + t, 1 - 2 * t), (0, 1)))


def test_two_digits_add_up(generator):
    digits = torch.rand(1, 2, 8, 8, generator=generator)
    places, velocities = torch.zeros(1, 2, 2, dtype=torch.int64), torch.tensor([[[0, 1], [1, 0]]])
    both = flow(digits, places, velocities, 3)
    assert torch.allclose(
        both, sum(flow(digits[:, i : i + 1], places[:, i : i + 1], velocities[:, i : i + 1], 3) for i in (0, 1))
    )


def test_a_turning_digit_turns_by_its_velocity(generator):
    digit = torch.rand(1, 1, 9, 9, generator=generator)
    frames = turn(digit, torch.tensor([[90.0]]), torch.tensor([[90.0]]), 3)
    assert torch.allclose(frames[0, 1, 0], torch.rot90(frames[0, 0, 0]), atol=1e-6)


def test_adding_a_flow_to_one_digit_is_changing_its_velocity(generator):
    digit, place = torch.rand(1, 1, 8, 8, generator=generator), torch.tensor([[[2, 5]]])
    slow, nu = torch.tensor([[[0, 1]]]), torch.tensor([1, -1])
    contract = Contract(Flow(T(2)), Field(("B",), Frames()), Field(("B",), Frames()))
    assert torch.equal(contract.act(nu, flow(digit, place, slow, 5)), flow(digit, place, slow + nu, 5))


def test_fast_sequences_are_faster_than_any_other(generator):
    canvases = torch.rand(5, 1, 8, 8, generator=generator)
    fast, _ = sequences(canvases, 40, 2, reach=2, least=2, digits=1, generator=generator)
    for first, second in zip(fast[:, 0, 0], fast[:, 1, 0], strict=True):
        moves = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if torch.equal(first.roll((a, b), (0, 1)), second)]
        assert len(moves) == 1
        assert max(map(abs, moves[0])) == 2


def test_the_splits_fit_together_and_follow_the_seed():
    first, again, other = (flowing_digits(Request("smoke", seed)) for seed in (0, 0, 1))
    assert torch.equal(first.train["frames"], again.train["frames"])
    assert not torch.equal(first.train["frames"], other.train["frames"])
    assert first.train["frames"].shape == first.train["future"].shape == (32, 5, 1, 16, 16)
    assert first.test["future"].shape == first.test["fast_future"].shape == (16, 10, 1, 16, 16)
    assert first.train["frames"].min() >= 0
    labels = flowing_classes(Request("smoke", 0))
    assert labels.train["y"].shape == (32,)
    assert labels.train["y"].max() <= 9


@pytest.mark.parametrize("make", [flowing_digits, flowing_classes], ids=["future", "class"])
def test_a_users_mnist_is_taken(make, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 30), ("test", 12)):
        arrays[f"x_{part}"] = rng.integers(0, 255, (n, 28, 28), dtype=np.uint8)
        arrays[f"y_{part}"] = rng.integers(0, 10, n)
    np.savez(tmp_path / "mnist.npz", **arrays)
    data = make(Request("smoke", 0, (("mnist", tmp_path / "mnist.npz"),)))
    assert data.train["frames"].shape == (32, 10, 1, 28, 28)
    with pytest.raises(InputError, match="named mnist"):
        make(Request("smoke", 0, (("digits", tmp_path / "mnist.npz"),)))
