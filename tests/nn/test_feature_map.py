import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.finite import C, D
from coset.groups.matrix import SO
from coset.nn.feature_map import GroupAxis, Harmonics, grid_subgroup, harmonic_field, is_cyclic, regular_field

F64 = torch.float64


@pytest.mark.parametrize("group", [C(4), C(8), D(4), D(3), C(1)])
def test_the_group_axis_is_the_regular_representation(group):
    axis, n = GroupAxis(group), int(group.order)
    x = torch.arange(n, dtype=F64)
    for g in group.elements():
        want = x[group.compose(group.inverse(g), group.elements())]
        assert torch.equal(axis.move(group, g, x, {}), want)


@pytest.mark.parametrize("kind", [GroupAxis(D(4)), GroupAxis(C(8)), Harmonics(3)])
def test_matrices_multiply_like_the_elements(kind):
    group = D(4) if kind == GroupAxis(D(4)) else C(8)
    g, h = torch.meshgrid(group.elements(), group.elements(), indexing="ij")
    product = kind.matrix(group, group.compose(g, h))
    assert torch.allclose(product, kind.matrix(group, g) @ kind.matrix(group, h), atol=1e-12)


def test_a_subgroup_moves_the_axis_of_its_group():
    x = torch.randn(3, 8, dtype=F64, generator=torch.Generator().manual_seed(0))
    axis = GroupAxis(C(8))
    assert torch.equal(axis.move(C(4), torch.tensor(1), x, {}), axis.move(C(8), torch.tensor(2), x, {}))
    quarter = SO(2).from_angle(torch.tensor(torch.pi / 2, dtype=F64))
    assert torch.equal(axis.move(SO(2), quarter, x, {}), axis.move(C(8), torch.tensor(2), x, {}))


def test_elements_outside_the_group_have_no_place():
    x = torch.zeros(4, dtype=F64)
    with pytest.raises(ContractError, match="outside"):
        GroupAxis(C(4)).move(C(8), torch.tensor(1), x, {})
    with pytest.raises(ContractError, match="rotations"):
        Harmonics(1).move(D(4), torch.tensor(4), torch.zeros(3, dtype=F64), {})
    with pytest.raises(InputError, match=">= 0"):
        Harmonics(-1)


@pytest.mark.parametrize(("field", "group"), [(regular_field(2, D(4)), D(4)), (harmonic_field(2, 2), C(4))])
def test_moving_twice_is_moving_by_the_product(field, group, generator):
    contract = Contract(group, field, field)
    x = contract.inputs.example({"B": 2}, space=2, generator=generator)[""]
    for g in group.elements():
        for h in group.elements():
            twice = contract.act(g, contract.act(h, x))
            assert torch.allclose(twice, contract.act(group.compose(g, h), x), atol=1e-12)


def test_one_element_per_member_of_a_batch(generator):
    contract = Contract(C(4), regular_field(2, C(4)), regular_field(2, C(4)))
    x = torch.randn(3, 2, 4, 6, 6, generator=generator, dtype=F64)
    g = torch.tensor([0, 1, 3])
    moved = contract.act(g, x)
    for i in range(3):
        assert torch.equal(moved[i], contract.act(g[i], x[i : i + 1])[0])


def test_what_the_grid_keeps():
    kept = {str(g): str(grid_subgroup(g)) for g in (C(1), C(4), C(6), C(8), D(3), D(4), D(6), D(8))}
    assert kept == {
        "C(1)": "C(1)", "C(4)": "C(4)", "C(6)": "C(2)", "C(8)": "C(4)", "D(3)": "D(1)",
        "D(4)": "D(4)", "D(6)": "D(2)", "D(8)": "D(4)",
    }  # fmt: skip
    assert is_cyclic(C(5))
    assert not is_cyclic(D(5))
