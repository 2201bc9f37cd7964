"""Pose distributions on Mollweide's map: equal areas, the directions of the camera, hue for the turn."""

import io

import numpy as np
import pytest

from coset.errors import InputError
from coset.figures.rotations import mollweide, places, rotation_density


def turn(axis, angle):
    x, y, z = np.asarray(axis, dtype=float)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def random_rotations(count):
    q, r = np.linalg.qr(np.random.default_rng(0).normal(size=(count, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    return q * np.sign(np.linalg.det(q))[:, None, None]


def test_equal_areas_on_the_sphere_are_equal_areas_on_the_map():
    rng = np.random.default_rng(0)
    latitude, longitude = np.arcsin(rng.uniform(-1, 1, 40000)), rng.uniform(-np.pi, np.pi, 40000)
    x, y = mollweide(longitude, latitude)
    assert (x**2 / 4 + y**2).max() <= 1 + 1e-9
    inner = ((x**2 / 4 + y**2) <= 0.25).mean()  # an ellipse of half the axes has a quarter of the area
    assert abs(inner - 0.25) < 0.01
    assert np.allclose(mollweide(np.array([0.0, 0.0]), np.array([np.pi / 2, -np.pi / 2])), [[0, 0], [1, -1]], atol=1e-6)


def test_latitudes_solve_the_defining_equation():
    latitude = np.linspace(-1.5, 1.5, 31)
    t = np.arcsin(mollweide(np.zeros(31), latitude)[1])
    assert np.allclose(2 * t + np.sin(2 * t), np.pi * np.sin(latitude), atol=1e-9)


def test_the_middle_looks_at_the_camera_and_right_is_z():
    towards = turn([1, 0, 0], -np.pi / 2)  # the object's z points at the camera, along y
    longitude, latitude, gamma = places(np.stack([towards, np.eye(3), turn([0, 1, 0], np.pi / 2)]))
    assert np.allclose(longitude[:2], [0, np.pi / 2])  # z -> z: right
    assert np.allclose(latitude, [0, 0, np.pi / 2])  # z -> x: up
    assert np.isfinite(gamma).all()


def test_a_turn_of_the_object_about_its_axis_moves_the_hue_alone():
    rotation = random_rotations(1)[0]
    moved = places(np.stack([rotation, rotation @ turn([0, 0, 1], 0.4)]))
    assert np.allclose(moved[0][0], moved[0][1])
    assert np.allclose(moved[1][0], moved[1][1])
    assert np.isclose((moved[2][1] - moved[2][0]) % (2 * np.pi), 0.4)


@pytest.mark.parametrize("pictured", [False, True])
def test_pictures_are_drawn(pictured):
    rotations = random_rotations(80)
    belief = np.random.default_rng(1).random((2, 80))
    images = np.random.default_rng(2).random((2, 8, 8, 3)) if pictured else None
    made = rotation_density(
        rotations, belief, truth=rotations[:4].reshape(2, 2, 3, 3), images=images, names=("a", "b"), title="t"
    )
    stream = io.BytesIO()
    made.savefig(stream, format="png", dpi=40)
    assert len(stream.getvalue()) > 2000


def test_areas_are_probabilities_and_the_best_is_on_top():
    rotations = random_rotations(50)
    belief = np.zeros((1, 50))
    belief[0, 7], belief[0, 3] = 0.75, 0.25
    made = rotation_density(rotations, belief)
    sizes = made.axes[0].collections[0].get_sizes()
    assert np.isclose(sizes[-1] / sizes[-2], 3)
    place = mollweide(*places(rotations[7:8])[:2])
    assert np.allclose(made.axes[0].collections[0].get_offsets()[-1], np.stack(place)[:, 0])


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        rotation_density(random_rotations(5), np.ones((1, 4)))
    with pytest.raises(InputError, match="as many"):
        rotation_density(random_rotations(5), np.ones((1, 5)), truth=random_rotations(2))
