"""The rows of `holstein` keep what they promise; a law without error scores without error; the judge's quench can fail."""

import math

import pytest
import torch
from torch import nn

from coset.comparison import compare
from coset.contract import Contract, frozen
from coset.data.holstein import MODEL
from coset.recipe import Request
from coset.symmetrizers.augment import Augmented
from coset.task import Data
from coset.tasks import holstein
from coset.testing import Broken, assert_equivariant
from coset.train.run import Run

KEPT = {
    "plain": (holstein.shifts,),
    "plain, augmented": (holstein.shifts,),
    "D4": (holstein.points, holstein.shifts),
    "D4 x Z2": (holstein.points, holstein.shifts, holstein.half_filling),
    "conservative D4": (holstein.points, holstein.shifts),
}


@pytest.fixture(scope="module")
def data():
    return holstein.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return holstein.task.method(name).build(data)


class Exact(nn.Module):
    """The law itself, as a model."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, q):
        return MODEL.force(q) * self.factor.to(q)


@pytest.mark.parametrize("name", KEPT)
def test_rows_keep_their_contracts_and_no_others(name, data):
    for contract in holstein.task.contracts:
        if contract in KEPT[name]:
            assert assert_equivariant(built(name, data), contract, data.audit, samples=8).error < 1e-12
        else:
            with pytest.raises(Broken, match="does not keep"):
                assert_equivariant(built(name, data), contract, data.audit, samples=8)


def test_the_law_scores_without_error(data):
    law = Exact().eval()
    assert holstein.error(law, data) < 1e-6
    assert holstein.oddness(law, data) < 1e-6
    assert holstein.deviation(law, data) < 1e-9
    assert holstein.error(Exact(1.1), data) == pytest.approx(0.1, rel=1e-4)
    assert holstein.deviation(Exact(1.3), data) > 10


def test_oddness_is_zero_of_the_odd_row_only(data):
    assert holstein.oddness(built("D4 x Z2", data), data) == 0
    assert holstein.oddness(built("D4", data), data) > 1e-3


def test_augmentation_turns_forces_with_their_configurations(data):
    batch = {name: value[:4].double() for name, value in data.train.items()}
    batch["y"] = MODEL.force(batch["x"])
    objective = Augmented(holstein.base, holstein.points, seed=0)
    assert objective(Exact().train(), batch)["loss"] < 1e-20


@pytest.mark.parametrize("name", ["plain, augmented", "D4 x Z2", "conservative D4"])
def test_whole_batches_lower_the_loss(name, data):
    model, method = built(name, data), holstein.task.method(name)
    recipe = holstein.task.recipe["cpu"].override({"epochs": 15})
    small = Data(data.train, data.test, data.audit, None, data.info)

    def loss():
        return float((holstein.forces(model, data.train["x"]) - data.train["y"]).square().mean())

    before = loss()
    (stage,) = method.stages
    run = Run(seed=0)
    stage.loop(model, stage.objective or holstein.base, small, recipe, run)
    assert loss() < 0.8 * before
    assert run.trace.steps == 15


def test_small_batches_go_through_the_default_loop(data, monkeypatch):
    called = []
    monkeypatch.setattr(holstein, "fit", lambda *given: called.append("fit"))
    monkeypatch.setattr(holstein, "full_batch", lambda *given: called.append("whole"))
    for batch, samples in ((8, 0), (7, 0), (4, 4)):
        holstein.train(None, None, data, holstein.task.recipe["cpu"].override({"batch": batch, "samples": samples}))
    assert called == ["whole", "fit", "whole"]


def test_growth_is_drawn_from_the_figures_of_the_metric(data):
    model = built("D4", data)
    found = holstein.growth(model, data)
    assert 100 * found.deviation == pytest.approx(holstein.deviation(model, data), rel=1e-6)
    assert found.phi.shape == (2, 8, 8)
    assert len(found.plot().axes) == 4


def test_forces_of_the_conservative_row_need_no_graph_of_weights(data):
    model = built("conservative D4", data)
    with frozen(model), torch.no_grad():
        assert torch.equal(holstein.forces(model, data.test["x"]), model(data.test["x"]))


def test_a_comparison_of_two_rows(tmp_path):
    rows = compare(holstein.task, ["plain", "D4 x Z2"], size="smoke", out=tmp_path / "run", progress=False)
    assert [row.method for row in rows] == ["plain", "D4 x Z2"]
    for row in rows:
        assert set(row.metrics) == {"relative_rmse", "oddness_error", "quench_percent"}
        assert all(math.isfinite(value) for value in row.metrics.values())
    errors = rows[1].errors
    assert max(errors[str(c)]["after"] for c in holstein.task.contracts) < 1e-6
    assert isinstance(holstein.points, Contract)
