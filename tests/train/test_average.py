import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.recipe import Data, Recipe
from coset.train.average import MovingAverage
from coset.train.fit import fit
from coset.train.run import Run


def test_the_average_follows_its_formula():
    model = nn.Linear(1, 1, bias=False)
    average, expected = MovingAverage(model, 0.9), model.weight.item()
    for step in range(1, 40):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    average.exchange()
    assert model.weight.item() == pytest.approx(expected, rel=1e-5)
    average.exchange()
    assert model.weight.item() == 39.0


def test_a_training_ends_with_the_average_and_judges_it():
    seen = []

    def objective(model, batch):
        if not model.training:
            seen.append(model.weight.detach().clone())
        return {"loss": (model(batch["x"]) - 3 * batch["x"]).square().mean()}

    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    data = Data({"x": x}, None, valid={"x": x})
    found = {}
    for ema in (0.0, 0.5):
        torch.manual_seed(0)
        model = nn.Linear(1, 1, bias=False)
        recipe = Recipe(epochs=3, batch=8, optimizer="sgd", lr=0.05, schedule="constant", weight_decay=0.0, ema=ema)
        found[ema] = fit(model, objective, data, recipe, Run(seed=0)).weight.detach()
    # the average lags behind the weights, which move towards 3
    assert found[0.0].item() > found[0.5].item()


def test_a_decay_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"between 0 and 1.*got 1"):
        MovingAverage(nn.Linear(1, 1), 1.0)
