"""Character tables of finite groups: orthogonality, completeness, homomorphism, order and names."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.permutation import S
from coset.reps.finite_irreps import finite_table

GROUPS = [C(1), C(2), C(5), C(6), D(3), D(4), D(5), Tetrahedral(), Octahedral(), Icosahedral(), Octahedral(inversion=True)]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_orthogonality_and_completeness(group):
    table = finite_table(group)
    gram = table.characters @ table.characters.T / group.order
    assert (gram - torch.diag(torch.tensor(table.commutants, dtype=torch.float64))).abs().max() <= 1e-12
    assert sum(m.shape[-1] ** 2 // c for m, c in zip(table.matrices, table.commutants, strict=True)) == group.order
    assert torch.allclose(table.characters[0], torch.ones(int(group.order), dtype=torch.float64))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_every_matrix_is_orthogonal_and_products_are_kept(group):
    for matrices, character in zip(finite_table(group).matrices, finite_table(group).characters, strict=True):
        products = matrices[:, None] @ matrices
        assert (products - matrices[group.table]).abs().max() <= 1e-12
        assert (matrices @ matrices.mT - torch.eye(matrices.shape[-1])).abs().max() <= 1e-12
        assert (matrices.diagonal(dim1=-2, dim2=-1).sum(-1) - character).abs().max() <= 1e-12


def test_names_and_order():
    assert finite_table(Octahedral()).names == ("A1", "A2", "E", "T1", "T2")
    assert finite_table(Icosahedral()).names == ("A", "T1", "T2", "G", "H")
    assert finite_table(C(5)).names == ("A", "E1", "E2")
    assert finite_table(D(4)).names == ("A1", "A2", "A3", "A4", "E")
    assert finite_table(C(6)).commutants == (1, 1, 2, 2)


def test_vectors_stand_for_themselves():
    for group, place in [(D(5), 2), (Octahedral(), 3), (Icosahedral(), 1)]:
        assert torch.equal(finite_table(group).matrices[place], group.linear(group.elements()))


def test_what_is_no_character_is_refused():
    table = finite_table(D(4))
    assert table.multiplicities(table.characters[:3].sum(0)) == [1, 1, 1, 0, 0]
    with pytest.raises(InputError, match="no character"):
        table.multiplicities(torch.arange(8.0))
    with pytest.raises(InputError, match="up to"):
        finite_table(C(3000))


def test_symmetric_group():
    group = S(4)
    assert not hasattr(group, "table") or len(finite_table(group).names) == 5
