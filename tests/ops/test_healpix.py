"""Pixels of equal area that hold their centers, quarter turns that permute them, and cells that fill the rotations."""

import math
from itertools import pairwise

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_vector
from coset.ops.healpix import (
    RotationGrid,
    angle_between,
    check_rotations,
    healpix_angles,
    healpix_centers,
    healpix_pixel,
)

F64 = torch.float64


def quarter(times=1):
    return rotation_from_vector(torch.tensor([0.0, times * math.pi / 2, 0.0], dtype=F64))


@pytest.mark.parametrize("nside", [1, 2, 3, 5, 8])
def test_there_are_twelve_nside_squared_unit_vectors_in_balance(nside):
    centers = healpix_centers(nside)
    assert centers.shape == (12 * nside**2, 3)
    assert (centers.norm(dim=1) - 1).abs().max() < 1e-15 * 4
    assert centers.mean(0).abs().max() < 1e-15
    # on the axes of inertia; exactly isotropic only in the limit
    assert (centers.mT @ centers / len(centers) - torch.eye(3) / 3).abs().max() < 0.04 / nside**2


def test_the_twelve_base_pixels_are_where_they_are_known_to_be():
    beta, alpha = healpix_angles(1)
    assert torch.allclose(beta.cos(), torch.tensor([2 / 3] * 4 + [0.0] * 4 + [-2 / 3] * 4, dtype=F64), atol=1e-15)
    eighths = torch.tensor([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7], dtype=F64)
    assert torch.allclose(alpha, eighths * math.pi / 4, atol=1e-14)


@pytest.mark.parametrize("nside", [1, 2, 3, 6, 16])
def test_every_center_lies_in_its_own_pixel(nside):
    assert torch.equal(healpix_pixel(nside, healpix_centers(nside)), torch.arange(12 * nside**2))


@pytest.mark.parametrize("nside", [1, 2, 3, 4])
def test_pixels_have_equal_area(nside, generator):
    points = torch.nn.functional.normalize(torch.randn(200_000, 3, generator=generator, dtype=F64), dim=1)
    counts = healpix_pixel(nside, points).bincount(minlength=12 * nside**2).double()
    expected = len(points) / len(counts)
    assert len(counts) == 12 * nside**2
    # chi square per degree of freedom, four standard deviations
    assert ((counts - expected).square() / expected).mean() < 1 + 4 * math.sqrt(2 / len(counts))


@pytest.mark.parametrize(("nside", "degrees"), [(1, 48.19), (2, 27.68), (4, 14.54)])
def test_pixels_reach_as_far_as_is_known(nside, degrees, generator):
    points = torch.nn.functional.normalize(torch.randn(100_000, 3, generator=generator, dtype=F64), dim=1)
    reach = (points * healpix_centers(nside)[healpix_pixel(nside, points)]).sum(1).arccos().max().rad2deg()
    assert 0.97 * degrees < reach <= degrees + 0.01


