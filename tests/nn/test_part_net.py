"""PartNet keeps parts apart and does not mind the order of points; several clouds at once are the clouds one by one."""

import pytest
import torch

from coset.errors import InputError
from coset.nn.part_net import PartNet, each_cloud, part_mean
from coset.ops.neighbors import knn
from coset.testing import Broken, assert_equivariant, check


@pytest.fixture
def given(generator):
    pos = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    part = torch.arange(30) % 3
    return {
        "pos": pos,
        "part": part,
        "near": knn(pos, 4, group=part),
        "scalars": torch.randn(30, 2, generator=generator, dtype=torch.float64),
        "vectors": torch.randn(30, 1, 3, generator=generator, dtype=torch.float64),
        "weight": torch.ones(30, dtype=torch.float64),
    }


def net():
    torch.manual_seed(0)
    return PartNet(4, neighbors=4, scalars=2, vectors=1, scalars_out=3, vectors_out=2).double()


class Ordered(PartNet):
    """A twin that knows which point came first."""

    def forward(self, pos, **rest):
        return super().forward(pos - pos[:1], **rest)


def test_points_may_come_in_any_order(given):
    assert max(check(net(), given).errors.values()) < 1e-12


def test_a_twin_that_knows_the_order_is_caught(given):
    torch.manual_seed(0)
    model = Ordered(4, neighbors=4, scalars=2, vectors=1)
    with pytest.raises(Broken, match=r'S\("N"\)'):
        assert_equivariant(model, model.contracts[0], given, samples=4)


def test_parts_do_not_see_one_another(given):
    model = net()
    y = model(**given)
    other = {**given, "pos": torch.where((given["part"] == 1).unsqueeze(-1), 3 * given["pos"], given["pos"])}
    again = model(**other)
    rest = given["part"] != 1
    for name in y:
        assert torch.equal(y[name][rest], again[name][rest])
        assert (y[name][~rest] - again[name][~rest]).abs().max() > 1e-3


def test_neighbors_of_other_parts_are_blank(given):
    model, across = net(), given["near"].clone()
    across[:, 1] = (given["part"] + 1) % 3  # points 0, 1, 2 are of parts 0, 1, 2
    y = model(**{**given, "near": across})
    pos = given["pos"].clone()
    pos[3:6] *= 2  # seen by nobody else through that column
    assert y["scalars"].shape == (30, 3)
    moved = given["pos"].clone()
    moved[given["part"] == 0] += 5
    again = model(**{**given, "near": across, "pos": moved})
    assert torch.equal(again["scalars"][given["part"] > 0], y["scalars"][given["part"] > 0])


def test_features_and_weights_matter(given):
    model = net()
    y = model(**given)["scalars"]
    for name in ("scalars", "vectors", "weight", "near"):
        changed = given[name].flip(0) if name != "weight" else torch.linspace(0.5, 2, 30, dtype=torch.float64)
        assert (model(**{**given, name: changed})["scalars"] - y).abs().max() > 1e-6, name


def test_part_means_are_weighted_and_empty_parts_are_zero():
    h, part = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 2])
    assert part_mean(h, part, torch.tensor([3.0, 1.0, 1.0])).flatten().tolist() == [1.5, 0.0, 5.0]
    assert part_mean(h, part, torch.tensor([0.0, 0.0, 1.0])).flatten().tolist() == [0.0, 0.0, 5.0]


def test_each_cloud_is_its_own(generator):
    pos = torch.randn(9, 3, generator=generator)
    part, cloud = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3, 0]), torch.tensor([0, 1, 0, 1])
    y = each_cloud(lambda pos: {"x": pos - pos.mean(0)}, cloud, part, pos=pos)["x"]
    for one in range(2):
        mine = cloud[part] == one
        assert torch.allclose(y[mine], pos[mine] - pos[mine].mean(0))


def test_sizes_are_checked(given):
    with pytest.raises(InputError, match="width 0"):
        PartNet(0)
    with pytest.raises(InputError, match="some come out"):
        PartNet(4, scalars_out=0, vectors_out=0)
    with pytest.raises(InputError, match="near"):
        net()(**{**given, "near": given["near"][:, :2]})
