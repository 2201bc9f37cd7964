"""Rates are torch's own where it has them, end where the training ends, and rise first where a warm-up is asked for."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.recipe import Recipe
from coset.train.schedule import SHAPES, make_schedule


def optimizer(kind="adamw", rates=(0.1, 0.03)):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": rate} for rate in rates]
    return torch.optim.AdamW(groups) if kind == "adamw" else torch.optim.SGD(groups, momentum=0.9)


def made(steps, kind="adamw", **changes):
    schedule = make_schedule(Recipe(**changes), optimizer(kind), steps)
    schedule.optimizer.step()  # torch warns of a schedule that moves before its optimizer
    return schedule


def path(schedule, steps):
    seen = []
    schedule.optimizer.step()
    for _ in range(steps):
        groups = schedule.optimizer.param_groups
        seen.append([(g["lr"], g["betas"][0] if "betas" in g else g["momentum"]) for g in groups])
        schedule.step()
    return seen


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 100])
def test_one_cycle_is_torchs_bit_for_bit(steps, kind):
    torchs = optimizer(kind)
    expected = torch.optim.lr_scheduler.OneCycleLR(torchs, [0.1, 0.03], total_steps=steps)
    found = path(made(steps, kind, schedule="one-cycle"), steps)
    assert found == path(expected, steps)


def test_cosine_is_torchs():
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer(), T_max=30)
    found = path(made(30, schedule="cosine"), 30)
    for a, b in zip(found, path(expected, 30), strict=True):
        assert torch.tensor(a).allclose(torch.tensor(b), rtol=1e-12)


def test_moving_is_stepping():
    for shape in SHAPES:
        one, two = (made(20, schedule=shape, warmup=0.1) for _ in range(2))
        for step in range(1, 20):
            one.step()
            two.move(step)
            assert one.get_last_lr() == two.get_last_lr()


@pytest.mark.parametrize("shape", list(SHAPES))
def test_rates_end_with_the_training_and_stay_there(shape):
    schedule = made(40, schedule=shape)
    end = {"one-cycle": 1e-5 / 25, "cosine": 0.0, "warm-up": 1e-4, "constant": 0.1}[shape]
    for x in (40, 40.5, 1000):
        schedule.move(x)
        assert schedule.get_last_lr()[0] == pytest.approx(end, rel=1e-9, abs=1e-12)
    schedule.move(12.5)
    assert schedule.get_last_lr()[0] > end or shape == "constant"
    assert max(lr for x in range(400) for lr in [schedule.move(x / 10) or schedule.get_last_lr()[0]]) <= 0.1


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("warmup", [0.1, 0.5])
def test_a_warm_up_rises_linearly_and_the_shape_has_the_rest(shape, warmup):
    steps, rise = 40, int(40 * warmup)
    found = [row[0][0] for row in path(made(steps, schedule=shape, warmup=warmup), steps)]
    rest = [row[0][0] for row in path(made(steps - rise, schedule=shape), steps - rise)]
    assert found[:rise] == pytest.approx([rest[0] * (step + 1) / rise for step in range(rise)])
    assert found[rise:] == pytest.approx(rest)


def test_a_schedule_goes_on_from_its_state():
    one = made(30, warmup=0.2)
    for _ in range(11):
        one.step()
    two = made(30, warmup=0.2)
    two.load_state_dict(one.state_dict())
    one.step()
    two.step()
    assert one.get_last_lr() == two.get_last_lr()
    assert math.isfinite(one.x)


def test_settings_are_checked():
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        make_schedule(Recipe(schedule="cosin"), optimizer(), 3)
    for warmup in (-0.1, 1.0):
        with pytest.raises(InputError, match="warmup is a share"):
            make_schedule(Recipe(warmup=warmup), optimizer(), 3)
