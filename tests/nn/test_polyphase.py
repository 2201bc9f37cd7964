"""An anchor turns every shift into a shift by whole strides; its gradients are those of a roll; ties and bad input are told."""

import itertools

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.nn.polyphase import AnchoredConv2d, PositionConv, Rolls, anchor, circular, clear, roll_tokens, unshuffle_tokens
from coset.reps.torus import roll_image


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def all_shifts(height, width):
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rolling_tokens_is_rolling_images(dtype):
    x = noise(3, 5, 7, 2, dtype=dtype)
    steps = torch.tensor([[1, -2], [0, 0], [-11, 8]])
    assert torch.equal(roll_tokens(x, steps), roll_image(x.movedim(-1, 1), steps).movedim(1, -1))


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(("height", "width", "stride"), [(32, 32, 4), (8, 12, 4), (6, 9, 3), (8, 8, 8), (4, 6, 2)])
def test_anchors_of_shifted_images_differ_by_whole_strides(height, width, stride, order):
    x, shifts = noise(1, height, width, 2), all_shifts(height, width)
    base = anchor(x, stride, order=order)
    found = anchor(roll_tokens(x.expand(len(shifts), -1, -1, -1), shifts), stride, order=order)
    assert torch.equal(roll_tokens(found.x, found.steps), roll_tokens(x.expand(len(shifts), -1, -1, -1), shifts))
    # the content that both anchors show apart by m: steps' = steps + shift - m
    m = found.steps - base.steps - shifts
    assert bool((m % stride == 0).all())
    assert torch.equal(found.x, roll_tokens(base.x.expand(len(shifts), -1, -1, -1), -m))
    assert (found.margin - base.margin).abs().max() < 1e-12


def test_the_strongest_phase_stands_at_the_origin():
    x = 0.1 * noise(1, 8, 8, 1)
    x[0, 2::4, 3::4] += 5
    found = anchor(x, 4)
    assert found.steps.tolist() == [[2, 3]]
    norms = torch.stack([found.x[0, i::4, j::4].norm() for i, j in itertools.product(range(4), repeat=2)])
    assert norms.argmax() == 0
    second = norms[1:].max()
    assert torch.allclose(found.margin[0], (norms[0] - second) / norms[0], atol=1e-14)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 12)])
def test_a_full_anchor_depends_on_the_orbit_alone(height, width):
    x, shifts = noise(1, height, width, 3), all_shifts(height, width)
    moved = anchor(roll_tokens(x.expand(len(shifts), -1, -1, -1), shifts), 4, full=True)
    assert torch.equal(moved.x, moved.x[:1].expand_as(moved.x))
    patches = moved.x[0].unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).square().sum((1, 3, 4))
    assert patches.argmax() == 0
    first, second = patches.flatten().sqrt().sort(descending=True).values[:2]
    assert torch.allclose(moved.margin, torch.minimum(anchor(x, 4).margin, (first - second) / first), atol=1e-12)


def test_a_record_adds_rolls_and_keeps_the_smallest_margin():
    rolls = Rolls()
    parts = [anchor(noise(3, 8, 8, 2, seed=i), 4) for i in range(3)]
    for pixels, found in zip((1, 2, 4), parts, strict=True):
        assert rolls.add(found, pixels) is found.x
    assert torch.equal(rolls.steps, parts[0].steps + 2 * parts[1].steps + 4 * parts[2].steps)
    assert torch.equal(rolls.margin, torch.stack([found.margin for found in parts]).amin(0))


def test_gradients_are_those_of_a_plain_roll():
    x, weights = noise(2, 8, 8, 3).requires_grad_(), noise(2, 8, 8, 3, seed=1)
    found = anchor(x, 4)
    (gradient,) = torch.autograd.grad((found.x * weights).sum(), x)
    (plain,) = torch.autograd.grad((roll_tokens(x, -found.steps) * weights).sum(), x)
    assert torch.equal(gradient, plain)
    assert torch.equal(gradient, roll_tokens(weights, found.steps))
    assert torch.autograd.gradcheck(lambda v: anchor(v, 2).x, (noise(1, 4, 4, 1).requires_grad_(),))


