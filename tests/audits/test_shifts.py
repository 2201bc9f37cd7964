"""Consistency of predictions under shifts: exact networks have it, others do not, and the map shows the stride."""

import numpy as np
import pytest
import torch
from torch import nn

from coset.audits.grids import grid_of, shifts
from coset.audits.shifts import circular_consistency, crop_consistency, predicted, random_shifts, shift_map
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.torus import Torus

CONTRACT = Contract(Torus(8, 8), "B x 1 x periodic_image(size=8)", "B x 4 x scalar")


class Corner(nn.Module):
    """Logits of the corner of every patch of ``stride``: blind to shifts by whole strides only."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        seen = x[:, 0, :: self.stride, :: self.stride].flatten(1)
        return torch.stack([seen.pow(k).mean(1) - mean for k, mean in ((1, 0), (2, 1), (3, 0), (4, 3))], 1)


@pytest.fixture
def images(generator):
    return torch.randn(40, 1, 8, 8, generator=generator)


def test_an_invariant_network_is_always_consistent(images):
    assert circular_consistency(Corner(1), images) == 100
    assert circular_consistency(Corner(4), images) < 90


def test_crops_bring_new_content(images):
    assert 50 < crop_consistency(Corner(1), images, reach=2) < 100
    flat = torch.ones_like(images) * torch.linspace(-2, 2, 40).view(-1, 1, 1, 1)
    assert crop_consistency(Corner(1), flat) == 100


def test_windows_reach_every_offset():
    x = torch.zeros(4000, 1, 8, 8)
    x[..., 4] = 1  # the class is the column, which windows move by 0, 1 or 2
    found = crop_consistency(lambda x: x[:, 0, 3], x, reach=1, pairs=1)
    assert abs(found - 100 / 3) < 4  # five standard errors


def test_random_shifts_repeat_and_differ_between_images(images):
    same = images[:1].expand_as(images)
    moved = random_shifts(same)
    assert torch.equal(moved, random_shifts(same))
    assert len(moved.flatten(1).unique(dim=0)) > 20
    assert torch.equal(moved.flatten(1).sort(1).values, same.flatten(1).sort(1).values)


def test_the_map_shows_the_stride(images):
    found = shift_map(Corner(4), images, CONTRACT, down=range(8), right=range(8), truth=predicted(Corner(4), images))
    share = found.aggregate()
    assert share.shape == (8, 8)
    assert np.allclose(share[::4, ::4], 1)
    assert share[1:4, 1:4].max() < 0.9
    assert [axis["kind"] for axis in found.axes] == ["shift", "shift"]
    assert found.identity == 0
    assert shift_map(Corner(1), images, CONTRACT, down=(0, 3), right=(0, 1, 2)).aggregate().tolist() == [[1, 1, 1], [1, 1, 1]]
    found.plot()


def test_the_default_grid_visits_neighbors():
    grid = grid_of(Torus(32, 16), samples=30)
    assert grid.shape == (5, 5)
    assert Torus(32, 16).steps(grid.elements).amax().item() == 4
    assert grid_of(Torus(2, 16), samples=30).shape == (2, 5)


def test_bad_input_is_told(images):
    with pytest.raises(InputError, match="Torus"):
        shift_map(Corner(1), images, Contract(T(2), "B x 1 x image", "B x 4 x scalar"), down=(0,), right=(0,))
    with pytest.raises(InputError, match="empty"):
        shifts(Torus(4, 4), (), (1,))
    with pytest.raises(InputError, match="reach"):
        crop_consistency(Corner(1), images, reach=8)
    with pytest.raises(InputError, match="pair"):
        circular_consistency(Corner(1), images, pairs=0)
