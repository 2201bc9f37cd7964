"""`locomotion` holds a quarter of the headings out, takes bodies from files, and its two rows train, save and judge."""

import importlib.util
import json
import math

import numpy as np
import pytest
import torch

from coset.comparison import compare
from coset.data.limb_families import body
from coset.data.limb_files import write_body
from coset.errors import InputError
from coset.nn.limbs import check_limbs, check_vertical
from coset.recipe import Request
from coset.tasks import locomotion
from coset.testing import assert_equivariant

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def data():
    return locomotion.task.data(Request("smoke", 0))


def test_training_never_asks_for_a_held_out_heading(data):
    asked = []
    for seed in range(60):
        seen, _ = data.train().reset(seed=seed)
        asked.append(abs(math.atan2(seen["target"][1], seen["target"][0])))
    assert 0.7 * locomotion.SECTOR < max(asked) <= locomotion.SECTOR
    for part, inside in (("seen", True), ("held_out", False)):
        angles = [abs(math.remainder(option["heading"], 2 * math.pi)) for option in data.test[part]]
        assert len(angles) == 8
        assert all((angle < locomotion.SECTOR) == inside for angle in angles)


def test_audit_states_are_32_different_ones_of_the_body(data):
    assert check_limbs(**data.audit) == (32, 3)
    check_vertical(data.audit["gravity"])
    assert len({tuple(row) for row in data.audit["vectors"].flatten(1).tolist()}) == 32


@pytest.mark.parametrize("contract", locomotion.task.contracts, ids=str)
def test_set_is_exact_on_the_bodys_own_states(contract, data):
    torch.manual_seed(0)
    model = locomotion.task.method("SET").build(data)
    sample = {name: value[:8] for name, value in data.audit.items()}
    assert assert_equivariant(model, contract, sample, samples=4).error < 1e-12


def test_a_body_from_a_file(tmp_path):
    write_body(tmp_path / "mine.json", body("walker_4"))
    data = locomotion.task.data(Request("smoke", 0, (("body", tmp_path / "mine.json"),)))
    assert data.info["limbs"] == 4
    assert data.audit["vectors"].shape[1] == 4
    with pytest.raises(InputError, match="one file"):
        locomotion.task.data(Request("smoke", 0, (("states", tmp_path),)))


def test_walks_are_the_same_for_every_row(data):
    torch.manual_seed(0)
    model = locomotion.task.method("MLP").build(data)
    first, second = (locomotion.walk(model, data, "held_out") for _ in range(2))
    assert np.array_equal(first.returns, second.returns)
    assert locomotion.mean_return("held_out", model, data) == first.returns.mean()
    assert len(first.returns) == 8


def test_both_rows_train_and_are_judged(tmp_path):
    rows = compare(locomotion.task, None, size="smoke", out=tmp_path / "run", progress=False)
    for row in rows:
        assert all(math.isfinite(value) for value in row.metrics.values())
        folder = next((tmp_path / "run" / "rows").glob(f"{row.method.lower()}/*"))
        assert (folder / "headings.npz").is_file()
        assert not list(folder.glob("*.resume.safetensors"))
        assert len((folder / "curve.csv").read_text().splitlines()) == 3
    errors = [row.errors["Stabilizer(SO(3), [0.0, 0.0, -1.0])"]["after"] for row in rows]
    assert errors[1] < 1e-12 < 1e-3 < errors[0]


@pytest.mark.slow
def test_acceptance_kills_resumes_and_judges(root, tmp_path):
    spec = importlib.util.spec_from_file_location("accept_td3", root / "benchmarks" / "accept" / "td3.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.measure(steps=400, size="smoke", folder=str(tmp_path))
    assert figures["short_run"] == {"bitwise_equal": True, "kills": 1, "resumed": figures["short_run"]["resumed"]}
    assert len(figures["short_run"]["resumed"]) == 1
    assert figures["SET"]["steps"] == 400
    assert json.loads((tmp_path / "SET" / "found.json").read_text())["weights"] == figures["SET"]["weights"]
