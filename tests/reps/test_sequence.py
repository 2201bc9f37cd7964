import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.euclidean import E, T
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import GL, SO
from coset.reps.sequence import Sequence, shift_sequence


def homogeneous(sign, shift):
    return torch.tensor([[sign, shift], [0.0, 1.0]], dtype=torch.float64)


def wave(length, phase=0.0):
    t = torch.arange(length, dtype=torch.float64) - phase
    return torch.cos(2 * torch.pi * t / length) + 0.5 * torch.sin(4 * torch.pi * t / length)


def test_one_unit_is_one_step_towards_later_times():
    x = torch.arange(5.0)
    moved = Sequence().move(T(1), homogeneous(1, 2.0), x, {})
    assert torch.equal(moved, torch.tensor([3.0, 4.0, 0.0, 1.0, 2.0]))
    open_ended = Sequence(periodic=False).move(T(1), homogeneous(1, 2.0), x + 1, {})
    assert torch.equal(open_ended, torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0]))


def test_reversal_on_the_line_turns_the_window_about_its_middle():
    x = torch.arange(5.0)
    assert torch.equal(Sequence().move(E(1), homogeneous(-1.0, 0.0), x, {}), x.flip(0))


@pytest.mark.parametrize("group", [C(6), D(6), C(3), D(2)])
def test_cyclic_groups_shift_by_equal_parts_of_the_period(group, generator):
    x = torch.randn(2, 6, generator=generator)
    moved = Sequence().move(group, group.elements(), x.unsqueeze(0), {})
    n = group.n
    for g in range(n):
        assert torch.equal(moved[g], x.roll(g * 6 // n, -1))
    if isinstance(group, D):  # sample 0 stands at angle 0, on the mirror
        assert torch.equal(moved[n], x.flip(-1).roll(1, -1))


def test_fractions_of_a_step_follow_the_fourier_series():
    steps = torch.tensor([0.5, -1.3], dtype=torch.float64)
    for length in (9, 12):
        moved = shift_sequence(wave(length).unsqueeze(0), steps)
        want = torch.stack([wave(length, 0.5), wave(length, -1.3)])
        assert (moved - want).abs().max() < 1e-13


def test_fractions_without_a_period_are_interpolated():
    ramp = torch.arange(8, dtype=torch.float64)
    moved = shift_sequence(ramp, torch.tensor(0.25, dtype=torch.float64), periodic=False)
    assert torch.allclose(moved[1:], ramp[1:] - 0.25)
    assert moved[0] == 0


def test_the_circle_turns_a_periodic_sequence():
    quarter = SO(2).from_angle(torch.tensor(torch.pi / 2, dtype=torch.float64))
    assert torch.equal(Sequence().move(SO(2), quarter, torch.arange(8.0), {}), torch.arange(8.0).roll(2))


def test_gradients_in_signal_and_steps(generator):
    x = torch.randn(2, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    steps = torch.tensor([0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s: shift_sequence(x, s), (x, steps))


def test_the_floor_is_zero_for_whole_steps_only(generator):
    x = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    shifts = torch.stack([homogeneous(1, 1.0), homogeneous(1, 0.5)])
    assert Sequence().floor(T(1), shifts, x.unsqueeze(0))[0] == 0
    loose = Sequence(periodic=False).floor(T(1), shifts, x.unsqueeze(0))
    assert loose[1] > 0.1


def test_what_has_no_action_is_refused():
    x = torch.zeros(4)
    with pytest.raises(ContractError, match="R\\^3"):
        Sequence().move(Octahedral(), torch.tensor(1), x, {})
    with pytest.raises(ContractError, match="stretches"):
        Sequence().move(GL(1), torch.tensor([[2.0]]), x, {})
    with pytest.raises(ContractError, match="periodic"):
        Sequence(periodic=False).move(C(4), torch.tensor(1), x, {})
    with pytest.raises(InputError, match="steps"):
        shift_sequence(x, torch.zeros(2, 2))
    with pytest.raises(InputError, match="periodic"):
        Sequence(periodic="yes")
