import pytest
import torch

from coset.errors import InputError
from coset.ops.harmonic_conv import harmonic_kernels

F64 = torch.float64


def turn_components(angle, order):
    a = torch.tensor(angle, dtype=F64)
    blocks = [torch.ones(1, 1, dtype=F64)]
    for m in range(1, order + 1):
        c, s = torch.cos(m * a), torch.sin(m * a)
        blocks.append(torch.stack([torch.stack([c, -s]), torch.stack([s, c])]))
    return torch.block_diag(*blocks)


@pytest.mark.parametrize("orders", [(0, 2), (2, 2), (1, 3), (2, 0)])
def test_kernels_obey_the_steering_constraint_at_quarter_turns(orders):
    order_in, order_out = orders
    basis, _ = harmonic_kernels(order_in, order_out, 5)
    for k in range(1, 4):
        out, into = (turn_components(k * torch.pi / 2, order) for order in (order_out, order_in))
        # K(R x) = rho_out(R) K(x) rho_in(R)^T; the array turned back by k samples K at R x
        want = torch.einsum("ab,nbchw,dc->nadhw", out, basis, into)
        assert (torch.rot90(basis, -k, (-2, -1)) - want).abs().max() < 1e-12


@pytest.mark.parametrize("orders", [(0, 0), (0, 2), (2, 2), (2, 0)])
def test_kernels_are_independent(orders):
    basis, frequencies = harmonic_kernels(*orders, 5)
    flat = basis.flatten(1)
    assert torch.linalg.matrix_rank(flat) == len(flat) == len(frequencies)


def test_rows_have_unit_mean_square():
    basis, frequencies = harmonic_kernels(2, 2, 5)
    rows = basis.flatten(2).norm(dim=-1)
    for row, n in zip(rows, frequencies.tolist(), strict=True):
        filled = row[max(2 * n - 1, 0) : 2 * n + 1]
        assert torch.allclose(filled.square().mean(), torch.ones((), dtype=F64))


def test_bad_input_is_named():
    with pytest.raises(InputError, match="odd"):
        harmonic_kernels(1, 1, 4)
    with pytest.raises(InputError, match="orders"):
        harmonic_kernels(-1, 1, 5)
