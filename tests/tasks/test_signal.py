import math

import pytest
import torch

from coset.errors import InputError
from coset.recipe import Data, Recipe, Request
from coset.tasks import signal
from coset.train.full_batch import full_batch
from coset.train.run import Run


def test_samples_needed_interpolates_on_a_log_grid():
    assert signal.samples_needed((100, 400), (0.2, 0.1), 0.15) == pytest.approx(200)
    assert signal.samples_needed((400, 100), (0.1, 0.2), 0.15) == pytest.approx(200)
    assert signal.samples_needed((100, 400), (0.1, 0.05), 0.15) == 100
    assert math.isinf(signal.samples_needed((100, 400), (0.3, 0.2), 0.15))
    with pytest.raises(InputError, match="optimal detector"):
        signal.samples_needed((100,), (0.3,), 0.01, floor=0.014)
    with pytest.raises(InputError, match="at least one row"):
        signal.samples_needed((), (), 0.1)


def test_shared_weights_learn_from_samples_that_do_not_suffice_for_the_others():
    data = signal.data(Request("smoke", 0))
    errors = {}
    for name in ("cnn", "lcn"):
        torch.manual_seed(0)
        method = signal.task.method(f"{name}, 100 samples")
        model, stage = method.build(data), method.stages[0]
        recipe = signal.task.recipe["cpu"].override(stage.recipe)
        errors[name] = signal.error(stage.loop(model, signal.task.objective, data, recipe, Run(seed=0)), data)
        assert signal.excess(model, data) == pytest.approx(errors[name] - 100 * data.info["floor"])
    assert errors["cnn"] < 16
    assert errors["lcn"] > errors["cnn"] + 3


def test_data_of_different_seeds_differ_and_the_test_set_stays():
    first, second = (signal.data(Request("smoke", seed)) for seed in (0, 1))
    assert not torch.equal(first.train["x"], second.train["x"])
    assert torch.equal(first.test["x"], second.test["x"])
    with pytest.raises(InputError, match="did you mean 'smoke'"):
        signal.data(Request("smok"))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the loop


def line(n=20):
    x = torch.linspace(-1, 1, n)[:, None]
    return Data({"x": x, "y": 2 * x}, {}, valid={"x": x, "y": 2 * x})


def squared(model, batch):
    return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}


def test_full_batch_descent_solves_a_line_and_leaves_the_random_state_alone():
    torch.manual_seed(0)
    model, state, run = torch.nn.Linear(1, 1), torch.get_rng_state(), Run(seed=3)
    recipe = Recipe(epochs=300, lr=0.1, optimizer="sgd", schedule="constant", weight_decay=0.0)
    state = torch.get_rng_state()
    full_batch(model, squared, line(), recipe, run)
    assert torch.equal(state, torch.get_rng_state())
    assert abs(model.weight.item() - 2) < 1e-3
    assert not model.training
    assert run.trace.steps == 300
    assert run.trace.curve[0]["loss"] > run.trace.curve[-1]["loss"]


def test_patience_keeps_the_best_weights():
    class Bounce(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(0.0))

    def pull(model, batch):
        return {"loss": (model.w - batch["at"][0]).square()}

    data = Data({"at": torch.tensor([4.0])}, {}, valid={"at": torch.tensor([1.0])})
    recipe = Recipe(epochs=200, lr=0.01, optimizer="sgd", schedule="constant", weight_decay=0.0, patience=5)
    run = Run()
    model = full_batch(Bounce(), pull, data, recipe, run)
    assert abs(model.w.item() - 1) < 0.3
    assert run.trace.steps < 50
    assert "validation" in run.trace.stopped


def test_bad_recipes_are_named():
    with pytest.raises(InputError, match="30 samples asked for"):
        full_batch(torch.nn.Linear(1, 1), squared, line(), Recipe(samples=30))
    with pytest.raises(InputError, match=r"data\.valid"):
        full_batch(torch.nn.Linear(1, 1), squared, Data(line().train, {}), Recipe(patience=3))
    with pytest.raises(InputError, match="lower the learning rate"):
        full_batch(torch.nn.Linear(1, 1), lambda m, b: {"loss": squared(m, b)["loss"] * math.nan}, line(), Recipe())
