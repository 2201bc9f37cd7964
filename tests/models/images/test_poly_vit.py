"""Logits do not change under any shift of 32 x 32 pixels, dense outputs move along; plain and mutilated twins fail."""

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.models.images.poly_vit import PolyViT
from coset.nn.map_attention import MapBlock
from coset.nn.polyphase import AnchoredConv2d, PositionConv
from coset.reps.torus import roll_image
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

SMALL = {"widths": (8,), "depths": (3,), "heads": 2}
TWINS = ("window", "subsampled")
KINDS = {
    "global": {"attention": "global"},
    "class token": {"attention": "global", "pool": "class"},
    "window": {"attention": "window"},
    "subsampled": {"attention": "subsampled"},
    "twins": {"attention": TWINS},
    "two stages": {"attention": TWINS, "widths": (8, 12), "depths": (2, 2), "window": 2},
    "anchored anew": {"attention": TWINS, "widths": (8, 12), "depths": (2, 2), "window": 2, "reanchor": True},
}
SHIFTS = torch.cartesian_prod(torch.arange(32), torch.arange(32))


def made(kind, seed=0, **more):
    torch.manual_seed(seed)
    return PolyViT(**{**SMALL, **KINDS[kind], **more}).eval()


def pictures(count=1, channels=1, dtype=torch.float64):
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=["double", "single"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_shift_leaves_the_logits_alone(kind, dtype, limit):
    model, x = made(kind).to(dtype), pictures(dtype=dtype)
    assert bool(model.no_near_tie(x).all())
    with torch.no_grad():
        y, moved = model(x), torch.cat([model(part) for part in roll_image(x, SHIFTS).split(256)])
    assert (moved - y).abs().max() <= limit
    assert bool((moved.argmax(-1) == y.argmax(-1)).all())


@pytest.mark.parametrize("kind", ["global", "twins", "two stages"])
def test_dense_outputs_move_with_the_image(kind):
    model, x = made(kind, dense=True, classes=3).double(), pictures()
    shifts = SHIFTS[torch.randperm(1024, generator=torch.Generator().manual_seed(1))[:200]]
    with torch.no_grad():
        y, moved = model(x), model(roll_image(x, shifts))
    assert y.shape == (1, 3, 32, 32)
    assert (moved - roll_image(y, shifts)).abs().max() <= 1e-12
    assert (y - y.mean((-1, -2), keepdim=True)).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("anchored", [True, False])
def test_promises_are_kept(kind, anchored):
    model = made(kind, anchored=anchored)
    found = check(model)
    assert (max(found.errors.values()) < 1e-12) == anchored


def test_dense_promises_are_kept():
    check(made("twins", dense=True))
    check(made("global", dense=True, anchored=False))


def without_anchors(model):
    for embed in model.embed:
        embed.proj = embed.proj.conv
    return model


class Bordered(PositionConv):
    def forward(self, x):
        return x + nn.functional.conv2d(x.movedim(-1, 1), self.conv.weight, padding=1, groups=8).movedim(1, -1)


def with_zero_borders(model):
    model.place[0] = Bordered(8)
    return model


def without_window_anchors(model):
    for block in model.stages[0]:
        block.stride = 1
    return model


def with_places(model):
    class Placed(PositionConv):
        def forward(self, x):
            return super().forward(x) + torch.linspace(0, 1, x.shape[1]).to(x)[:, None, None]

    model.place[0] = Placed(8)
    return model


@pytest.mark.parametrize(
    "twin", [without_anchors, with_zero_borders, without_window_anchors, with_places], ids=lambda f: f.__name__
)
def test_broken_twins_are_caught(twin):
    with pytest.raises(Broken, match=r"Torus\(32, 32\)"):
        check(twin(made("twins")))


class Forgetful(MapBlock):
    def forward(self, x, extra=None, rolls=None, pixels=1):
        return super().forward(x, extra, None, pixels)


def test_a_dense_twin_that_forgets_a_roll_is_caught():
    model = made("twins", dense=True)
    model.stages[0][0].__class__ = Forgetful
    with pytest.raises(Broken):
        check(model)


@pytest.mark.parametrize("kind", ["global", "class token"])
def test_the_head_reads_the_class_token_or_the_mean(kind):
    model, x = made(kind).double(), pictures(2)
    tokens, extra = model.features(x)
    assert tokens.shape == (2, 8, 8, 8)
    assert torch.equal(model(x), model.head(tokens.mean((1, 2)) if kind == "global" else extra[:, 0]))


def test_near_ties_are_left_out_of_the_promise():
    model = made("global")
    x = pictures(2)
    x[1] = 1.0
    assert model.no_near_tie(x).tolist() == [True, False]
    assert model.margin(x)[1] == 0
    assert made("global", anchored=False).margin(x).tolist() == [1, 1]


def test_other_sizes_pass_when_strides_divide_them():
    model, x = made("twins").double(), torch.randn(1, 1, 16, 48, dtype=torch.float64)
    assert (model(x) - model(roll_image(x, torch.tensor([[3, 17]])))).abs().max() <= 1e-12
    with pytest.raises(InputError, match="absolute positions"):
        made("global", anchored=False)(torch.zeros(1, 1, 16, 48))


@pytest.mark.parametrize(
    ("given", "blocks", "merging"),
    [
        ({"attention": "global"}, [[False, False]], []),
        ({"attention": TWINS}, [[True, False]], []),  # known modulo 4, hence modulo 2
        ({"attention": ("subsampled", "window")}, [[True, True]], []),
        ({"attention": TWINS, "reanchor": True}, [[True, True]], []),
        ({"attention": TWINS, "depths": (2, 2)}, [[True, False], [True, False]], [False]),
        ({"attention": TWINS, "depths": (1, 2), "window": 2}, [[True], [True, False]], [False]),
        ({"attention": "global", "depths": (1, 1)}, [[False], [False]], [True]),
        ({"attention": "subsampled", "depths": (2, 1), "reduction": 4, "size": 64}, [[True, False], [True]], [False]),
        ({"attention": "window", "depths": (1, 1), "window": 3, "size": 48}, [[True], [True]], [True]),
    ],
)
def test_maps_of_known_phase_are_not_anchored_again(given, blocks, merging):
    depths = given.get("depths", (2,))
    model = made("global", **{**given, "depths": depths, "widths": (8,) * len(depths)})
    assert [[block.stride > 1 for block in stage] for stage in model.stages] == blocks
    assert [isinstance(embed.proj, AnchoredConv2d) for embed in model.embed] == [True, *merging]
    check(model)


@pytest.mark.parametrize("kind", ["two stages", "class token"])
def test_gradients_reach_every_weight(kind):
    model = made(kind).train()
    model(pictures(3, dtype=torch.float32)).square().sum().backward()
    # keys' biases shift all logits of a query alike, which softmax forgets
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_it_is_saved_and_loaded(tmp_path):
    model = made("two stages", drop=0.1, dense=True)
    again = load_model(save_model(tmp_path, model))
    assert torch.equal(again(pictures(dtype=torch.float32)), model(pictures(dtype=torch.float32)))
    assert again.config == model.config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 30}, "patch embedding of stage 1: 30 is not divisible by its stride 4"),
        ({"size": 36, "widths": (8, 8), "depths": (1, 1)}, "patch embedding of stage 2: 9 is not divisible by its stride 2"),
        ({"attention": "window", "window": 3}, "window attention of stage 1: 8 tokens a side are not divisible by 3"),
        ({"attention": "subsampled", "reduction": 3}, "subsampled attention of stage 1"),
        ({"attention": TWINS, "pool": "class"}, "pool is 'mean'"),
        ({"pool": "max"}, "pool is 'mean'"),
        ({"depths": (1, 2)}, "a width and a depth for every stage"),
        ({"attention": "local"}, "unknown attention"),
    ],
)
def test_bad_sizes_are_told(given, message):
    with pytest.raises(InputError, match=message):
        PolyViT(**{**SMALL, **given})
