"""Finite groups: tables and matrices agree to 1e-15, orders and classes are the textbook's, bad tables are refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import ContractError, InputError
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Polyhedral, Tetrahedral

SOLIDS = [Tetrahedral(), Octahedral(), Icosahedral(), Tetrahedral(inversion=True), Octahedral(inversion=True)]
SOLIDS.append(Icosahedral(inversion=True))


def closure(group) -> float:
    m = group.matrices
    return float((m[:, None] @ m - m[group.table]).abs().max())


@given(n=st.integers(1, 60))
@settings(max_examples=30, deadline=None, database=None)
def test_planar_groups_close_to_1e_15(n):
    for group in (C(n), D(n)):
        assert closure(group) < 1e-15
        assert torch.equal(group.table, group.compose(group.elements()[:, None], group.elements()))
        quarters = group.matrices[:n][torch.arange(n) * 4 % n == 0]
        assert bool(((quarters == 0) | (quarters.abs() == 1)).all())  # quarter turns are exact


@pytest.mark.parametrize("group", SOLIDS, ids=str)
def test_solids_close_to_1e_15(group):
    m = group.matrices
    assert closure(group) < 1e-15
    assert float((m @ m.mT - torch.eye(3)).abs().max()) < 1e-15
    torch.testing.assert_close(torch.linalg.det(m).sum(), torch.tensor(0.0 if group.inversion else group.order).double())
    assert torch.equal(m[0], torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("group", "orders"),
    [
        (Tetrahedral(), {1: 1, 2: 3, 3: 8}),
        (Octahedral(), {1: 1, 2: 9, 3: 8, 4: 6}),
        (Icosahedral(), {1: 1, 2: 15, 3: 20, 5: 24}),
        (D(6), {1: 1, 2: 7, 3: 2, 6: 2}),
        (C(12), {1: 1, 2: 1, 3: 2, 4: 2, 6: 2, 12: 4}),
    ],
    ids=str,
)
def test_element_orders(group, orders):
    found = group.element_order(group.elements()).tolist()
    assert {k: found.count(k) for k in set(found)} == orders


def test_angles_are_counter_clockwise():
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert (C(4).linear(torch.tensor(1)) @ x).tolist() == [0.0, 1.0]
    third = C(3).linear(torch.tensor(1)) @ x
    torch.testing.assert_close(third, torch.tensor([-0.5, math.sqrt(3) / 2], dtype=torch.float64), atol=1e-15, rtol=0)
    s = D(4).element("s")
    assert D(4).linear(s).tolist() == [[1.0, 0.0], [0.0, -1.0]]
    rs = D(4).element("rs")
    torch.testing.assert_close(D(4).linear(rs), D(4).linear(torch.tensor(1)) @ D(4).linear(s))


def test_the_solids_contain_each_other():
    for large in (Octahedral(), Icosahedral()):
        gap = (Tetrahedral().matrices[:, None] - large.matrices).abs().amax((-2, -1)).amin(1)
        assert float(gap.max()) < 1e-15
    vertex = torch.tensor([0.0, 1.0, (1 + math.sqrt(5)) / 2], dtype=torch.float64)
    orbit = (Icosahedral().matrices @ vertex).round(decimals=9).unique(dim=0)
    assert len(orbit) == 12


def test_names():
    assert D(3).names == ("e", "r", "r^2", "s", "rs", "r^2s")
    assert Octahedral().names[0] == "e"
    for group in (*SOLIDS, C(5), D(5)):
        assert len(set(group.names)) == group.order
    g = Octahedral().element("90°[0,0,1]")
    assert Octahedral().linear(g).tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert Octahedral(inversion=True).linear(Octahedral(inversion=True).element("-1")).diagonal().tolist() == [-1, -1, -1]
    with pytest.raises(InputError, match="r\\^2"):
        C(4).element("r2")


def test_cayley():
    klein = Cayley(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]), labels=("e", "a", "b", "ab"))
    assert klein == Cayley([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
    assert klein.element("ab") == klein.compose(klein.element("a"), klein.element("b"))
    assert Cayley(Icosahedral().table).conjugacy_classes() == Icosahedral().conjugacy_classes()
    with pytest.raises(ContractError, match="abstract"):
        klein.linear(klein.identity())


MOON = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]  # a loop that is no group


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1]], "square"),
        ([[0, 1], [1]], "square"),
        ([], "square"),
        ("group", "square"),
        ([[0.0, 1.0], [1.0, 0.0]], "integers"),
        ([[0, 1], [1, 2]], "entries are 0 .. 1"),
        ([[1, 0], [0, 1]], "element 1 is the identity: renumber"),
        ([[0, 1], [0, 1]], "no element is an identity"),
        ([[0, 1], [1, 1]], "element 1 has no inverse"),
        (MOON, "not associative"),
    ],
)
def test_bad_tables(rows, message):
    with pytest.raises(InputError, match=message):
        Cayley(rows)


def test_every_wrong_entry_of_a_table_is_found():
    """No table that differs from a group's in one entry is a group."""
    table = D(3).table
    for i in range(6):
        for j in range(6):
            wrong = table.clone()
            wrong[i, j] = (wrong[i, j] + 1) % 6
            with pytest.raises(InputError):
                Cayley(wrong)


@pytest.mark.parametrize("bad", [0, -3, 2.0, "4", True, None])
def test_bad_sizes(bad):
    for group in (C, D):
        with pytest.raises(InputError, match="whole number"):
            group(bad)
    with pytest.raises(InputError, match="different labels"):
        Cayley([[0, 1], [1, 0]], labels=("a", "a"))
    with pytest.raises(ContractError):
        Polyhedral().table  # noqa: B018
