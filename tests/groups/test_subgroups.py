"""Subgroups, cosets, stabilizers, classes: counts from the literature, and Lagrange's theorem by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import ContractError, InputError
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import SO
from coset.groups.subgroups import Subgroup, cosets

COUNTS = {  # subgroups, up to conjugacy, conjugacy classes of elements
    C(12): (6, 6, 12),
    D(3): (6, 4, 3),
    D(4): (10, 8, 5),
    Tetrahedral(): (10, 5, 4),
    Octahedral(): (30, 11, 5),
    Icosahedral(): (59, 9, 5),
    Octahedral(inversion=True): (98, 33, 10),
}


@pytest.mark.parametrize("group", COUNTS, ids=str)
def test_counts(group):
    subgroups, classes, elements = COUNTS[group]
    assert len(group.subgroups()) == subgroups
    assert len(group.subgroups(up_to_conjugacy=True)) == classes
    assert len(group.conjugacy_classes()) == elements
    assert sorted(sum(group.conjugacy_classes(), ())) == list(range(int(group.order)))


@pytest.mark.parametrize("group", [D(4), Tetrahedral(), D(6)], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_cosets(group, side):
    everyone = group.elements()
    for h in group.subgroups():
        found = group.cosets(h, side=side)
        assert len(found) * h.order == group.order
        assert found.representatives[0] == 0
        # the action is a homomorphism and transitive
        twice = torch.gather(
            found.action[:, None].expand(-1, len(everyone), -1), 2, found.action[None].expand(len(everyone), -1, -1)
        )
        assert torch.equal(twice, found.action[group.table])
        assert set(found.action[:, 0].tolist()) == set(range(len(found)))
        i, inside = found.split(everyone)
        assert torch.equal(i, found.label)
        r, embedded = found.representatives[i], h.embed(inside)
        whole = group.compose(r, embedded) if side == "left" else group.compose(embedded, r)
        assert torch.equal(whole, everyone)
        # the stabilizer of coset 0 is H itself
        assert group.stabilizer(0, lambda g, i, table=found.action: table[g, i]).members == tuple(sorted(h.members))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None, database=None)
def test_generated_subgroups(seed):
    generator = torch.Generator().manual_seed(seed)
    group = (D(6), Octahedral(), Icosahedral())[seed % 3]
    seeds = group.sample(2, generator=generator)
    h = group.subgroup(seeds)
    assert set(seeds.tolist()) <= set(h.members)
    assert group.order % h.order == 0
    assert h in group.subgroups()
    assert Cayley(h.table).order == h.order  # the restricted table is a group's
    torch.testing.assert_close(h.linear(h.elements()), group.linear(h.embed(h.elements())))
    assert h.subgroup(h.generators()).order == h.order


def test_stabilizer_of_a_vector():
    assert Octahedral().stabilizer([0, 0, 1]).order == 4
    assert Octahedral().stabilizer([1, 1, 1]).order == 3
    assert Octahedral(inversion=True).stabilizer([0.0, 0.0, 2.0]).order == 8
    assert Octahedral().stabilizer([1, 2, 3]).order == 1
    assert D(4).stabilizer([1, 0]).names == ("e", "s")
    with pytest.raises(InputError, match="vector of 3"):
        Octahedral().stabilizer([1, 0])


def test_normal():
    normal = [h for h in Octahedral().subgroups() if Octahedral().is_normal(h)]
    assert [h.order for h in normal] == [1, 4, 12, 24]


def test_subgroups_of_subgroups_and_names():
    h = D(6).subgroup(["r^2", "s"])
    assert h.order == 6
    assert set(h.names) == {"e", "r^2", "r^4", "s", "r^2s", "r^4s"}
    assert h.subgroup(["s"]).linear(torch.tensor(1)).tolist() == [[1, 0], [0, -1]]
    assert h == D(6).subgroup([2, 6])
    assert hash(h) == hash(D(6).subgroup([2, 6]))


def test_bad_input():
    with pytest.raises(InputError, match="not closed"):
        Subgroup(C(4), (0, 1))
    with pytest.raises(InputError, match="0 first"):
        Subgroup(C(4), (2, 0))
    with pytest.raises(InputError, match="finite group"):
        Subgroup(SO(3), (0,))
    with pytest.raises(InputError, match=r"0 \.\. 3"):
        C(4).subgroup([7])
    with pytest.raises(InputError, match="did you mean"):
        C(4).subgroup(["r^5"])
    with pytest.raises(ContractError, match="expected a subgroup of"):
        cosets(C(8), C(4).subgroup([2]))
    with pytest.raises(InputError, match="side"):
        cosets(C(4), C(4).subgroup([2]), side="up")
