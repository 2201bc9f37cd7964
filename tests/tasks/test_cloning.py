"""The rows of `cloning` keep what they promise, its metrics know the sector, and the acceptance run can fail."""

import importlib.util
import math

import pytest
import torch

from coset.contract import evaluating
from coset.data.glider import expert
from coset.nn.limbs import INPUTS
from coset.recipe import Request
from coset.report.acceptance import judge
from coset.symmetrizers.augment import Augmented
from coset.tasks import cloning
from coset.testing import Broken, assert_equivariant


@pytest.fixture(scope="module")
def data():
    return cloning.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return cloning.task.method(name).build(data)


class Expert(torch.nn.Module):
    def forward(self, **x):
        return expert(x)


class Sector(torch.nn.Module):
    """Right in the sector, a fixed amount off elsewhere."""

    def forward(self, **x):
        off = torch.atan2(x["target"][:, 1], x["target"][:, 0]).abs() > math.radians(30.01)
        return expert(x) + 0.1 + 0.2 * off[:, None, None]


def test_the_experts_error_is_zero_and_a_sectors_is_known(data):
    assert cloning.error("outside", Expert(), data) < 1e-10
    assert cloning.error("inside", Sector(), data) == pytest.approx(0.01, rel=1e-4)
    assert cloning.error("outside", Sector(), data) == pytest.approx(0.09, rel=1e-4)
    assert cloning.ratio(Sector(), data) == pytest.approx(9.0, rel=1e-4)


@pytest.mark.parametrize("contract", cloning.task.contracts, ids=str)
def test_the_exact_row_is_exact_and_the_plain_one_is_not(contract, data):
    sample = {name: value[:6] for name, value in data.audit.items()}
    assert assert_equivariant(built("SET", data), contract, sample, samples=4).error < 1e-12
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(built("MLP", data), contract, sample, samples=4)


def test_augmented_targets_are_the_experts_at_the_turned_state(data):
    batch = {name: value[:20].double() for name, value in data.train.items()}
    batch["y"] = expert(batch)
    objective = Augmented(cloning.base, cloning.turns, seed=0)
    model = Expert()
    assert objective(model, batch)["loss"] < 1e-20


def test_flights_of_the_expert_reach_their_headings(data):
    found = cloning.headings(Expert(), data)
    assert found.paths.shape == (12, 11, 2)
    assert found.progress().min() > 0
    assert found.progress().max() - found.progress().min() < 1e-4


def test_models_are_judged_in_eval_mode(data):
    model = built("SET", data).train()
    x = {name: data.test["inside"][name] for name in INPUTS}
    with evaluating(model), torch.no_grad():
        want = float((model(**x) - data.test["inside"]["y"]).square().mean())
    assert cloning.error("inside", model, data) == want


def test_acceptance_judges_by_every_threshold(root):
    spec = importlib.util.spec_from_file_location("accept_cloning", root / "benchmarks" / "accept" / "cloning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    good = {"SET": {"ratio": 1.0, "turned": 1e-15}, "MLP": {"ratio": 6.0}, "minutes": 1.0}
    assert judge("cloning", good, module.BOUNDS)["passed"]
    for name, bad in (
        ("SET", {"ratio": 1.3, "turned": 1e-15}),
        ("SET", {"ratio": 1.0, "turned": 1e-5}),
        ("MLP", {"ratio": 2.0}),
    ):
        assert not judge("cloning", {**good, name: bad}, module.BOUNDS)["passed"]
