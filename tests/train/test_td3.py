"""TD3 learns a point's way home, its targets and delays are those of the paper, and killed or not it is the same run."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.recipe import Data, Recipe
from coset.train.rollout import bounds, episodes
from coset.train.run import Run
from coset.train.td3 import TD3, Learner

RECIPE = Recipe(epochs=4, batch=32, lr=3e-3, optimizer="adam", weight_decay=0.0, clip=1.0, samples=25)


class Box:
    def __init__(self, low, high):
        self.low, self.high, self.shape = np.full(1, low, np.float32), np.full(1, high, np.float32), (1,)


class Point:
    """A point on a line: move it to 0; reward is minus its distance."""

    action_space = Box(-0.5, 0.5)

    def __init__(self):
        self.constants = {"unit": np.ones(1, dtype=np.float32)}
        self.random = np.random.default_rng(0)

    @property
    def unwrapped(self):
        return self

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.x, self.steps = np.array([(options or {}).get("x", self.random.uniform(-2, 2))]), 0
        return self.see(), {}

    def see(self):
        return {"x": self.x.astype(np.float32)}

    def step(self, action):
        assert abs(action) <= 0.5
        self.x, self.steps = self.x + action, self.steps + 1
        return self.see(), -abs(float(self.x[0])), bool(abs(self.x[0]) > 4), self.steps >= 15, {}


class Told(Point):
    """The same, able to tell its state."""

    def state(self):
        return {"x": self.x.copy(), "steps": self.steps, "random": self.random.bit_generator.state}

    def restore(self, state):
        self.x, self.steps, self.random.bit_generator.state = state["x"].copy(), state["steps"], state["random"]


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x, unit):
        return torch.tanh(self.net(torch.cat([x, unit], -1)))

    def critic(self):
        return Critic()


class Critic(nn.Module):
    """Two values, as of two limbs."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x, unit, action):
        return self.net(torch.cat([x, unit, action], -1))


def policy(seed=0):
    torch.manual_seed(seed)
    return Policy()


def train(env=Told, folder=None, *, model=None, how=None, recipe=RECIPE, seed=3, **options):
    run = Run(folder=folder, seed=seed, **options)
    model = (how or TD3(keep=1))(model or policy(), None, Data(env, None, valid=({"x": 1.5}, {"x": -1.5})), recipe, run)
    return model, run


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_point_is_brought_home():
    starts = [{"x": x} for x in (-1.8, -1.0, 0.7, 1.6)]
    before = episodes(policy(), Told, starts).returns.mean()
    model, run = train(recipe=RECIPE.override({"epochs": 6, "samples": 100}))
    after = episodes(model, Told, starts).returns.mean()
    best = -np.mean([sum(max(abs(s["x"]) - 0.5 * k, 0) for k in range(1, 16)) for s in starts])
    assert before < -8
    assert after > best - 1.5
    assert not model.training
    assert [line["step"] for line in run.trace.curve] == list(range(100, 601, 100))
    assert run.trace.curve[-1]["valid_return"] > run.trace.curve[1]["return"]
    assert "loss" not in run.trace.curve[0], "the first epoch acts at random and learns nothing"


def test_equal_seeds_give_equal_runs_and_others_do_not():
    first, second, third = train()[0], train()[0], train(seed=4)[0]
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(third))


