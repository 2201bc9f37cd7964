"""Elements are visited in a stated order and called by names that a reader understands."""

import math

import pytest
import torch

from coset.audits.elements import choose, cycles, element_names, is_identity
from coset.errors import InputError
from coset.groups.euclidean import SE, Scale, T
from coset.groups.finite import C, D, Octahedral
from coset.groups.group import Elements
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.groups.product import Semidirect


def test_names():
    assert element_names(C(8), C(8).elements())[:3] == ["identity", "45°", "90°"]
    assert element_names(D(4), D(4).elements())[4:6] == ["mirror at 0°", "mirror at 45°"]
    turn = SO(3).from_axis_angle(torch.tensor([0.0, 0, 1]).double(), math.pi / 3)
    assert element_names(SO(3), turn.unsqueeze(0)) == ["60° about (0, 0, 1)"]
    assert element_names(O(3), -torch.eye(3).double().unsqueeze(0)) == ["inversion"]
    assert element_names(Scale(2), torch.tensor([0.5, 1.0]).double()) == ["x0.5", "identity"]
    shift = torch.eye(3).double()
    shift[0, 2] = 0.25
    assert element_names(T(2), shift.unsqueeze(0)) == ["shift (0.25, 0)"]
    assert cycles(torch.tensor([1, 2, 0, 4, 3])) == "(0 1 2)(3 4)"
    assert cycles(torch.arange(3)) == "e"


@pytest.mark.parametrize("group", [C(5), D(3), SO(2), SO(3), O(3), SE(2), T(3), Scale(2), S(4), Octahedral(), C(2) * SO(2)])
def test_the_identity_comes_first_and_only_once(group):
    g = choose(group, 12)
    here = is_identity(group, g)
    assert bool(here[0])
    assert int(here.sum()) == 1 or isinstance(group, S)  # draws may meet it again
    assert len(g) == min(12, group.order) if group.order < 13 else len(g) in (12, 24)
    assert len(element_names(group, g)) == len(g)


def test_pairs_of_a_semidirect_product_are_the_identity_where_both_are():
    dihedral = Semidirect(C(5), C(2), lambda h, r: torch.where(h == 1, -r, r) % 5)
    pairs = Elements(torch.tensor([0, 1, 0, 2]), torch.tensor([0, 0, 1, 1]))
    assert is_identity(dihedral, pairs).tolist() == [True, False, False, False]


def test_small_groups_are_visited_whole_and_large_ones_sampled_alike():
    assert len(choose(S(3), 10)) == 6
    assert len(choose(C(100), 10)) == 10
    assert torch.equal(choose(SO(3), 5, seed=1), choose(SO(3), 5, seed=1))
    assert not torch.equal(choose(SO(3), 5, seed=1), choose(SO(3), 5, seed=2))
    with pytest.raises(InputError, match="at least 1"):
        choose(SO(3), 0)
