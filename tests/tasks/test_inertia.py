import pytest
import torch

from coset.recipe import Request
from coset.tasks import inertia
from coset.train.run import Run

pytest.importorskip("lightning")


def test_per_trains_tunes_and_tells_the_model():
    data = inertia.data(Request("smoke", 0))
    method = inertia.task.method("PER")
    torch.manual_seed(0)
    model, stage = method.build(data), method.stages[0]
    recipe = inertia.task.recipe["smoke"].override({"epochs": 12})
    stage.loop(model, stage.objective, data, recipe, Run(seed=0))
    shares = [inertia.strength(i, model, data) for i in range(3)]
    assert max(shares) == pytest.approx(1)
    assert len({round(share, 6) for share in shares}) == 3
    assert int(stage.objective.schedule[0]) == 0, "the task's own objective stays as it was"
    values = {name: metric(model, data) for name, metric in inertia.task.metrics.items()}
    assert all(0 <= values[f"error_{axis}"] <= 1 for axis in "xyz")
    assert values["found_axis"] in (0, 1, 2)
    imposed, _ = inertia.task.method("PER, then imposed").stages[1].prepare(model, data)
    assert inertia.error("O(2)" + "xyz"[int(values["found_axis"])], imposed, data) < 1e-5


def test_the_task_names_the_true_axis():
    claims = {contract.name: contract.claim for contract in inertia.task.contracts}
    assert claims == {"O(3)": "broken", "O(2)x": "broken", "O(2)y": "broken", "O(2)z": "exact"}
    data = inertia.data(Request("smoke", 0), axis="x")
    assert data.info["axis"] == "x"
    assert data.train["y"].std() == pytest.approx(1, abs=1e-5)
