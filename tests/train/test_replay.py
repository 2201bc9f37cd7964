"""A transition is a frame and the one after it, never across episodes, in a ring that restores."""

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.train.replay import Replay


def filled(capacity, lengths):
    """Frames count up; every episode has its own hundred."""
    buffer = Replay(capacity, {"x": (2,)}, (1,))
    for episode, length in enumerate(lengths):
        start = 100 * episode
        buffer.begin({"x": np.array([start, -start], dtype=np.float32)})
        for i in range(length):
            now = start + i + 1
            buffer.step(
                np.array([now], dtype=np.float32), float(now), i == length - 1, {"x": np.array([now, -now], dtype=np.float32)}
            )
    return buffer


@pytest.mark.parametrize(("capacity", "lengths"), [(100, (5, 1, 7)), (10, (5, 1, 7)), (8, (40,))], ids=["room", "ring", "long"])
def test_every_transition_is_one_step_of_one_episode(capacity, lengths):
    buffer = filled(capacity, lengths)
    batch = buffer.draw(200, torch.Generator().manual_seed(0))
    here, then = batch["seen"]["x"], batch["then"]["x"]
    assert torch.equal(then[:, 0], here[:, 0] + 1)
    assert torch.equal(batch["reward"], then[:, 0])
    assert torch.equal(batch["action"][:, 0], then[:, 0])
    ends = {100 * episode + length for episode, length in enumerate(lengths)}
    assert all(bool(fallen) == (float(now) in ends) for fallen, now in zip(batch["fallen"], then[:, 0], strict=True))
    kept = sum(lengths) if capacity == 100 else None
    if kept:
        assert set(then[:, 0].tolist()) == {100.0 * e + i + 1 for e, n in enumerate(lengths) for i in range(n)}


def test_a_ring_forgets_the_oldest():
    batch = filled(8, (40,)).draw(300, torch.Generator().manual_seed(0))
    assert set(batch["reward"].tolist()) == set(range(34, 41))


def test_it_restores_what_was_written():
    buffer, again = filled(30, (5, 9)), Replay(50, {"x": (2,)}, (1,))
    again.load_state_dict(buffer.state_dict())
    first, second = (b.draw(20, torch.Generator().manual_seed(1)) for b in (buffer, again))
    assert torch.equal(first["seen"]["x"], second["seen"]["x"])
    assert torch.equal(first["fallen"], second["fallen"])
    assert buffer.state_dict()["seen.x"].shape == (16, 2)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="two frames"):
        Replay(1, {"x": (2,)}, (1,))
    empty = Replay(5, {"x": (2,)}, (1,))
    with pytest.raises(InputError, match="no transition"):
        empty.draw(3, torch.Generator())
    for other in (Replay(50, {"x": (3,)}, (1,)), Replay(10, {"x": (2,)}, (1,))):
        with pytest.raises(InputError, match="does not fit"):
            other.load_state_dict(filled(30, (5, 9)).state_dict())
