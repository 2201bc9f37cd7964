"""Signals on SO(3): orthonormal functions, shifts on both sides, exact grids, densities on fine grids."""

import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_vector
from coset.ops.healpix import RotationGrid
from coset.ops.so3_fourier import (
    SO3Grid,
    basis,
    degree_of_signal,
    density,
    evaluate,
    grid_logits,
    join_degrees,
    shift,
    signal_irreps,
    signal_rows,
    split_degrees,
    walk,
)

F64 = torch.float64


@pytest.fixture
def signal(generator):
    return torch.randn(3, signal_rows(4), 2, generator=generator, dtype=F64)


@pytest.fixture
def rotations(generator):
    return SO(3).sample(40, generator=generator, dtype=F64)


def test_rows_count_matrix_entries():
    assert [signal_rows(lmax) for lmax in range(5)] == [1, 10, 35, 84, 165]
    assert signal_rows(6) == 455
    assert signal_irreps(4, 3).dim == 3 * 165


def test_functions_are_orthonormal_under_the_haar_mean():
    grid = SO3Grid(3, 6)
    functions = basis(3, grid.rotations)
    gram = functions.mT @ (functions * grid.weights[:, None])
    assert (gram - torch.eye(84)).abs().max() < 1e-13
    assert math.isclose(grid.weights.sum(), 1, rel_tol=1e-14)


def test_signals_are_split_and_joined(signal):
    parts = split_degrees(signal)
    assert [tuple(part.shape) for part in parts] == [(3, 2 * l + 1, 2 * l + 1, 2) for l in range(5)]
    assert torch.equal(join_degrees(parts), signal)
    assert degree_of_signal(signal) == 4


def test_shifts_are_shifts_of_the_argument(signal, rotations):
    g = rotations[0]
    values = evaluate(signal, rotations)
    assert (evaluate(shift(signal, g), g @ rotations) - values).abs().max() < 1e-12
    assert (evaluate(shift(signal, g, "right"), rotations @ g.mT) - values).abs().max() < 1e-12


def test_the_left_shift_is_the_action_on_irreps(signal, rotations):
    flat = signal_irreps(4, 2).transform(rotations[0], signal.flatten(1))
    assert (shift(signal, rotations[0]).flatten(1) - flat).abs().max() < 1e-12


@pytest.mark.parametrize("lmax", [0, 1, 4])
def test_grids_give_back_what_they_got(lmax, generator):
    grid = SO3Grid(lmax, 2 * lmax)
    x = torch.randn(2, signal_rows(lmax), 3, generator=generator, dtype=F64)
    values = grid.to_grid(x)
    assert values.shape == (2, len(grid), 3)
    assert (values - evaluate(x, grid.rotations)).abs().max() < 1e-12
    assert (grid.from_grid(values) - x).abs().max() < 1e-12


def test_products_are_projected_exactly_at_three_times_the_degree(generator):
    x = torch.randn(signal_rows(2), 1, generator=generator, dtype=F64)
    low, fine = SO3Grid(2), SO3Grid(2, 12)
    gap = low.from_grid(low.to_grid(x) ** 2) - fine.from_grid(fine.to_grid(x) ** 2)
    coarse = SO3Grid(2, 5)
    assert gap.abs().max() < 1e-12
    assert (coarse.from_grid(coarse.to_grid(x) ** 2) - fine.from_grid(fine.to_grid(x) ** 2)).abs().max() > 1e-3


@pytest.mark.parametrize("degree", [4, 6, 7, 9])
def test_quarter_turns_permute_any_grid(degree):
    grid = SO3Grid(2, degree)
    quarter = rotation_from_vector(torch.tensor([0.0, math.pi / 2, 0.0], dtype=F64))
    turned = (quarter @ grid.rotations).flatten(1)
    assert torch.cdist(turned, grid.rotations.flatten(1)).amin(1).max() < 1e-6


def test_logits_on_a_grid_are_values(signal):
    grid = RotationGrid(1)
    flat = signal[..., 0]
    assert (grid_logits(flat, grid) - evaluate(signal, grid.rotations)[..., 0]).abs().max() < 1e-12
    walked = torch.cat([values for _, values in walk(flat, grid, chunk=100)], -1)
    assert (walked - grid_logits(flat, grid)).abs().max() < 1e-12


def test_densities_are_those_of_the_logits(signal, rotations):
    grid, flat = RotationGrid(2), signal[..., 0]
    mode, nats = density(flat, grid, rotations[:3])
    logits = grid_logits(flat, grid)
    assert torch.equal(mode, grid.mode(logits))
    assert (nats - grid.log_likelihood(logits, rotations[:3])).abs().max() < 1e-10
    assert density(flat, grid)[1] is None


def test_float32_stays_float32(signal):
    grid = SO3Grid(4)
    assert grid.to_grid(signal.float()).dtype == torch.float32
    assert grid_logits(signal[..., 0].float(), RotationGrid(0)).dtype == torch.float32


def test_bad_input_is_refused(signal):
    with pytest.raises(InputError, match="165"):
        degree_of_signal(signal[:, :100])
    with pytest.raises(InputError, match="degree >= 8"):
        SO3Grid(4, 7)
    with pytest.raises(InputError, match="takes 35 rows"):
        SO3Grid(2).to_grid(signal)
    with pytest.raises(InputError, match="points"):
        SO3Grid(2).from_grid(signal)
    with pytest.raises(InputError, match="side"):
        shift(signal, torch.eye(3), "up")
    with pytest.raises(InputError, match="mirror"):
        evaluate(signal, -torch.eye(3)[None])
