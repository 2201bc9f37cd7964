"""LARS against the formula, its warm-up, and training with both through ``fit``, broken off and resumed."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.recipe import Data, Recipe
from coset.train.fit import fit
from coset.train.lars import LARS, warm_up
from coset.train.run import Run


def test_two_steps_follow_the_formula(generator):
    w = nn.Parameter(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    b = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
    optimizer = LARS([w, b], 0.5, momentum=0.8, weight_decay=0.1, eta=0.01, bias_rate=0.2)
    want_w, want_b, speed_w, speed_b = w.detach().clone(), b.detach().clone(), 0.0, 0.0
    for step in range(2):
        w.grad, b.grad = torch.full_like(w, 1.0 + step), torch.full_like(b, 2.0)
        way = w.grad + 0.1 * want_w
        speed_w = 0.8 * speed_w + 0.01 * want_w.norm() / way.norm() * way
        speed_b = 0.8 * speed_b + b.grad  # no decay, no adaptation
        want_w, want_b = want_w - 0.5 * speed_w, want_b - 0.1 * speed_b
        optimizer.step()
        assert torch.allclose(w, want_w, rtol=1e-12)
        assert torch.allclose(b, want_b, rtol=1e-12)


def test_the_step_does_not_depend_on_the_size_of_the_gradient_and_zero_weights_move():
    moved = []
    for scale in (1.0, 1000.0):
        w = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
        optimizer = LARS([w], 0.1, weight_decay=0.0)
        w.grad = scale * torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
        optimizer.step()
        moved.append(w.detach().clone())
    assert torch.allclose(*moved)
    assert (moved[0] - 1).norm() == pytest.approx(0.1 * 1e-3 * 2)
    w = nn.Parameter(torch.zeros(2, 2))
    optimizer = LARS([w], 0.1)
    w.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.allclose(w, torch.full((2, 2), -0.1))


def test_warm_up_rises_to_one_and_falls_to_a_thousandth():
    factor = warm_up(1000)
    assert [factor(0), factor(4), factor(9)] == pytest.approx([0.1, 0.5, 1.0])
    assert factor(505) == pytest.approx((1 + 1e-3) / 2, abs=1e-3)
    assert factor(1000) == pytest.approx(1e-3)
    assert max(map(factor, range(1000))) == pytest.approx(1.0)
    assert warm_up(1)(0) == 1.0


def line():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def square(model, batch):
    return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}


def test_fit_trains_with_both_and_goes_on_after_a_break(generator, tmp_path):
    pytest.importorskip("lightning")
    x = torch.randn(48, 3, generator=generator)
    data = Data({"x": x, "y": x.sum(1, keepdim=True)}, None)
    recipe = Recipe(epochs=6, batch=16, lr=50.0, optimizer="lars", schedule="warm-up", clip=0.0)

    class Break(Exception):
        pass

    def stop(progress):
        if progress.epoch == 4:
            raise Break

    whole, first = line(), line()
    before = square(whole, data.train)["loss"]
    fit(whole, square, data, recipe, Run(folder=tmp_path / "a"))
    assert square(whole, data.train)["loss"] < 0.6 * before
    with pytest.raises(Break):
        fit(first, square, data, recipe, Run(folder=tmp_path / "b", report=stop))
    again = line()
    fit(again, square, data, recipe, Run(folder=tmp_path / "b", resume=True))
    assert torch.allclose(again.weight, whole.weight, rtol=1e-6)


def test_settings_out_of_range_are_refused():
    for wrong in ({"lr": -1.0}, {"momentum": 1.0}, {"eta": 0.0}):
        with pytest.raises(InputError, match="LARS"):
            LARS([nn.Parameter(torch.zeros(1))], **wrong)
