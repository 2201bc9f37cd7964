import math

import pytest
import torch

from coset.errors import InputError
from coset.nn.radial import BesselBasis, GaussianBasis, RadialMLP, RadialSpline
from coset.testing import check

F64 = torch.float64
LAYERS = [
    lambda: BesselBasis(3.0, 6, learn=True),
    lambda: GaussianBasis(3.0, 6, learn=True),
    lambda: RadialSpline(3.0, 5),
    lambda: RadialMLP([4, 8, 8, 3]),
]


@pytest.mark.parametrize("make", LAYERS)
def test_every_edge_by_itself(make, generator):
    torch.manual_seed(0)
    layer = make()
    x = torch.rand(7, *([4] if isinstance(layer, RadialMLP) else []), generator=generator, dtype=F64) * 2.5 + 0.2
    check(layer, x)
    twin = make()
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin.double()(x), layer.double()(x))


@pytest.mark.parametrize("make", LAYERS[:3])
def test_derivatives_twice(make, generator):
    torch.manual_seed(0)
    layer, r = make().double(), torch.tensor([0.3, 1.1, 2.7], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (r,))
    assert torch.autograd.gradgradcheck(layer, (r,))
    assert all(p.requires_grad for p in layer.parameters())


@pytest.mark.parametrize("make", [LAYERS[0], LAYERS[2]])
def test_nothing_beyond_the_cutoff(make):
    torch.manual_seed(0)
    assert torch.equal(make()(torch.tensor([3.0, 4.0])).abs().max(), torch.zeros(()))


def test_first_values():
    basis = BesselBasis(2.0, 3)
    assert torch.allclose(basis.frequencies, torch.tensor([1.0, 2, 3]) * math.pi / 2)
    assert not basis.frequencies.requires_grad
    assert torch.allclose(GaussianBasis(2.0, 3).centers, torch.tensor([0.0, 1, 2]))


def test_zero_gives_zero_without_biases():
    mlp = RadialMLP([4, 8, 3], norm=False, bias=False)
    assert torch.equal(mlp(torch.zeros(2, 4)), torch.zeros(2, 3))


def test_bad_input_is_named():
    for make in (lambda: BesselBasis(0.0), lambda: GaussianBasis(1.0, 0), lambda: RadialSpline(-1.0, 2)):
        with pytest.raises(InputError, match="r_max > 0"):
            make()
    with pytest.raises(InputError, match="knots"):
        RadialSpline(1.0, 2, knots=1)
    with pytest.raises(InputError, match="input and an output"):
        RadialMLP([3])
    with pytest.raises(InputError, match="norm=False"):
        RadialMLP([3, 4], bias=False)
