"""The anchor as a canonicalizer; foreign transformers, of timm's attribute names, converted by structure or refused."""

import pytest
import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.torus import Torus
from coset.models.images.poly_vit import PolyViT
from coset.reps.torus import roll_image
from coset.symmetrizers.canonical import Canonicalize
from coset.symmetrizers.polyphase import AnchoredViT, PolyphaseAnchor, anchor_vit
from coset.testing import Broken, check
from coset.train.checkpoint import load_model, save_model

IMAGE = Contract(Torus(16, 16), "B x 3 x periodic_image(size=16)", "B x 4 x scalar")


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ------------------------------------------------------------- stand-ins with the names and the flow of timm's networks


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


class GlobalAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj((q @ k.mT / 3).softmax(-1) @ v)


class Block(nn.Module):
    def __init__(self, width, attn):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(width), attn, nn.LayerNorm(width), Mlp(width)

    def forward(self, x, *size):
        x = x + self.attn(self.norm1(x), *size)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, size, patch, channels, width, norm=False):
        super().__init__()
        self.img_size = (size, size)
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()

    def forward(self, x):
        x = self.proj(x)
        return self.norm(x.flatten(2).transpose(1, 2)), x.shape[-2:]


class VisionTransformer(nn.Module):
    def __init__(self, size=16, patch=4, width=8, depth=2):
        super().__init__()
        self.patch_embed = PatchEmbed(size, patch, 3, width)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, GlobalAttention(width)) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x):
        x, _ = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class LocallyGroupedAttn(GlobalAttention):
    def __init__(self, width, ws):
        super().__init__(width)
        self.ws = ws

    def forward(self, x, size):
        (h, w), s = size, self.ws
        cut = x.view(len(x), h // s, s, w // s, s, -1).transpose(2, 3).reshape(-1, s * s, x.shape[-1])
        out = super().forward(cut).view(len(x), h // s, w // s, s, s, -1)
        return out.transpose(2, 3).reshape(x.shape)


class GlobalSubSampleAttn(nn.Module):
    def __init__(self, width, ratio):
        super().__init__()
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.sr, self.norm = nn.Conv2d(width, width, ratio, ratio), nn.LayerNorm(width)

    def forward(self, x, size):
        few = self.sr(x.transpose(1, 2).reshape(len(x), -1, *size)).flatten(2).transpose(1, 2)
        k, v = self.kv(self.norm(few)).chunk(2, -1)
        return self.proj((self.q(x) @ k.mT / 3).softmax(-1) @ v)


class PosConv(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, groups=width))

    def forward(self, x, size):
        tokens = x.transpose(1, 2).reshape(len(x), -1, *size)
        return (self.proj(tokens) + tokens).flatten(2).transpose(1, 2)


class Twins(nn.Module):
    def __init__(self, size=16, widths=(8, 12)):
        super().__init__()
        first, second = widths
        self.patch_embeds = nn.ModuleList([PatchEmbed(size, 2, 3, first, True), PatchEmbed(size // 2, 2, first, second, True)])
        self.blocks = nn.ModuleList(
            nn.ModuleList([Block(w, LocallyGroupedAttn(w, 4)), Block(w, GlobalSubSampleAttn(w, 2))]) for w in widths
        )
        self.pos_block = nn.ModuleList(map(PosConv, widths))
        self.norm, self.head = nn.LayerNorm(second), nn.Linear(second, 4)

    def forward(self, x):
        for embed, blocks, place in zip(self.patch_embeds, self.blocks, self.pos_block, strict=True):
            x, size = embed(x)
            for i, block in enumerate(blocks):
                x = block(x, size)
                x = place(x, size) if i == 0 else x
            x = x.transpose(1, 2).reshape(len(x), -1, *size)
        return self.head(self.norm(x.flatten(2).mean(-1)))


def foreign(kind, **given) -> nn.Module:
    torch.manual_seed(0)
    return kind(**given).eval()


def changes(model, x, count=40) -> Tensor:
    steps = torch.randint(16, (count, 2), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return (model(roll_image(x, steps)) - model(x)).abs().max()


# ------------------------------------------------------------- the anchor


def test_the_element_leads_back_to_the_sample():
    x = noise(5, 3, 16, 16)
    for full in (True, False):
        canonical, g = PolyphaseAnchor(4, full=full)(x, IMAGE)
        assert g.shape == (5,)
        assert torch.equal(roll_image(canonical, IMAGE.group.steps(g)), x)
    lone, g = PolyphaseAnchor(4)(x[0], Contract(Torus(16, 16), "3 x periodic_image", "4 x scalar"))
    assert g.shape == ()
    assert torch.equal(roll_image(lone, IMAGE.group.steps(g)), x[0])


def test_one_image_of_every_orbit_is_left():
    x = noise(1, 3, 16, 16)
    orbit = roll_image(x, Torus(16, 16).steps(Torus(16, 16).elements()))
    canonical, g = PolyphaseAnchor(4)(orbit, IMAGE)
    assert torch.equal(canonical, canonical[:1].expand_as(canonical))
    assert len(g.unique()) == 256
    some, _ = PolyphaseAnchor(4, full=False)(orbit, IMAGE)
    assert len(some.flatten(1).unique(dim=0)) == 16


def test_any_network_is_canonicalized():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).double()
    with pytest.raises(Broken):
        check(net, contracts=IMAGE)
    wrapped = Canonicalize(net, IMAGE, canonicalizer=PolyphaseAnchor(4))
    assert max(check(wrapped).errors.values()) == 0
    moving = Contract(Torus(16, 16), "B x 3 x periodic_image(size=16)", "B x 3 x periodic_image(size=16)")
    place = nn.Sequential(nn.Flatten(), nn.Linear(768, 768), nn.Unflatten(1, (3, 16, 16))).double()
    check(Canonicalize(place, moving, canonicalizer=PolyphaseAnchor(4)))


def test_ties_are_counted_and_left_out():
    x = noise(3, 3, 16, 16)
    x[1] = 1.0
    wrapped = Canonicalize(nn.Flatten(), IMAGE, canonicalizer=PolyphaseAnchor(4))
    assert wrapped.frame_holds(x).tolist() == [True, False, True]
    wrapped.canonical(x)
    assert (wrapped.seen.samples, wrapped.seen.tied) == (3, 1)


def test_what_an_anchor_cannot_do_is_refused():
    with pytest.raises(ContractError, match="full=True"):
        Canonicalize(nn.Flatten(), IMAGE, canonicalizer=PolyphaseAnchor(4, full=False))
    with pytest.raises(ContractError, match="periodic_image"):
        PolyphaseAnchor(4)(noise(2, 3, 16, 16), Contract(Torus(16, 16), "B x 3 x image", "B x 4 x scalar"))
    with pytest.raises(ContractError, match="Torus of its pixels"):
        PolyphaseAnchor(4)(noise(2, 3, 16, 16), Contract(Torus(8, 8), "B x 3 x periodic_image", "B x 4 x scalar"))
    with pytest.raises(InputError, match="at least 1"):
        PolyphaseAnchor(0)
    with pytest.raises(InputError, match="not divisible by 5"):
        PolyphaseAnchor(5)(noise(2, 3, 16, 16), IMAGE)


# ------------------------------------------------------------- the converter


@pytest.mark.parametrize("kind", [VisionTransformer, Twins])
def test_foreign_transformers_become_invariant(kind):
    model = foreign(kind)
    x = noise(1, 3, 16, 16)
    assert changes(model.double(), x) > 1e-2
    converted = anchor_vit(foreign(kind))
    assert max(check(converted).errors.values()) < 1e-12
    twin = converted.double()
    assert bool(twin.no_near_tie(x).all())
    assert changes(twin, x) < 1e-13
    assert changes(converted.float(), x.float()) < 1e-5


def test_the_original_stays_and_weights_are_carried_over():
    model = foreign(VisionTransformer)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    converted = anchor_vit(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    inner = converted.model
    assert torch.equal(inner.head.weight, model.head.weight)
    assert torch.equal(inner.patch_embed.proj.patches.conv.weight, model.patch_embed.proj.weight)
    # positions of patches are gone, that of the class token is a constant, the new convolution says nothing yet
    assert torch.equal(inner.pos_embed[:, :1], model.pos_embed[:, :1])
    assert not inner.pos_embed[:, 1:].any()
    assert "model.pos_embed" not in dict(converted.named_parameters())
    assert not any(p.any() for p in inner.patch_embed.proj.position.parameters())
    with torch.no_grad():
        model.pos_embed[:, 1:] = 0
    anchored = noise(1, 3, 16, 16, dtype=torch.float32)
    anchored, _ = PolyphaseAnchor(4, full=False)(anchored, IMAGE)
    assert torch.allclose(converted(anchored), model(anchored), atol=1e-6)


def test_what_was_changed_is_listed():
    found = dict(anchor_vit(foreign(Twins)).changed)
    assert found["patch_embeds.0.proj"] == "anchor modulo 2"
    assert found["blocks.0.0"] == "anchor modulo the window 4"
    assert found["blocks.1.1.attn.sr"] == "anchor modulo 2"
    assert found["pos_block.0.proj.0"] == "circular border"
    assert len(found) == 8


def test_full_mode_keeps_positions():
    model = foreign(VisionTransformer)
    converted = anchor_vit(model, full=True)
    assert torch.equal(converted.model.pos_embed, model.pos_embed)
    assert max(check(converted).errors.values()) < 1e-12
    x = noise(1, 3, 16, 16)
    place, _ = PolyphaseAnchor(4)(x, IMAGE)
    assert torch.allclose(converted.double()(x), model.double()(place), atol=1e-13)


def test_a_plain_transformer_of_ours_is_converted():
    torch.manual_seed(0)
    plain = PolyViT(size=16, channels=3, classes=4, widths=(8,), depths=(2,), heads=2, anchored=False)
    converted = anchor_vit(plain)
    assert [path for path, _ in converted.changed] == ["embed.0.proj", "place.0.pos_embed", "embed.0.proj"]
    check(converted)


def test_it_is_saved_and_loaded_with_the_foreign_model(tmp_path):
    converted = anchor_vit(foreign(Twins))
    with torch.no_grad():
        converted.model.head.weight += 1
    path = save_model(tmp_path, converted)
    torch.manual_seed(1)
    again = load_model(path, target=Twins())
    x = noise(2, 3, 16, 16, dtype=torch.float32)
    assert isinstance(again, AnchoredViT)
    assert torch.equal(again(x), converted(x))


def without(converted, path):
    """A twin of a converted model with one anchor taken out."""
    owner, _, name = path.rpartition(".")
    module = converted.model.get_submodule(path)
    bare = module.block if hasattr(module, "block") else module.conv
    setattr(converted.model.get_submodule(owner), name, bare)
    return converted


class Subsampled(Twins):
    def __init__(self):
        super().__init__()
        for blocks, width in zip(self.blocks, (8, 12), strict=True):
            blocks[0] = Block(width, GlobalSubSampleAttn(width, 4))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Twins, "patch_embeds.0.proj"),
        (Twins, "blocks.0.0"),
        (Subsampled, "blocks.0.0.attn.sr"),
        (Subsampled, "patch_embeds.1.proj"),
    ],
)
def test_anchors_are_needed(kind, path):
    with pytest.raises(Broken):
        check(without(anchor_vit(foreign(kind)), path))


@pytest.mark.parametrize("path", ["patch_embeds.1.proj", "blocks.1.1.attn.sr"])
def test_a_map_anchored_modulo_a_multiple_needs_no_other(path):
    """Windows of four roll the whole map: merging two by two tokens and keys from two by two are at home there."""
    check(without(anchor_vit(foreign(Twins)), path))


class Pooled(VisionTransformer):
    def __init__(self):
        super().__init__()
        self.patch_embed.norm = nn.AvgPool1d(3, 2, 1)


class Mirrored(Twins):
    def __init__(self):
        super().__init__()
        for place in self.pos_block:
            place.proj[0].padding_mode = "reflect"


class Overlapping(VisionTransformer):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, 2, 1)


class Shifted(Twins):
    def __init__(self):
        super().__init__()
        self.blocks[0][0].shift_size = 2


class Learned(VisionTransformer):
    """Positions that no name gives away."""

    def __init__(self):
        super().__init__()
        self.secret = nn.Parameter(torch.randn(1, 17, 8))

    def forward(self, x):
        x, _ = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.secret
        return self.head(self.norm(self.blocks(x))[:, 0])


class Sleeping(Learned):
    """The same, starting at zero."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.secret)
        nn.init.zeros_(self.head.weight)


class Odd(VisionTransformer):
    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(16, 8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Pooled, r"patch_embed.norm: AvgPool1d of stride \(2,\)"),
        (Mirrored, r"pos_block.0.proj.0: a border of reflect, which is not circular"),
        (Overlapping, r"stem: Conv2d of stride \(2, 2\)"),
        (Shifted, "blocks.0.0: Block with shifted windows"),
        (Odd, r"pos_embed: absolute positions of shape \(16, 8\) for 16 tokens"),
        (Learned, "still depends on where the image stands"),
        (Sleeping, "still depends on where the image stands"),
    ],
)
def test_what_is_not_known_is_listed_and_refused(kind, message):
    with pytest.raises(InputError, match=message):
        anchor_vit(foreign(kind))


def test_leniently_it_is_left_and_nothing_is_claimed():
    kept = anchor_vit(foreign(Shifted), strict=False)
    assert [path for path, _ in kept.unknown] == ["blocks.0.0"]
    assert anchor_vit(foreign(Learned), strict=False).contracts[0].claim == "learned"


def test_bad_networks_are_refused():
    with pytest.raises(InputError, match="no convolution of patches"):
        anchor_vit(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))
    with pytest.raises(InputError, match=r"takes a torch\.nn\.Module"):
        anchor_vit(lambda x: x)
    with pytest.raises(InputError, match="18 x 18 is not divisible by its stride 4"):
        anchor_vit(foreign(VisionTransformer), size=18)
    with pytest.raises(InputError, match="does not say how large"):
        anchor_vit(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten()))
    with pytest.raises(InputError, match="expected logits"):
        anchor_vit(nn.Sequential(nn.Conv2d(3, 4, 4, 4)), size=16)
