"""The comparison of solids: parts share no solid, metrics find what is put there, the acceptance run can fail."""

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import nn

from coset.audits.probes import Reader
from coset.comparison import compare
from coset.errors import InputError
from coset.recipe import Request
from coset.report.acceptance import judge
from coset.tasks import solids


@pytest.fixture(scope="module")
def data():
    return solids.task.data(Request("smoke", 0))


class Oracle(nn.Module):
    """Knows class and pose of every view by its picture."""

    def __init__(self, *parts):
        super().__init__()
        self.known = {}
        for part in parts:
            for k in range(len(part["y"])):
                for view, pose in zip(part["x"][k], part["pose"][k], strict=True):
                    self.known[view.sum().item(), view[0].float().var().item()] = (part["y"][k], pose)

    def represent(self, x):
        x = (255 * x).round().to(torch.uint8)
        found = [self.known[view.sum().item(), view[0].float().var().item()] for view in x]
        return torch.stack([torch.cat([nn.functional.one_hot(y, 10).float(), q]) for y, q in found])


def test_parts_share_no_solid_and_hold_what_they_say(data):
    assert data.train["x"].shape == (40, 4, 3, 16, 16)
    assert data.test["x"].shape == (10, 4, 3, 16, 16)
    assert sorted(data.test["y"].tolist()) == list(range(10))
    assert torch.allclose(data.train["pose"].norm(dim=-1), torch.ones(40, 4), atol=1e-6)
    assert torch.equal(data.train["x"], solids.task.data(Request("smoke", 3)).train["x"]), "seeds vary training, not data"


def test_metrics_read_what_an_oracle_knows(data, monkeypatch):
    extent = replace(
        solids.EXTENTS["smoke"],
        pairs=12,
        rotation=Reader((32,), epochs=60, batch=32, lr=1e-2),
        classes=Reader(epochs=40, lr=3e-2),
    )
    monkeypatch.setitem(solids.EXTENTS, "smoke", extent)
    oracle = Oracle(data.train, data.test)
    assert solids.accuracy(oracle, data) == 100
    assert solids.rotation(oracle, data) > 0.5  # 480 pairs, a quadratic map
    assert solids.rotation(oracle, data, what="pooled") > solids.rotation(oracle, data)
    assert solids.defect(oracle, data) == 0


def test_pairs_are_of_one_solid_and_never_of_one_view_with_itself():
    thing, first, second = solids.choose((6, 4), 5, 0)
    assert thing.tolist() == [k for k in range(6) for _ in range(5)]
    assert bool((first != second).all())
    assert {*first.tolist(), *second.tolist()} == {0, 1, 2, 3}


def test_all_metrics_of_two_rows_are_finite(tmp_path):
    pytest.importorskip("lightning")
    rows = compare(solids.task, ["VICReg", "SIE"], size="smoke", out=tmp_path / "run", progress=False)
    for row in rows:
        assert set(row.metrics) == set(solids.task.metrics)
        assert all(value == value for value in row.metrics.values())
    assert rows[0].metrics["homomorphism_defect"] == 0 < rows[1].metrics["homomorphism_defect"]
    assert rows[0].metrics["rotation_r2"] == rows[0].metrics["invariant_rotation_r2"]


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean '3diebench'"):
        solids.task.data(Request("smoke", 0, (("3die", tmp_path),)))
    with pytest.raises(InputError, match="unknown size"):
        solids.task.data(Request("tiny", 0))


@pytest.mark.parametrize("name", ["solids", "digit_views"])
def test_acceptance_judges_by_every_threshold(name, root):
    spec = importlib.util.spec_from_file_location(f"accept_{name}", root / "benchmarks" / "accept" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    good = {bound.figure: bound.value + (0.01 if bound.relation == ">=" else -0.01) for bound in module.BOUNDS}
    assert judge(name, good, module.BOUNDS)["passed"]
    for bound in module.BOUNDS:
        wrong = bound.value + (-1.0 if bound.relation == ">=" else 1.0)
        assert not judge(name, {**good, bound.figure: wrong}, module.BOUNDS)["passed"]
