import math

import pytest
import torch

from coset.errors import InputError
from coset.ops.circular import (
    KINDS,
    circular_basis,
    circular_harmonic,
    circular_indices,
    factorial_radial,
    jacobi,
    pixel_centers,
)

MOMENTS = KINDS[:3]


@pytest.mark.parametrize(("kind", "tolerance"), [("zernike", 2e-2), ("pseudo-zernike", 2e-2), ("fourier-mellin", 6e-2)])
def test_polynomials_are_orthogonal_on_the_disc(kind, tolerance):
    basis = circular_basis(kind, 6, 128)
    gram = torch.einsum("ahw,bhw->ab", basis.values, basis.values.conj()) * (2 / 128) ** 2
    want = torch.diag(math.pi / (basis.radial + 1)).to(gram)
    assert (gram - want).abs().max() < tolerance


@pytest.mark.parametrize("kind", MOMENTS)
def test_recursion_meets_the_published_factorial_sums(kind):
    r = torch.linspace(0.01, 1, 40, dtype=torch.float64)
    for p, q in circular_indices(kind, 6):
        ours = circular_harmonic(kind, p, q, r, torch.zeros_like(r)).real
        assert (ours - factorial_radial(kind, p, q, r)).abs().max() < 1e-11, (p, q)


@pytest.mark.parametrize("kind", MOMENTS)
def test_polynomials_are_one_at_the_rim_at_any_order(kind):
    one = torch.ones(1, dtype=torch.float64)
    for p in (5, 20, 40):
        q = p % 2 if kind == "zernike" else 3
        assert torch.allclose(circular_harmonic(kind, p, q, one, 0 * one).real, one, atol=1e-10)


def test_high_orders_stay_bounded_where_factorial_sums_cancel():
    r = torch.linspace(0, 1, 500, dtype=torch.float64)
    assert circular_harmonic("zernike", 60, 0, r, 0 * r).abs().max() <= 1 + 1e-9
    assert factorial_radial("zernike", 60, 0, r).abs().max() > 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("subpixels", [1, 3])
def test_quarter_turns_and_flips_of_the_grid_are_phases(kind, size, subpixels):
    basis = circular_basis(kind, 3, size, subpixels=subpixels)
    phase = torch.tensor([(-1j) ** int(q) for q in basis.angular])[:, None, None]
    turned, want = torch.rot90(basis.values, 1, (-2, -1)), basis.values * phase
    # means over subpixels are summed in another order
    assert torch.equal(turned, want) if subpixels == 1 else torch.allclose(turned, want, atol=1e-14, rtol=0)
    assert torch.allclose(basis.values.flip(-2), basis.values.conj(), atol=1e-15, rtol=0)


def test_fourier_mellin_vanishes_at_the_centre_for_nonzero_frequency():
    basis = circular_basis("fourier-mellin", 2, 7)
    centre = basis.values[:, 3, 3]
    assert torch.equal(centre[basis.angular > 0], torch.zeros_like(centre[basis.angular > 0]))
    assert (centre[basis.angular == 0] != 0).all()


def test_counts_of_indices():
    for order in range(9):
        assert len(circular_indices("zernike", order)) == (order // 2 + 1) * ((order + 1) // 2 + 1)
        assert len(circular_indices("pseudo-zernike", order)) == (order + 1) * (order + 2) // 2
        assert len(circular_indices("fourier-mellin", order, angular=3)) == (order + 1) * 4


def test_negative_frequency_is_the_conjugate():
    x, y = pixel_centers(6)
    for kind, p in (("zernike", 3), ("pseudo-zernike", 3), ("fourier-mellin", 2), ("rings", 2)):
        assert torch.equal(circular_harmonic(kind, p, -3, x, y), circular_harmonic(kind, p, 3, x, y).conj())


def test_y_points_up_and_positive_angles_turn_counter_clockwise():
    x, y = pixel_centers(4)
    assert x[0, -1] > 0
    assert y[0, -1] > 0
    value = circular_harmonic("zernike", 1, 1, x, y)
    assert torch.allclose(value, torch.complex(x, y))


def test_derivatives_exist_at_the_centre():
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for kind, p, q in (("zernike", 4, 2), ("pseudo-zernike", 4, 1), ("fourier-mellin", 2, 1), ("rings", 1, 1)):
        value = circular_harmonic(kind, p, q, x, 0 * x)
        slope = torch.autograd.grad(value.real.sum() + value.imag.sum(), x)[0]
        assert torch.isfinite(slope).all(), kind


def test_jacobi_meets_scipy():
    special = pytest.importorskip("scipy.special")
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)
    for n in range(8):
        for b in (0, 1, 5):
            want = torch.from_numpy(special.eval_jacobi(n, 0, b, x.numpy()))
            assert torch.allclose(jacobi(n, b, x), want, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: circular_basis("zernicke", 4, 16), "did you mean 'zernike'"),
        (lambda: circular_basis("zernike", 17, 16), "exceeds"),
        (lambda: circular_basis("zernike", -1, 16), "order is >= 0"),
        (lambda: circular_basis("zernike", 4, 0), ">= 1|exceeds"),
        (lambda: circular_basis("zernike", 4, 8, indices=((4, 1),)), "even"),
        (lambda: circular_basis("pseudo-zernike", 4, 8, indices=((1, 3),)), r"\|q\| <= p"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
