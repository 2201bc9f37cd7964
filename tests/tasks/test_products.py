"""The table of products: its figures are those of the sheet, ties count once, and both acceptance runs can fail."""

import importlib.util
import json
import math

import pytest
import torch

from coset.comparison import compare
from coset.recipe import Request
from coset.tasks import products


@pytest.fixture(scope="module")
def data():
    return products.task.data(Request("smoke", 0))


@pytest.mark.parametrize(
    ("name", "lmax", "maps", "blocks"),
    [("cg", 1, 5, 5), ("gaunt", 2, 7, 11), ("matrix", 2, 7, 15), ("gaunt+vector", 2, 11, 15)],
)
def test_products_are_rated(name, lmax, maps, blocks):
    found = products.rate(name, lmax)
    assert (found.paths, found.bound) == (blocks, 5 if lmax == 1 else 15)
    assert found.expressivity == maps
    assert found.equivariance_error < 1e-12


@pytest.mark.parametrize("name", ["gaunt", "matrix", "gaunt+vector"])
def test_products_take_time(name):
    assert 0 < products.milliseconds(name, 1, batch=4, repeats=2) < 1e3


def test_a_network_without_odd_paths_names_seven_pieces_at_best(data):
    torch.manual_seed(0)
    model = products.task.method("gaunt").build(data)

    class Best(torch.nn.Module):
        """Everything right but for the tie that the network cannot break."""

        def forward(self, x):
            y = torch.nn.functional.one_hot(data.test["y"], 8).float()
            tied = y[:, :2].sum(1, keepdim=True).expand(-1, 2)
            return torch.cat([tied, y[:, 2:]], 1)

    assert products.correct(Best(), data) == 87.5
    y = model(data.test["x"])
    assert torch.equal(y[:, 0], y[:, 1])


def test_rows_without_a_product_have_no_figures(data):
    plain = products.task.method("plain").build(data)
    assert products.task.metrics["expressivity_maps"](plain, data) == 0


def test_two_epochs_give_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare(products.task, ["plain", "gaunt"], size="smoke", out=tmp_path / "run", progress=False)
    for row in rows:
        assert set(row.metrics) == {"correct_percent", "expressivity_maps", "interacting_blocks", "product_ms"}
        assert all(math.isfinite(value) and value >= 0 for value in row.metrics.values())
    assert rows[1].metrics["expressivity_maps"] == 13
    assert rows[1].errors["SE(3)"]["after"] < 1e-10 < 1e-3 < rows[0].errors["SE(3)"]["after"]


def load(root, name):
    spec = importlib.util.spec_from_file_location(f"accept_{name}", root / "benchmarks" / "accept" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_price_judges_by_every_threshold(root):
    price = load(root, "price")
    tetris = {"cg": 100.0, "cg, even features": 87.5, "gaunt": 87.5, "gaunt + vector": 100.0}
    times = {"gaunt-grid": [1.0, 1.0, 1.0, 1.0, 1.0], "cg-dense": [0.5, 0.5, 0.5, 2.0, 3.0]}
    good = {"correct_percent": tetris, "milliseconds": times, "per_map_microseconds": {"cg-dense": 1.0, "gaunt-grid": 2.0}}
    assert price.judge(good)
    for name, bad in (("cg", 87.5), ("gaunt", 100.0), ("gaunt + vector", 87.5)):
        assert not price.judge({**good, "correct_percent": {**tetris, name: bad}})
    assert not price.judge({**good, "milliseconds": {**times, "cg-dense": [2.0, 2.0, 2.0, 0.5, 3.0]}})
    assert not price.judge({**good, "per_map_microseconds": {"cg-dense": 3.0, "gaunt-grid": 2.0}})


def test_gaunt_judges_by_every_threshold(root):
    gaunt = load(root, "gaunt")
    speed = {"cg-dense": [0.5, 1.2, 3.0, 6.0], "cg-paths": [10.0, 20.0, 60.0, 90.0]}
    good = {"speed_up": speed, "accuracy": {"ratio": 1.0}}
    assert gaunt.judge(good)
    assert not gaunt.judge({**good, "accuracy": {"ratio": 1.2}})
    assert gaunt.judge({**good, "accuracy": {"ratio": 0.8}})
    assert not gaunt.judge({**good, "speed_up": {**speed, "cg-dense": [0.5, 1.2, 1.9, 6.0]}})
    assert not gaunt.judge({**good, "speed_up": {**speed, "cg-dense": [0.5, 1.2, 3.0, 2.9]}})
    assert not gaunt.judge({**good, "speed_up": {**speed, "cg-paths": [10.0, 11.0, 12.0, 90.0]}})


def test_engines_that_are_timed_compute_the_same(root):
    price, gaunt = load(root, "price"), load(root, "gaunt")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 9, generator=generator) for _ in range(2))
    want = gaunt.by_paths(2)(x, y)
    assert torch.allclose(gaunt.dense(2)(x, y), want, atol=1e-5)
    assert torch.allclose(price.dense(2)(x.unsqueeze(-1), y.unsqueeze(-1)), want, atol=1e-5)
    ours, shapes = products.product("cg", 2, "torch")
    got = ours(x.unsqueeze(-1), y.unsqueeze(-1), torch.ones(*shapes[0]))
    assert torch.allclose(got.squeeze(-1), want, atol=1e-5)
    assert set(price.runtimes(range(1, 2), repeats=1)) == {"gaunt-grid", "cg-dense"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["price", "gaunt"])
def test_acceptance_writes_its_file(root, tmp_path, name):
    module = load(root, name)
    options = {"top": 4} if name == "price" else {"seeds": 1, "epochs": 1}
    found = module.run(tmp_path, size="smoke", **options)
    stored = json.loads((tmp_path / f"{name}.json").read_text())
    assert {"what", "figures", "thresholds", "passed", "seconds"} <= set(stored)
    assert stored["passed"] == found["passed"]
    if name == "price":
        assert not found["passed"], "two epochs are not enough: the thresholds can fail"
