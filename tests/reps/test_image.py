import math

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.finite import C, D, Octahedral
from coset.groups.orthogonal import SO
from coset.groups.rotations import planar_rotation
from coset.reps.image import Image, disc_mask, resample


def blob(size=41, at=(0.5, 0.0), width=0.15):
    """A Gaussian bump at a point of the plane (x right, y up), exact at every pixel center."""
    c = (2 * torch.arange(size, dtype=torch.float64) + 1 - size) / size
    return torch.exp(-((c - at[0]) ** 2 + (-c[:, None] - at[1]) ** 2) / (2 * width**2))


def rotation(degrees):
    return planar_rotation(torch.tensor(degrees, dtype=torch.float64) * math.pi / 180)


def test_positive_angles_turn_counter_clockwise():
    up = resample(blob(at=(0.5, 0.0)), rotation(90.0))
    assert torch.equal(up, torch.rot90(blob(at=(0.5, 0.0)), 1, (0, 1)))
    assert (up - blob(at=(0.0, 0.5))).abs().max() < 1e-12


@pytest.mark.parametrize(("mode", "bound"), [("bilinear", 0.03), ("bicubic", 0.015)])
def test_content_moves_by_the_matrix_and_the_shift(mode, bound):
    matrix, shift = 1.2 * rotation(35.0), torch.tensor([0.1, -0.2], dtype=torch.float64)
    point = matrix @ torch.tensor([0.3, 0.2], dtype=torch.float64) + shift
    moved = resample(blob(at=(0.3, 0.2)), matrix, shift, mode=mode)
    want = blob(at=point.tolist(), width=1.2 * 0.15)
    assert (moved - want).norm() / want.norm() < bound


def test_one_pixel_is_two_over_the_width():
    x = torch.arange(25, dtype=torch.float64).view(5, 5) + 1
    right = resample(x, torch.eye(2, dtype=torch.float64), torch.tensor([2 / 5, 0.0]))
    assert torch.allclose(right[:, 1:], x[:, :-1], atol=1e-12)
    assert torch.equal(right[:, 0], torch.zeros(5, dtype=torch.float64))
    up = resample(x, torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 2 / 5]))
    assert torch.allclose(up[:-1], x[1:], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [None, 5, 6])
def test_quarter_turns_and_flips_are_exact_and_agree_with_interpolation(dtype, size, generator):
    group = D(4)
    x = torch.randn(1, 3, 7, 7, generator=generator, dtype=dtype)
    moved = resample(x, group.matrices, size=size)
    sampled = resample(x, group.matrices.clone().requires_grad_(), size=size).detach()
    assert moved.dtype == dtype
    assert (moved - sampled).abs().max() < (1e-5 if dtype == torch.float32 else 1e-13)
    again = Image().move(group, group.elements(), moved[:1], {})
    assert torch.equal(again, moved)  # bitwise: entries only change places


def test_elements_of_one_batch_do_not_disturb_each_other(generator):
    turns = rotation([0.0, 30.0, 90.0, 31.0, 180.0])
    x = torch.randn(5, 2, 9, 9, generator=generator, dtype=torch.float64)
    together = resample(x, turns)
    for i in range(5):
        assert torch.allclose(together[i], resample(x[i], turns[i]), atol=1e-14)
    shared = resample(x[:1], turns)
    assert torch.allclose(shared, resample(x[:1].expand(5, 2, 9, 9).clone(), turns), atol=1e-14)


def test_batches_of_elements_stand_for_leading_axes(generator):
    x = torch.randn(4, 1, 3, 9, 9, generator=generator, dtype=torch.float64)
    turns = rotation([[10.0, 20.0, 90.0]])  # (1, 3, 2, 2) against (4, 1, ...)
    moved = resample(x, turns)
    assert moved.shape == (4, 3, 3, 9, 9)
    assert torch.allclose(moved[2, 1], resample(x[2, 0], turns[0, 1]), atol=1e-14)


def test_gradients_in_the_image_the_angle_and_the_shift(generator):
    x = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    angle = torch.tensor([0.3, 1.1], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([[0.05, 0.1], [0.0, -0.07]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a, t: resample(x, planar_rotation(a), t), (x, angle, shift))
    mixed = rotation([90.0, 40.0])
    assert torch.autograd.gradcheck(lambda x: resample(x, mixed, size=4), (x,))


def test_the_disc_mask_is_round_and_one_pixel_soft():
    mask = disc_mask(28, 28)
    assert torch.equal(mask, torch.rot90(mask))
    assert mask[14, 14] == 1
    assert mask[0, 0] == 0
    assert abs(mask.mean() - math.pi / 4) < 0.005


@pytest.mark.parametrize("group", [SO(2), C(8)])
def test_the_floor_is_the_error_of_there_and_back(group, generator):
    kind, x = Image(), torch.stack([blob(24), blob(24, at=(0.1, -0.3))])
    turns = group.grid(8)
    floor = kind.floor(group, turns, x.unsqueeze(0))
    assert floor.shape == (len(turns),)
    back = kind.move(group, group.inverse(turns), kind.move(group, turns, x.unsqueeze(0), {}), {})
    want = (back - x).flatten(1).norm(dim=1) / x.norm()
    assert torch.allclose(floor, want, atol=1e-9)
    exact = torch.arange(len(turns)) % 2 == 0
    assert floor[exact].max() <= 1e-12
    assert 1e-4 < floor[~exact].min() <= floor[~exact].max() < 0.1


def test_the_floor_with_a_resampled_disc_judges_against_the_identity():
    kind, x, group = Image(size=16, disc=True), blob(28), SO(2)
    floor = kind.floor(group, group.grid(8), x.unsqueeze(0))
    assert floor[0] == 0
    assert floor[2] == 0
    assert 1e-3 < floor[1] < 0.1


def test_size_and_disc_touch_every_element_alike():
    kind, x, group = Image(size=16, disc=True), blob(28), D(4)
    moved = kind.move(group, group.elements(), x.unsqueeze(0), {})
    assert moved.shape == (8, 16, 16)
    assert torch.equal(Image().move(group, group.elements(), moved[:1], {}), moved)
    assert Image(size=(8, 12)).move(C(1), torch.tensor(0), torch.zeros(8, 12), {}).shape == (8, 12)


def test_bad_input_is_refused_with_the_reason():
    eye = torch.eye(2)
    with pytest.raises(InputError, match="floating"):
        resample(torch.zeros(4, 4, dtype=torch.uint8), eye)
    with pytest.raises(InputError, match="not square"):
        resample(torch.zeros(4, 6), rotation(90.0))
    with pytest.raises(InputError, match="bilinear"):
        resample(torch.zeros(4, 4), eye, mode="area")
    with pytest.raises(InputError, match="2, 2"):
        resample(torch.zeros(4, 4), torch.eye(3))
    with pytest.raises(InputError, match="size"):
        Image(size=0)
    with pytest.raises(InputError, match="mode"):
        Image(mode="area")
    with pytest.raises(ContractError, match="plane"):
        Image().move(Octahedral(), torch.tensor(1), torch.zeros(4, 4), {})
    assert torch.equal(resample(torch.ones(4, 6), -eye), torch.ones(4, 6))  # half turns of any shape are fine
