"""Lie convolutions are the sums they stand for, and move with images and samples wherever pixels move into pixels."""

import itertools
import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.decompose import Draw, LogPolar
from coset.groups.matrix import GL, SL
from coset.ops import lie_conv

GROUPS = [GL(2, positive=True), SL(2)]
SHAPE = (2, 2)  #: channels out and in


def smooth(points):
    """A kernel without any symmetry: points (..., d) to (..., 4), as a plain function of coordinates."""
    d = points.shape[-1]
    weight = torch.sin(torch.arange(4 * d, dtype=points.dtype) * 1.7 + 0.3).view(d, 4)
    phase = torch.arange(4, dtype=points.dtype)
    return torch.sin(points @ weight + phase) * torch.exp(-0.3 * points.square().sum(-1, keepdim=True))


def lift_values(chart, outputs, offsets):
    points = lie_conv.kernel_points(outputs, offsets)
    values = smooth(points) * lie_conv.window(chart, points)[..., None]
    return values.unflatten(-1, SHAPE).permute(0, 3, 4, 1, 2)


def group_values(chart, outputs, inputs, offsets):
    points = lie_conv.kernel_points(outputs, offsets)[:, None]
    related = lie_conv.relations(chart, outputs, inputs)[:, :, None, None]
    shape = (*related.shape[:2], *points.shape[2:4])
    both = torch.cat([points.expand(*shape, -1), related.expand(*shape, -1)], -1)
    values = smooth(both) * lie_conv.window(chart, points)[..., None]
    return values.unflatten(-1, SHAPE).permute(0, 1, 4, 5, 2, 3)


def at(x, row, column):
    """Zero outside the image."""
    inside = 0 <= row < x.shape[-2] and 0 <= column < x.shape[-1]
    return x[..., row, column] if inside else torch.zeros_like(x[..., 0, 0])


def moved(draw, matrix):
    """The samples A h."""
    return Draw(matrix @ draw.elements, draw.inverses @ torch.linalg.inv(matrix), draw.weights)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_the_stacked_convolution_is_the_double_sum(group, generator):
    """Written out pixel by pixel and sample by sample, at two different sets of samples of different sizes."""
    chart = LogPolar(group)
    inputs = chart.sample(3, 0.4, haar_weights=True, generator=generator)
    outputs = chart.sample(2, 0.4, generator=generator)
    offsets = lie_conv.window_offsets(3)
    x = torch.randn(1, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    got = lie_conv.group_conv(x, group_values(chart, outputs, inputs, offsets), inputs, padding=1)
    lifted = lie_conv.lift(x[:, :, 0], lift_values(chart, outputs, offsets), outputs, padding=1)
    want, want_lifted = torch.zeros_like(got), torch.zeros_like(lifted)
    for s, h in enumerate(outputs.elements):
        back = torch.linalg.inv(h)
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            u = back @ torch.tensor([right, -down], dtype=torch.float64) / 1.5  # y points up
            kept = float(u.norm() <= 1) if group == SL(2) else 1 / (1 + math.exp(-2 * (1 - float(u.norm()))))
            once = smooth(u).view(SHAPE) * kept / torch.linalg.det(h)
            related = [torch.cat([u, chart.coordinates(back @ other)]) for other in inputs.elements]
            measure = inputs.weights / torch.linalg.det(inputs.elements)
            each = [smooth(both).view(SHAPE) * kept * m for both, m in zip(related, measure, strict=True)]
            for row, column in itertools.product(range(4), range(5)):
                here = at(x, row + down, column + right)
                want_lifted[:, :, s, row, column] += here[..., 0] @ once.mT
                for t, k in enumerate(each):
                    want[:, :, s, row, column] += here[..., t] @ k.mT
    torch.testing.assert_close(got, want, atol=1e-13, rtol=0)
    torch.testing.assert_close(lifted, want_lifted, atol=1e-13, rtol=0)


def test_x_runs_right_and_y_up():
    """One asymmetric kernel tells (w, h) from (h, w): u_x looks at the pixel to the right, u_y at the one above."""
    offsets = lie_conv.window_offsets(3, radius=1.0)
    assert offsets[1, 2].tolist() == [1, 0]
    assert offsets[0, 1].tolist() == [0, 1]
    assert lie_conv.window_offsets(5)[0, 4].tolist() == [0.8, 0.8]
    identity = Draw(torch.eye(2)[None].double(), torch.eye(2)[None].double(), torch.ones(1).double())
    points = lie_conv.kernel_points(identity, offsets)
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 1, 3] = 1  # above and to the right of the middle
    y = lie_conv.lift(x, points[None, None, ..., 0], identity, padding=1)[0, 0, 0]
    assert y[1, 2] == 1
    assert y[1, 4] == -1
    y = lie_conv.lift(x, points[None, None, ..., 1], identity, padding=1)[0, 0, 0]
    assert y[2, 3] == 1
    assert y[0, 3] == -1


