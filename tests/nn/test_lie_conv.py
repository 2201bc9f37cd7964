"""Layers over affine maps: exact where pixels move into pixels, at any samples; Monte Carlo elsewhere."""

import math

import pytest
import torch
from torch import nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.decompose import Draw, LogPolar
from coset.groups.finite import C
from coset.groups.matrix import GL, SL
from coset.nn.lie_conv import GroupMax, GroupMean, HalvePool, LieConv, LieLift, LieNorm, Sampler
from coset.ops import lie_conv
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.testing import Broken, assert_equivariant

CHARTS = [LogPolar(GL(2, positive=True)), LogPolar(SL(2))]
NAMES = ["GL+(2)", "SL(2)"]


class Layers(nn.Module):
    """Lift to one set of samples, convolve onto another; samples are inputs, given by their columns."""

    def __init__(self, chart, lift=LieLift, conv=LieConv):
        super().__init__()
        self.lift = lift(1, 3, chart=chart, hidden=8)
        self.conv = conv(3, 2, chart=chart, hidden=8)
        self.norms, self.pool = nn.ModuleList([LieNorm(3), LieNorm(2)]), HalvePool()

    def forward(self, x, first, second):
        first, second = (samples(columns) for columns in (first, second))
        y = self.norms[1](self.conv(torch.relu(self.norms[0](self.lift(x, first))), first, second))
        return self.pool(y)


def samples(columns):
    """Elements whose columns are the vectors given, with weights that tell them apart."""
    h = columns.mT
    return Draw(h, torch.linalg.inv(h), torch.arange(1, len(h) + 1).to(h) / 9)


#: samples move as the vectors that their columns are: h -> A h
MOVING = Contract(
    C(4),
    {"x": "B x 1 x image", "first": "5 x 2 x vector", "second": "3 x 2 x vector"},
    Field(("B", "2", "3"), Image()),
)


def sample_of(chart, generator):
    first, second = (chart.sample(n, generator=generator).elements.mT for n in (5, 3))
    return {"x": torch.randn(2, 1, 12, 12, generator=generator, dtype=torch.float64), "first": first, "second": second}


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_layers_follow_turned_images_at_turned_samples(chart, generator):
    torch.manual_seed(0)
    found = assert_equivariant(Layers(chart), MOVING, sample_of(chart, generator), samples=4)
    assert found.error < 1e-13


class Transposed(LieConv):
    """A twin whose grid is (h, w) where that of the lift is (w, h)."""

    def expanded(self, inputs, outputs, like):
        return super().expanded(inputs, outputs, like).transpose(-1, -2)


class Unmoved(LieLift):
    """A twin whose kernel is not moved by the samples."""

    def expanded(self, outputs, like):
        eye = torch.eye(2).to(outputs.inverses).expand_as(outputs.inverses)
        return super().expanded(Draw(eye, eye, outputs.weights), like)


class Absolute(LieConv):
    """A twin that looks at h' instead of h^-1 h'."""

    def expanded(self, inputs, outputs, like):
        first = torch.stack([super(Absolute, self).expanded(inputs, one(s), like)[0] for s in outputs.elements])
        return first


def one(element):
    """The identity, in the place of a sample."""
    eye = torch.eye(2).to(element)[None]
    return Draw(eye, eye, torch.ones(1).to(element))


@pytest.mark.parametrize("twin", ["transposed", "unmoved", "absolute"])
def test_broken_twins_are_caught(twin, generator):
    torch.manual_seed(0)
    parts = {"transposed": {"conv": Transposed}, "unmoved": {"lift": Unmoved}, "absolute": {"conv": Absolute}}[twin]
    with pytest.raises(Broken, match=r"C\(4\)"):
        assert_equivariant(Layers(CHARTS[0], **parts), MOVING, sample_of(CHARTS[0], generator), samples=4)


@pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
def test_kernels_are_values_at_moved_coordinates(chart, generator):
    """Row by row: the kernel at ``[s, t, :, :, i, j]`` is the network at (h^-1 o, xi^-1(h^-1 h')), masked."""
    torch.manual_seed(0)
    layer = LieConv(2, 3, chart=chart, hidden=8).double()
    inputs, outputs = chart.sample(2, generator=generator), chart.sample(3, generator=generator)
    like = torch.zeros((), dtype=torch.float64)
    kernel = layer.expanded(inputs, outputs, like)
    assert kernel.shape == (3, 2, 3, 2, 5, 5)
    for s, t, i, j in ((0, 1, 0, 4), (2, 0, 3, 2), (1, 1, 2, 2)):
        point = outputs.inverses[s] @ torch.tensor([j - 2.0, 2.0 - i]).double() / 2.5
        both = torch.cat([point, chart.coordinates(outputs.inverses[s] @ inputs.elements[t]) / math.pi])
        want = layer.kernel(both).view(3, 2) * lie_conv.window(chart, point)
        torch.testing.assert_close(kernel[s, t, :, :, i, j], want, atol=1e-14, rtol=0)


