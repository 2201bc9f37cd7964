"""Windows tile the map, attention matches its formula, anchored blocks are symmetric and bare ones are not."""

import pytest
import torch

from coset.errors import InputError
from coset.nn.map_attention import ATTENTION, Attention, MapAttention, MapBlock, PatchEmbedding, WindowBias, unwindowed, windows
from coset.nn.polyphase import Rolls, roll_tokens


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_windows_are_cut_and_put_back():
    x = noise(2, 8, 12, 3)
    cut = windows(x, 4)
    assert cut.shape == (12, 16, 3)
    assert torch.equal(cut[4], x[0, 4:8, 4:8].reshape(16, 3))
    assert torch.equal(unwindowed(cut, 4, 8, 12), x)


def test_attention_is_the_softmax_of_scaled_products():
    torch.manual_seed(0)
    attend = Attention(6, 2).double()
    x, source, bias = noise(2, 5, 6), noise(2, 4, 6, seed=1), noise(2, 5, 4, seed=2)
    q, (k, v) = attend.q(x), attend.kv(source).chunk(2, -1)
    heads = []
    for h in range(2):
        part = slice(3 * h, 3 * h + 3)
        heads.append((q[..., part] @ k[..., part].mT / 3**0.5 + bias[h]).softmax(-1) @ v[..., part])
    assert torch.allclose(attend(x, source, bias), attend.proj(torch.cat(heads, -1)), atol=1e-14)


def test_the_bias_depends_on_displacements_alone():
    bias = WindowBias(3, 2)
    torch.nn.init.normal_(bias.table)
    found = bias().view(2, 3, 3, 3, 3)
    assert torch.equal(found[:, 0, 0, 1, 2], found[:, 1, 0, 2, 2])
    assert torch.equal(found[:, 2, 1, 1, 0], found[:, 1, 2, 0, 1])
    assert found.flatten(1).unique(dim=1).shape[1] == 25


@pytest.mark.parametrize("kind", ATTENTION)
def test_blocks_are_symmetric_where_anchored(kind):
    torch.manual_seed(0)
    block = MapBlock(8, 2, kind=kind, size=4).double()
    bare = MapBlock(8, 2, kind=kind, size=4, anchored=False).double()
    bare.load_state_dict(block.state_dict())
    x, shifts = noise(1, 8, 8, 8), torch.cartesian_prod(torch.arange(8), torch.arange(8))
    moved = roll_tokens(x.expand(64, -1, -1, -1), shifts)
    first, rolls = Rolls(), Rolls()
    y = block(x, None, first)[0]
    z = block(moved, None, rolls)[0]
    back = (0, 0) if rolls.steps is None else (first.steps, rolls.steps)
    want = roll_tokens(y.expand(64, -1, -1, -1), shifts + back[0] - back[1])
    assert (z - want).abs().max() < 1e-13
    gap = (bare(moved)[0] - roll_tokens(bare(x)[0].expand(64, -1, -1, -1), shifts)).abs().max()
    assert gap < 1e-13 if kind == "global" else gap > 1e-3


def test_maps_that_come_from_a_layer_norm_are_anchored_clearly():
    torch.manual_seed(0)
    x, rolls = torch.nn.LayerNorm(64)(noise(8, 8, 8, 64).float()), Rolls()
    MapBlock(64, 2, kind="window")(x, None, rolls)
    assert rolls.margin.min() > 1e-4  # by 2-norms it is 1e-6


def test_a_class_token_attends_and_is_attended_to():
    torch.manual_seed(0)
    attention = MapAttention(8, 2).double()
    x, extra = noise(2, 4, 4, 8), noise(2, 1, 8, seed=1)
    y, beside = attention(x, extra)
    both = attention.attend(torch.cat([extra, x.flatten(1, 2)], 1))
    assert torch.equal(beside, both[:, :1])
    assert torch.equal(y.flatten(1, 2), both[:, 1:])


def test_stochastic_depth_keeps_the_mean_and_acts_in_training_only():
    torch.manual_seed(0)
    block = MapBlock(8, 2, drop=0.5).double()
    x = noise(1, 4, 4, 8).expand(4000, -1, -1, -1)
    gain = block._gain(x)
    assert set(gain.unique().tolist()) == {0.0, 2.0}
    assert abs(float(gain.mean()) - 1) < 0.1
    assert torch.equal(block.eval()(x[:2])[0], block(x[:2])[0])
    assert block._gain(x) is None


def test_bad_sizes_are_told():
    with pytest.raises(InputError, match="heads divide"):
        Attention(6, 4)
    with pytest.raises(InputError, match="did you mean 'window'"):
        MapAttention(8, 2, kind="windows")
    with pytest.raises(InputError, match="at least 1"):
        MapAttention(8, 2, kind="window", size=0)
    with pytest.raises(InputError, match="probability"):
        MapBlock(8, 2, drop=1.0)
    with pytest.raises(InputError, match="window attention: a map of 6 x 8"):
        MapBlock(8, 2, kind="window", size=4).double()(noise(1, 6, 8, 8))
    with pytest.raises(InputError, match="stem: a map of 6 x 8"):
        PatchEmbedding(1, 8, 4, anchored=False, layer="stem")(torch.zeros(1, 1, 6, 8))
