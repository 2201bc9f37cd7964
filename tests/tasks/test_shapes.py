"""The rows of `shapes` keep what they promise, its turned test clouds are turned ones, and the acceptance run can fail."""

import importlib.util
import json
import math

import pytest
import torch

from coset.comparison import compare
from coset.errors import InputError
from coset.recipe import Request
from coset.tasks import shapes
from coset.testing import Broken, assert_equivariant


@pytest.fixture(scope="module")
def data():
    return shapes.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return shapes.task.method(name).build(data).eval()


@pytest.mark.parametrize("name", ["canonicalized (TinvNN)", "frame averaging, SO(3)"])
@pytest.mark.parametrize("contract", shapes.task.contracts, ids=str)
def test_exact_rows_are_exact(name, contract, data):
    assert assert_equivariant(built(name, data), contract, data.audit[:8], samples=4).error < 1e-10


def test_canonicalized_row_ignores_reflections_too(data):
    assert (
        assert_equivariant(built("canonicalized (TinvNN)", data), shapes.reflections, data.audit[:8], samples=4).error < 1e-10
    )


def test_plain_row_is_not_invariant(data):
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(built("plain", data), shapes.rotations, data.audit[:8], samples=4)


def test_turned_clouds_are_the_upright_ones_turned(data):
    upright, turned = data.test["x"], data.test["turned"]
    assert (upright - turned).abs().amax((1, 2)).min() > 0.1
    pairs = [torch.linalg.vector_norm(x[:, :20, None] - x[:, None, :20], dim=-1) for x in (upright, turned)]
    assert (pairs[0] - pairs[1]).abs().max() < 1e-5
    volumes = [torch.linalg.det(x[:, 1:4] - x[:, :1]) for x in (upright, turned)]  # reflections would change the sign
    assert (volumes[0] - volumes[1]).abs().max() < 1e-4


def test_exact_row_scores_the_same_turned(data):
    model = built("canonicalized (TinvNN)", data)
    upright, turned = (shapes.accuracy_on(name)(model, data) for name in ("x", "turned"))
    assert upright == turned


def test_accuracy_counts_in_percent(data):
    class Knows:
        def __call__(self, x):
            return torch.nn.functional.one_hot(data.test["y"], 8).float()[: len(x)]

    half = {"x": data.test["x"], "y": torch.where(torch.arange(80) < 40, data.test["y"], (data.test["y"] + 1) % 8)}
    assert shapes.accuracy_on("x")(Knows(), data) == 100
    assert shapes.accuracy_on("x")(Knows(), type(data)(None, half)) == 50


def test_two_epochs_give_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare(shapes.task, ["plain", "canonicalized (TinvNN)"], size="smoke", out=tmp_path / "run", progress=False)
    for row in rows:
        assert set(row.metrics) == {"turned_percent", "upright_percent"}
        assert all(math.isfinite(value) and 0 <= value <= 100 for value in row.metrics.values())
    assert rows[1].errors["SO(3)"]["after"] < 1e-10 < 1e-3 < rows[0].errors["SO(3)"]["after"]


def test_a_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no data file"):
        shapes.task.data(Request("smoke", 0, (("mine", tmp_path),)))


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_shapes", root / "benchmarks" / "accept" / "shapes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_judges_by_every_threshold(accept):
    good = {"plain_turned_percent": 30.0, "tinvnn_turned_percent": 90.0, "tinvnn_upright_percent": 90.5, "step_ratio": 1.1}
    assert accept.judge(good)
    for name, bad in (("plain_turned_percent", 50.0), ("tinvnn_upright_percent", 92.0), ("step_ratio", 1.5)):
        assert not accept.judge({**good, name: bad})
    assert not accept.judge({**good, "tinvnn_turned_percent": 84.0, "tinvnn_upright_percent": 84.0})


@pytest.mark.slow
def test_acceptance_writes_its_file(accept, tmp_path):
    found = accept.run(tmp_path, size="smoke")
    stored = json.loads((tmp_path / "shapes.json").read_text())
    assert {"what", "figures", "thresholds", "passed", "seconds"} <= set(stored)
    assert stored["passed"] == found["passed"]
    assert not found["passed"], "two epochs are not enough: the thresholds can fail"
