"""Layers of other packages, judged by our contracts: what holds, and what does not."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    pytest.importorskip("torch_geometric", reason="needs the extra graphs")
    pytest.importorskip("e3nn", reason="needs the extra peers")
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "benchmarks" / "conformance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.run(tmp_path_factory.mktemp("conformance"))


def test_what_is_equivariant_passes_and_what_is_not_is_found(lines):
    broken = {(line["what"], line["group"]) for line in lines if not line["holds"]}
    assert broken == {
        ("SAGEConv(aggr='lstm')", 'S("E")'),
        ("PointNetConv", "E(3)"),
        *((f"S2Activation({name}, res={res})", "SO(3)") for name in ("relu", "tanh") for res in (20, 100)),
    }
    assert max(line["error"] for line in lines if line["holds"]) < 1e-12


def test_an_order_of_edges_is_found_by_shuffling_edges_only(lines):
    of = {line["group"]: line for line in lines if line["what"].startswith("SAGEConv(aggr")}
    assert of['S("N")']["holds"]
    assert of['S("E")']["error"] > 1e-3
    assert "S(" in of['S("E")']["why"]


def test_the_grid_of_the_sphere_converges(lines):
    error = {line["what"]: line["error"] for line in lines}
    for name in ("relu", "tanh"):
        assert error[f"S2Activation({name}, res=100)"] < error[f"S2Activation({name}, res=20)"] / 10
