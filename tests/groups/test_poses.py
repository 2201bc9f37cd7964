"""Quaternions of poses: scipy's extrinsic angles, both frames, continuity of the sign, distances."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from coset.errors import InputError
from coset.groups.poses import angle_quaternion, quaternion_angle, relative_quaternion
from coset.groups.rotations import multiply_quaternions, rotation_from_quaternion


@pytest.fixture
def angles(generator):
    return math.pi * (torch.rand(40, 3, generator=generator, dtype=torch.float64) - 0.5)


def test_angles_are_those_of_fixed_axes_x_first(angles):
    want = Rotation.from_euler("xyz", angles.numpy()).as_matrix()
    assert torch.allclose(rotation_from_quaternion(angle_quaternion(angles)), torch.tensor(want), atol=1e-12)
    assert float(angle_quaternion(torch.tensor([0.4, 0.0, 0.0]))[1]) == pytest.approx(math.sin(0.2))


@pytest.mark.parametrize("frame", ["body", "world"])
def test_the_relative_pose_leads_from_one_to_the_other(angles, frame):
    q, p = angle_quaternion(angles[:20]), angle_quaternion(angles[20:])
    z = relative_quaternion(q, p, frame)
    there = multiply_quaternions(q, z) if frame == "body" else multiply_quaternions(z, q)
    assert torch.allclose(there, p, atol=1e-12)  # sign and all


def test_the_sign_is_continuous_where_the_canonical_one_jumps():
    """Four percent of the relative poses of 3DIEBench have w < 0; along a path none of them flips."""
    t = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    path = torch.full((3,), 1.5).double() * (2 * t - 1)
    z = relative_quaternion(angle_quaternion(path[:1]), angle_quaternion(path))
    assert float((z[1:] - z[:-1]).norm(dim=-1).max()) < 0.05
    assert float(z[:, 0].min()) < 0
    drawn = math.pi * (torch.rand(20000, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5)
    z = relative_quaternion(angle_quaternion(drawn[:, 0]), angle_quaternion(drawn[:, 1]))
    assert 0.035 < float((z[:, 0] < 0).double().mean()) < 0.053


def test_distance_is_the_angle_whatever_length_and_sign(angles):
    q = angle_quaternion(angles)
    for angle in (0.0, 1e-7, 1.0, math.pi - 1e-7, math.pi):
        half = torch.tensor([math.cos(angle / 2), 0, math.sin(angle / 2), 0], dtype=torch.float64)
        assert torch.allclose(quaternion_angle(-3 * multiply_quaternions(q, half), q), torch.tensor(angle).double(), atol=1e-12)


def test_bad_input_is_refused(angles):
    q = angle_quaternion(angles)
    with pytest.raises(InputError, match=r"differs from 1 by 0\.1"):
        relative_quaternion(q, 1.1 * q)
    with pytest.raises(InputError, match="'body'"):
        relative_quaternion(q, q, "left")
    with pytest.raises(InputError, match="4 components"):
        relative_quaternion(angles, angles)
    with pytest.raises(InputError, match="differs"):
        relative_quaternion(q, torch.full_like(q, torch.nan))