def test_ties_go_to_the_next_norm_then_to_the_lowest_index():
    x = torch.zeros(1, 4, 4, 1, dtype=torch.float64)
    x[0, 0, 1], x[0, 2, 1] = 1, 1  # phase (0, 1): 2-norm sqrt(2), flat
    x[0, 1, 0] = 2**0.5  # phase (1, 0): the same 2-norm, a larger 4-norm
    found = anchor(x, 2)
    assert found.steps.tolist() == [[1, 0]]
    assert found.margin.item() < 1e-15
    assert not bool(clear(found.margin, torch.float64))
    flat = anchor(torch.ones(1, 4, 4, 1), 2)
    assert flat.steps.tolist() == [[0, 0]]
    assert flat.margin.item() == 0
    assert anchor(torch.zeros(1, 4, 4, 1), 2).margin.item() == 0
    assert anchor(x, 1).margin.item() == 1


def test_layer_norm_makes_2_norms_tie_and_leaves_4_norms_apart():
    x = nn.LayerNorm(64, eps=1e-6)(noise(4, 8, 8, 64, dtype=torch.float32)).detach()
    assert anchor(x, 4).margin.max() < 1e-5
    assert anchor(x, 4, order=4).margin.min() > 1e-4


def test_norms_in_single_precision_are_added_up_in_double():
    x = noise(1, 256, 256, 3, dtype=torch.float32)
    shifts = torch.tensor([[1, 3], [77, 130], [255, 2]])
    found = anchor(roll_tokens(x.expand(3, -1, -1, -1), shifts), 2)
    assert (found.margin - anchor(x, 2).margin).abs().max() < 1e-12
    half = anchor(300 * x.to(torch.float16), 2)  # squares beyond its range, held in float32
    assert half.x.dtype == torch.float16


def test_an_anchored_convolution_moves_whole_outputs():
    conv = AnchoredConv2d(nn.Conv2d(2, 5, 4, 4).double(), layer="stem")
    x, shifts = noise(1, 2, 16, 16), all_shifts(16, 16)
    rolls = Rolls()
    base, moved = conv(x), conv(roll_image(x, shifts), rolls, 1)
    steps = (shifts + anchor(x.movedim(1, -1), 4).steps - rolls.steps) // 4
    assert (moved - roll_image(base, steps)).abs().max() < 1e-14
    full = AnchoredConv2d(conv.conv, full=True)(roll_image(x, shifts))
    assert (full - full[:1]).abs().max() < 1e-14


def test_position_and_border_are_circular():
    torch.manual_seed(0)
    place, conv = PositionConv(3).double(), nn.Conv2d(3, 4, 3, padding=1).double()
    x, steps = noise(1, 6, 5, 3), torch.tensor([[2, 3]])
    assert (place(roll_tokens(x, steps)) - roll_tokens(place(x), steps)).abs().max() < 1e-14
    wrapped, image = circular(conv), x.movedim(-1, 1)
    assert (wrapped(roll_image(image, steps)) - roll_image(wrapped(image), steps)).abs().max() < 1e-14
    assert wrapped.weight is conv.weight
    assert torch.allclose(wrapped(image)[..., 1:-1, 1:-1], conv(image)[..., 1:-1, 1:-1], atol=1e-14)
    assert (conv(roll_image(image, steps)) - roll_image(conv(image), steps)).abs().max() > 1e-2


def test_tokens_unfold_to_their_pixels():
    x = torch.arange(2 * 3 * 4, dtype=torch.float64).view(1, 2, 3, 4)
    pixels = unshuffle_tokens(x, 2)
    assert pixels.shape == (1, 1, 4, 6)
    assert pixels[0, 0, :2, :2].flatten().tolist() == x[0, 0, 0].tolist()


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"stem: a map of 6 x 8 is not divisible by 4.*pad by 2 rows and 0 columns"):
        anchor(torch.zeros(1, 6, 8, 1), 4, layer="stem")
    x = noise(1, 4, 4, 1)
    x[0, 1, 1] = float("nan")
    with pytest.raises(InputError, match="stem: the norms hold NaN"):
        anchor(x, 2, layer="stem")
    with pytest.raises(InputError, match="order 2 or 4"):
        anchor(torch.zeros(1, 4, 4, 1), 2, order=3)
    for conv in (nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, (2, 4), (2, 4)), nn.Conv2d(1, 1, 2, 2, padding=1)):
        with pytest.raises(InputError, match="kernel = stride"):
            AnchoredConv2d(conv)
