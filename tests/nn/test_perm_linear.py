"""PermLinear is the whole space of equivariant maps: fast contractions equal the einsum of every partition."""

import itertools
import math

import pytest
import torch

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.perm_linear import PermLinear
from coset.reps.maron import maron_basis
from coset.testing import Broken, check

ORDERS = list(itertools.product(range(3), range(3)))


def layer(k_in, k_out, *, c_in=3, c_out=4, bias=True):
    torch.manual_seed(10 * k_in + k_out)
    made = PermLinear(c_in, c_out, k_in, k_out, bias=bias).double()
    if bias:
        torch.nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize(("k_in", "k_out"), ORDERS)
def test_contractions_equal_the_maps_one_by_one(k_in, k_out, m, generator):
    x = torch.randn(6, *[m] * k_in, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    made = layer(k_in, k_out)
    y, expected = made(x, m), made.reference(x, m)
    assert y.shape == (6, *[m] * k_out, 4)
    assert torch.allclose(y, expected, rtol=0, atol=1e-12)
    weights = [x, made.weight, made.bias]
    seen = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad(y, weights, seen), torch.autograd.grad(expected, weights, seen), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_the_weights_are_coordinates_in_the_published_basis(generator):
    made, n = layer(2, 2, bias=False), 4
    x = torch.randn(2, n, n, 3, generator=generator, dtype=torch.float64)
    matrices = torch.einsum("iog,gyx->yoxi", made.weight.detach(), maron_basis(2, 2, n))
    expected = torch.einsum("yoxi,bxi->byo", matrices, x.flatten(1, 2)).view(2, n, n, 4)
    assert torch.allclose(made(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k_in", "k_out"), [orders for orders in [*ORDERS, (3, 1), (1, 3)] if orders[0]])
def test_the_promise_is_kept_for_any_size(k_in, k_out, generator):
    made = layer(k_in, k_out, c_in=2, c_out=2)
    assert {contract.group for contract in made.contracts} == {S("M")}
    for m in (1, 4):
        x = torch.randn(3, *[m] * k_in, 2, generator=generator, dtype=torch.float64)
        assert max(check(made, x).errors.values()) < 1e-12


def test_an_index_that_is_singled_out_is_caught():
    class First(PermLinear):
        def forward(self, x, size=None):
            y = super().forward(x, size)
            return torch.cat([y[:, :1] * 1.01, y[:, 1:]], 1)

    with pytest.raises(Broken, match=r'S\("M"\)'):
        check(First(2, 2, 2, 2))


def test_weights_count_as_published_and_start_as_published():
    torch.manual_seed(0)
    counts = {orders: PermLinear(1, 1, *orders).weight.numel() for orders in [(2, 2), (2, 1), (1, 2), (1, 1), (2, 0), (1, 0)]}
    assert list(counts.values()) == [15, 5, 5, 2, 2, 1]
    assert [PermLinear(1, 1, 2, k).bias.numel() for k in (2, 1, 0)] == [2, 1, 1]
    wide = PermLinear(64, 32, 2, 2)
    assert math.isclose(wide.weight.std().item(), math.sqrt(2 / 96), rel_tol=0.02)
    assert not wide.bias.any()
    assert PermLinear(1, 1, 2, 2, bias=False).bias is None


def test_the_size_of_the_set_does_not_scale_the_output():
    made = layer(2, 2, bias=False)
    sizes = [made(torch.ones(1, m, m, 3, dtype=torch.float64)).abs().max().item() for m in (2, 8, 32)]
    assert max(sizes) - min(sizes) < 1e-12


def test_from_order_zero_the_size_is_asked_for():
    made = layer(0, 2)
    assert not made.contracts
    assert made(torch.ones(2, 3, dtype=torch.float64), 5).shape == (2, 5, 5, 4)
    with pytest.raises(InputError, match="give size=m"):
        made(torch.ones(2, 3, dtype=torch.float64))


def test_channels_first_and_wrong_channels_are_refused():
    with pytest.raises(InputError, match="channels last"):
        layer(2, 2)(torch.zeros(2, 3, 5, 5, dtype=torch.float64))
    with pytest.raises(InputError, match="channels last"):
        layer(1, 1)(torch.zeros(2, 5, 4, dtype=torch.float64))
    with pytest.raises(InputError, match="at least 1"):
        PermLinear(0, 1, 1, 1)
    with pytest.raises(InputError, match="orders are at least 0"):
        PermLinear(1, 1, -1, 1)


def test_a_contract_between_sets_of_different_order():
    assert layer(2, 1).contracts == (Contract(S("M"), "B x M x M x 3 x scalar", "B x M x 4 x scalar"),)
