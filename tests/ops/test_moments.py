import pytest
import torch

from coset.errors import InputError
from coset.ops.circular import pixel_centers
from coset.ops.moments import (
    MOMENTS,
    centroid,
    magnitude,
    moment_basis,
    moments,
    moments_about,
    phase_pairs,
    phase_triples,
    reconstruct,
    relative_phases,
    turn,
)

F64 = torch.float64


def blobs(size, angle=0.0, shift=(0.0, 0.0)):
    """A smooth shape without symmetry, turned and shifted analytically: no interpolation is involved."""
    x, y = pixel_centers(size)
    x, y = x - shift[0], y - shift[1]
    c, s = torch.cos(torch.tensor(angle, dtype=F64)), torch.sin(torch.tensor(angle, dtype=F64))
    u, v = c * x + s * y, -s * x + c * y
    out = torch.zeros(size, size, dtype=F64)
    for a, b, w in ((0.25, 0.1, 1.0), (-0.2, 0.2, 0.7), (0.05, -0.3, 0.5)):
        out += w * torch.exp(-((u - a) ** 2 + (v - b) ** 2) / 0.03)
    return out


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("size", [7, 14])
def test_phase_law_is_exact_at_quarter_turns(kind, size, generator):
    f = torch.randn(3, size, size, generator=generator, dtype=F64)
    basis = moment_basis(kind, 3, size)
    a = moments(f, basis)
    for k in range(4):
        turned = moments(torch.rot90(f, k, (-2, -1)), basis)
        want = turn(a, basis.angular, torch.full((3,), k * torch.pi / 2, dtype=F64))
        assert (turned - want).abs().max() < 1e-12
        assert (magnitude(turned) - magnitude(a)).abs().max() < 1e-12


@pytest.mark.parametrize(("kind", "bound"), [("zernike", 3e-4), ("pseudo-zernike", 4e-4), ("fourier-mellin", 5e-2)])
def test_phase_law_holds_in_between_for_band_limited_content(kind, bound):
    fine, coarse = (_mean_error(moment_basis(kind, 8, 28, subpixels=s)) for s in (5, 1))
    assert fine < bound
    assert fine < coarse or kind == "zernike"  # whose integrand is smooth at the centre: 1e-6 either way
    assert fine > 1e-9  # the grid is felt: exactness is claimed at quarter turns only


def _mean_error(basis):
    a, angles = moments(blobs(28), basis), (0.3, 0.7, 1.1, 2.0)
    gaps = []
    for angle in angles:
        want = turn(a, basis.angular, torch.tensor(angle))
        gaps.append(((moments(blobs(28, angle), basis) - want).norm() / want.norm()).item())
    return sum(gaps) / len(angles)


@pytest.mark.parametrize("kind", MOMENTS)
def test_reflection_conjugates(kind, generator):
    f = torch.randn(8, 8, generator=generator, dtype=F64)
    basis = moment_basis(kind, 3, 8)
    assert (moments(f.flip(-2), basis) - moments(f, basis).conj()).abs().max() < 1e-13


def test_relative_phases_are_rotation_but_not_reflection_invariant(generator):
    f = torch.randn(12, 12, generator=generator, dtype=F64)
    basis = moment_basis("zernike", 6, 12)
    pairs, triples = phase_pairs(basis.indices), phase_triples(basis.indices)
    assert len(pairs)
    assert len(triples)
    one, turned, flipped = (
        relative_phases(moments(g, basis), pairs, triples) for g in (f, torch.rot90(f, 1, (-2, -1)), f.flip(-2))
    )
    assert (one - turned).abs().max() < 1e-12
    assert (one - flipped).abs().max() > 1e-2
    p, t = len(pairs), len(triples)
    real = torch.cat([torch.arange(p), 2 * p + torch.arange(t)])
    assert (one - flipped)[real].abs().max() < 1e-12


def test_relative_phases_tell_apart_what_magnitudes_confuse(generator):
    basis = moment_basis("zernike", 6, 12)
    a = moments(torch.randn(12, 12, generator=generator, dtype=F64), basis)
    phases = torch.rand(len(basis), generator=generator, dtype=F64) * 6
    b = a * torch.polar(torch.ones_like(phases), phases)
    pairs, triples = phase_pairs(basis.indices), phase_triples(basis.indices)
    assert torch.allclose(magnitude(a), magnitude(b))
    assert (relative_phases(a, pairs, triples) - relative_phases(b, pairs, triples)).abs().max() > 1e-2


def test_an_image_is_recovered_from_zernike_moments_of_order_30():
    f = blobs(64)
    basis = moment_basis("zernike", 30, 64, subpixels=1)
    x, y = pixel_centers(64)
    inside = x * x + y * y <= 1
    back = reconstruct(moments(f, basis), basis)
    assert ((back - f) * inside).norm() / (f * inside).norm() < 0.15


def test_centroid_moves_with_the_image_and_moments_about_it_do_not_change():
    f, g = blobs(32).unsqueeze(0), blobs(32, shift=(4 / 32, -2 / 32)).unsqueeze(0)
    assert torch.allclose(centroid(g) - centroid(f), torch.tensor([4 / 32, -2 / 32], dtype=F64), atol=1e-6)
    one, two = (moments_about(h, "zernike", 5, centroid(h)) for h in (f, g))
    fixed = [moments_about(h, "zernike", 5, torch.zeros(2, dtype=F64)) for h in (f, g)]
    assert (one - two).norm() / one.norm() < 5e-3
    assert (fixed[0] - fixed[1]).norm() / fixed[0].norm() > 0.1


def test_moments_about_the_centre_are_the_moments(generator):
    f = torch.randn(2, 10, 10, generator=generator, dtype=F64)
    basis = moment_basis("pseudo-zernike", 4, 10, subpixels=1)
    assert torch.allclose(moments_about(f, "pseudo-zernike", 4, torch.zeros(2, dtype=F64)), moments(f, basis), atol=1e-13)


def test_gradients_are_finite_for_an_empty_map():
    f = torch.zeros(1, 8, 8, dtype=F64, requires_grad=True)
    slope = torch.autograd.grad(magnitude(moments(f, moment_basis("zernike", 4, 8))).sum(), f)[0]
    assert torch.isfinite(slope).all()
    center = centroid(f)
    assert torch.isfinite(torch.autograd.grad(center.sum(), f)[0]).all()
    assert torch.equal(center, torch.zeros_like(center))


def test_dtype_is_kept(generator):
    f = torch.randn(8, 8, generator=generator)
    assert moments(f, moment_basis("zernike", 4, 8)).dtype == torch.complex64


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: moments(torch.zeros(8, 6), moment_basis("zernike", 2, 8)), "square"),
        (lambda: moments(torch.zeros(6, 6), moment_basis("zernike", 2, 8)), "8 x 8"),
        (lambda: moments(torch.zeros(8, 8, dtype=torch.complex64), moment_basis("zernike", 2, 8)), "complex"),
        (lambda: moments(torch.full((8, 8), torch.nan), moment_basis("zernike", 2, 8)), "NaN"),
        (lambda: moment_basis("hu", 2, 8), "unknown moment"),
        (lambda: moment_basis("rings", 2, 8), "unknown moment"),
        (lambda: moment_basis("zernike", 9, 8), "exceeds"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_orders_above_half_the_size_warn():
    with pytest.warns(UserWarning, match="alias"):
        moment_basis("zernike", 5, 8)
