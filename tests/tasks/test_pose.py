"""The rows of `pose` share a grid, metrics know the truth when they see it, and the acceptance run can fail."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch import nn

from coset.data.rendered_points import rendered_points
from coset.ops.healpix import RotationGrid, angle_between
from coset.recipe import Data, Request
from coset.tasks import pose
from coset.testing import Broken, assert_equivariant

EXACT = ["induced, C4 encoder", "induced to SO(3), C4 encoder"]


@pytest.fixture(scope="module")
def data():
    return pose.task.data(Request("smoke", 0))


def built(name, data):
    torch.manual_seed(0)
    return pose.task.method(name).build(data)


class Oracle(nn.Module):
    """Knows the pose of every test image, up to the grid; ``second`` answers with the last of the equivalent poses."""

    def __init__(self, data, sharpness=50.0, second=False):
        super().__init__()
        self.data, self.sharpness, self.second = data, sharpness, second
        self.grid = RotationGrid(data.info["level"])

    def forward(self, img):
        place = torch.cdist(img.flatten(1), self.data.test["img"].flatten(1)).argmin(1)
        poses = self.data.test["equivalent"][place, -1 if self.second else 0]
        return nn.functional.one_hot(self.grid.nearest(poses), len(self.grid)).float() * self.sharpness


@pytest.mark.parametrize("name", EXACT)
def test_exact_rows_are_exact(name, data):
    assert assert_equivariant(built(name, data), pose.quarter_turns, {"img": data.audit["img"][:3]}, samples=4).error < 1e-11


def test_plain_rows_are_not(data):
    for name in ("MLP head", "induced"):
        with pytest.raises(Broken, match="does not keep"):
            assert_equivariant(built(name, data), pose.quarter_turns, {"img": data.audit["img"][:2]}, samples=2)


def test_all_rows_speak_of_one_grid(data):
    for method in pose.task.methods:
        assert built(method.name, data).eval()(data.test["img"][:2]).shape == (2, len(RotationGrid(data.info["level"])))


def test_the_truth_scores_the_best_that_the_grid_allows(data):
    oracle = Oracle(data)
    grid = oracle.grid
    best = angle_between(grid.rotations[data.test["y"]], data.test["rotation"].double()).rad2deg().median()
    assert math.isclose(pose.median_error(oracle, data), float(best), rel_tol=1e-4)
    assert pose.within(30)(oracle, data) == 100
    assert math.isclose(pose.log_likelihood(oracle, data), -math.log(grid.cell), rel_tol=1e-4)


def test_ignorance_scores_as_a_uniform_belief(data):
    blind = Oracle(data, sharpness=0.0)
    assert math.isclose(pose.log_likelihood(blind, data), -math.log(math.pi**2), rel_tol=1e-5)
    assert pose.median_error(blind, data) > 60


def test_any_equivalent_pose_is_right():
    data = rendered_points(Request("smoke", 0), twofold=True)
    assert math.isclose(pose.median_error(Oracle(data), data), pose.median_error(Oracle(data, second=True), data), rel_tol=0.4)
    assert pose.within(30)(Oracle(data, second=True), data) == 100


def test_the_finding_saves_and_draws(data, tmp_path):
    found = pose.distributions(built("induced, C4 encoder", data), data)
    again = pose.PoseDistribution.load(found.save(tmp_path / "found.npz"))
    assert np.array_equal(again.probability, found.probability)
    assert np.allclose(found.probability.sum(1), 1, atol=1e-4)
    again.plot().savefig(tmp_path / "found.png", dpi=40)
    assert (tmp_path / "found.png").stat().st_size > 5000


def test_widths_lead_to_small_maps():
    assert [pose.stages(size) for size in (16, 32, 64, 224)] == [1, 2, 3, 5]


# ------------------------------------------------------------------------------------------------ acceptance


@pytest.fixture
def accept(root):
    spec = importlib.util.spec_from_file_location("accept_pose", root / "benchmarks" / "accept" / "pose.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_acceptance_sees_what_a_turn_changes(accept, data):
    images = data.test["img"][:4].double()
    exact = accept.turned(built("induced, C4 encoder", data).double(), images, data)
    assert exact["gap"] < 1e-11
    assert exact["percent"] == 100
    assert accept.turned(built("induced", data).double(), images, data)["gap"] > 1e-2


def test_acceptance_counts_modes(accept):
    data = rendered_points(Request("smoke", 0), twofold=True)
    small = Data(data.train, {k: v[:6] for k, v in data.test.items()}, info=data.info)

    class Both(Oracle):
        def forward(self, img):
            second = Oracle(self.data, self.sharpness, True)(img)
            return torch.maximum(super().forward(img), second)

    one, both, blind = (accept.modes(model, small) for model in (Oracle(small), Both(small), Oracle(small, 0.0)))
    assert one["balance"] < 1e-6
    assert both["balance"] > 0.999
    assert both["both_percent"] > 99
    assert blind["both_percent"] < 10


def test_acceptance_bounds_can_fail(accept):
    good = {
        "error": {"induced_over_orthographic": 0.9, "induced_over_mlp": 0.5},
        "turned": {"c4_gap": 1e-15, "c4_percent": 100.0, "plain_gap": 0.5},
        "twofold": {"balance": 0.9, "both_percent": 80.0},
    }
    assert all(bound.holds(good) for bound in accept.BOUNDS)
    bad = {
        "error": {"induced_over_orthographic": 2.0, "induced_over_mlp": 2.0},
        "turned": {"c4_gap": 1e-3, "c4_percent": 99.0, "plain_gap": 0.0},
        "twofold": {"balance": 0.1, "both_percent": 5.0},
    }
    assert not any(bound.holds(bad) for bound in accept.BOUNDS)
