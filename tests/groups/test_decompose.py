"""Decompositions reconstruct to 1e-12; log-polar coordinates are a smooth bijection; the Haar weight is the measure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import InputError
from coset.groups.decompose import LogPolar, cartan, iwasawa, polar
from coset.groups.matrix import GL, SL, SO, Lorentz, O
from coset.groups.rotations import matrix_log, planar_rotation, skew_log

GROUPS = [GL(1, positive=True), GL(2, positive=True), GL(3, positive=True), SL(2), SL(3), SL(4)]


@given(n=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None, database=None)
def test_reconstruction(n, seed):
    g = GL(n).sample(8, generator=torch.Generator().manual_seed(seed))
    p, k = polar(g)
    torch.testing.assert_close(p @ k, g, atol=1e-12, rtol=0)
    assert O(n).contains(k, tolerance=1e-12).all()
    assert bool((torch.linalg.eigvalsh(p) > 0).all())
    torch.testing.assert_close(p, p.mT, atol=0, rtol=0)
    k2, p2 = polar(g, side="right")
    torch.testing.assert_close(k2, k, atol=1e-12, rtol=0)
    torch.testing.assert_close(k2 @ p2, g, atol=1e-12, rtol=0)

    k, a, turn = cartan(g)
    torch.testing.assert_close(k * a.exp()[:, None] @ turn, g, atol=1e-12, rtol=0)
    assert SO(n).contains(k, tolerance=1e-12).all()
    assert O(n).contains(turn, tolerance=1e-12).all()
    torch.testing.assert_close(torch.linalg.det(turn).sign(), torch.linalg.det(g).sign())
    assert bool((a.diff(dim=-1) <= 0).all())

    k, a, upper = iwasawa(g)
    torch.testing.assert_close(k * a.exp()[:, None] @ upper, g, atol=1e-12, rtol=0)
    assert O(n).contains(k, tolerance=1e-12).all()
    torch.testing.assert_close(upper, upper.triu(), atol=1e-13, rtol=0)
    torch.testing.assert_close(upper.diagonal(dim1=-2, dim2=-1), torch.ones(8, n).double())


def test_determinant_one(generator):
    g = SL(3).sample(20, generator=generator)
    for part in (polar(g)[0], polar(g)[1], cartan(g)[0], cartan(g)[2], iwasawa(g)[0]):
        torch.testing.assert_close(torch.linalg.det(part), torch.ones(20).double(), atol=1e-12, rtol=0)
    assert float(cartan(g)[1].sum(-1).abs().max()) < 1e-12


@pytest.mark.parametrize("group", GROUPS, ids=str)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None, database=None)
def test_coordinates_are_a_bijection(group, seed):
    chart = LogPolar(group)
    generator = torch.Generator().manual_seed(seed)
    g = group.sample(20, generator=generator)
    c = chart.coordinates(g)
    assert c.shape == (20, chart.dim)
    h, back = chart.pair(c)
    torch.testing.assert_close(h, g, atol=1e-12, rtol=0)
    torch.testing.assert_close(back @ g, torch.eye(group.n).double().expand(20, -1, -1), atol=1e-12, rtol=0)
    c = 0.5 * torch.randn(20, chart.dim, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(chart.coordinates(chart.element(c)), c, atol=1e-12, rtol=0)
    assert group.contains(chart.element(c), tolerance=1e-9).all()


def test_where_exp_is_not_onto():
    """diag(-2, -1/2) has no logarithm in SL(2), but coordinates: a half turn and a stretch."""
    g = torch.diag(torch.tensor([-2.0, -0.5])).double()
    with pytest.raises(InputError):
        SL(2).log(g)
    chart = LogPolar(SL(2))
    torch.testing.assert_close(chart.element(chart.coordinates(g)), g, atol=1e-14, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_coordinates_of_the_identity_and_their_gradient(group):
    """Zero there, with the orthonormal basis for a Jacobian: no eigenvector is asked where eigenvalues coincide."""
    chart = LogPolar(group)
    unit = group.identity()
    assert float(chart.coordinates(unit).abs().max()) == 0
    jacobian = torch.autograd.functional.jacobian(chart.coordinates, unit)
    torch.testing.assert_close(jacobian, chart.basis(), atol=1e-12, rtol=0)
    gram = torch.einsum("aij,bij->ab", chart.basis(), chart.basis())
    torch.testing.assert_close(gram, torch.eye(chart.dim).double(), atol=1e-14, rtol=0)


def test_gradients(generator):
    g = GL(3, positive=True).sample(1, generator=generator)[0].requires_grad_()
    assert torch.autograd.gradcheck(LogPolar(GL(3, positive=True)).coordinates, (g,))
    assert torch.autograd.gradcheck(lambda g: sum(polar(g)), (g,))
    assert torch.autograd.gradcheck(lambda g: iwasawa(g), (g,))


def test_float32_in_float32_out(generator):
    g = SL(2).sample(10, generator=generator, dtype=torch.float32)
    chart = LogPolar(SL(2))
    assert chart.coordinates(g).dtype == torch.float32
    torch.testing.assert_close(chart.element(chart.coordinates(g)), g, atol=1e-4, rtol=0)
    for parts in (polar(g), cartan(g), iwasawa(g)):
        assert {part.dtype for part in parts} == {torch.float32}


def test_haar_weight_is_the_invariant_measure():
    """The integral of f(a s a^T) over s = g g^T equals that of f(s); without the weight it does not.

    f(s) = exp(-tr s - tr s^-1) on positive 2 x 2 matrices, on a grid of log s / 2 in orthonormal coordinates.
    """
    chart = LogPolar(GL(2, positive=True))
    steps = torch.linspace(-2.6, 2.6, 41, dtype=torch.float64)
    c = torch.cat([torch.zeros(41**3, 1).double(), torch.cartesian_prod(steps, steps, steps)], -1)
    weight = chart.log_haar_weight(c).exp()
    g, back = chart.pair(c)
    s, inverse = g @ g.mT, back.mT @ back
    a = torch.tensor([[1.1, 0.3], [-0.2, 0.8]]).double()
    b = torch.linalg.inv(a)

    def trace(m):
        return m.diagonal(dim1=-2, dim2=-1).sum(-1)

    f = (-trace(s) - trace(inverse)).exp()
    moved = (-trace(a @ s @ a.mT) - trace(b.mT @ inverse @ b)).exp()
    volume = (steps[1] - steps[0]) ** 3
    assert float((moved * weight).sum() * volume) == pytest.approx(float((f * weight).sum() * volume), rel=1e-9)
    assert abs(float(moved.sum() / f.sum()) - 1) > 1e-3


def test_haar_weighted_samples(generator):
    """Importance weights make sample means invariant within their error; equal weights do not."""
    chart = LogPolar(SL(2))
    draw = chart.sample(40000, 2.0, haar_weights=True, generator=generator)
    eye = torch.eye(2).double()
    torch.testing.assert_close(draw.elements @ draw.inverses, eye.expand(40000, 2, 2), atol=1e-10, rtol=0)
    assert float(draw.weights.sum()) == pytest.approx(1, abs=1e-12)

    def f(g):
        return (-((g * g).sum((-2, -1)) ** 2) / 8).exp()

    a = torch.diag(torch.tensor([1.5, 1 / 1.5])).double()
    plain, moved = f(draw.elements), f(draw.elements @ a)
    error = abs(float((draw.weights * (moved - plain)).sum() / (draw.weights * plain).sum()))
    assert error < 0.05
    assert abs(float((moved - plain).mean() / plain.mean())) > 0.08


def test_samples(generator):
    chart = LogPolar(GL(2, positive=True))
    draw = chart.sample(4000, 0.1, generator=generator)
    log_s = 2 * chart.coordinates(draw.elements)[:, 1:]
    torch.testing.assert_close(log_s.var(0), torch.full((3,), 0.1).double(), atol=0.02, rtol=0)
    assert float((draw.weights * 4000 - 1).abs().max()) < 1e-14
    grid = chart.sample(8, 0.0, turns="grid")
    torch.testing.assert_close(grid.elements, SO(2).grid(8), atol=1e-15, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(LogPolar(SL(3)).sample(20, generator=generator).elements), torch.ones(20).double()
    )
    for count, variance in ((0, 0.1), (3, -1.0)):
        with pytest.raises(InputError, match="count"):
            chart.sample(count, variance)


@pytest.mark.parametrize("group", [GL(2, positive=True), SL(2)], ids=str)
def test_the_plane_in_closed_form_is_the_general_rule(group, generator):
    g = group.sample(50, generator=generator)
    g = torch.cat([g, g @ g @ g, group.identity()[None], torch.eye(2).double()[None] + 1e-5 * (g[:1] - g[0, 0, 0])])
    g = g / torch.linalg.det(g)[:, None, None].sqrt() if isinstance(group, SL) else g
    p, k = polar(g)
    want = torch.einsum("nij,kij->nk", matrix_log(p) + skew_log(k), LogPolar(group).basis())
    torch.testing.assert_close(LogPolar(group).coordinates(g), want, atol=1e-11, rtol=0)
    assert torch.autograd.gradcheck(LogPolar(group).coordinates, (g[:3].requires_grad_(),)) or isinstance(group, SL)


@pytest.mark.parametrize("a", [1e-9, 5e-3, 9.9e-3, 1.1e-2, 2.0])
def test_small_stretches_keep_every_digit(a):
    """On both sides of where the closed form becomes a series."""
    stretch = torch.tensor([a, -a], dtype=torch.float64)
    c = LogPolar(GL(2, positive=True)).coordinates(torch.diag(stretch.exp()))
    torch.testing.assert_close(c[1:3], stretch, atol=1e-15, rtol=1e-13)
    assert c[[0, 3]].abs().max() < 1e-15


def test_where_the_angle_is_cut():
    """In (-pi, pi], or in [0, 2 pi) as in the released code; rounding on either side of a cut does not jump."""
    centered, positive = LogPolar(SL(2)), LogPolar(SL(2), branch="positive")

    def angle(chart, a):
        return float(chart.coordinates(planar_rotation(torch.tensor(a, dtype=torch.float64)))[0]) / 2**0.5

    for a in (0.3, 1.5, math.pi - 1e-3):
        assert angle(centered, a) == pytest.approx(angle(positive, a), abs=1e-12) == pytest.approx(a, abs=1e-12)
        assert angle(centered, -a) == pytest.approx(-a, abs=1e-12)
        assert angle(positive, -a) == pytest.approx(2 * math.pi - a, abs=1e-12)
    for off in (1e-7, -1e-7, 0.0):
        assert angle(centered, math.pi + off) == pytest.approx(math.pi, abs=2e-7)
        assert angle(positive, off) == pytest.approx(0, abs=2e-7)
    turned = planar_rotation(torch.tensor(5.0).double())
    torch.testing.assert_close(positive.element(positive.coordinates(turned)), turned, atol=1e-14, rtol=0)
    with pytest.raises(InputError, match="branch"):
        LogPolar(SL(3), branch="positive")


@pytest.mark.parametrize(("count", "quarter"), [(1, 1), (3, 1), (6, 2), (10, 2), (8, 4), (12, 4)])
def test_orbits_are_closed_under_turns_of_the_grid(count, quarter, generator):
    """And their rotations are equidistant: no angle is met twice."""
    draw = LogPolar(GL(2, positive=True)).sample(count, turns="orbits", haar_weights=True, generator=generator)
    eye = torch.eye(2).double()
    torch.testing.assert_close(draw.elements @ draw.inverses, eye.expand(count, 2, 2), atol=1e-13, rtol=0)
    turned = planar_rotation(torch.tensor(2 * math.pi / quarter).double()).round() @ draw.elements
    gaps = (turned[:, None] - draw.elements).abs().amax((-2, -1))
    assert bool((gaps.amin(1) == 0).all())
    assert bool((draw.weights[gaps.argmin(1)] == draw.weights).all())
    angles = polar(draw.elements)[1]
    angles = torch.atan2(angles[:, 1, 0], angles[:, 0, 0]).sort().values
    steps = torch.cat([angles, angles[:1] + 2 * math.pi]).diff()
    torch.testing.assert_close(steps, torch.full((count,), 2 * math.pi / count, dtype=torch.float64), atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="turns"):
        LogPolar(SL(3)).sample(4, turns="orbits")


def test_sheet_a(generator):
    """decompose(compose) to 1e-10 and, in float32, 1e-4; determinants of SL 1 to 1e-6; pairs multiply to I; xi^-1(I) = 0."""
    for group in (GL(2, positive=True), SL(2), GL(3, positive=True)):
        chart = LogPolar(group)
        c = 0.4 * torch.randn(200, chart.dim, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(chart.coordinates(chart.element(c)), c, atol=1e-10, rtol=0)
        torch.testing.assert_close(chart.coordinates(chart.element(c.float())), c.float(), atol=1e-4, rtol=0)
        draw = chart.sample(200, generator=generator)
        product = draw.elements.float() @ draw.inverses.float()
        torch.testing.assert_close(product, torch.eye(group.n).expand(200, -1, -1), atol=1e-6, rtol=0)
        if isinstance(group, SL):
            torch.testing.assert_close(torch.linalg.det(draw.elements.float()), torch.ones(200), atol=1e-6, rtol=0)


def test_left_haar_measure_of_the_affine_group():
    """dt dh / |det h|: on the line, the integral of f(a g) is that of f(g); that of f(g a) differs by |det a|."""
    chart = LogPolar(GL(1, positive=True))
    t = torch.linspace(-40, 40, 1601, dtype=torch.float64)
    c = torch.linspace(-6, 6, 241, dtype=torch.float64)[:, None]
    weight = chart.log_affine_weight(c).exp()[:, None]
    h = chart.element(c)[:, :, 0]

    def f(shift, scale):
        return (-((shift / 2) ** 2) - (scale.log() - 0.3) ** 2).exp()

    whole = (f(t, h) * weight).sum()
    left = (f(1.7 * t + 0.4, 1.7 * h) * weight).sum()  # (s, a)(t, h) = (a t + s, a h)
    right = (f(t + h * 0.4, h * 1.7) * weight).sum()  # (t, h)(s, a) = (t + h s, h a)
    torch.testing.assert_close(left, whole, atol=0, rtol=1e-12)
    torch.testing.assert_close(right, whole * 1.7, atol=0, rtol=1e-12)


def test_bad_input():
    singular, rectangular = torch.zeros(2, 2), torch.ones(2, 3)
    for decompose in (polar, cartan, iwasawa, LogPolar(SL(2)).coordinates):
        with pytest.raises(InputError, match="singular"):
            decompose(singular)
        with pytest.raises(InputError, match="square"):
            decompose(rectangular)
        with pytest.raises(InputError, match="NaN"):
            decompose(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match="positive"):
        LogPolar(GL(2, positive=True)).coordinates(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(InputError, match="1 to 1e-4"):
        LogPolar(SL(2)).coordinates(1.1 * torch.eye(2))
    with pytest.raises(InputError, match=r"expected \(\.\.\., 2, 2\)"):
        LogPolar(SL(2)).coordinates(torch.eye(3))
    with pytest.raises(InputError, match="3 coordinates"):
        LogPolar(SL(2)).element(torch.zeros(4))
    for group in (GL(2), SO(2), Lorentz()):
        with pytest.raises(InputError, match="positive=True"):
            LogPolar(group)
    with pytest.raises(InputError, match="side"):
        polar(torch.eye(2), side="up")
