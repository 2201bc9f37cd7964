"""PointNet does not see the order of points; it does see how they are turned."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.models.points.pointnet import INPUTS, PointNet
from coset.testing import Broken, assert_equivariant, check


@pytest.fixture
def clouds(generator):
    return torch.randn(4, 20, 3, generator=generator, dtype=torch.float64)


class FirstPoint(PointNet):
    """A twin that reads the first point only."""

    def forward(self, pos):
        return super().forward(pos[..., :1, :])


def test_it_keeps_its_promise(clouds):
    torch.manual_seed(0)
    assert max(check(PointNet(5, 8), clouds).errors.values()) < 1e-12


def test_reading_one_point_is_caught(clouds):
    torch.manual_seed(0)
    with pytest.raises(Broken, match="does not keep"):
        check(FirstPoint(5, 8), clouds)


def test_turns_change_its_answer(clouds):
    torch.manual_seed(0)
    with pytest.raises(Broken, match="does not keep"):
        assert_equivariant(PointNet(5, 8).eval(), Contract(SO(3), INPUTS, "B x 5 x scalar"), clouds, samples=4)


def test_a_point_given_twice_changes_nothing(clouds):
    torch.manual_seed(0)
    model = PointNet(5, 8).double().eval()
    torch.testing.assert_close(model(torch.cat([clouds, clouds[:, :7]], 1)), model(clouds), rtol=0, atol=1e-12)


def test_parameters_are_those_of_its_layers():
    w, classes = 8, 5
    points = sum(i * o + 3 * o for i, o in ((3, w), (w, w), (w, 2 * w), (2 * w, 4 * w)))
    expected = points + 4 * w * 2 * w + 2 * w + 2 * w * classes + classes
    assert sum(p.numel() for p in PointNet(classes, w).parameters()) == expected


@pytest.mark.parametrize("sizes", [(0, 8), (5, 0)])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(InputError, match="at least 1"):
        PointNet(*sizes)


@pytest.mark.parametrize("shape", [(4, 20, 2), (4, 0, 3), (3,)])
def test_clouds_that_are_none_are_refused(shape):
    with pytest.raises(InputError, match="a cloud is"):
        PointNet(5, 8)(torch.zeros(shape))
