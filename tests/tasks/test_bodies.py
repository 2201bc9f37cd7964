"""The rows of `bodies` promise what they should; metrics and the certificate are what they say, on any size."""

import dataclasses
import importlib.util

import pytest
import torch

from coset.comparison import compare
from coset.recipe import Request
from coset.tasks import bodies
from coset.testing import Broken, assert_equivariant


@pytest.fixture(scope="module")
def data():
    return bodies.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return bodies.task.method(name).build(data)


HELD = [
    pytest.param("FA-PointNet", bodies.bodies, id="framed, bodies"),
    pytest.param("APEN", bodies.bodies, id="apen, bodies"),
    pytest.param("APEN", bodies.exchanges, id="apen, points"),
    pytest.param("APEN, parts told", bodies.parts, id="told, parts"),
]


@pytest.mark.parametrize(("name", "contract"), HELD)
def test_rows_are_exact_where_they_should_be(name, contract, data):
    assert assert_equivariant(built(name, data), contract, data.audit, samples=2).error < 1e-9


@pytest.mark.parametrize(
    ("name", "contract"), [("PointNet", bodies.bodies), ("FA-PointNet", bodies.parts)], ids=["plain", "framed"]
)
def test_and_only_there(name, contract, data):
    with pytest.raises(Broken, match="relative error"):
        assert_equivariant(built(name, data), contract, data.audit, samples=2)


def test_mean_iou_by_hand():
    label = torch.tensor([0, 0, 1, 1, 1, 3])
    assert bodies.mean_iou(label, label, 4) == 100
    guess = torch.tensor([0, 1, 1, 1, 1, 3])
    assert abs(bodies.mean_iou(guess, label, 4) - 100 * (1 / 2 + 3 / 4 + 1) / 3) < 1e-9
    assert bodies.mean_iou(guess, label.flip(0), 4) < 30


class Truth(torch.nn.Module):
    """Knows every label of what it was shown before."""

    def __init__(self, test):
        super().__init__()
        self.test = test

    def forward(self, pos, normal):
        for sample in self.test.values():
            for known, label in zip(sample["pos"].split(25), sample["y"].split(25), strict=True):
                if torch.equal(known, pos):
                    return {"seg": torch.nn.functional.one_hot(label, 6).float(), "group": label[None]}
        raise AssertionError("unknown points")


def test_metrics_of_the_truth(data):
    model = Truth(data.test)
    for name in ("wide", "narrow", "turned"):
        assert bodies.miou_on(name)(model, data) == 100
    assert bodies.purity_percent(model, data) == 100
    assert 20 < bodies.purity_percent(built("PointNet", data), data) < 80


def test_parts_are_moved_rigidly_and_apart(data):
    sample = {**data.test["wide"], "pos": data.test["wide"]["pos"].double(), "normal": data.test["wide"]["normal"].double()}
    pos, body, other = sample["pos"], sample["body"], bodies.moved(sample, generator=torch.Generator().manual_seed(0))
    moved = other["pos"]
    tips = torch.cdist(moved + other["normal"], moved) - torch.cdist(pos + sample["normal"], pos)  # normals move along
    same = body.unsqueeze(-1) == body.unsqueeze(-2)
    change = (torch.cdist(moved, moved) - torch.cdist(pos, pos)).abs()
    assert change[same].max() < 1e-6
    assert tips.abs()[same].max() < 1e-6
    assert change[~same].mean() > 0.3


def test_part_errors_vanish_where_parts_are_told(data):
    assert bodies.part_error(built("APEN, parts told", data), data) < 1e-4
    assert bodies.part_error(built("PointNet", data), data) > 1e-2


def test_rank_correlation():
    a = torch.tensor([0.1, 0.5, 0.3, 7.0])
    assert bodies.rank_correlation(a, a.exp()) == pytest.approx(1)
    assert bodies.rank_correlation(a, -a) == pytest.approx(-1)


def test_the_partition_is_a_finding_of_apen(data, tmp_path):
    found = bodies.partition(built("APEN", data), data)
    assert found.error.shape == found.purity.shape == found.bound.shape == (12,)
    again = type(found).load(found.save(tmp_path / "partition.npz"))
    assert (again.last == found.last).all()
    assert bodies.partition(built("PointNet", data), data) is None
    assert len(found.plot().axes) == 4


def test_scans_take_the_place_of_figures(data, tmp_path):
    import numpy as np

    pytest.importorskip("lightning")
    for name in ("train", "test"):
        pos, normal, label = (data.train[key].numpy()[:12] for key in ("pos", "normal", "y"))
        np.savez(tmp_path / f"{name}.npz", np.concatenate([pos, normal, label[..., None]], -1))
    out = tmp_path / "run"
    (row,) = compare("bodies", ["PointNet"], size="smoke", files={"bodies": tmp_path}, out=out, progress=False, workers=1)
    assert 0 <= row.metrics["miou_wide_percent"] <= 100


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_bodies", root / "benchmarks" / "accept" / "bodies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_measures_the_certificate_and_the_speed(accept, data):
    found = accept.certificate(built("APEN", data), data)
    assert found["constant"] > 0
    assert 0 <= found["held_percent"] <= 100
    assert -1 <= found["error_with_purity"] <= 1
    assert 0 < accept.forward_seconds(points=128, groups=8, repeats=1) < 10
    assert {bound.figure for bound in accept.BOUNDS} >= {"apen_over_framed_points", "forward_seconds"}


@pytest.mark.slow
def test_two_epochs_give_finite_results(tmp_path):
    pytest.importorskip("lightning")
    rows = compare("bodies", size="smoke", out=tmp_path / "run", progress=False, workers=1)
    assert len(rows) == 4
    for row in rows:
        assert set(row.metrics) == set(bodies.task.metrics)
        assert all(value == value for value in dataclasses.asdict(row)["metrics"].values())
