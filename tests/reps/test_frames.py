"""Frames move by time times velocity; velocity states move in place and exchange velocities, where the list allows it."""

import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import T
from coset.groups.finite import C
from coset.groups.flows import Flow, velocity_grid
from coset.groups.matrix import SO
from coset.groups.torus import Torus
from coset.reps.fields import Field
from coset.reps.frames import Frames, VelocityState, turn_frames
from coset.reps.words import parse_kind

SHIFTS = Flow(T(2), 2)


@pytest.fixture
def frames(generator):
    return torch.randn(3, 4, 2, 6, 6, generator=generator, dtype=torch.float64)


def test_every_frame_is_rolled_by_its_time(frames, generator):
    g = SHIFTS.sample(5, generator=generator)
    moved = Frames().move(SHIFTS, g, frames.unsqueeze(0), {})
    for k, (down, right) in enumerate(g.tolist()):
        for t in range(4):
            assert torch.equal(moved[k, :, t], frames[:, t].roll((t * down, t * right), (-2, -1)))


def test_what_comes_after_an_input_continues_its_time(frames):
    g, given = torch.tensor([1, 0]), {"frames": frames}
    later = Frames(after="frames").move(SHIFTS, g, frames, given)
    assert torch.equal(later[:, 1], frames[:, 1].roll(5, -2))


def test_turning_frames_are_turned_by_their_time(frames):
    quarter = Flow(SO(2), 1, 90.0)
    moved = Frames().move(quarter, torch.tensor([1]), frames, {})
    for t in range(4):
        assert torch.equal(moved[:, t], torch.rot90(frames[:, t], t, (-2, -1)))


def test_a_static_shift_moves_all_frames_alike(frames):
    group = Torus(6, 6)
    g = group.shifts(torch.tensor([2, 5]))
    assert torch.equal(Frames().move(group, g, frames, {}), frames.roll((2, 5), (-2, -1)))
    assert torch.equal(Frames().move(C(4), torch.tensor(1), frames, {}), torch.rot90(frames, 1, (-2, -1)))


@pytest.mark.parametrize("group", [SHIFTS, Flow(SO(2), 2, 90.0)], ids=str)
def test_moving_twice_is_moving_once(group, frames, generator):
    g, h = group.sample(4, generator=generator), group.sample(4, generator=generator)
    twice = Frames().move(group, g, Frames().move(group, h, frames.unsqueeze(0), {}), {})
    assert torch.equal(twice, Frames().move(group, group.compose(g, h), frames.unsqueeze(0), {}))


def test_a_state_exchanges_velocities_and_leaves_out_those_without_partner(generator):
    state = torch.randn(2, 9, 3, 6, 6, generator=generator)
    given = {"": torch.zeros(2, 4, 1, 6, 6)}
    moved = VelocityState(1).move(SHIFTS, torch.tensor([1, 0]), state, given)
    for i, (down, right) in enumerate(velocity_grid(1).tolist()):
        if down - 1 < -1:
            assert torch.isnan(moved[:, i]).all()
        else:
            partner = (down - 1 + 1) * 3 + right + 1
            assert torch.equal(moved[:, i], state[:, partner].roll(3, -2))


def test_a_cyclic_list_has_a_partner_for_every_velocity(generator):
    state, kind = torch.randn(2, 9, 1, 3, 3, generator=generator), VelocityState(1, cyclic=True)
    given, g, h = {"": torch.zeros(2, 5, 1, 3, 3)}, torch.tensor([1, -1]), torch.tensor([1, 1])
    group = Flow(T(2), 1)
    twice = kind.move(group, g, kind.move(group, h, state, given), given)
    assert torch.equal(twice, kind.move(group, g + h, state, given))


def test_residuals_leave_out_what_is_not_defined(generator):
    kind = VelocityState(1)
    contract = Contract(Flow(T(2), 1), Field(("B",), Frames()), Field(("B",), kind))
    state = torch.randn(2, 9, 1, 6, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, 1, 6, 6, generator=generator, dtype=torch.float64)
    g = torch.tensor([0, 1])
    moved = kind.move(contract.group, g, state, {"": x})
    inside = ~torch.isnan(moved)
    other = torch.where(inside, moved, torch.full_like(moved, 7.0))
    assert float(contract.gap(state, other, g, given=x)[""].abs().max()) == 0
    assert float(contract.gap(state, other + 1, g, given=x)[""].masked_select(inside).min()) > 0.99
    assert float(contract.gap(state, torch.full_like(state, torch.nan), g, given=x)[""].isnan().float().mean()) == float(
        inside.float().mean()
    ), "a model that returns NaN is not excused"


def test_quarter_turns_are_exact_and_others_masked(frames):
    assert torch.equal(turn_frames(frames, torch.tensor([450.0] * 3)), torch.rot90(frames, 1, (-2, -1)))
    turned = turn_frames(frames, torch.tensor([10.0] * 3), disc=True)
    assert float(turned[..., 0, 0].abs().max()) < float(frames[..., 0, 0].abs().max()) / 10


@pytest.mark.parametrize(
    "kind", [Frames(), Frames(after="frames", size=16), VelocityState(2, of="x"), VelocityState(1, order=4)], ids=str
)
def test_kinds_are_named_by_their_text(kind):
    assert parse_kind(str(kind)) == kind


def test_wrong_sizes_and_groups_are_refused(frames):
    with pytest.raises(InputError, match="6"):
        Frames(size=8).move(SHIFTS, torch.tensor([1, 0]), frames, {})
    with pytest.raises(InputError, match="size"):
        Frames(size=0)
    with pytest.raises(ContractError, match="expected 9 velocities"):
        VelocityState(1).move(SHIFTS, torch.tensor([1, 0]), frames, {"": frames})
    with pytest.raises(ContractError, match="does not move this state"):
        VelocityState(1, order=4).move(C(4), torch.tensor(1), frames, {"": frames})
