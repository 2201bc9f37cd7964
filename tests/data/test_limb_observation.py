"""Observations turn with the body: norms are clipped, components are not; a target has a direction."""

import numpy as np
import pytest

from coset.data.limb_families import body
from coset.data.limb_observation import FASTEST, Observer, clip_norm, direction
from coset.errors import InputError

RANGES = np.tile(np.array([-0.5, 1.0]), (2, 3, 1))


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def state(seed=0, speed=1.0):
    random = np.random.default_rng(seed)
    return {
        "position": random.normal(size=(3, 3)), "velocity": speed * random.normal(size=(3, 3)),
        "spin": speed * random.normal(size=(3, 3)), "axes": random.normal(size=(2, 3, 3)),
        "angles": random.uniform(-0.5, 1.0, (2, 3)), "target": np.array([3.0, 4.0, 5.0]),
    }  # fmt: skip


@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_an_observation_turns_with_its_body(speed):
    observer, x = Observer(body("hopper_3"), RANGES), state(speed=speed)
    y = {name: value if name == "angles" else value @ turn(1.2).T for name, value in x.items()}
    here, there = observer(**x), observer(**y)
    for name in ("gravity", "target", "vectors"):
        assert np.allclose(here[name] @ turn(1.2).T, there[name], atol=1e-5)
    assert np.allclose(here["scalars"], there["scalars"], atol=1e-6)


def test_norms_are_clipped_and_directions_kept():
    fast, slow = np.array([30.0, -40.0, 0.0]), np.array([9.0, 3.0, 0.0])
    assert np.allclose(clip_norm(fast), FASTEST * fast / 50)
    assert np.array_equal(clip_norm(slow), slow)
    assert np.array_equal(clip_norm(np.zeros(3)), np.zeros(3))


def test_clipping_components_instead_would_not_turn():
    fast = np.array([30.0, -4.0, 0.0])
    clipped = np.clip(fast, -10, 10) @ turn(1.2).T
    assert not np.allclose(clipped, np.clip(fast @ turn(1.2).T, -10, 10), atol=1.0)


def test_every_number_is_where_it_is_said_to_be():
    observer, x = Observer(body("hopper_3"), RANGES), state()
    seen = observer(**x)
    assert seen["gravity"].tolist() == [0, 0, -1]
    assert np.allclose(seen["target"][:2], direction(x["target"], x["position"][0])[:2])
    assert np.allclose(seen["vectors"][:, 0], x["position"] - x["position"][0], atol=1e-6)
    assert np.allclose(seen["vectors"][:, 1], x["velocity"], atol=1e-6)
    assert np.allclose(seen["vectors"][:, 2], x["spin"], atol=1e-6)
    assert np.allclose(seen["vectors"][1:, 3:], x["axes"], atol=1e-6)
    assert not seen["vectors"][0, 3:].any()
    scalars = seen["scalars"]
    assert np.allclose(scalars[1:, :3], x["angles"], atol=1e-6)
    ranges = scalars[1:, 3:12].reshape(2, 3, 3)
    assert np.allclose(ranges[..., 0], (x["angles"] + 0.5) / 1.5, atol=1e-6)
    assert np.allclose(ranges[..., 1:], RANGES / np.pi)
    assert np.allclose(scalars[:, 12], x["position"][:, 2], atol=1e-6)
    assert scalars[:, 13:].tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_directions_are_horizontal_units():
    way = direction(np.array([3.0, 4.0, 100.0]), np.zeros(3))
    assert np.allclose(way, [0.6, 0.8, 0])
    with pytest.raises(InputError, match="target is where the torso is"):
        direction(np.array([1.0, 2.0, 5.0]), np.array([1.0, 2.0, 0.0]))


@pytest.mark.parametrize("ranges", [RANGES[:1], RANGES * np.inf, RANGES[..., ::-1]], ids=["few", "infinite", "reversed"])
def test_limits_that_are_none_are_refused(ranges):
    with pytest.raises(InputError, match="finite hinge limits"):
        Observer(body("hopper_3"), ranges)
