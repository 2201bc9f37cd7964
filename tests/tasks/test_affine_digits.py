"""Affine digits: equal parameters, metrics of what they say, findings that draw, and the command of the public data."""

import importlib.util
import math

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.models.images.lie_cnn import LieCNN, PlainCNN, parameters_of
from coset.recipe import Request
from coset.report.acceptance import judge
from coset.tasks import affine_digits as module

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data():
    return module.task.data(Request("smoke"))


def built(name, data):
    torch.manual_seed(0)
    return module.task.method(name).build(data)


class Fake:
    """Data that only say their size."""

    def __init__(self, scale, size):
        self.info = {"scale": scale, "size": size, "classes": 10}


@pytest.mark.parametrize(("scale", "size"), [("smoke", 20), ("cpu", 20)])
def test_rows_have_equal_parameters(scale, size):
    counts = [parameters_of(method.build(Fake(scale, size))) for method in module.task.methods]
    assert max(counts) < 1.1 * min(counts)
    assert isinstance(module.plain(Fake(scale, size)), PlainCNN)


def test_the_sizes_are_those_of_the_sheet():
    model = module.lie("SL(2)", Fake("cpu", 20))
    assert (model.config["width"], model.config["samples"], model.config["blocks"]) == (12, 6, 1)
    full = module.LAYOUTS["full"]
    assert (full["width"], full["samples"], full["blocks"]) == (40, 10, 2)
    assert module.task.recipe["full"].epochs == 50


class Oracle(nn.Module):
    """Looks images up in the data and answers with the right class; ``shift`` moves all answers."""

    def __init__(self, data, shift=0):
        super().__init__()
        self.known = torch.cat([data.test["x"], data.test["moved"]])
        self.y = (torch.cat([data.test["y"], data.test["moved_y"]]) + shift) % 10

    def forward(self, x):
        place = (x[:, None] - self.known).flatten(2).abs().amax(2).argmin(1)
        return nn.functional.one_hot(self.y[place], 10).float()


def test_metrics(data):
    assert module.moved_accuracy_percent(Oracle(data), data) == 100
    assert module.upright_accuracy_percent(Oracle(data), data) == 100
    assert module.moved_accuracy_percent(Oracle(data, 1), data) == 0
    blind = nn.Sequential(nn.Flatten(), nn.Linear(400, 10))
    torch.nn.init.zeros_(blind[1].weight)
    assert module.invariance_error(blind, data) == 0
    assert module.sample_error(blind, data) == 0
    assert module.invariance_error(built("CNN", data), data) > 1e-3
    assert module.sample_error(built("Lie SL(2)", data), data) > 1e-3


def test_sample_errors_couple_nothing_but_the_image(data):
    network = built("Lie GL+(2)", data)
    x = data.test["x"][:5]
    first, second = module.logits(network, x, network.draw(0)), module.logits(network, x, network.draw(1))
    want = float((second - first).norm() / first.norm())
    assert module.sample_errors(network, x, (4,), draws=1) == pytest.approx([want])


def test_the_finding_draws_itself(data, tmp_path):
    curve = module.sample_curve(built("Lie SL(2)", data), data)
    again = module.SampleCurve.load(curve.save(tmp_path / "samples.npz"))
    assert again.counts.tolist() == [2, 4]
    assert ((again.accuracy >= 0) & (again.accuracy <= 100)).all()
    pytest.importorskip("matplotlib")
    again.plot().savefig(tmp_path / "samples.png")
    assert module.sample_curve(built("CNN", data), data) is None
    assert module.lie_network(built("CNN", data)) is None
    assert isinstance(module.lie_network(nn.Sequential(built("Lie SL(2)", data))), LieCNN)


def test_an_unknown_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="mnist"):
        module.task.data(Request("smoke", 0, (("minst", tmp_path),)))


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_affine", root / "benchmarks" / "accept" / "affine_digits.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_acceptance_judges_by_every_bound(accept):
    good = {"gain": {"gl2": 50.0, "sl2": 50.0}, "step_ratio": 1.0, "slope": {"gl2": -0.5, "sl2": -0.5}, "more_samples": 1.0}
    assert judge("affine_digits", good, accept.BOUNDS)["passed"]
    for bound in accept.BOUNDS:
        wrong = {key: dict(value) if isinstance(value, dict) else value for key, value in good.items()}
        *path, last = bound.figure.split(".")
        (wrong[path[0]] if path else wrong)[last] = math.nan
        assert not judge("affine_digits", wrong, accept.BOUNDS)["passed"]


def test_acceptance_measures_steps(accept, data):
    assert accept.step_ratio(data, rounds=1) > 0
