"""Layers on SO(3) commute with rotations: linear maps and products exactly, other functions up to a grid."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_vector
from coset.nn.so3_conv import SO3Activation, SO3Conv, SphereToSO3
from coset.ops.healpix import angle_between
from coset.ops.so3_fourier import evaluate, shift, signal_rows, split_degrees
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.wigner import wigner_matrix
from coset.testing import Broken, check

F64 = torch.float64


@pytest.mark.parametrize("lmax", [0, 1, 4])
def test_linear_maps_are_exact(lmax):
    torch.manual_seed(0)
    for layer in (SphereToSO3(3, 2, lmax), SO3Conv(3, 2, lmax)):
        assert max(check(layer.double()).errors.values()) < 1e-13


def test_a_correlation_with_a_filter_on_the_sphere(generator):
    """``f(R) = <x, filter turned by R>``: the map written out."""
    torch.manual_seed(0)
    layer = SphereToSO3(1, 1, 3).double()
    x = torch.randn(16, generator=generator, dtype=F64)
    signal = layer(x).unsqueeze(-1)
    for rotation in SO(3).sample(4, generator=generator, dtype=F64):
        start, weights, total = 0, layer.weight.split([2 * l + 1 for l in range(4)]), 0.0
        for l, psi in enumerate(weights):
            block = x[start : start + 2 * l + 1]
            total += math.sqrt(2 * l + 1) * block @ wigner_matrix(l, rotation) @ psi
            start += 2 * l + 1
        assert torch.allclose(evaluate(signal, rotation[None])[0, 0], total)


def test_a_convolution_is_a_weighted_mean_over_neighbors(generator):
    torch.manual_seed(0)
    layer = SO3Conv(2, 3, 3).double()
    x = torch.randn(signal_rows(3), 2, generator=generator, dtype=F64)
    rotations = SO(3).sample(5, generator=generator, dtype=F64)
    out = evaluate(layer(x.flatten()).unflatten(-1, (-1, 3)), rotations)
    want = sum(evaluate(x, rotations @ q) @ layer.weight[..., j] for j, q in enumerate(layer.points.value))
    assert (out - want).abs().max() < 1e-12


def test_the_filter_is_supported_near_the_identity():
    points = SO3Conv(1, 1, 1, radius=0.3, shells=3).points.value
    angles = angle_between(points, torch.eye(3, dtype=F64))
    assert len(points) == 37
    assert math.isclose(angles.max(), 0.3, rel_tol=1e-6)
    assert angles[0] == 0


@pytest.mark.parametrize("lmax", [0, 2, 4])
def test_products_are_exact_and_relu_keeps_its_bound(lmax):
    torch.manual_seed(0)
    assert max(check(SO3Activation(2, lmax, "product").double()).errors.values()) < 1e-13
    layer = SO3Activation(2, lmax)
    check(layer.double())
    assert layer.contracts[0].claim == ("approximate" if lmax else "exact")


def test_finer_grids_lower_the_bound_of_relu():
    bounds = [SO3Activation(1, 2, degree=degree).contracts[0].bound for degree in (6, 12, 24)]
    assert bounds[0] > 2 * bounds[1] > 4 * bounds[2]


@pytest.mark.parametrize("degree", [8, 12, 13])
def test_relu_is_exact_under_quarter_turns_about_the_viewing_axis(degree, generator):
    layer = SO3Activation(2, 4, degree=degree)
    x = torch.randn(3, signal_rows(4), 2, generator=generator, dtype=F64)
    quarter = rotation_from_vector(torch.tensor([0.0, math.pi / 2, 0.0], dtype=F64))
    gap = layer(shift(x, quarter).flatten(1)) - shift(layer(x.flatten(1)).unflatten(1, (-1, 2)), quarter).flatten(1)
    assert gap.abs().max() < 1e-12


def test_relu_of_a_positive_signal_is_the_signal(generator):
    x = 0.1 * torch.randn(1, signal_rows(2), 1, generator=generator, dtype=F64)
    x[:, 0] = 5
    assert (SO3Activation(1, 2)(x.flatten(1)) - x.flatten(1)).abs().max() < 1e-12


class Leftwards(SO3Conv):
    """A twin that multiplies from the side where the group acts."""

    def forward(self, x):
        parts = split_degrees(x.unflatten(-1, (-1, self.inputs)))
        return torch.cat([part.transpose(-3, -2).flatten(-3) for part in parts], -1)


def test_the_wrong_side_is_caught():
    with pytest.raises(Broken, match=r"SO\(3\)"):
        check(Leftwards(2, 2, 2).double())


def test_a_rotated_sphere_gives_a_shifted_signal(generator):
    torch.manual_seed(0)
    layer = SphereToSO3(1, 1, 2).double()
    x = spherical_harmonics(2, torch.tensor([0.3, -0.4, 0.8], dtype=F64))
    g = SO(3).sample(1, generator=generator, dtype=F64)[0]
    moved = spherical_harmonics(2, g @ torch.tensor([0.3, -0.4, 0.8], dtype=F64))
    assert (layer(moved).unsqueeze(-1) - shift(layer(x).unsqueeze(-1), g)).abs().max() < 1e-12


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="activation on"):
        SO3Activation(1, 2, "gelu")
    with pytest.raises(InputError, match="grid of degree 6"):
        SO3Activation(1, 2, "product", degree=5)
    with pytest.raises(InputError, match="radius"):
        SO3Conv(1, 1, 2, radius=0)
    with pytest.raises(InputError, match="degrees up to 2"):
        SO3Conv(1, 1, 2)(torch.zeros(1, signal_rows(3)))
