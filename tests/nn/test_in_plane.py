"""Turns of the image plane inside SO(3): right is z, up is x, and values on the grid follow quarter turns exactly."""

import math

import pytest
import torch

from coset.errors import ContractError
from coset.groups.finite import C, D
from coset.groups.orthogonal import SO
from coset.nn.in_plane import GridValues, InPlane, view_rotation
from coset.ops.healpix import RotationGrid
from coset.ops.so3_fourier import grid_logits, shift, signal_irreps, signal_rows
from coset.reps.irreps import Irreps

F64 = torch.float64


def test_a_quarter_turn_takes_right_to_up():
    turn = view_rotation(C(4), torch.tensor(1))
    right, up, towards = torch.eye(3, dtype=F64)[[2, 0, 1]]
    assert torch.allclose(turn @ right, up)
    assert torch.allclose(turn @ up, -right)
    assert torch.allclose(turn @ towards, towards)


@pytest.mark.parametrize("l", range(5))
def test_the_restricted_character_is_the_sum_of_cosines(l):
    a = torch.linspace(0, 6, 13, dtype=F64)
    moved = InPlane(Irreps(str(l), SO(3))).move(
        SO(2), SO(2).from_angle(a), torch.eye(2 * l + 1, dtype=F64).expand(13, -1, -1), {}
    )
    trace = moved.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert (trace - sum((m * a).cos() for m in range(-l, l + 1))).abs().max() < 1e-12


def test_values_on_the_grid_move_as_their_signal_does(generator):
    signal = torch.randn(2, signal_rows(3), generator=generator, dtype=F64)
    g = torch.tensor(3)
    moved = GridValues().move(C(4), g, grid_logits(signal, RotationGrid(1)), {})
    turned = shift(signal.unsqueeze(-1), view_rotation(C(4), g)).squeeze(-1)
    assert (moved - grid_logits(turned, RotationGrid(1))).abs().max() < 1e-12
    features = InPlane(signal_irreps(3)).move(C(4), g, signal, {})
    assert (features - turned).abs().max() < 1e-12


def test_a_turn_to_nowhere_takes_the_cell_it_comes_from(generator):
    signal = torch.randn(1, signal_rows(1), generator=generator, dtype=F64)
    turn = SO(2).from_angle(torch.tensor(math.radians(30.0), dtype=F64))
    moved = GridValues().move(SO(2), turn, grid_logits(signal, RotationGrid(3)), {})
    exact = grid_logits(shift(signal.unsqueeze(-1), view_rotation(SO(2), turn)).squeeze(-1), RotationGrid(3))
    assert (moved - exact).abs().max() < 0.2 * exact.abs().max()


def test_mirrors_are_refused():
    with pytest.raises(ContractError, match="turns of the image"):
        view_rotation(D(4), torch.tensor(5))
