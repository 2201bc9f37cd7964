import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.steerable import (
    GatedNonlinearity2d,
    HarmonicConv2d,
    NormNonlinearity2d,
    frequency_norm,
    join_frequencies,
    split_frequencies,
)
from coset.testing import Broken, check


@pytest.mark.parametrize("orders", [(0, 2), (2, 2), (1, 3), (2, 0)])
def test_convolutions_are_equivariant(orders):
    torch.manual_seed(0)
    layer = HarmonicConv2d(2, 3, order_in=orders[0], order_out=orders[1]).double()
    assert max(check(layer).errors.values()) < 1e-12


@pytest.mark.parametrize("kind", [NormNonlinearity2d, GatedNonlinearity2d])
@pytest.mark.parametrize("order", [0, 2])
def test_nonlinearities_are_equivariant(kind, order):
    torch.manual_seed(0)
    assert max(check(kind(3, order).double()).errors.values()) < 1e-12


@pytest.mark.parametrize("kind", [NormNonlinearity2d, GatedNonlinearity2d])
def test_nonlinearities_commute_with_any_phase_also_in_training(kind, generator):
    layer = kind(2, 2).double().train()
    x = torch.randn(3, 2, 5, 4, 4, generator=generator, dtype=torch.float64)

    def turned(y, angle=0.7):
        scalars, others = split_frequencies(y)
        a = angle * torch.tensor([1.0, 2.0], dtype=y.dtype).view(1, 1, 2, 1, 1)
        re, im = others.unbind(3)
        return join_frequencies(scalars, torch.stack([a.cos() * re - a.sin() * im, a.sin() * re + a.cos() * im], 3))

    assert torch.allclose(layer(turned(x)), turned(layer(x)), atol=1e-12)


def test_frequencies_split_and_join(generator):
    x = torch.randn(2, 3, 5, 4, 4, generator=generator)
    scalars, others = split_frequencies(x)
    assert scalars.shape == (2, 3, 4, 4)
    assert others.shape == (2, 3, 2, 2, 4, 4)
    assert torch.equal(join_frequencies(scalars, others), x)
    assert torch.allclose(frequency_norm(others)[:, :, 1], torch.sqrt(x[:, :, 3] ** 2 + x[:, :, 4] ** 2 + 1e-6))


def test_gradients_are_finite_at_zero():
    x = torch.zeros(2, 2, 5, 4, 4, requires_grad=True)
    NormNonlinearity2d(2, 2)(x).sum().backward()
    assert torch.isfinite(x.grad).all()


class PlainReLU(nn.Module):
    """A broken twin: it treats every component as a number."""

    def __init__(self):
        super().__init__()
        self.contracts = NormNonlinearity2d(2, 1).contracts

    def forward(self, x):
        return x.relu()


def test_the_broken_twin_is_caught():
    with pytest.raises(Broken):
        check(PlainReLU())


def test_bad_input_is_named():
    with pytest.raises(InputError, match="odd"):
        HarmonicConv2d(1, 1, order_in=0, order_out=1, kernel=4)
    with pytest.raises(InputError, match="channels"):
        HarmonicConv2d(0, 1, order_in=0, order_out=1)
