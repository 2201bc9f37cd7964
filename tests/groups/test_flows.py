"""Flows are the additive group of velocities: frame t is moved t times as far."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.finite import C
from coset.groups.flows import Flow, velocity_grid
from coset.groups.matrix import SO
from coset.groups.parse import parse_group

GROUPS = [Flow(T(2), 2), Flow(SO(2), 4, 10.0)]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_velocities_add(group, generator):
    g, h = group.sample(6, generator=generator), group.sample(6, generator=generator)
    assert torch.equal(group.compose(g, h), group.compose(h, g))
    assert torch.equal(group.compose(g, group.inverse(g)), group.identity().expand(6, -1))
    times = torch.arange(5)
    whole = group.displacement(group.compose(g, h), times)
    assert torch.equal(whole, group.displacement(g, times) + group.displacement(h, times))


def test_displacement_is_time_times_velocity_in_its_unit():
    assert Flow(T(2)).displacement(torch.tensor([1, -2]), torch.tensor([0, 3])).tolist() == [[0, 0], [3, -6]]
    assert Flow(SO(2), 4, 10.0).displacement(torch.tensor([-1]), torch.tensor([0, 3])).tolist() == [0, -30]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_it_is_named_by_its_text(group):
    assert parse_group(str(group)) == group


def test_samples_and_grid_stay_within_reach(generator):
    group = Flow(T(2), 2)
    drawn = group.sample(500, generator=generator)
    assert drawn.abs().max() == 2
    assert len({tuple(row) for row in drawn.tolist()}) == 25
    grid = group.grid()
    assert grid.shape == (25, 2)
    assert grid[0].tolist() == [0, 0]
    assert len({tuple(row) for row in grid.tolist()}) == 25


def test_the_list_of_velocities_is_symmetric_with_the_first_axis_slowest():
    grid = velocity_grid(1)
    assert grid.tolist()[:4] == [[-1, -1], [-1, 0], [-1, 1], [0, -1]]
    assert torch.equal(grid, -grid.flip(0))
    assert velocity_grid(2, 1).flatten().tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize(("motion", "reach", "unit"), [(C(4), 1, 1.0), (T(3), 1, 1.0), (T(2), 0, 1.0), (T(2), 1, 0.0)])
def test_other_motions_reaches_and_units_are_refused(motion, reach, unit):
    with pytest.raises(InputError):
        Flow(motion, reach, unit)
