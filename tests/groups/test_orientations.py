"""Grids of orientations: unit vectors, balanced, permuted by the group they name and by no quarter more."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.finite import C, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import SO
from coset.groups.orientations import Orientations

SOLIDS = {4: Tetrahedral(), 6: Octahedral(True), 8: Octahedral(True), 12: Icosahedral(True), 20: Icosahedral(True)}


def off(points, matrices):
    """How far each moved grid is from the grid as a set."""
    return torch.cdist(points @ matrices.mT, points.expand(len(matrices), -1, -1)).amin(-1).amax(-1)


@pytest.mark.parametrize("count", [4, 6, 8, 12, 20, 5, 16, 64])
def test_they_are_that_many_unit_vectors_that_differ_and_balance(count):
    points = Orientations(3, count).points
    assert points.shape == (count, 3)
    assert points.dtype == torch.float64
    assert (points.norm(dim=-1) - 1).abs().max() < 1e-14
    assert torch.pdist(points).min() > 1.5 * count**-0.5
    assert points.sum(0).norm() < (1e-12 if count in SOLIDS else 1)


@pytest.mark.parametrize("count", SOLIDS)
def test_a_solid_is_permuted_by_its_group_and_not_by_others(count):
    grid = Orientations(3, count)
    assert grid.symmetry == SOLIDS[count]
    assert off(grid.points, grid.symmetry.matrices).max() < 1e-7  # cdist expands squares
    assert off(grid.points, SO(3).sample(4, generator=torch.Generator().manual_seed(0))).min() > 0.05


def test_a_spiral_names_no_group():
    assert Orientations(3, 16).symmetry is None


@pytest.mark.parametrize("count", [3, 7, 10])
def test_equal_angles_are_permuted_by_the_cyclic_group(count):
    grid = Orientations(2, count)
    assert grid.symmetry == C(count)
    assert grid.points.shape == (count, 2)
    assert off(grid.points, grid.symmetry.matrices).max() < 1e-7


def test_equal_grids_are_equal_values():
    assert Orientations(3, 12) == Orientations(3, 12)
    assert hash(Orientations(3, 12)) == hash(Orientations(3, 12))
    assert torch.equal(Orientations(3, 17).points, Orientations(3, 17).points)


def test_bad_dimensions_and_counts_are_refused():
    with pytest.raises(InputError, match="dimension of space is 2 or 3, got 4"):
        Orientations(4, 12)
    for space, count in ((3, 3), (2, 2), (3, 12.0), (3, True)):
        with pytest.raises(InputError, match=f"at least {space + 1} in {space}D"):
            Orientations(space, count)