def test_a_sample_stretches_the_kernel_its_own_way():
    """h = diag(2, 1) reaches twice as far to the side and no farther up: h^-1 o, not h o, and not (y, x)."""
    h = torch.tensor([[[2.0, 0.5], [0.0, 1.0]]]).double()
    draw = Draw(h, torch.linalg.inv(h), torch.ones(1).double())
    points = lie_conv.kernel_points(draw, lie_conv.window_offsets(3, radius=1.0))
    torch.testing.assert_close(points[0, 1, 2], torch.tensor([0.5, 0.0]).double())
    torch.testing.assert_close(points[0, 0, 1], torch.tensor([-0.25, 1.0]).double())


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_values_of_the_kernel_move_with_offsets_and_samples(group, generator):
    """For any A at all: k(h^-1 o, h^-1 h') at (A o, A h, A h') is what it was."""
    chart = LogPolar(group)
    inputs, outputs = chart.sample(4, generator=generator), chart.sample(3, generator=generator)
    offsets, a = lie_conv.window_offsets(5), group.sample(1, generator=generator)[0]
    before = group_values(chart, outputs, inputs, offsets)
    after = group_values(chart, moved(outputs, a), moved(inputs, a), offsets @ a.mT)
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)
    assert (group_values(chart, moved(outputs, a), inputs, offsets @ a.mT) - before).abs().max() > 1e-2


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact_at_any_samples(group, turns, generator):
    """Turned images at turned samples give turned maps; the same samples do not."""
    chart = LogPolar(group)
    inputs, outputs = chart.sample(5, generator=generator), chart.sample(3, generator=generator)
    offsets = lie_conv.window_offsets(5)
    turn = torch.linalg.matrix_power(torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double(), turns)
    x = torch.randn(2, 2, 5, 9, 9, generator=generator, dtype=torch.float64)

    def both(x, inputs, outputs):
        return (
            lie_conv.group_conv(x, group_values(chart, outputs, inputs, offsets), inputs, padding=2),
            lie_conv.lift(x[:, :, 0], lift_values(chart, outputs, offsets), outputs),
        )

    want = [y.rot90(turns, (-2, -1)) for y in both(x, inputs, outputs)]
    got = both(x.rot90(turns, (-2, -1)), moved(inputs, turn), moved(outputs, turn))
    for left, right in zip(got, want, strict=True):
        torch.testing.assert_close(left, right, atol=1e-13, rtol=0)
    assert (both(x.rot90(turns, (-2, -1)), inputs, moved(outputs, turn))[0] - want[0]).abs().max() > 1e-2


def sheared(x, matrix):
    """Pixels of an odd square moved by an integer matrix about the middle; nothing may leave the image."""
    out, c = torch.zeros_like(x), x.shape[-1] // 2
    for row, column in x.flatten(0, -3).abs().amax(0).nonzero().tolist():
        right, up = (matrix @ torch.tensor([column - c, c - row]).double()).round().int().tolist()
        out[..., c - up, c + right] = x[..., row, column]
    return out


@pytest.mark.parametrize("matrix", [[[1, 1], [0, 1]], [[1, 0], [-1, 1]], [[2, 1], [1, 1]], [[0, -1], [1, 1]]])
def test_integer_shears_are_exact_where_the_window_holds_the_kernel(matrix, generator):
    """SL(2, Z), infinite and not abelian, moves pixels into pixels: lift and group convolution follow to 1e-13."""
    chart, a = LogPolar(SL(2)), torch.tensor(matrix).double()
    inputs, outputs = chart.sample(3, generator=generator), chart.sample(2, generator=generator)
    offsets = lie_conv.window_offsets(13, radius=1.6)
    x = torch.zeros(1, 2, 3, 41, 41, dtype=torch.float64)
    x[..., 18:23, 18:23] = torch.randn(1, 2, 3, 5, 5, generator=generator, dtype=torch.float64)

    def both(x, inputs, outputs):
        return (
            lie_conv.group_conv(x, group_values(chart, outputs, inputs, offsets), inputs, padding=6),
            lie_conv.lift(x[:, :, 0], lift_values(chart, outputs, offsets), outputs, padding=6),
        )

    got = both(sheared(x, a), moved(inputs, a), moved(outputs, a))
    for left, right in zip(got, both(x, inputs, outputs), strict=True):
        assert right.abs().max() > 0.1
        torch.testing.assert_close(left, sheared(right, a), atol=1e-13, rtol=0)


