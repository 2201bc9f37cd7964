"""Rendered points: a turn of the camera is a turn of the image, and a two-fold object looks alike from two poses."""

import math

import pytest
import torch

from coset.data.rendered_points import HALF_TURN, render, rendered_points, solid, views
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_vector
from coset.ops.healpix import RotationGrid, angle_between
from coset.recipe import Request

F64 = torch.float64


def about_view(angle):
    return rotation_from_vector(torch.tensor([0.0, angle, 0.0], dtype=F64))


def test_a_quarter_turn_of_the_camera_is_a_quarter_turn_of_the_image(generator):
    points, colors = solid()
    rotation = SO(3).sample(3, generator=generator, dtype=F64)
    before = render(points @ rotation.mT, colors, 32)
    after = render(points @ (about_view(math.pi / 2) @ rotation).mT, colors, 32)
    assert (after - before.rot90(1, (-2, -1))).abs().max() < 1e-12  # rot90 turns counter-clockwise
    assert (after - before.rot90(-1, (-2, -1))).abs().max() > 0.1


def test_right_is_z_and_up_is_x_and_near_is_bright():
    points = torch.tensor([[[0.0, 0.0, 0.6]], [[0.6, 0.0, 0.0]], [[0.0, 0.6, 0.0]], [[0.0, -0.6, 0.0]]], dtype=F64)
    img = render(points, torch.ones(1, 3, dtype=F64), 32)[:, 0]
    places = [divmod(int(one.argmax()), 32) for one in img]
    assert places[0][1] >= 24
    assert places[0][0] in (15, 16)
    assert places[1][0] <= 7
    assert places[1][1] in (15, 16)
    assert img[2].max() > 1.5 * img[3].max()
    assert img[2].sum() > 2 * img[3].sum()


def test_a_twofold_object_looks_alike_from_two_poses_and_no_more(generator):
    points, colors = solid(twofold=True)
    rotation = SO(3).sample(1, generator=generator, dtype=F64)
    same = render(points @ rotation.mT, colors, 24)
    assert (render(points @ (rotation @ HALF_TURN).mT, colors, 24) - same).abs().max() < 1e-12
    other = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=F64))
    assert (render(points @ (rotation @ other).mT, colors, 24) - same).abs().max() > 0.1


@pytest.mark.parametrize("twofold", [False, True])
def test_all_equivalent_poses_give_the_image(twofold, generator):
    drawn = views(3, size=16, twofold=twofold, generator=generator)
    assert drawn["equivalent"].shape == (3, 1 + twofold, 3, 3)
    assert torch.equal(drawn["equivalent"][:, 0], drawn["rotation"])
    points, colors = solid(twofold=twofold)
    for pose in drawn["equivalent"].double().unbind(1):
        assert (render(points @ pose.mT, colors, 16) - drawn["img"]).abs().max() < 1e-5


@pytest.mark.parametrize("twofold", [False, True])
def test_points_are_apart_and_inside(twofold):
    points, colors = solid(twofold=twofold)
    assert points.shape == colors.shape == (8, 3)
    assert torch.pdist(points).min() > 0.4
    assert points.norm(dim=1).max() <= 0.75
    assert len(colors.unique(dim=0)) == (4 if twofold else 8)


def test_data_are_seeded_labeled_and_apart():
    data = rendered_points(Request("smoke", 0))
    again = rendered_points(Request("smoke", 0))
    assert torch.equal(data.train["img"], again.train["img"])
    assert not torch.equal(data.train["img"], rendered_points(Request("smoke", 1)).train["img"])
    grid = RotationGrid(data.info["level"])
    gaps = angle_between(grid.rotations[data.train["y"]], data.train["rotation"].double())
    assert gaps.max().rad2deg() < 27
    assert data.train["img"].shape == (48, 3, 16, 16)
    assert angle_between(data.train["rotation"][:, None], data.test["rotation"]).min() > 1e-3


def test_unknown_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="modelnet10-so3"):
        rendered_points(Request("smoke", 0, (("modelnet10", tmp_path),)))