@pytest.mark.parametrize("killed_after", [1, 3])
def test_killed_and_resumed_is_unbroken_bit_for_bit(killed_after, tmp_path):
    whole, unbroken = train(folder=tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.epoch == killed_after + 1:  # said before that epoch's checkpoint is written
            raise Killed

    with pytest.raises(Killed):
        train(folder=tmp_path / "broken", report=kill)
    notes = []
    resumed, run = train(folder=tmp_path / "broken", model=policy(1), report=lambda progress: notes.append(progress.note))
    assert notes[0] == f"goes on after epoch {killed_after}"
    assert torch.equal(weights(resumed), weights(whole))
    drop = {"seconds"}
    lines = [[{k: v for k, v in line.items() if k not in drop} for line in r.trace.curve] for r in (run, unbroken)]
    assert str(lines[0]) == str(lines[1])


def test_an_environment_that_cannot_tell_its_state_begins_an_episode(tmp_path):
    train(Point, tmp_path, recipe=RECIPE.override({"epochs": 2}))
    model, run = train(Point, tmp_path)
    assert run.trace.steps == 100
    assert len(run.trace.curve) == 4
    fresh, _ = train(Point, tmp_path, resume=False, recipe=RECIPE.override({"epochs": 2}))
    assert not torch.equal(weights(model), weights(fresh))


def test_a_deadline_stops_and_says_so():
    _, run = train(deadline=0.0)
    assert run.trace.stopped == "time was up in epoch 1 of 4"
    assert run.trace.steps == 1


def learner(how=None, **recipe):
    return Learner(how or TD3(), policy(), RECIPE.override(recipe), {"unit": np.ones(1, dtype=np.float32)})


def batch(count=32, fallen=0.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, generator=generator)
    return {
        "seen": {"x": x},
        "then": {"x": x + 1},
        "action": 0.3 * x.clamp(-1, 1),
        "reward": x[:, 0],
        "fallen": torch.full((count,), fallen),
    }


def test_targets_are_the_smaller_slow_value_of_a_smoothed_action():
    one, b = learner(TD3(smooth=0.2, cut=0.1)), batch()
    then = {**b["then"], "unit": torch.ones(32, 1)}
    with torch.no_grad():
        got = one._target(then, b["reward"], b["fallen"], torch.Generator().manual_seed(5))
        noise = (torch.randn(32, 1, generator=torch.Generator().manual_seed(5)) * 0.2).clamp(-0.1, 0.1)
        action = (one.slow[0](**then) + noise).clamp(-1, 1)
        value = torch.minimum(*(c(**then, action=action) for c in one.slow[1:]))
    assert torch.allclose(got, b["reward"][:, None] + 0.99 * value)
    ended = one._target(then, b["reward"], torch.ones(32), torch.Generator().manual_seed(5))
    assert torch.allclose(ended, b["reward"][:, None].expand(-1, 2))


def test_the_policy_and_the_slow_copies_follow_every_second_update():
    one = learner(TD3(tau=0.25))
    policy_before, slow_before = weights(one.policy), weights(one.slow)
    first = one.update(batch(), torch.Generator().manual_seed(0))
    assert "value" not in first
    assert torch.equal(weights(one.policy), policy_before)
    assert torch.equal(weights(one.slow), slow_before)
    critics = weights(one.critics)
    second = one.update(batch(), torch.Generator().manual_seed(0))
    assert "value" in second
    assert not torch.equal(weights(one.policy), policy_before)
    fast = torch.cat([weights(one.policy), weights(one.critics)])
    assert torch.allclose(weights(one.slow), 0.75 * slow_before + 0.25 * fast, atol=1e-7)
    assert not torch.equal(weights(one.critics), critics)
    assert not torch.equal(weights(one.critics[0]), weights(one.critics[1]))


def test_the_policys_step_leaves_the_critics_alone_and_goes_uphill():
    one = learner(lr=1e-3)
    here = {**batch()["seen"], "unit": torch.ones(32, 1)}
    critics = weights(one.critics)
    before = one.critics[0](**here, action=one.policy(**here)).mean()
    for _ in range(5):
        one._descend(-one.critics[0](**here, action=one.policy(**here)).mean(), 0)
    assert torch.equal(weights(one.critics), critics)
    assert one.critics[0](**here, action=one.policy(**here)).mean() > before


def test_critics_fit_the_reward_where_there_is_no_future():
    one, b = learner(lr=1e-2), batch(fallen=1.0)
    losses = [one.update(b, torch.Generator().manual_seed(0))["loss"] for _ in range(150)]
    assert losses[-1] < 0.02 * losses[0]


def test_gradients_are_clipped_by_their_norm():
    one = learner(clip=1e-3)
    one._descend(1e6 * one.critics[0](x=torch.ones(1, 1), unit=torch.ones(1, 1), action=torch.ones(1, 1)).sum(), 1)
    assert math.sqrt(sum(float(p.grad.square().sum()) for p in one.weights[1] if p.grad is not None)) == pytest.approx(
        1e-3, rel=1e-3
    )


def test_divergence_is_said():
    one, b = learner(), batch()
    b["reward"] = b["reward"] * math.inf
    with pytest.raises(InputError, match="TD3 diverged"):
        one.update(b, torch.Generator())


def test_actions_reach_the_bounds_of_the_environment():
    middle, half = bounds(Box(-1.0, 3.0))
    assert (middle, half) == (1, 2)
    with pytest.raises(InputError, match="not bounded"):
        bounds(Box(-np.inf, 1.0))
    unbounded = type("Unbounded", (Told,), {"action_space": Box(-1.0, np.inf)})
    with pytest.raises(InputError, match="not bounded"):
        train(unbounded)


def test_episodes_side_by_side_are_those_one_by_one():
    model, starts = policy(), [{"x": 1.0}, {"x": 3.9}, {"x": -2.0}]
    together = episodes(model, Told, starts)
    for i, start in enumerate(starts):
        alone = episodes(model, Told, [start])
        assert alone.returns[0] == pytest.approx(together.returns[i], rel=1e-5)
        assert alone.lengths[0] == together.lengths[i]


def test_updates_can_be_fewer_than_steps():
    counted = []
    original = Learner.update
    try:
        Learner.update = lambda self, *a: counted.append(1) or original(self, *a)
        data = Data(Told, None, info={"every": 3})
        TD3()(policy(), None, data, RECIPE.override({"epochs": 2}), Run())
    finally:
        Learner.update = original
    assert len(counted) == 8


def test_what_it_cannot_train_is_refused():
    with pytest.raises(InputError, match="objective must be None"):
        TD3()(policy(), lambda m, b: {}, Data(Told, None), RECIPE)
    with pytest.raises(InputError, match=r"method critic\(\)"):
        TD3()(nn.Linear(1, 1), None, Data(Told, None), RECIPE)
    for wrong in ({"gamma": 1.5}, {"tau": 0.0}, {"delay": 0}, {"smooth": -1.0}):
        with pytest.raises(InputError, match="out of range"):
            dataclasses.replace(TD3(), **wrong)


def test_a_checkpoint_of_another_body_is_refused(tmp_path):
    train(folder=tmp_path, recipe=RECIPE.override({"epochs": 1}))

    class Wide(Told):
        def see(self):
            return {"x": np.repeat(self.x, 2).astype(np.float32)}

    wide = copy.deepcopy(policy())
    wide.forward = lambda x, unit: Policy.forward(wide, x[:, :1], unit)
    with pytest.raises(InputError, match="does not fit"):
        train(Wide, tmp_path, model=wide)
