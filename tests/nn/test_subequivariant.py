"""Blocks over Gram matrices turn with everything, follow the nodes, and feel the directions, the bias and F."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.nn.subequivariant import Columns, MixedColumns, Scalarize, SubequivariantAttention, SubequivariantFeedForward, sides
from coset.reps.fields import Fields
from coset.testing import Broken, check

SIZES = {"hidden": 12, "projected": 3}


def sample(b=2, n=4, width=6):
    return Fields(sides(width, 2)).example({"B": b, "N": n}, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["attention", "feed-forward"])
def block(request):
    torch.manual_seed(0)
    kind = SubequivariantAttention if request.param == "attention" else SubequivariantFeedForward
    return kind(6, **SIZES).double()


def test_both_promises_are_exact(block):
    assert {contract.group for contract in block.contracts} == {SO(3), S("N")}
    assert max(check(block).errors.values()) < 1e-13


class Absolute(SubequivariantFeedForward):
    """A twin whose linear map of vectors has a bias: a preferred direction."""

    def forward(self, z, h, d):
        return super().forward(z + 0.1, h, d)


class Ordered(SubequivariantAttention):
    """A twin whose first node is something special."""

    def forward(self, z, h, d, bias=None):
        first = torch.zeros_like(h)
        first[:, 0] = 1
        return super().forward(z, h + first, d, bias)


@pytest.mark.parametrize(("twin", "group"), [(Absolute, r"SO\(3\)"), (Ordered, 'S\\("N"\\)')])
def test_a_violation_is_caught(twin, group):
    torch.manual_seed(0)
    with pytest.raises(Broken, match=group):
        check(twin(6, **SIZES))


def test_columns_are_moved_as_columns():
    g = SO(3).sample(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.randn(5, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    moved = Columns(4).move(SO(3), g, x, {})
    for i in range(4):
        assert torch.allclose(moved[..., i], torch.einsum("bij,bnj->bni", g, x[..., i]), atol=1e-14)
    assert Columns(4).shape(3) == (3, 4)
    assert str(Columns(4)) == "columns(4)"


def test_scalars_are_those_of_the_gram_matrix():
    torch.manual_seed(0)
    layer = Scalarize(6, 3, hidden=12).double()
    x = sample()
    inv, s, size = layer(x["z"], x["d"])
    assert torch.equal(s[..., 3:], x["d"])
    assert torch.allclose(s[..., :3], torch.einsum("oc,bnic->bnio", layer.project.weight, x["z"]))
    gram = torch.einsum("bnic,bnik->bnck", s, s)
    assert torch.allclose(size[..., 0], gram.square().sum((-2, -1)).sqrt() + 1)
    assert torch.allclose(inv, layer.mlp(gram.flatten(-2)))


def test_vectors_are_mixed_columns_over_f():
    torch.manual_seed(0)
    layer = MixedColumns(6, 2, **SIZES).double()
    x = sample()
    out, known, size = layer(**x)
    inv, s, again = layer.scalarize(x["z"], x["d"])
    assert torch.equal(known, torch.cat([inv, x["h"]], -1))
    assert torch.equal(size, again)
    mix = layer.matrix(known).unflatten(-1, (5, 5)) / size.unsqueeze(-1)
    want = torch.einsum("oc,bnic->bnio", layer.out.weight, torch.einsum("bnik,bnkc->bnic", s, mix))
    assert torch.allclose(out, want)


def test_large_vectors_do_not_blow_up(block):
    # without the division by F a vector's square would multiply it: here growth stays linear
    x = sample()
    scaled = {**x, "z": 1e3 * x["z"]}
    assert block(**scaled)["z"].norm() < 1e2 * 1e3 * x["z"].norm()


def test_attention_looks_at_others_and_listens_to_the_bias():
    torch.manual_seed(0)
    layer = SubequivariantAttention(6, 2, **SIZES).double()
    x = sample()
    y = layer(**x)
    moved = {**x, "z": x["z"].clone()}
    moved["z"][:, 1] *= -2
    assert (layer(**moved)["z"][:, 0] - y["z"][:, 0]).abs().max() > 1e-6
    alone = torch.full((2, 2, 4, 4), -1e9, dtype=torch.float64) * (1 - torch.eye(4, dtype=torch.float64))
    blind, still = layer(**x, bias=alone), layer(**moved, bias=alone)
    assert torch.allclose(blind["z"][:, 0], still["z"][:, 0])
    assert torch.allclose(blind["h"][:, 0], still["h"][:, 0])


def test_every_head_carries_the_directions():
    torch.manual_seed(0)
    layer = SubequivariantAttention(6, 2, **SIZES).double()
    x = sample()
    with torch.no_grad():
        layer.values.weight.zero_()
        seen = layer(**x)["z"] - x["z"]
    # with no values of its own, what is seen lies in the span of the mean directions
    weights = layer.to_z.weight.view(6, 2, 6)[..., 4:].sum(1)
    uniform = {**x, "d": x["d"][:, :1].expand(-1, 4, -1, -1)}
    same = layer(**uniform)["z"] - uniform["z"]
    assert torch.allclose(same, torch.einsum("ok,bnik->bnio", weights, uniform["d"]))
    assert seen.abs().max() > 1e-3


def test_the_feed_forward_block_sees_each_node_by_itself():
    torch.manual_seed(0)
    layer = SubequivariantFeedForward(6, **SIZES).double()
    x = sample()
    whole = layer(**x)
    single = layer(**{name: value[:, 1:2] for name, value in x.items()})
    assert torch.allclose(whole["z"][:, 1:2], single["z"])
    assert torch.allclose(whole["h"][:, 1:2], single["h"])


@pytest.mark.parametrize(("heads", "hidden"), [(3, 16), (8, 16), (0, 16)])
def test_heads_that_do_not_fit_are_refused(heads, hidden):
    with pytest.raises(InputError, match="multiple of heads"):
        SubequivariantAttention(6, heads, hidden=hidden, projected=3)


def test_attention_is_its_formula():
    torch.manual_seed(0)
    layer, x = SubequivariantAttention(6, 2, **SIZES).double(), sample()
    bias = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    inv, _, size = layer.scalarize(x["z"], x["d"])
    q, k, v = ((layer.qkv(torch.cat([inv, x["h"]], -1)) / size).unflatten(-1, (3, 2, 6))).unbind(2)  # (B, N, head, 6)
    weights = (torch.einsum("bnhc,bmhc->bhnm", q, k) / 6**0.5 + bias).softmax(-1)
    mine = layer.values(x["z"]).unflatten(-1, (2, 4))
    vectors = torch.cat([mine, x["d"].unsqueeze(-2).expand(-1, -1, -1, 2, -1)], -1)
    seen = torch.einsum("bhnm,bmihc->bnihc", weights, vectors).flatten(-2)
    heard = torch.einsum("bhnm,bmhc->bnhc", weights, v).flatten(-2)
    y = layer(**x, bias=bias)
    assert torch.allclose(y["z"], x["z"] + layer.to_z(seen))
    assert torch.allclose(y["h"], layer.norm(x["h"] + layer.to_h(heard)))


def test_the_feed_forward_block_is_its_formula():
    torch.manual_seed(0)
    layer, x = SubequivariantFeedForward(6, **SIZES).double(), sample()
    step, known, size = layer.mixed(**x)
    y = layer(**x)
    assert torch.allclose(y["z"], x["z"] + step)
    assert torch.allclose(y["h"], layer.norm(x["h"] + layer.mlp(known) / size))
