"""Strategies draw elements and samples that are what they claim, and shrink to the simplest that fails."""

import math

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from coset.audits.elements import is_identity, lift
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import SE, Affine, E, Scale, T
from coset.groups.finite import C, D, Octahedral
from coset.groups.matrix import GL, SL, SO, SU, O
from coset.groups.permutation import S
from coset.groups.product import Power, Semidirect
from coset.groups.torus import Torus
from coset.interop.hypothesis import contracts, elements, groups, inputs, moves
from coset.reps.fields import Fields

GROUPS = [
    C(5), D(4), Octahedral(), SO(2), SO(3), O(3), O(4), SE(2), E(3), T(2), Scale(2), GL(2), SL(2), SU(2), Affine(2), S(4),
    Torus(2, 3), C(3) * SO(2),
]  # fmt: skip
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_elements_belong_to_their_group_and_shrink_to_the_identity(group):
    @FEW
    @given(elements(group, reach=2.0))
    def drawn(g):
        assert group.contains(g).all()
        assert group.equal(group.compose(g, group.inverse(g)), group.identity(dtype=torch.float64), tolerance=1e-6)

    drawn()
    assert is_identity(group, lift(find(elements(group), lambda g: True))).all()


@pytest.mark.parametrize("group", [O(3), E(2), GL(2)], ids=str)
def test_both_components_are_drawn(group):
    def mirrored(g):
        return bool(torch.linalg.det(group.linear(g)) < 0)

    assert find(elements(group), mirrored) is not None
    assert find(elements(group), lambda g: not mirrored(g)) is not None


def test_an_element_shrinks_to_the_smallest_that_fails():
    far = find(elements(SO(3)), lambda g: float(torch.trace(g)) < 1)  # turns by more than 90 degrees
    coordinates = SO(3).log(far)
    assert (coordinates.abs() > 1e-6).sum() == 1  # about one axis
    swap = find(elements(S(5)), lambda g: g.tolist() != [0, 1, 2, 3, 4])
    assert (swap != torch.arange(5)).sum() == 2


def test_groups_without_coordinates_are_drawn_by_seed():
    dihedral = Semidirect(C(5), C(2), lambda h, r: torch.where(h == 1, -r, r) % 5)
    assert find(elements(dihedral), lambda g: int(g.parts[1]) == 1) is not None
    assert dihedral.equal(find(elements(dihedral), lambda g: True), dihedral.identity())


def test_permutations_stay_in_their_fibres_and_powers_draw_for_every_member():
    fields = Fields({"v": "N x vector", "batch": "N -> B"})
    x = fields.example({"N": 6, "B": 2}, generator=torch.Generator().manual_seed(0))
    within = S("N", within="B").bind(fields, x)
    power = Power(SO(3), "N").bind(fields, x)

    @FEW
    @given(elements(within), elements(power))
    def drawn(p, g):
        assert torch.equal(x["batch"][p], x["batch"])
        assert p.sort().values.tolist() == list(range(6))
        assert g.shape == (6, 3, 3)

    drawn()
    assert find(elements(within), lambda p: p.tolist() != list(range(6))) is not None
    for group in (S("N"), Power(SO(3), "N")):
        with pytest.raises(InputError, match="is open"):
            elements(group)


@FEW
@given(
    st.sampled_from(
        [
            {"pos": "N x position", "edge": "2 x E -> N", "batch": "N -> B", "label": "B x scalar"},
            {"v": "B x 4 x vector"}, "image", {"noise": "S x N x vector", "z": "N x scalar"},
        ]
    ).flatmap(lambda spec: st.tuples(st.just(Fields(spec)), inputs(spec, most=3)))
)  # fmt: skip
def test_inputs_fit_their_fields(drawn):
    fields, x = drawn
    assert all(size >= 1 for size in fields.check(x).values())
    assert all(value.dtype == torch.float64 for value in x.values() if value.is_floating_point())


def test_sizes_shrink_to_one_and_may_be_given():
    assert find(inputs("N x vector"), lambda x: True)[""].shape == (1, 3)
    assert find(inputs("N x vector", space=2), lambda x: len(x[""]) > 2)[""].shape == (3, 2)
    assert find(inputs({"v": "N x M x vector"}, sizes={"M": 5}), lambda x: True)["v"].shape == (1, 5, 3)


@FEW
@given(moves(Contract(E(3) * S("N"), {"pos": "N x position", "batch": "N -> B"}, "N x vector")))
def test_the_documented_property_test(move):
    x, g, contract = move

    def centered(pos, batch):
        count = batch.bincount().clamp(min=1)[:, None]
        return pos - (torch.zeros(len(count), 3, dtype=pos.dtype).index_add_(0, batch, pos) / count)[batch]

    found = contract.residual(centered, x, g)
    assert all(value.abs().max() < 1e-9 * (1 + x["pos"].abs().max()) for value in found.values())


def test_a_broken_promise_is_found_and_is_simple():
    contract = Contract(SO(2), "N x vector", "N x vector")
    x, g, bound = find(moves(contract), lambda m: m[2].error(lambda v: v.abs(), m[0], m[1]) > 0.1)
    assert x.shape == (1, 2)
    assert bound.error(lambda v: v.abs(), x, g) > 0.1


@FEW
@given(st.data())
def test_norms_are_invariant_under_whatever_turns(data):
    space = data.draw(st.sampled_from([2, 3]))
    contract = data.draw(contracts("N x vector", "N x scalar", space=space))
    x, g, bound = data.draw(moves(contract, reach=math.pi))
    assert bound.error(lambda v: v.norm(dim=-1), x, g) < 1e-10


def test_groups_come_in_every_space():
    assert find(groups(2), lambda group: True) == C(2)
    assert find(groups(4), lambda group: isinstance(group, E)) == E(4)
