"""Laws of fields: split undoes join, a fold is the join of copies, unfold undoes it, groups commute with joining."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.contract import Contract
from coset.groups.orthogonal import O
from coset.groups.permutation import S
from coset.reps.fields import Fields

SPECS = {
    "pos": "N x position",
    "stress": "B x tensor(2)",
    "z": "N x 4 x scalar",
    "edge_index": "2 x E -> N",
    "part": "N -> K",
    "batch": "N -> B",
    "cell": "B x 3 x vector",
    "noise": "S x N x vector",
    "lattice": "3 x scalar",
}
POINTERS = {"edge_index", "part", "batch"}


@st.composite
def samples(draw, least=1, most=4):
    """Fields (a subset of SPECS that keeps N) and some samples of them, of different sizes, S and lattice in common."""
    names = ["pos", *sorted(draw(st.sets(st.sampled_from(sorted(set(SPECS) - {"pos"}))))), "batch", "cell"]
    declared = Fields({name: SPECS[name] for name in dict.fromkeys(names)})
    steps = draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    out = []
    for _ in range(draw(st.integers(least, most))):
        size = {"N": draw(st.integers(1, 6)), "E": draw(st.integers(0, 7)), "B": draw(st.integers(1, 3)), "S": steps}
        size["N"] = max(size["N"], size["B"])
        x = declared.example({**size, "K": draw(st.integers(1, 3))}, generator=generator)
        out.append({**x, "lattice": out[0]["lattice"]} if out and "lattice" in x else x)
    return declared, out


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
        assert one[name].dtype == other[name].dtype


@settings(max_examples=60, deadline=None)
@given(samples())
def test_split_undoes_join(drawn):
    declared, many = drawn
    joined = declared.join(many)
    declared.check(joined)
    for member, x in zip(declared.split(joined, [declared.sizes(x) for x in many]), many, strict=True):
        same(member, x)


@settings(max_examples=40, deadline=None)
@given(samples(most=1), st.integers(1, 4))
def test_a_fold_is_the_join_of_copies(drawn, copies):
    declared, (x,) = drawn
    stacked = {name: value.expand(copies, *value.shape) for name, value in x.items()}
    folded = declared.fold(stacked, declared.sizes(x))
    same(folded, declared.join([x] * copies))
    floating = Fields({name: d for name, d in declared if name not in POINTERS and d.axis() is not None})
    back = floating.unfold({name: folded[name] for name in floating.names()}, copies)
    same(back, {name: stacked[name] for name in floating.names()})


@settings(max_examples=25, deadline=None)
@given(samples(least=2, most=3), st.integers(0, 10**6))
def test_moving_the_joined_is_joining_the_moved(drawn, seed):
    declared, many = drawn
    contract = Contract(O(3), declared, "scalar")
    g = O(3).sample(1, generator=torch.Generator().manual_seed(seed))[0]
    joined = contract.act(g, declared.join(many))
    apart = declared.join([contract.act(g, x) for x in many])
    for name in joined:
        assert torch.allclose(joined[name], apart[name], atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(samples(least=1, most=1), st.integers(0, 10**6))
def test_permuted_pointers_still_meet_what_they_point_at(drawn, seed):
    declared, (x,) = drawn
    contract = Contract(S("N"), declared, "scalar").bind(x)
    p = contract.group.sample(1, generator=torch.Generator().manual_seed(seed))[0]
    moved = contract.act(p, x)
    assert torch.equal(moved["pos"], x["pos"][p])
    if "edge_index" in x:
        assert torch.equal(moved["pos"][moved["edge_index"]], x["pos"][x["edge_index"]])
    if "batch" in x:
        assert torch.equal(moved["batch"], x["batch"][p])
    if "noise" in x:
        assert torch.equal(moved["noise"], x["noise"][:, p])


def test_broken_twin_a_join_that_forgets_to_shift_pointers_is_caught():
    declared = Fields({"pos": "N x position", "edge_index": "2 x E -> N"})
    x = declared.example({"N": 4, "E": 5}, generator=torch.Generator().manual_seed(0))
    joined = declared.join([x, x])
    broken = joined | {"edge_index": torch.cat([x["edge_index"], x["edge_index"]], 1)}
    member = declared.split(broken, [declared.sizes(x)] * 2)[1]
    with pytest.raises(AssertionError, match="edge_index"):
        same(member, x)