def test_sl_masks_sharply_and_gl_smoothly():
    points = torch.tensor([[0.0, 0.0], [0.6, 0.7], [0.8, 0.8], [3.0, 0.0]])
    assert lie_conv.window(CHARTS[1], points).tolist() == [1, 1, 0, 0]
    smooth = lie_conv.window(CHARTS[0], points)
    assert float(smooth[0]) == pytest.approx(1 / (1 + math.exp(-2)))
    assert 0 < float(smooth[3]) < 0.02


def test_norm_commutes_with_every_permutation(generator):
    torch.manual_seed(0)
    norm = LieNorm(4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 3 + 2 * torch.randn(2, 4, 3, 6, 6, generator=generator, dtype=torch.float64)
    y = norm(x)
    torch.testing.assert_close(norm(x[:, :, [2, 0, 1]]), y[:, :, [2, 0, 1]], atol=1e-13, rtol=0)
    torch.testing.assert_close(norm(x.mT), y.mT, atol=1e-13, rtol=0)
    plain = LieNorm(4).double()(x + torch.arange(4).view(4, 1, 1, 1))
    torch.testing.assert_close(plain.mean((2, 3, 4)), torch.zeros(2, 4).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(plain.square().mean((1, 2, 3, 4)), torch.ones(2).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(LieNorm(4).double()(5 * x), LieNorm(4).double()(x), atol=1e-4, rtol=0)


def test_pools(generator):
    x = torch.randn(2, 3, 4, 6, 8, generator=generator, dtype=torch.float64)
    assert HalvePool()(x).shape == (2, 3, 4, 3, 4)
    assert HalvePool()(x)[1, 2, 3, 1, 2] == x[1, 2, 3, 2:4, 4:6].max()
    assert torch.equal(GroupMax()(x), x.flatten(2).amax(2))
    draw = CHARTS[0].sample(4, haar_weights=True, generator=generator)
    measure = draw.weights / torch.linalg.det(draw.elements)
    want = (x.mean((3, 4)) * measure).sum(2) / measure.sum()
    torch.testing.assert_close(GroupMean()(x, draw), want, atol=1e-14, rtol=0)
    with pytest.raises(InputError, match="even"):
        HalvePool()(x[..., :7])


def test_sets_of_a_draw_share_their_angles(generator):
    """Two sets, closed under quarter turns, whose angles differ by multiples of 2 pi / count: stretches differ."""
    sampler = Sampler(CHARTS[1], 8, 0.0)
    first, second = sampler.draw(2, generator=generator)
    torch.testing.assert_close(first.elements, second.elements, atol=1e-14, rtol=0)
    other = sampler.draw(1, generator=generator)[0]
    assert (first.elements - other.elements).abs().max() > 1e-3
    first, second = Sampler(CHARTS[1], 8).draw(2, generator=generator)
    assert (first.elements - second.elements).abs().max() > 1e-3
    assert len(Sampler(CHARTS[1], 8).draw(1, count=3, generator=generator)[0].weights) == 3
    torch.manual_seed(1)
    again = Sampler(CHARTS[1], 4).draw()[0].elements
    torch.manual_seed(1)
    assert torch.equal(Sampler(CHARTS[1], 4).draw()[0].elements, again)


def test_one_convolution_is_a_monte_carlo_mean(generator):
    """Of a field that is constant in h': its spread over independent draws falls as one over the root of their number."""
    torch.manual_seed(0)
    layer, output = LieConv(1, 1, chart=CHARTS[1], kernel=3, hidden=8).double(), CHARTS[1].sample(1, generator=generator)
    spread, counts = [], (4, 16, 64)
    for count in counts:
        draws = [CHARTS[1].sample(count, generator=generator) for _ in range(150)]
        with torch.no_grad():
            x = torch.ones(1, 1, count, 3, 3, dtype=torch.float64)
            spread.append(float(torch.stack([layer(x, draw, output)[0, 0, 0, 1, 1] for draw in draws]).std()))
    assert spread[0] / spread[1] == pytest.approx(2, rel=0.25)
    assert spread[1] / spread[2] == pytest.approx(2, rel=0.25)


def test_float32_and_gradients(generator):
    torch.manual_seed(0)
    model = Layers(CHARTS[0])
    x = sample_of(CHARTS[0], generator)
    y = model(x["x"].float(), x["first"], x["second"])
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, model.double()(**x).float(), atol=1e-4, rtol=0)
    model(**x).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_bad_input():
    for kernel in (1, 4):
        with pytest.raises(InputError, match="odd number of pixels"):
            LieLift(1, 2, chart=CHARTS[1], kernel=kernel)
    with pytest.raises(InputError, match="plane"):
        LieConv(1, 2, chart=LogPolar(SL(3)))
    for inputs, outputs in ((0, 2), (2, 0)):
        with pytest.raises(InputError, match="channels"):
            LieConv(inputs, outputs, chart=CHARTS[0])
    with pytest.raises(InputError, match="count"):
        Sampler(CHARTS[0], 0).draw()