def test_the_determinant_makes_zooms_equivariant():
    """On a fine grid, zooming image and samples by 1.25 leaves values in place to 1e-3; without |det| they grow by 1.25^2."""
    chart, zoom = LogPolar(GL(2, positive=True)), 1.25
    a = zoom * torch.eye(2).double()
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = chart.sample(3, generator=generator), chart.sample(2, generator=generator)
    offsets = lie_conv.window_offsets(61, radius=7.0)
    line = torch.arange(81).double() - 40
    y, x = torch.meshgrid(-line, line, indexing="ij")

    def image(scale):
        u, v = x / scale, y / scale
        blobs = [torch.exp(-((u - 3 * c) ** 2 + (v + c) ** 2) / 30) for c in range(1, 7)]
        return torch.stack(blobs).view(1, 2, 3, 81, 81)

    def centre(scale, inputs, outputs):
        points = lie_conv.kernel_points(outputs, offsets)
        k = group_values(chart, outputs, inputs, offsets) * torch.exp(-2 * points.square().sum(-1))[:, None, None, None]
        lifted = lift_values(chart, outputs, offsets) * torch.exp(-2 * points.square().sum(-1))[:, None, None]
        grouped = lie_conv.group_conv(image(scale)[..., 10:71, 10:71], k, inputs)
        return torch.cat([grouped.flatten(), lie_conv.lift(image(scale)[:, :, 0, 10:71, 10:71], lifted, outputs).flatten()])

    want = centre(1.0, inputs, outputs)
    got = centre(zoom, moved(inputs, a), moved(outputs, a))
    assert want.abs().min() > 1e-2
    torch.testing.assert_close(got, want, atol=0, rtol=1e-3)


def test_shifts_are_exact_inside(generator):
    chart = LogPolar(SL(2))
    draw, offsets = chart.sample(3, generator=generator), lie_conv.window_offsets(5)
    x = torch.randn(1, 2, 3, 12, 12, generator=generator, dtype=torch.float64)
    k = group_values(chart, draw, draw, offsets)
    y, shifted = lie_conv.group_conv(x, k, draw), lie_conv.group_conv(x.roll((2, 1), (-2, -1)), k, draw)
    torch.testing.assert_close(shifted[..., 2:, 1:], y[..., :-2, :-1], atol=1e-14, rtol=0)


def test_the_number_of_samples_may_change(generator):
    """Weights sum to one: the mean of a constant map does not depend on how many samples there are."""
    chart, offsets = LogPolar(SL(2)), lie_conv.window_offsets(3)
    outputs = chart.sample(2, generator=generator)
    for count in (1, 3, 8):
        inputs = chart.sample(count, generator=generator)
        k = torch.ones(2, count, 1, 1, 3, 3, dtype=torch.float64)
        y = lie_conv.group_conv(torch.ones(1, 1, count, 5, 5, dtype=torch.float64), k, inputs)
        torch.testing.assert_close(y, torch.full((1, 1, 2, 3, 3), 9.0).double(), atol=1e-12, rtol=0)
    assert offsets.shape == (3, 3, 2)
    assert outputs.weights.sum() == 1


def test_bad_input(generator):
    for kernel in (1, 4, 0):
        with pytest.raises(InputError, match="odd number of pixels"):
            lie_conv.window_offsets(kernel)
    with pytest.raises(InputError, match="radius"):
        lie_conv.window_offsets(3, radius=0.0)
    chart, offsets = LogPolar(SL(2)), lie_conv.window_offsets(3)
    draw = chart.sample(2, generator=generator)
    k = group_values(chart, draw, draw, offsets)
    with pytest.raises(InputError, match="3 samples"):
        lie_conv.group_conv(torch.ones(1, 2, 3, 5, 5).double(), k, draw)
    for shape in ((1, 3, 2, 5, 5), (1, 2, 5, 5)):
        with pytest.raises(InputError, match="expected 5 axes"):
            lie_conv.group_conv(torch.ones(shape).double(), k, draw)
    with pytest.raises(InputError, match="expected 4 axes"):
        lie_conv.lift(torch.ones(1, 3, 5, 5).double(), lift_values(chart, draw, offsets), draw)
