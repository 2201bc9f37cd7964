import math
import warnings

import pytest
import torch

from coset.errors import InputError
from coset.ops.radial import (
    bessel_basis,
    cosine_envelope,
    exponential_envelope,
    gaussian_basis,
    gaussian_grid,
    polynomial_envelope,
    smooth_envelope,
)

F64 = torch.float64
R_MAX = 5.0
ENVELOPES = {
    "polynomial 6": lambda r: polynomial_envelope(r, R_MAX),
    "polynomial 1": lambda r: polynomial_envelope(r, R_MAX, 1),
    "exponential": lambda r: exponential_envelope(r, R_MAX),
    "smooth": lambda r: smooth_envelope(r, R_MAX),
    "cosine": lambda r: cosine_envelope(r, R_MAX),
}
BASES = {
    "bessel": lambda r: bessel_basis(r, R_MAX),
    "gaussian": lambda r: gaussian_basis(r, *gaussian_grid(R_MAX, 12)),
}


def slopes(f, r, orders):
    """f and its derivatives at every r."""
    r = r.clone().requires_grad_()
    found = [f(r)]
    for _ in range(orders):
        found.append(torch.autograd.grad(found[-1].sum(), r, create_graph=True)[0])
    return [x.detach() for x in found]


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("name", [*ENVELOPES, *BASES])
def test_finite_everywhere_with_two_derivatives(name, dtype):
    eps = torch.finfo(dtype).eps
    r = torch.tensor(
        [0.0, 1e-30, 1e-7, 1e-3, 1.0, 4.0, 4.5, R_MAX * (1 - eps), R_MAX, R_MAX * (1 + eps), 6.0, 1e6], dtype=dtype
    )
    for x in slopes((ENVELOPES | BASES)[name], r, 2):
        assert x.dtype == dtype
        assert torch.isfinite(x).all()


@pytest.mark.parametrize("name", [*ENVELOPES, *BASES])
def test_derivatives_are_those_of_differences(name):
    r = torch.tensor([0.0, 0.01, 0.3, 1.7, 4.1, 4.3, 4.62, 4.97, 5.2], dtype=F64, requires_grad=True)
    f = (ENVELOPES | BASES)[name]
    assert torch.autograd.gradcheck(f, r)
    assert torch.autograd.gradgradcheck(f, r)


@pytest.mark.parametrize(
    ("name", "flat"), [("polynomial 6", 2), ("polynomial 1", 2), ("exponential", 3), ("smooth", 4), ("cosine", 1)]
)
def test_envelopes_go_from_one_to_zero(name, flat):
    """1 at 0; at r_max zero with ``flat`` derivatives, and not one more (infinitely many for the smooth one)."""
    f, h = ENVELOPES[name], 1e-9
    (at_zero,) = slopes(f, torch.zeros(1, dtype=F64), 0)
    assert at_zero == pytest.approx(1.0, abs=1e-15)
    values = slopes(f, torch.tensor([R_MAX - h], dtype=F64), flat + 1)
    assert all(x.abs() < 1e-6 for x in values[: flat + 1])
    assert (values[flat + 1].abs() > 1e-3) == (name != "smooth")
    beyond = slopes(f, torch.tensor([R_MAX, R_MAX + 1, 100.0], dtype=F64), 2)
    assert all((x[1:] == 0).all() for x in beyond)
    assert beyond[0][0].abs() < 1e-16
    r = torch.linspace(0, R_MAX, 500, dtype=F64)
    assert (f(r).diff() <= 1e-15).all()


def test_the_factored_polynomial_is_the_published_one():
    r = torch.linspace(0, 4.999, 50, dtype=F64)
    x = r / R_MAX
    for p in (1, 2, 5, 6):
        want = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        assert (polynomial_envelope(r, R_MAX, p) - want).abs().max() < 1e-13


def test_near_the_end_the_polynomial_keeps_its_digits_in_float32():
    r = torch.tensor([4.99, 4.999], dtype=torch.float32)
    want = polynomial_envelope(r.double(), R_MAX)
    assert ((polynomial_envelope(r, R_MAX).double() - want) / want).abs().max() < 1e-3  # the published form: 100 % and more


def test_bessel_functions_are_orthonormal_in_the_ball():
    nodes = torch.linspace(0, R_MAX, 4001, dtype=F64)
    b = bessel_basis(nodes, R_MAX, 6)
    gram = torch.trapezoid(b[:, :, None] * b[:, None] * nodes[:, None, None] ** 2, nodes, dim=0)
    assert (gram - torch.eye(6, dtype=F64)).abs().max() < 1e-9
    n = torch.arange(1, 7, dtype=F64)
    assert (b[0] - math.sqrt(2 / R_MAX) * n * math.pi / R_MAX).abs().max() < 1e-14


def test_the_series_meets_the_quotient():
    """The switch at x = 1/2 leaves no step in value, slope or curvature."""
    w = torch.tensor([1.0], dtype=F64)
    pairs = slopes(lambda r: bessel_basis(r, 2.0, w)[:, 0], torch.tensor([0.5 - 1e-12, 0.5 + 1e-12], dtype=F64), 2)
    assert all((x[0] - x[1]).abs() < 1e-11 for x in pairs)


def test_frequencies_can_be_learned(generator):
    r = torch.rand(7, generator=generator, dtype=F64) * R_MAX
    w = (torch.arange(1, 4, dtype=F64) * math.pi / R_MAX).requires_grad_()
    assert (bessel_basis(r, R_MAX, w) - bessel_basis(r, R_MAX, 3)).abs().max() < 1e-15
    assert torch.autograd.gradcheck(lambda w: bessel_basis(r, R_MAX, w), w)


def test_equal_to_e3nn(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        math_ = pytest.importorskip("e3nn.math", reason="the peer is compared where it is installed")
        r = torch.rand(20, generator=generator, dtype=F64) * R_MAX
        want = math_.soft_one_hot_linspace(r, 0.0, R_MAX, 8, "bessel", cutoff=True)
        assert (bessel_basis(r, R_MAX) - want).abs().max() < 1e-14


def test_gaussians_are_centered_and_wide():
    centers, width = gaussian_grid(R_MAX, 11, overlap=2.0)
    assert width == pytest.approx(1.0)
    g = gaussian_basis(centers, centers, width)
    assert (g.diagonal() == 1).all()
    assert g[0, 2] == pytest.approx(math.exp(-0.5), abs=1e-15)


def test_the_published_exponential_envelope_has_a_kink_in_its_second_derivative():
    """Stated in its docstring; the smooth one has none."""
    middle = torch.tensor([0.9 * R_MAX - 1e-9, 0.9 * R_MAX + 1e-9], dtype=F64)
    kinked, smooth = (slopes(ENVELOPES[name], middle, 2)[2] for name in ("exponential", "smooth"))
    assert (kinked[0] - kinked[1]).abs() > 1
    assert (smooth[0] - smooth[1]).abs() < 1e-4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda r: bessel_basis(r, 0.0), "r_max is a positive length, got 0"),
        (lambda r: polynomial_envelope(r, -1.0), "got -1"),
        (lambda r: polynomial_envelope(r, 5.0, 0), "p is at least 1, got 0"),
        (lambda r: cosine_envelope(r.long(), 5.0), "int64"),
        (lambda r: smooth_envelope(r, 5.0, 1.0), "share of r_max"),
        (lambda r: gaussian_basis(r, *gaussian_grid(5.0, 1)), "at least 2"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call(torch.ones(3))