@pytest.mark.parametrize("nside", [2, 4, 8])
def test_nested_pixels_are_the_same_and_their_children_stand_together(nside):
    nested = healpix_centers(nside, "nested")
    assert torch.equal(healpix_pixel(nside, nested).sort().values, torch.arange(12 * nside**2))
    parents = healpix_pixel(nside // 2, nested).view(-1, 4)
    assert torch.equal(parents, parents[:, :1].expand_as(parents))
    assert torch.equal(parents[:, 0], healpix_pixel(nside // 2, healpix_centers(nside // 2, "nested")))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_cells_fill_the_rotations_and_the_grid_finds_itself(level):
    grid = RotationGrid(level)
    assert len(grid) == 72 * 8**level == len(grid.rotations)
    assert math.isclose(len(grid) * grid.cell, math.pi**2, rel_tol=1e-15)
    assert torch.equal(grid.nearest(grid.rotations), torch.arange(len(grid)))
    check_rotations(grid.rotations, "grid", tolerance=1e-14)


def test_levels_have_the_sizes_of_the_literature():
    assert [len(RotationGrid(level)) for level in range(6)] == [72, 576, 4608, 36864, 294912, 2359296]
    assert RotationGrid.of_size(36864) == RotationGrid(3)


def test_the_covering_radius_halves_with_each_level(generator):
    rotations = SO(3).sample(2000, generator=generator, dtype=F64)
    radius = []
    for level in range(3):
        grid = RotationGrid(level)
        radius.append(float(angle_between(grid.rotations[grid.nearest(rotations)], rotations).max().rad2deg()))
    assert 45 < radius[0] < 55
    assert all(0.4 < fine / coarse < 0.6 for coarse, fine in pairwise(radius))


def test_nearest_is_nearest_and_cells_are_of_equal_volume(generator):
    grid, rotations = RotationGrid(0), SO(3).sample(60_000, generator=generator, dtype=F64)
    gaps = angle_between(rotations[:200, None], grid.rotations)
    assert torch.equal(grid.nearest(rotations[:200]), gaps.argmin(1))
    # the product cells, not the Voronoi cells, are equal: pixel of the axis, then the turn about it
    pixel = healpix_pixel(1, rotations @ torch.tensor([0.0, 1.0, 0.0], dtype=F64))
    counts = pixel.bincount(minlength=12).double() / len(rotations) * 12
    assert (counts - 1).abs().max() < 0.06


@pytest.mark.parametrize("level", [0, 1, 2])
def test_quarter_turns_permute_the_grid(level):
    grid = RotationGrid(level)
    for times in range(4):
        source = grid.turned(quarter(times))
        assert torch.equal(source.sort().values, torch.arange(len(grid)))
        assert (grid.rotations[source] - quarter(times).mT @ grid.rotations).abs().max() < 1e-14
    both = grid.turned(torch.stack([quarter(1), quarter(3)]))
    assert torch.equal(both[0][both[1]], torch.arange(len(grid)))


def test_parts_are_the_grid():
    grid = RotationGrid(1)
    assert torch.equal(torch.cat([grid.part(start, start + 100) for start in range(0, len(grid), 100)]), grid.rotations)


def test_a_uniform_belief_has_the_known_log_likelihood(generator):
    grid, rotations = RotationGrid(1), SO(3).sample(5, generator=generator, dtype=F64)
    found = grid.log_likelihood(torch.zeros(5, len(grid), dtype=F64), rotations)
    assert torch.allclose(found, torch.full_like(found, -math.log(math.pi**2)), atol=1e-12)
    logits = torch.randn(5, len(grid), generator=generator, dtype=F64)
    index = grid.nearest(rotations)
    certain = logits.scatter(1, index[:, None], 1e3)
    assert torch.equal(grid.mode(certain), grid.rotations[index])
    assert torch.allclose(grid.log_likelihood(certain, rotations), torch.tensor(-math.log(grid.cell), dtype=F64))


def test_angles_are_accurate_near_zero():
    tiny = rotation_from_vector(torch.tensor([3e-8, 0.0, 0.0], dtype=F64))
    assert math.isclose(angle_between(torch.eye(3, dtype=F64), tiny), 3e-8, rel_tol=1e-6)
    assert math.isclose(angle_between(torch.eye(3, dtype=F64), quarter(2)), math.pi, rel_tol=1e-7)


def test_bad_input_is_refused():
    grid = RotationGrid(0)
    with pytest.raises(InputError, match="at least 1"):
        healpix_centers(0)
    with pytest.raises(InputError, match="power of two"):
        healpix_centers(3, "nested")
    with pytest.raises(InputError, match="order of pixels"):
        healpix_centers(2, "rign")
    with pytest.raises(InputError, match="level is"):
        RotationGrid(7)
    with pytest.raises(InputError, match="576"):
        RotationGrid.of_size(500)
    with pytest.raises(InputError, match="72 rotations"):
        grid.log_likelihood(torch.zeros(1, 576), torch.eye(3)[None])
    with pytest.raises(InputError, match="not orthonormal"):
        grid.nearest(1.1 * torch.eye(3))
    with pytest.raises(InputError, match="not orthonormal"):
        grid.nearest(torch.full((3, 3), math.nan))
    with pytest.raises(InputError, match="mirror"):
        grid.nearest(torch.diag(torch.tensor([1.0, 1.0, -1.0])))
    with pytest.raises(InputError, match=r"\(..., 3, 3\)"):
        grid.nearest(torch.zeros(4, 4))
