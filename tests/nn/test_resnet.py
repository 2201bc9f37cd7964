"""Residual networks: sizes, parameters of ResNet-18, a start at the skips, projectors."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.projector import features_of, projector
from coset.nn.resnet import ResNet, resnet18


def test_resnet18_has_its_parameters_and_features():
    """11,176,512 without the classifier, as everywhere."""
    model = resnet18()
    assert sum(p.numel() for p in model.parameters()) == 11_176_512
    assert model.features == 512
    assert model.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 512)


@pytest.mark.parametrize(("stem", "side"), [("small", 16), ("half", 8), ("large", 4)])
def test_stems_reduce_as_they_say(stem, side):
    model = ResNet(8, (1, 2), channels=2, stem=stem).eval()
    x = torch.rand(2, 2, 16, 16)
    assert model.stem(x).shape == (2, 8, side, side)
    assert model.blocks(model.stem(x)).shape == (2, 16, side // 2, side // 2)
    assert torch.allclose(model(x), model.blocks(model.stem(x)).mean((-2, -1)))


def test_blocks_start_as_their_skips():
    model = ResNet(8, (2,), stem="small").eval()
    x = model.stem(torch.rand(2, 3, 8, 8))
    assert torch.equal(model.blocks(x), x)  # after a ReLU, so that another changes nothing


def test_width_four_trains_without_harm():
    """At this width channels-last kernels of torch 2.13 write out of bounds; the process would end here."""
    model = ResNet(4, (1, 1))
    for _ in range(3):
        loss = (model(torch.rand(16, 3, 16, 16)) - model(torch.rand(16, 3, 16, 16))).square().sum()
        assert all(bool(torch.isfinite(g).all()) for g in torch.autograd.grad(loss, list(model.parameters())))


def test_projectors_have_norms_inside_and_no_bias_at_the_end():
    made = projector(5, (7, 8, 3))
    assert [type(layer).__name__ for layer in made] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert [layer.bias is None for layer in made if isinstance(layer, nn.Linear)] == [True, True, True]
    assert [layer.bias is None for layer in projector(5, (7, 3), bias=True) if isinstance(layer, nn.Linear)] == [False, True]
    assert made(torch.rand(4, 5)).shape == (4, 3)
    assert features_of(ResNet(8, (1, 1))) == 16
    assert features_of(nn.Flatten(), 12) == 12


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="at least 1"):
        ResNet(0)
    with pytest.raises(InputError, match="stem is one of"):
        ResNet(8, stem="tiny")
    with pytest.raises(InputError, match=r"images are \(B, 3, H, W\)"):
        ResNet(8)(torch.rand(2, 1, 8, 8))
    with pytest.raises(InputError, match="at least one width"):
        projector(4, ())
    with pytest.raises(InputError, match="how many features"):
        features_of(nn.Flatten())
