"""The rows of `decomposed_potential` have equal channels, and symmetry as good as their rank."""

import pytest
import torch

from coset.recipe import Request
from coset.tasks import decomposed_potential as task_of
from coset.tasks.crystals import equivariance_error, turned

NAMES = ("all paths", "rank 32", "rank 28", "rank 20")


@pytest.fixture(scope="module")
def data():
    return task_of.task.data(Request("smoke", 0))


@pytest.fixture(scope="module")
def models(data):
    def built(name):
        torch.manual_seed(0)
        return task_of.task.method(name).build(data)

    return {name: built(name) for name in (*NAMES, "rank 32, direct forces")}


def test_the_baseline_is_exact_and_first(models):
    assert [method.name for method in task_of.task.methods][: len(NAMES)] == list(NAMES)
    assert models["all paths"].contracts[0].claim == "exact"
    assert models["rank 20"].contracts[0].bound > 1000 * models["rank 32"].contracts[0].bound


def test_rows_have_equal_weights(models):
    counts = {sum(p.numel() for p in models[name].parameters()) for name in NAMES}
    assert len(counts) == 1


def test_forces_turn_as_well_as_the_rank_allows(models, data):
    exact, *gaps = (equivariance_error(models[name], data) for name in NAMES)
    assert exact < 1e-12
    assert exact < gaps[0] < gaps[1] < gaps[2]
    assert gaps[2] > 10 * gaps[0], "the sheet's factor"
    assert all(bool(torch.linalg.det(g) > 0) for g, _ in turned(models["all paths"], data)[1]), "parity is not claimed"


def test_only_gradient_forces_conserve(models, data):
    assert task_of.task.metrics["force_gap"](models["rank 20"], data) < 1e-6
    assert task_of.task.metrics["force_gap"](models["rank 32, direct forces"], data) > 0.1
