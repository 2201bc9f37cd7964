import math

import pytest
import torch
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import SO
from coset.ops.group_conv import lifting_kernel, regular_kernel, regular_shift, ring_indices, steered_basis

F64 = torch.float64


@pytest.mark.parametrize("group", [C(4), C(8), D(4), D(8)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_steered_functions_at_grid_elements_are_moved_arrays(group, kernel):
    basis = steered_basis(group, kernel)
    quarter = group.n // 4
    for k in range(4):
        assert torch.allclose(basis[k * quarter], torch.rot90(basis[0], k, (-2, -1)), atol=1e-14, rtol=0)
    if isinstance(group, D):
        assert torch.allclose(basis[group.n], basis[0].flip(-2), atol=1e-14, rtol=0)


def test_steering_stays_in_the_span_at_every_angle():
    # band-limited: a turned basis function is a combination of the unturned ones, so nothing is interpolated
    basis = steered_basis(C(7), 5)
    flat = basis[0].flatten(1).T
    for g in range(1, 7):
        want = basis[g].flatten(1).T
        got = flat @ torch.linalg.lstsq(flat, want).solution
        assert (got - want).abs().max() < 1e-12


def test_basis_functions_are_independent_and_normed():
    for kernel in (1, 3, 5, 7):
        basis = steered_basis(C(8), kernel)[0].flatten(1)
        assert torch.linalg.matrix_rank(basis) == len(basis) == sum(1 if m == 0 else 2 for _, m in ring_indices(kernel))
        assert torch.allclose(basis.norm(dim=1), torch.ones(len(basis), dtype=F64))


@pytest.mark.parametrize("group", [C(4), C(6), D(4)])
def test_kernels_meet_the_sums_that_define_them(group, generator):
    basis, shift, n = steered_basis(group, 3), regular_shift(group), int(group.order)
    w = torch.randn(2, 3, n, basis.shape[1], generator=generator, dtype=F64)
    kernel = regular_kernel(w, basis, shift)
    assert kernel.shape == (2, n, 3, n, 3, 3)
    for g in range(n):
        for h in range(n):
            back = group.compose(group.inverse(torch.tensor(g)), torch.tensor(h))
            want = torch.einsum("oib,bhw->oihw", w[:, :, back], basis[g])
            assert torch.allclose(kernel[:, g, :, h], want, atol=1e-13)
    lifted = lifting_kernel(w[:, :, 0], basis)
    assert torch.allclose(lifted[:, 0], torch.einsum("oib,bhw->oihw", w[:, :, 0], basis[0]), atol=1e-13)


def test_filters_turned_by_45_degrees_see_turned_content():
    # analytic content, sampled turned: the response of the turned filter at the centre is that of the filter
    size, kernel = 5, 5
    line = torch.arange(size, dtype=F64) - 2
    x, y = line.expand(size, size), -line[:, None].expand(size, size)

    def content(angle):
        u, v = math.cos(angle) * x + math.sin(angle) * y, -math.sin(angle) * x + math.cos(angle) * y
        return torch.exp(-((u - 1) ** 2 + v**2) / 2) + 0.3 * u

    basis = steered_basis(C(8), kernel)
    w = torch.randn(basis.shape[1], generator=torch.Generator().manual_seed(1), dtype=F64)
    psi = torch.einsum("b,gbhw->ghw", w, basis)
    responses = torch.stack([(psi[g] * content(g * math.pi / 4)).sum() for g in range(8)])
    # exact among quarter turns, near in between, far from what an unturned filter gives
    assert (responses[::2] - responses[0]).abs().max() < 1e-12
    assert (responses - responses[0]).abs().max() < 0.15 * responses[0].abs()
    still = torch.stack([(psi[0] * content(g * math.pi / 4)).sum() for g in range(8)])
    assert (still - responses[0]).abs().max() > 0.5 * responses[0].abs()


def test_a_broken_twin_with_unmoved_filters_is_not_equivariant(generator):
    group, basis = C(4), steered_basis(C(4), 3)
    w = torch.randn(1, 1, basis.shape[1], generator=generator, dtype=F64)
    x = torch.randn(1, 1, 6, 6, generator=generator, dtype=F64)
    errors = []
    for twin in (basis, basis[:1].expand_as(basis)):
        kernel = lifting_kernel(w, twin).flatten(0, 1)
        out = F.conv2d(x, kernel, padding=1)
        turned = F.conv2d(torch.rot90(x, 1, (-2, -1)), kernel, padding=1)
        want = torch.rot90(out, 1, (-2, -1))[:, group.compose(group.inverse(torch.tensor(1)), group.elements())]
        errors.append((turned - want).abs().max().item())
    assert errors[0] < 1e-12 < 0.1 < errors[1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: steered_basis(C(4), 4), "odd"),
        (lambda: steered_basis(Octahedral(), 3), "plane"),
        (lambda: steered_basis(SO(2), 3), "C\\(n\\) or D\\(n\\)"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
