"""A small sample of the acceptance runs of soft and constrained symmetry: they run, write their file and judge."""

import importlib.util
import json

import pytest

from coset.recipe import Recipe

pytest.importorskip("lightning")


def load(root, name):
    spec = importlib.util.spec_from_file_location(f"accept_{name}", root / "benchmarks" / "accept" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_file(folder, name, found):
    stored = json.loads((folder / f"{name}.json").read_text())
    assert {"what", "figures", "thresholds", "passed", "seconds"} <= set(stored)
    assert stored["passed"] == found["passed"]


def test_constrained_runs(root, tmp_path):
    module = load(root, "constrained")
    found = module.run(tmp_path, seeds=1, recipe=Recipe(epochs=1, batch=200, lr=1e-3, optimizer="adam"), tests=40)
    check_file(tmp_path, "constrained", found)
    assert not found["passed"], "one epoch is not enough: the thresholds can fail"
    assert 0 <= found["figures"]["constrained"]["accepted"] <= 1


def test_inertia_runs(root, tmp_path):
    found = load(root, "inertia").run(tmp_path, axes="z", epochs=4)
    check_file(tmp_path, "inertia", found)
    assert 0 < found["figures"]["z"]["error_z"] < 1


def test_weight_sharing_runs(root, tmp_path):
    module = load(root, "weight_sharing")
    module.GRID = {"cnn": (25, 100), "lcn": (400, 800), "fcn": (800,)}
    found = module.run(tmp_path, seeds=1)
    check_file(tmp_path, "weight_sharing", found)
    assert found["figures"]["lcn_over_cnn"] > 4
