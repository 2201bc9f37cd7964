"""One network for Barlow Twins and VICReg, over images, clouds and graphs."""

import pytest
import torch
from torch import nn

from coset.groups.euclidean import E
from coset.models.points.pointnet import INPUTS, PointNet
from coset.models.ssl.joint import JointEncoder
from coset.nn.resnet import ResNet
from coset.objectives.joint_embedding import BarlowTwins
from coset.objectives.two_views import MovedTwice, TwoViews
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model


class Neighbors(nn.Module):
    """A backbone over graphs: sums of neighbors' features, by graph."""

    features = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, x, edge_index, batch):
        source, target = edge_index
        h = self.layer(x).index_add(0, target, self.layer(x)[source]).relu()
        return h.new_zeros(int(batch.max()) + 1, 6).index_add(0, batch, h)


GRAPHS = {"x": "N x 4 x recorded", "edge_index": "2 x E -> N", "batch": "N -> B"}


def made(*args, **options):
    torch.manual_seed(0)
    return JointEncoder(*args, **options)


def test_images_clouds_and_graphs():
    assert check(made(ResNet(8, (1, 1)), (8, 8))).skipped
    assert check(made(PointNet(12, 8), (8, 8), features=12, inputs=INPUTS, group=E(3))).errors["E(3)"] > 1e-2
    assert any("recorded" in reason for reason in check(made(Neighbors(), (8, 8), inputs=GRAPHS)).skipped)


def test_a_backbone_that_sees_the_whole_batch_is_caught():
    class Mean(ResNet):
        def forward(self, x):
            h = super().forward(x)
            return h - h.mean(0)

    with pytest.raises(Broken, match="members of a batch must not see each other"):
        check(made(Mean(8, (1, 1)), (8, 8)))


def test_turning_clouds_twice_trains_an_invariant_embedding():
    """Barlow Twins over a PointNet: views of one cloud come closer than views of different clouds."""
    group = E(3)
    generator = torch.Generator().manual_seed(0)

    def turn(x, generator):
        g = group.sample(len(x), generator=generator, dtype=x.dtype)
        return x @ g[:, :3, :3].mT

    clouds = torch.randn(64, 10, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.3])
    clouds = clouds * torch.rand(64, 1, 1, generator=generator).add(0.5)
    model = made(PointNet(16, 16), (32, 32), features=16, inputs=INPUTS)
    objective = TwoViews(BarlowTwins(0.02), MovedTwice(turn), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    on = []
    for _ in range(60):
        terms = objective(model, {"x": clouds})
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        on.append(terms["on"].item())
    assert sum(on[-5:]) < 0.5 * sum(on[:5])


def test_features_are_what_comes_before_the_projector_and_all_is_saved(tmp_path):
    model = made(ResNet(8, (1, 1)), (8, 8), bias=True).eval()
    x = torch.rand(3, 3, 16, 16)
    assert model.represent(x).shape == (3, 16)
    assert torch.equal(model(x), model.projector(model.backbone(x)))
    save_model(tmp_path, model)
    assert torch.equal(load_model(tmp_path)(x), model(x))
