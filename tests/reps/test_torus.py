import math

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, T
from coset.groups.torus import Torus
from coset.reps.fields import Field
from coset.reps.torus import PeriodicImage, roll_image
from coset.reps.words import parse_kind


def waves(height, width, down=0.0, right=0.0):
    i = (torch.arange(height, dtype=torch.float64) - down) * 2 * math.pi / height
    j = (torch.arange(width, dtype=torch.float64) - right) * 2 * math.pi / width
    return torch.cos(i)[:, None] * torch.sin(2 * j) + 0.3 * torch.cos(2 * i)[:, None] + torch.cos(i[:, None] + j)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_whole_steps_are_rolls_of_each_member(dtype, generator):
    x = torch.randint(0, 2, (3, 2, 5, 7), generator=generator).to(dtype)
    steps = torch.tensor([[1, 2], [-3, 9], [0, 0]])
    moved = roll_image(x, steps)
    for i, (down, right) in enumerate(steps.tolist()):
        assert torch.equal(moved[i], x[i].roll((down, right), (-2, -1)))
    assert torch.equal(moved, roll_image(x, steps.to(torch.float64)))


def test_one_image_under_many_shifts_and_many_under_one(generator):
    x = torch.randn(2, 4, 6, generator=generator)
    steps = torch.tensor([[1, 0], [0, 1], [2, 5]])
    orbit = roll_image(x.unsqueeze(0), steps)
    assert orbit.shape == (3, 2, 4, 6)
    assert torch.equal(orbit[2], roll_image(x, steps[2]))


@pytest.mark.parametrize("size", [(8, 11), (9, 6)])
def test_fractions_follow_the_fourier_series(size):
    steps = torch.tensor([[0.5, -1.3], [2.0, 0.25]], dtype=torch.float64)
    want = torch.stack([waves(*size, *pair) for pair in steps.tolist()])
    assert (roll_image(waves(*size).unsqueeze(0), steps) - want).abs().max() < 1e-13


def test_gradients_in_image_and_steps(generator):
    x = torch.randn(2, 1, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    steps = torch.tensor([[0.4, -1.0], [2.0, 0.7]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(roll_image, (x, steps))
    weights = torch.randn(2, 1, 3, 5, generator=generator, dtype=torch.float64)
    whole = torch.tensor([[1, 2], [2, 4]])
    (gradient,) = torch.autograd.grad((roll_image(x, whole) * weights).sum(), x)
    assert torch.equal(gradient, roll_image(weights, -whole))


def test_tokens_move_by_the_share_of_the_period(generator):
    tokens = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    group, kind = Torus(32, 32), PeriodicImage()
    moved = kind.move(group, group.shifts(torch.tensor([4, 8])), tokens, {})
    assert torch.equal(moved, tokens.roll((1, 2), (0, 1)))
    half = kind.move(group, group.shifts(torch.tensor([2, 0])), waves(8, 8), {})
    assert (half - waves(8, 8, 0.5)).abs().max() < 1e-13
    assert torch.equal(kind.move(Torus(2, 4), torch.tensor(5), tokens, {}), tokens.roll((4, 2), (0, 1)))


def test_translations_of_the_plane_count_in_half_widths(generator):
    x = torch.randn(6, 4, generator=generator)
    g = T(2).element(shift=torch.tensor([0.5, 1 / 3], dtype=torch.float64))  # right by a quarter, up by a sixth
    assert torch.equal(PeriodicImage().move(T(2), g, x, {}), x.roll((-1, 1), (0, 1)))


def test_the_floor_is_zero_for_whole_steps_only(generator):
    x = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    floor = PeriodicImage().floor(Torus(8, 8), Torus(8, 8).shifts(torch.tensor([[2, 4], [1, 0]])), x.unsqueeze(0))
    assert floor[0] == 0
    assert floor[1] > 0.01  # half a step damps the highest frequency of an even length


def test_words():
    assert parse_kind("periodic_image") == PeriodicImage()
    for kind in (PeriodicImage(), PeriodicImage(32), PeriodicImage((4, 6))):
        assert parse_kind(str(kind)) == kind
        assert Field.of(f"B x 3 x {kind}").kind == kind
    assert PeriodicImage((4, 6)).shape(2) == (4, 6)
    assert PeriodicImage(8).shape(2) == (8, 8)


def test_what_has_no_action_is_refused():
    x = torch.zeros(4, 4)
    with pytest.raises(ContractError, match="Torus\\(4, 4\\)"):
        PeriodicImage().move(SE(2), SE(2).sample(1)[0], x, {})
    with pytest.raises(InputError, match="\\(8, 8\\)"):
        PeriodicImage(8).move(Torus(4, 4), torch.tensor(1), x, {})
    with pytest.raises(InputError, match="steps"):
        roll_image(x, torch.zeros(3))
    with pytest.raises(InputError, match="steps"):
        roll_image(x, torch.zeros(4, 2, 2))
    with pytest.raises(InputError, match="size"):
        PeriodicImage(0)
