"""Bodies in MuJoCo: what is observed turns with the body, the reward is the way gone, and a state restores bit for bit."""

import math

import numpy as np
import pytest
import torch

from coset.data.limb_families import NAMES
from coset.errors import InputError
from coset.models.control.subequivariant import SET
from coset.nn.limbs import check_limbs, check_vertical
from coset.train.bodies import COST, FRAMES, environment
from coset.train.rollout import batched

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium")


def zeros(env):
    return np.zeros(env.action_space.shape, dtype=np.float32)


def drive(env, steps, seed=0):
    random = np.random.default_rng(seed)
    return [env.step(random.uniform(-1, 1, env.action_space.shape).astype(np.float32)) for _ in range(steps)]


@pytest.mark.filterwarnings("ignore:.*infinity")
def test_gymnasium_accepts_the_environment():
    from gymnasium.utils.env_checker import check_env

    check_env(environment("walker_3"), skip_render_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_body_gives_what_policies_take(name):
    env = environment(name)
    seen, _ = env.reset(seed=0)
    x = batched([seen] * 2, env.constants, torch.zeros(()))
    assert check_limbs(**x) == (2, len(env.body))
    check_vertical(x["gravity"])
    assert env.observation_space.contains(seen)
    axes = x["vectors"][:, 1:, 3:]
    assert torch.allclose(axes.norm(dim=-1), torch.ones(axes.shape[:-1]), atol=1e-5)
    action = SET(8, 1, hidden=16, projected=4)(**x)[0].detach().numpy()
    reward = env.step(action)[1]
    assert math.isfinite(reward)


@pytest.mark.parametrize("target", ["far", "near"])
def test_a_turned_world_gives_turned_vectors_and_the_same_scalars(target):
    turn, envs = 2.0, [environment("walker_5", target=target) for _ in range(2)]
    (first, _), (second, _) = (
        env.reset(seed=0, options={"yaw": angle, "heading": 0.5 + angle}) for env, angle in zip(envs, (0.0, turn), strict=True)
    )
    for env in envs:
        env.data.qvel[:] = 0
    matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    for step, (one, other) in enumerate(zip(drive(envs[0], 15), drive(envs[1], 15), strict=True)):
        for name in ("target", "vectors"):
            assert np.allclose(one[0][name] @ matrix.T, other[0][name], atol=1e-4), (step, name)
        assert np.allclose(one[0]["scalars"], other[0]["scalars"], atol=1e-4)
        assert one[1] == pytest.approx(other[1], abs=1e-4)
    assert not np.allclose(first["target"], second["target"])


def test_the_reward_is_the_way_towards_the_target_alive_and_the_price_of_action():
    env = environment("hopper_3")
    env.reset(seed=0, options={"heading": 1.0})
    way = np.array([math.cos(1.0), math.sin(1.0)])
    for _ in range(5):
        before, action = env.data.qpos[:2].copy(), np.full(env.action_space.shape, 0.5, dtype=np.float32)
        _, reward, *_ = env.step(action)
        gone = (env.data.qpos[:2] - before) @ way / 0.016
        assert reward == pytest.approx(gone + 1 - COST * 6 * 0.25, abs=1e-5)
    assert env.dt == pytest.approx(FRAMES * 0.004)


def test_velocities_are_those_of_the_limbs():
    env = environment("walker_3")
    env.reset(seed=0)
    env.step(np.ones(env.action_space.shape, dtype=np.float32))
    places = []
    for _ in range(3):
        env.mujoco.mj_step(env.model, env.data)
        env._see()
        places.append(env.data.xpos[env.ids].copy())
    seen = env._see()
    assert np.allclose((places[-1] - places[-2]) / 0.004, seen["vectors"][:, 1], atol=0.1)
    assert np.abs(seen["vectors"][:, 2]).max() > 1, "limbs spin, so that their middle and their joint differ in velocity"
    assert np.allclose(places[-1] - places[-1][0], seen["vectors"][:, 0], atol=1e-6)


def test_the_torsos_row_is_not_used():
    envs = [environment("hopper_3") for _ in range(2)]
    push = np.zeros((3, 3), dtype=np.float32)
    push[0] = 1
    seen = []
    for env, action in zip(envs, (push, 0 * push), strict=True):
        env.reset(seed=0)
        seen.append(env.step(action)[0]["vectors"])
    assert np.array_equal(*seen)


def test_a_fall_ends_and_time_runs_out():
    env = environment("hopper_3", episode=7)
    env.reset(seed=0)
    ends = [(fallen, over) for _, _, fallen, over, _ in drive(env, 7)]
    assert ends[-1][1]
    assert not any(over for _, over in ends[:-1])
    env.reset(seed=0)
    assert not env.step(zeros(env))[2]
    env.data.qpos[3:7] = math.cos(0.55), math.sin(0.55), 0, 0  # 1.1 radians
    assert env.step(zeros(env))[2]
    env.reset(seed=0)
    assert not env._fallen()
    env.data.qpos[2] *= 0.45
    assert env._fallen()


def test_headings_are_drawn_in_their_range_and_yaws_everywhere():
    env, found, yaws = environment("walker_2", headings=(0.5, 0.7)), [], []
    for seed in range(20):
        seen, _ = env.reset(seed=seed)
        found.append(math.atan2(seen["target"][1], seen["target"][0]))
        yaws.append(2 * math.atan2(env.data.qpos[6], env.data.qpos[3]))
    assert 0.5 <= min(found) < max(found) <= 0.7
    assert max(np.cos(yaws)) > 0.5 > -0.5 > min(np.cos(yaws))


def test_far_and_near_targets_stand_where_they_should():
    env = environment("hopper_3")
    env.reset(seed=0)
    assert env._distance() == pytest.approx(10_000)
    env = environment("hopper_3", target="near")
    for seed in range(5):
        env.reset(seed=seed)
        assert 10 <= env._distance() <= 20
    env.target[:2] = env.data.qpos[:2] + 0.5
    seen, *_ = env.step(zeros(env))
    assert 9 <= env._distance() <= 21
    way = env.target - env.data.xpos[env.ids[0]]
    assert np.allclose(seen["target"][:2], way[:2] / np.linalg.norm(way[:2]), atol=1e-5)


def test_equal_seeds_give_equal_episodes():
    first, second, third = (environment("hopper_4", target="near") for _ in range(3))
    starts = [env.reset(seed=seed)[0] for env, seed in ((first, 3), (second, 3), (third, 4))]
    assert np.array_equal(starts[0]["vectors"], starts[1]["vectors"])
    assert not np.array_equal(starts[0]["vectors"], starts[2]["vectors"])
    for one, other in zip(drive(first, 10), drive(second, 10), strict=True):
        assert np.array_equal(one[0]["vectors"], other[0]["vectors"])


def test_a_restored_state_goes_on_bit_for_bit(tmp_path):
    from coset.train.state import read_state, write_state

    env = environment("walker_4", target="near")
    env.reset(seed=0)
    drive(env, 20)
    write_state(tmp_path / "state", env.state(), kind="env")
    rest = drive(env, 15, seed=1)
    then, _ = env.reset()
    fresh = environment("walker_4", target="near")
    fresh.reset(seed=5)
    fresh.restore(read_state(tmp_path / "state", kind="env"))
    for one, other in zip(rest, drive(fresh, 15, seed=1), strict=True):
        assert all(np.array_equal(one[0][name], other[0][name]) for name in one[0])
        assert one[1:4] == other[1:4]
    again, _ = fresh.reset()
    assert np.array_equal(then["vectors"], again["vectors"]), "the random state is restored, too"


def test_bad_input_is_refused():
    env = environment("hopper_3")
    env.reset(seed=0)
    for action in (np.zeros((2, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(InputError, match="finite actions"):
            env.step(action)
    with pytest.raises(InputError, match="did you mean"):
        environment("hopper_9")
    with pytest.raises(InputError, match="unknown target"):
        environment("hopper_3", target="moon")
    with pytest.raises(InputError, match="headings"):
        environment("hopper_3", headings=(1.0, 0.0))
    env.target = env.data.qpos[:3].copy()
    with pytest.raises(InputError, match="target is where the torso is"):
        env._see()
