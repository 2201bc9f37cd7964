"""The glider's expert is equivariant about gravity and flies where it is asked to; its states are laid out as limbs'."""

import math

import pytest
import torch

from coset.contract import Contract
from coset.data.glider import RANGE, SECTOR, expert, fly, frames, glider, observe, sample, springs
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.nn.limbs import ACTIONS, DOWN, INPUTS, check_limbs, check_vertical
from coset.recipe import Request
from coset.testing import Broken, assert_equivariant


def states(count=64, low=-math.pi, high=math.pi):
    generator = torch.Generator().manual_seed(0)
    x = sample(low + (high - low) * torch.rand(count, generator=generator), generator=generator)
    return {name: value.double() for name, value in x.items() if name != "y"}


def act(**x):
    return expert(x)


def test_the_expert_is_equivariant_about_gravity_and_not_otherwise():
    assert assert_equivariant(act, Contract(SO(3).stabilizer(DOWN), INPUTS, ACTIONS), states()).error < 1e-12
    assert assert_equivariant(act, Contract(SO(3), INPUTS, ACTIONS), states()).error < 1e-12
    left = Contract(SO(3), {**INPUTS, "gravity": "B x 3 x fixed"}, ACTIONS)
    with pytest.raises(Broken):
        assert_equivariant(act, left, states())


def test_the_expert_carries_its_weight_and_climbs_to_its_height():
    place = torch.tensor([[[0.0, 0, 1], [-0.5, 0, 1], [-1, 0, 1]]])
    still = torch.zeros_like(place)
    for height, up in ((0.0, 1.0), (0.5, 0.5)):
        state = observe(
            place + torch.tensor([0, 0, height]),
            still,
            still,
            still,
            frames(torch.zeros(1), still),
            torch.tensor([[9.0, 0, 0]]),
        )
        want = torch.tensor([1.0, 0.0, up]) / 3  # ahead, and up against weight (1 m/s^2) and towards a meter's height
        assert torch.allclose(expert(state).atanh()[0], want.expand(3, 3), atol=1e-5)


def test_the_chain_is_not_a_set():
    with pytest.raises(Broken):
        assert_equivariant(act, Contract(S("N"), INPUTS, ACTIONS), states())


def test_states_are_laid_out_as_limbs():
    x = states()
    assert check_limbs(**x) == (64, 3)
    check_vertical(x["gravity"])
    assert torch.allclose(x["target"].norm(dim=-1), torch.ones(64, dtype=torch.float64), atol=1e-6)
    axes = x["vectors"][:, :, 3:]
    assert torch.allclose(axes @ axes.mT, torch.eye(3, dtype=torch.float64).expand(64, 3, 3, 3), atol=1e-6)
    assert x["vectors"][:, 0, 0].abs().max() == 0
    assert x["scalars"][..., :3].abs().max() <= RANGE
    assert torch.allclose(x["scalars"][..., 3:12:3], (x["scalars"][..., :3] + RANGE) / (2 * RANGE), atol=1e-6)


def test_headings_are_those_asked_for_and_states_turn_with_them():
    seen = states(400, -0.2, 0.2)["target"]
    assert torch.atan2(seen[:, 1], seen[:, 0]).abs().max() <= 0.2 + 1e-6
    turn = SO(3).exp(torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64))
    moved = states(400, 1.8, 2.2)["vectors"]
    assert torch.allclose(states(400, -0.2, 0.2)["vectors"] @ turn.mT, moved, atol=1e-5)


def test_springs_pull_stretched_neighbors_together_and_add_to_nothing():
    place = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [1.5, 0, 0]]])
    pull = springs(place)
    assert torch.allclose(pull[0, :, 0], torch.tensor([2.0, -2.0, 0.0]))
    assert springs(torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(0))).sum(1).abs().max() < 1e-5


def test_frames_turn_limbs_inside_the_body():
    yaw, angles = torch.tensor([0.5], dtype=torch.float64), torch.zeros(1, 3, 3, dtype=torch.float64)
    straight = frames(yaw, angles)[0, 0]
    assert torch.allclose(straight[0], torch.tensor([math.cos(0.5), math.sin(0.5), 0], dtype=torch.float64))
    angles[0, 1, 2] = 0.25
    assert torch.allclose(frames(yaw, angles)[0, 1, 0], torch.tensor([math.cos(0.75), math.sin(0.75), 0], dtype=torch.float64))


def test_the_expert_flies_to_every_heading():
    headings = torch.arange(8) * (math.pi / 4)
    tracks = fly(act, headings, steps=200)
    assert tracks.shape == (8, 201, 2)
    end = tracks[:, -1]
    assert torch.allclose(torch.atan2(end[:, 1], end[:, 0]).cos(), headings.cos(), atol=1e-3)
    assert end.norm(dim=-1).min() > 5
    assert end.norm(dim=-1).max() - end.norm(dim=-1).min() < 1e-2


def test_data_hold_the_sector_out():
    data = glider(Request("smoke", 0))
    for part, inside in ((data.train, True), (data.valid, True), (data.test["inside"], True), (data.test["outside"], False)):
        angles = torch.atan2(part["target"][:, 1], part["target"][:, 0]).abs()
        assert bool(((angles <= SECTOR / 2 + 1e-5) == inside).all())
    assert torch.equal(data.train["y"], glider(Request("smoke", 0)).train["y"])
    assert not torch.equal(data.train["y"], glider(Request("smoke", 1)).train["y"])
    assert not torch.equal(data.train["y"][:10], data.valid["y"][:10])
    with pytest.raises(InputError, match="no data file"):
        glider(Request("smoke", 0, (("mine", "x"),)))


def test_a_target_at_the_torso_is_refused():
    place = torch.zeros(1, 3, 3)
    with pytest.raises(InputError, match="target is where the torso is"):
        observe(place, place, place, place, torch.zeros(1, 3, 3, 3), torch.tensor([[0.0, 0.0, 9.0]]))
