"""The network between attentions is exact with products or gates; what its grid does, matrices on coefficients do too."""

import warnings

import pytest
import torch
from torch.nn import functional as F

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.sphere_feed_forward import MERGED, SphereFeedForward
from coset.ops.s2grid import S2Grid
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
SO3 = Irreps("4x0+4x1+4x2", SO(3))


@pytest.mark.parametrize("activation", ["swiglu", "gate"])
@pytest.mark.parametrize("irreps", [SO3, "4x0e+4x1o+4x2e+4x3o"], ids=str)
def test_products_and_gates_are_exact(irreps, activation, generator):
    torch.manual_seed(0)
    layer = SphereFeedForward(irreps, 3, activation=activation)
    assert layer.contracts[0].claim == "exact"
    assert max(check(layer, layer.up.irreps_in.randn(5, generator=generator)).errors.values()) < 1e-12


def test_silu_and_coarse_grids_are_not_and_say_so(generator):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coarse = SphereFeedForward(SO3, 3, grid=S2Grid(2, beta=3, alpha=6, exact=False))
    for layer in (SphereFeedForward(SO3, 3, activation="silu"), coarse):
        (contract,) = layer.contracts
        assert contract.claim == "approximate"
        x = 5 * SO3.randn(5, generator=generator)
        g = SO(3).sample(1, generator=generator, dtype=F64)[0]
        assert contract.error(layer.double(), x, g) > 1e-5


def test_the_formula_on_the_grid(generator):
    """Matrices act point by point in the paper, on coefficients here; gates, merge and order as in the module."""
    torch.manual_seed(0)
    layer = SphereFeedForward(SO3, 5).double()
    x = SO3.randn(2, generator=generator)
    inner, grid = layer.activation, S2Grid(2)
    values = grid.to_grid(layer.up(x).unflatten(-1, (9, 5)))
    u, v = (values @ inner.halves.weight.T).chunk(2, -1)
    a, b, c = layer.scalars(x[:, :4]).chunk(3, -1)
    y = grid.from_grid((u * v * torch.sigmoid(c)[:, None, None]) @ inner.mix.weight.T)
    y[:, 0] += F.silu(a) * b
    assert torch.allclose(layer(x), layer.down(y.flatten(1)), atol=1e-12)


def test_weights_behind_two_terms_start_smaller():
    torch.manual_seed(0)
    layer = SphereFeedForward(Irreps("64x0+64x1", SO(3)), 64)
    first, second = layer.down.weight.view(2, -1)
    assert torch.isclose(first.std() / second.std(), torch.tensor(MERGED), rtol=0.05)


def test_a_norm_of_components_is_caught():
    class Bent(SphereFeedForward):
        def forward(self, x):
            return super().forward(x).tanh()

    with pytest.raises(Broken):
        check(Bent(SO3, 3))


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="relu"):
        SphereFeedForward(SO3, 3, activation="relu")
    with pytest.raises(InputError, match="one multiplicity"):
        SphereFeedForward("4x0e+2x1o", 3)
