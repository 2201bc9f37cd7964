"""SIREN: smooth, of nearly unit gain as a kernel, and activations that keep their law from layer to layer."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.nn.siren import Siren


def test_activations_keep_their_law():
    """The sine of a normal phase of variance one has variance (1 - e^-2) / 2 = .43, whatever the depth; biases add a little."""
    torch.manual_seed(0)
    model = Siren(6, 1, hidden=256, layers=5)
    points, variances = 2 * torch.rand(4000, 6) - 1, []
    for layer in model.sines:
        points = torch.sin(layer(points)).detach()
        variances.append(float(points.var()))
    assert variances[0] == pytest.approx(0.5, abs=0.02)
    assert all(value == pytest.approx(0.44, abs=0.02) for value in variances[1:])


@pytest.mark.parametrize("terms", [1, 300])
def test_a_sum_over_terms_has_nearly_unit_gain(terms):
    """Twice the variance of the last sines."""
    torch.manual_seed(0)
    values = Siren(2, 400, hidden=128, terms=terms)(2 * torch.rand(500, 2) - 1).detach()
    assert float(values.square().mean()) * terms == pytest.approx(0.88, rel=0.05)


def test_it_is_a_function_of_coordinates_with_exact_derivatives():
    torch.manual_seed(0)
    model = Siren(3, 2, hidden=8, frequency=3.0).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (x,))
    assert torch.autograd.gradgradcheck(model, (x,))
    assert model(x.reshape(2, 2, 3)).shape == (2, 2, 2)
    assert model.last.bias.abs().max() == 0
    assert 0.8 < model.sines[0].weight.abs().max() <= 1  # frequency / inputs
    assert 0.8 < model.sines[1].weight.abs().max() <= math.sqrt(6 / 8)


def test_the_frequency_sets_how_fast_it_varies():
    torch.manual_seed(0)
    points = torch.linspace(-1, 1, 400)[:, None]
    rough = [float(Siren(1, 20, hidden=64, frequency=w)(points).detach().diff(dim=0).square().mean()) for w in (1.0, 30.0)]
    assert rough[1] > 50 * rough[0]


@pytest.mark.parametrize("bad", [{"hidden": 0}, {"layers": 0}, {"frequency": 0.0}, {"terms": 0}])
def test_bad_input(bad):
    with pytest.raises(InputError, match="Siren"):
        Siren(2, 2, **bad)
