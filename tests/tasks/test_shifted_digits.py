"""Rows that promise shifts keep them on digits, plain rows do not; the metrics tell them apart; the acceptance run can fail."""

import importlib.util
import math

import pytest
import torch

from coset.comparison import compare
from coset.recipe import Request
from coset.tasks import cifar10_shift, shifted_digits
from coset.testing import Broken, assert_equivariant

EXACT = {"shifted_digits": ["PolyViT", "PolyTwins", "canonicalized ViT"],
         "cifar10_shift": ["polyvit_tiny", "polytwins_tiny", "canonicalized ViT"]}  # fmt: skip
TASKS = {"shifted_digits": shifted_digits, "cifar10_shift": cifar10_shift}
ROWS = [(name, row) for name, rows in EXACT.items() for row in rows]


@pytest.fixture(scope="module")
def data():
    return {name: module.task.data(Request("smoke", 0)) for name, module in TASKS.items()}


def built(name, row, data):
    torch.manual_seed(0)
    return TASKS[name].task.method(row).build(data[name])


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_exact_rows_are_exact_on_the_data(name, row, data):
    model, x = built(name, row, data).double(), data[name].audit[:2].double()
    promise = model.contracts[0]
    assert bool(torch.as_tensor(promise.where(x)).all())
    assert assert_equivariant(model, TASKS[name].everywhere, x, samples=6).error < 1e-10


@pytest.mark.parametrize("row", ["plain ViT", "plain Twins"])
def test_plain_rows_are_not(row, data):
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(
            built("shifted_digits", row, data), shifted_digits.everywhere, data["shifted_digits"].audit[:2], samples=4
        )


def test_a_converted_row_is_exact_and_keeps_what_it_learned(data):
    plain = built("shifted_digits", "plain ViT", data)
    model, _ = shifted_digits.converted(plain, data["shifted_digits"])
    assert torch.equal(model.model.head.weight, plain.head.weight)
    assert_equivariant(model, shifted_digits.everywhere, data["shifted_digits"].audit[:2], samples=4)


def undecided(model, data):
    """An untrained network whose classes are equally likely: every change of its logits can turn a prediction."""
    with torch.no_grad():
        model.head.bias -= model(data.test["x"]).mean(0)


def test_metrics_tell_symmetric_networks_from_others(data):
    digits, colors = data["shifted_digits"], data["cifar10_shift"]
    exact, plain = built("shifted_digits", "PolyViT", data), built("shifted_digits", "plain ViT", data)
    for model in (exact, plain):
        undecided(model, digits)
    assert shifted_digits.consistency(exact, digits) == 100
    assert shifted_digits.drop(exact, digits) == 0
    assert shifted_digits.consistency(plain, digits) < 100
    exact, plain = built("cifar10_shift", "polyvit_tiny", data), built("cifar10_shift", "plain ViT", data)
    for model in (exact, plain):
        undecided(model, colors)
    assert cifar10_shift.circular(exact, colors) == 100
    assert cifar10_shift.crop(exact, colors) < 100
    assert cifar10_shift.circular(plain, colors) < 100
    assert cifar10_shift.accuracy(exact, colors) == cifar10_shift.shifted_accuracy(exact, colors)


def test_the_map_of_shifts_is_flat_where_exact(data):
    found = shifted_digits.consistency_map(built("shifted_digits", "PolyTwins", data), data["shifted_digits"])
    assert found.values.shape == (24, 9, 9)
    assert found.values.min() == 1


def test_size_full_builds_the_network_of_the_paper(data):
    full = {"cifar10_shift": data["cifar10_shift"].__class__(None, None, info={"full": True})}
    model = built("cifar10_shift", "polyvit_tiny", full)
    assert model.config["widths"] == [192]
    assert len(model.stages[0]) == 9


def test_an_epoch_gives_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare(shifted_digits.task, ["PolyViT"], size="smoke", out=tmp_path / "run", progress=False)
    assert all(math.isfinite(value) for value in rows[0].metrics.values())
    assert rows[0].errors["Torus(32, 32)"]["after"] < 1e-12
    assert list((tmp_path / "run").rglob("shifts.npz"))


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_shifts", root / "benchmarks" / "accept" / "shifted_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_times_both_networks(accept):
    ratios = accept.time_ratios("global", 2, batch=4)
    assert set(ratios) == {"step", "forward"}
    assert all(0.3 < value < 5 for value in ratios.values())
