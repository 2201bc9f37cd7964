import pytest
import torch

from coset.errors import InputError
from coset.ops.bspline import UniformBSpline, combine, pieces

F64 = torch.float64


def cubic(r):
    return torch.stack([r**3 - 2 * r, 1 + r**2, 3 + 0 * r], -1)


def slope_of(f):
    return lambda r: torch.autograd.functional.jvp(f, r, torch.ones_like(r), create_graph=True)[1]


def test_pieces_are_a_partition_of_one_and_join_smoothly():
    t = torch.linspace(0, 1, 21, dtype=F64)
    assert (pieces(t).sum(-1) - 1).abs().max() < 1e-15
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    for order in range(3):  # value, slope and curvature of piece j at 1 are those of piece j - 1 ... at 0
        f = pieces
        for _ in range(order):
            f = slope_of(f)
        at_zero, at_one = f(ends)
        assert (at_one[1:] - at_zero[:-1]).abs().max() < 1e-15
        assert at_one[0].abs() < 1e-15
        assert at_zero[3].abs() < 1e-15


@pytest.mark.parametrize("intervals", [1, 2, 9])
def test_cubics_are_reproduced(intervals, generator):
    spline = UniformBSpline(2.5, intervals)
    r = torch.rand(60, generator=generator, dtype=F64) * 2.5
    knots = spline.knots()
    slopes = torch.stack([3 * knots[[0, -1]] ** 2 - 2, 2 * knots[[0, -1]], 0 * knots[[0, -1]]], -1)
    for coefficients in (spline.interpolate(cubic(knots), slopes), spline.fit(r, cubic(r))):
        assert coefficients.shape == (intervals + 3, 3)
        assert (spline.evaluate(coefficients, r) - cubic(r)).abs().max() < 1e-11


def test_interpolation_converges_with_the_stated_bounds():
    f, slope = torch.sin, torch.cos
    r = torch.linspace(0, 6, 4001, dtype=F64)
    for n in (8, 32, 128):
        spline = UniformBSpline(6.0, n)
        knots = spline.knots()
        c = spline.interpolate(f(knots), slope(knots[[0, -1]]))
        s = spline.evaluate(c, r)
        ds = slope_of(lambda r: spline.evaluate(c, r))(r)  # noqa: B023
        assert (s - f(r)).abs().max() <= 5 / 384 * spline.step**4 + 1e-14
        assert (ds - slope(r)).abs().max() <= spline.step**3 / 24 + 1e-13


def test_twice_differentiable_in_distance_and_coefficients(generator):
    spline = UniformBSpline(3.0, 6)
    r = (torch.rand(8, generator=generator, dtype=F64) * 3.0).requires_grad_()
    c = torch.randn(9, 2, generator=generator, dtype=F64).requires_grad_()
    assert torch.autograd.gradcheck(spline.evaluate, (c, r))
    assert torch.autograd.gradgradcheck(spline.evaluate, (c, r))


def test_curvature_is_continuous_across_knots(generator):
    spline = UniformBSpline(3.0, 6)
    c = torch.randn(9, generator=generator, dtype=F64)
    sides = [(spline.knots()[1:-1] + e).requires_grad_() for e in (-1e-10, 1e-10)]
    found = []
    for r in sides:
        (slope,) = torch.autograd.grad(spline.evaluate(c, r).sum(), r, create_graph=True)
        found.append((slope, *torch.autograd.grad(slope.sum(), r)))
    for a, b in zip(*found, strict=True):
        assert (a - b).abs().max() < 1e-7


def test_locate_and_the_ends():
    spline = UniformBSpline(4.0, 4)
    index, basis = spline.locate(torch.tensor([-1.0, 0.0, 1.0, 3.9999, 4.0, 9.0], dtype=F64))
    assert index.tolist() == [0, 0, 1, 3, 3, 3]
    assert index.dtype == torch.int64
    assert (basis[0] - torch.tensor([1.0, 4.0, 1.0, 0.0], dtype=F64) / 6).abs().max() < 1e-15
    assert (basis[-1] - torch.tensor([0.0, 1.0, 4.0, 1.0], dtype=F64) / 6).abs().max() < 1e-15
    assert (basis[-2] == basis[-1]).all()


@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_three_zero_coefficients_end_it_smoothly(dtype, generator):
    spline = UniformBSpline(2.0, 7)
    r = torch.rand(200, generator=generator, dtype=F64) * 2.0
    want = torch.stack([(2 - r) ** 3 * (1 + r), (2 - r) ** 4], -1).to(dtype)
    c = spline.fit(r, want, vanish=True)
    assert (c[-3:] == 0).all()
    assert (spline.evaluate(c, r.to(dtype)) - want).abs().max() < 1e-2
    end = torch.tensor([2.0, 2.5], dtype=dtype, requires_grad=True)
    y = spline.evaluate(c, end)
    (slope,) = torch.autograd.grad(y.sum(), end, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), end)
    assert all((x == 0).all() for x in (y, slope, curvature))


def test_shapes_and_empty_input(generator):
    spline = UniformBSpline(2.0, 5)
    c = torch.randn(8, 3, 4, generator=generator)
    r = torch.rand(2, 7, generator=generator) * 2
    assert spline.evaluate(c, r).shape == (2, 7, 3, 4)
    assert spline.evaluate(c, r[:0]).shape == (0, 7, 3, 4)
    assert (combine(c, *spline.locate(r)) == spline.evaluate(c, r)).all()
    assert spline.evaluate(c, r).dtype == torch.float32
    assert torch.autograd.gradcheck(lambda r: spline.evaluate(c.double(), r), r.double().requires_grad_())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: UniformBSpline(0.0, 5), "r_max > 0"),
        (lambda: UniformBSpline(1.0, 0), "at least 1 interval"),
        (lambda: UniformBSpline(1.0, 5).evaluate(torch.zeros(5), torch.zeros(2)), "8 coefficients, got 5"),
        (lambda: UniformBSpline(1.0, 5).interpolate(torch.zeros(5), torch.zeros(2)), "6 values and 2 slopes"),
        (lambda: UniformBSpline(1.0, 5).fit(torch.zeros(4), torch.zeros(5)), r"points \(n,\)"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
