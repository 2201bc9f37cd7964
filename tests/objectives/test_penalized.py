import math

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.objectives.penalized import Dual, Fixed, History, Once, Penalized, retuned


class Pull:
    """A penalty that pulls a parameter towards ``at``."""

    def __init__(self, name, at, strength=1.0):
        self.name, self.at, self.strength = name, at, strength

    def __call__(self, model, batch, generator):
        return 0.5 * (model.weight - self.at).square().sum()


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.register_buffer("strengths", torch.zeros(2, dtype=torch.float64))


def base(model, batch):
    return {"loss": 5 * (model.weight - 1).square().sum()}


def run(objective, steps, *, model=None, first=1):
    model = model or Point()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for step in range(first, first + steps):
        optimizer.zero_grad()
        objective(model, None)["loss"].backward()
        optimizer.step()
        with torch.no_grad():
            objective.after_step(model, step)
    return model


def test_loss_is_base_plus_strengths_times_penalties():
    model = Point()
    terms = Penalized(base, Pull("a", 2.0, 3.0), Pull("b", 1.0, 0.0))(model, None)
    assert terms["loss"] == 5 + 3 * 2
    assert terms["base"] == 5
    assert (terms["penalty b"], terms["strength a"]) == (0.5, 3.0)


def test_once_releases_what_the_data_resist():
    objective = Penalized(base, Pull("true", 1.0), Pull("false", -1.0), tuner=Once(epoch=10, window=8, warm_up=2))
    objective.plan(5, 20)
    model = run(objective, 49)
    assert objective.strength.tolist() == [1.0, 1.0]
    run(objective, 1, model=model, first=50)
    r = objective.minimum
    assert torch.allclose(objective.strength, torch.stack([torch.ones(()), (r[0] / r[1]) ** 2]).double())
    assert objective.strength[1] < 0.1
    assert torch.equal(model.strengths, objective.strength)


def test_running_minima_start_after_the_warm_up():
    objective = Penalized(base, Pull("a", 1.0), Pull("b", -1.0), tuner=Once(epoch=4, window=2, warm_up=3))
    objective.plan(5, 4)
    model = run(objective, 13)  # the window starts after 10 steps, its first 3 values are left out
    assert objective.minimum.isinf().all()
    run(objective, 1, model=model, first=14)
    assert objective.minimum.isfinite().all()


def test_warm_down_ends_at_zero():
    objective = Penalized(base, Pull("a", 1.0), Pull("b", -1.0), tuner=Once(epoch=2, window=2, warm_up=0, warm_down=4))
    objective.plan(5, 10)
    model = run(objective, 10)
    start = objective.strength.clone()
    run(objective, 10, model=model, first=11)
    assert torch.allclose(objective.strength, start / 2)
    run(objective, 10, model=model, first=21)
    assert objective.strength.abs().max() == 0


def test_the_rule_by_hand():
    strength, minimum = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([0.1, 0.5, 1.0])
    assert retuned(strength, minimum, 2.0).tolist() == [0.0, 2.0, 0.5]
    assert retuned(torch.ones(2), torch.tensor([0.0, 1.0]), 2.0).tolist() == [1.0, 0.0]


def test_all_obeyed_keeps_the_strengths_and_says_so():
    with pytest.warns(UserWarning, match="already obeys a, b"):
        assert retuned(torch.ones(2), torch.zeros(2), 2.0, ("a", "b")).tolist() == [1.0, 1.0]


def test_dual_rises_while_violated_and_falls_to_zero_when_slack():
    tight = Penalized(base, Pull("a", -1.0), tuner=Dual(eps=0.1, eta=0.5))
    run(tight, 300)
    assert float(tight.strength) > 5
    slack = Penalized(base, Pull("a", 1.0), tuner=Dual(eps=0.1, eta=0.5))
    run(slack, 300)
    assert float(slack.strength) == 0


def test_state_restores_strengths_and_minima():
    def make():
        objective = Penalized(base, Pull("true", 1.0), Pull("false", -1.0), tuner=Once(epoch=10, window=8, warm_up=0))
        objective.plan(5, 20)
        return objective

    whole, model = make(), None
    model = run(whole, 60)
    half = make()
    other = run(half, 30)
    again = make()
    again.load_state_dict(half.state_dict())
    run(again, 30, model=other, first=31)
    assert torch.equal(whole.strength, again.strength)
    assert torch.equal(model.weight, other.weight)


def test_history_keeps_a_thinned_curve():
    history = History(1, size=8)
    for step in range(100):
        history.record(torch.tensor([float(step)]))
    steps, values = history.curve()
    assert 4 <= len(steps) <= 8
    assert torch.equal(steps.float(), values[:, 0])
    assert (steps.diff() == steps.diff()[0]).all()


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least one penalty"):
        Penalized(base)
    with pytest.raises(InputError, match="strength >= 0"):
        Penalized(base, Pull("a", 0.0, -1.0))
    with pytest.raises(InputError, match="told apart by name"):
        Penalized(base, Pull("a", 0.0), Pull("a", 1.0))
    with pytest.raises(InputError, match="tuned at epoch 10, but training ends at 5"):
        Penalized(base, Pull("a", 0.0), tuner=Once(10)).plan(3, 5)
    with pytest.raises(InputError, match="counts epochs"):
        run(Penalized(base, Pull("a", 0.0), tuner=Once(10)), 1)
    with pytest.raises(InputError, match="eps and eta"):
        Dual(eps=math.nan)
    with pytest.raises(InputError, match="power > 0"):
        Once(3, power=0)
    assert Fixed() == Fixed()
