"""Quadratures are exact to their degree and, where known, not beyond; grids are even."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import InputError
from coset.groups.finite import Icosahedral
from coset.groups.haar import (
    axis_angle_grid,
    fibonacci_sphere,
    haar_matrices,
    orthogonal_rule,
    rotation_grid,
    rotation_rule,
    sphere_rule,
    super_fibonacci,
    unitary_rule,
)
from coset.groups.matrix import SO, SU, O, U
from coset.groups.product import Product, Semidirect

MOTZKIN = [1, 0, 1, 1, 3, 6, 15, 36, 91]  # invariants in the tensor powers of a vector under SO(3): Riordan numbers


def invariants(rule, rank: int) -> float:
    """The mean of the character to the power ``rank``: how many invariants the tensor power has."""
    character = rule.elements.diagonal(dim1=-2, dim2=-1).sum(-1)
    return float((rule.weights * character**rank).sum().real)


@given(degree=st.integers(0, 12))
@settings(max_examples=13, deadline=None, database=None)
def test_circle_needs_one_angle_more_than_the_degree(degree):
    rule = rotation_rule(2, degree)
    assert len(rule) == degree + 1
    for rank in range(degree + 1):
        want = math.comb(rank, rank // 2) if rank % 2 == 0 else 0
        assert invariants(rule, rank) == pytest.approx(want, abs=1e-10)
    top = degree + 1
    want = math.comb(top, top // 2) if top % 2 == 0 else 0
    assert abs(invariants(rule, top) - want) > 0.5  # and not exact beyond


@pytest.mark.parametrize(("degree", "size"), [(0, 1), (1, 12), (2, 12), (3, 24), (4, 60), (5, 60), (6, 196), (7, 256)])
def test_rotations_of_space(degree, size):
    rule = rotation_rule(3, degree)
    assert len(rule) == size
    for rank in range(min(int(rule.degree), 8) + 1):
        assert invariants(rule, rank) == pytest.approx(MOTZKIN[rank], abs=1e-9)
    if 0 < degree <= 5:  # the solids have an invariant harmonic just above
        assert abs(invariants(rule, int(rule.degree) + 1) - MOTZKIN[int(rule.degree) + 1]) > 0.5


def test_all_irreps_of_rotations_average_to_zero():
    """Characters sin((2l+1) t/2) / sin(t/2) up to l = degree; the icosahedral group fails first at 6."""
    for degree in (5, 6, 8):
        rule = rotation_rule(3, degree)
        angle = ((rule.elements.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
        for degree_l in range(1, degree + 1):
            character = 1 + 2 * sum((m * angle).cos() for m in range(1, degree_l + 1))
            assert abs(float((rule.weights * character).sum())) < 1e-9
    assert torch.equal(rotation_rule(3, 5).elements, Icosahedral().matrices)


def test_orthogonal_and_unitary_rules():
    catalan = [1, 0, 1, 0, 2, 0, 5]
    for rank, want in enumerate(catalan):
        assert invariants(unitary_rule(2, 6, special=True), rank) == pytest.approx(want, abs=1e-10)
    for rank, want in enumerate([1, 0, 1, 0, 3, 0, 15]):
        assert invariants(orthogonal_rule(3, 6), rank) == pytest.approx(want, abs=1e-9)
    for rank, want in enumerate([1, 0, 1, 0, 4]):  # SO(4): a fourth invariant, the volume
        assert invariants(rotation_rule(4, 4), rank) == pytest.approx(want, abs=1e-9)
    for rank, want in enumerate([1, 0, 0, 1]):  # SU(3): the determinant
        assert invariants(unitary_rule(3, 3, special=True), rank) == pytest.approx(want, abs=1e-9)
    rule = unitary_rule(2, 4)
    character = rule.elements.diagonal(dim1=-2, dim2=-1).sum(-1)
    for k, want in ((1, 1), (2, 2)):  # E |tr g|^2k = k! on U(n), k <= n
        assert float((rule.weights * character.abs() ** (2 * k)).sum()) == pytest.approx(want, abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("degree", [0, 1, 4, 5])
def test_sphere_rule(n, degree):
    """Moments of coordinates, product of (k - 1)!! over n (n + 2) ..."""
    points, weights = sphere_rule(n, degree)
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(len(points)).double())
    assert float(weights.sum()) == pytest.approx(1, abs=1e-13)
    if degree >= 2:
        assert float((weights * points[:, -1] ** 2).sum()) == pytest.approx(1 / n, abs=1e-12)
        assert float((weights * points[:, 0] ** 4).sum()) == pytest.approx(3 / (n * (n + 2)) if n > 1 else 1, abs=1e-12)
    if degree >= 1:
        assert float((weights[:, None] * points).sum(0).abs().max()) < 1e-13


def test_products_of_rules():
    rule = (SO(2) * O(1) * SO(3)).quadrature(3)
    assert len(rule) == 4 * 2 * 24
    assert float(rule.weights.sum()) == pytest.approx(1, abs=1e-12)
    assert rule.degree == 3
    assert isinstance(SO(2) * O(1), Product)
    turns = Semidirect(SO(2), O(1), lambda h, g: torch.where(h < 0, g.mT, g)).quadrature(4)
    assert len(turns) == 10


def test_bad_degrees_and_sizes():
    for bad in (-1, 1.5, True, None):
        with pytest.raises(InputError, match="degree"):
            SO(3).quadrature(bad)
        with pytest.raises(InputError, match="degree"):
            U(2).quadrature(bad)
    with pytest.raises(InputError, match="more than"):
        SO(6).quadrature(8)
    for bad in (0, -2, 2.5):
        with pytest.raises(InputError, match="n >= 1"):
            SO(3).grid(bad)
    with pytest.raises(InputError, match="plane"):
        axis_angle_grid("yx")
    with pytest.raises(InputError, match="degree"):
        SU(1).quadrature(-1)


@pytest.mark.parametrize("n", [1, 5, 72])
def test_circle_grid_is_closed(n):
    grid = SO(2).grid(n)
    assert torch.equal(grid[0], torch.eye(2, dtype=torch.float64))
    products = (grid[:, None] @ grid).flatten(0, 1)
    assert float((products[:, None] - grid).abs().amax((-2, -1)).amin(1).max()) < 1e-14
    assert len(O(2).grid(2 * n)) == 2 * n


def test_fibonacci_grids_are_even():
    """Means of harmonics fall faster than the 1/sqrt(n) of random points, and no two points crowd."""
    points = fibonacci_sphere(1000)
    assert float(points.mean(0).abs().max()) < 2e-3
    assert float((points.mT @ points / 1000 - torch.eye(3) / 3).abs().max()) < 2e-3
    q = super_fibonacci(1000)
    torch.testing.assert_close(q.norm(dim=-1), torch.ones(1000).double())
    assert q[0].tolist() == [1, 0, 0, 0]
    moment = torch.einsum("ni,nj->ij", q, q) / 1000
    assert float((moment - torch.eye(4) / 4).abs().max()) < 5e-3
    grid = rotation_grid(1000)
    assert float(grid.mean(0).abs().max()) < 1e-2
    overlap = (q @ q.mT).abs().fill_diagonal_(0)
    random = torch.nn.functional.normalize(torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    crowded = (random @ random.mT).abs().fill_diagonal_(0)
    assert overlap.max().acos() > 5 * crowded.max().acos()


@pytest.mark.parametrize("plane", ["xy", "xz", "yz"])
def test_axis_angle_grid(plane):
    grid = axis_angle_grid(plane, 8, 5)
    assert grid.elements.shape == (8, 5, 3, 3)
    assert SO(3).contains(grid.elements).all()
    torch.testing.assert_close(grid.elements[:, 0], torch.eye(3).double().expand(8, 3, 3), atol=0, rtol=0)
    kept = grid.elements @ grid.axes[:, None, :, None]
    torch.testing.assert_close(kept[..., 0], grid.axes[:, None].expand(8, 5, 3), atol=1e-14, rtol=0)
    angle = ((grid.elements.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
    torch.testing.assert_close(angle, grid.angles.expand(8, 5), atol=1e-7, rtol=0)
    missing = ({"x", "y", "z"} - set(plane)).pop()
    assert float(grid.axes[:, "xyz".index(missing)].abs().max()) == 0


@pytest.mark.parametrize("unitary", [False, True])
def test_haar_matrices_have_uniform_eigenangles(unitary, generator):
    """E |tr g|^2 = 1: the unsigned QR fails this clearly."""
    g = haar_matrices(20000, 3, unitary=unitary, generator=generator)
    trace = g.diagonal(dim1=-2, dim2=-1).sum(-1).abs() ** 2
    assert float(trace.mean()) == pytest.approx(1, abs=5 * float(trace.std()) / math.sqrt(20000))
    q = torch.linalg.qr(torch.randn(20000, 3, 3, generator=generator, dtype=torch.float64))[0]
    unsigned = q.diagonal(dim1=-2, dim2=-1).sum(-1).abs() ** 2
    assert abs(float(unsigned.mean()) - 1) > 0.1
