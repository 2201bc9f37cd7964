import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.group import FiniteGroup
from coset.groups.orthogonal import SO
from coset.reps.defining import Sign, Trivial, Vector
from coset.reps.induced import Induced, Listed, Quotient, Regular, RegularAxis, from_generators, generator_words
from coset.reps.intertwiners import intertwiners
from coset.reps.representation import Constant


def test_the_regular_axis_moves_functions_on_the_group(generator):
    group = D(4)
    x = torch.randn(2, 8, generator=generator)
    for g in range(8):
        moved = RegularAxis().move(group, torch.tensor(g), x, {})
        for h in range(8):
            assert torch.equal(moved[:, group.compose(torch.tensor(g), torch.tensor(h))], x[:, h])  # (g x)[g h] = x[h]


@pytest.mark.parametrize("group", [C(4), D(3), Tetrahedral()])
def test_the_regular_representation_is_the_quotient_by_nothing(group):
    e = group.elements()
    regular = Regular(group).matrix(e)
    assert torch.equal(regular, Quotient(group.subgroup([])).matrix(e))
    one = group.subgroup([])
    assert torch.equal(regular, Induced(Trivial(one)).matrix(e))
    assert torch.equal(Regular(group).character(e), group.order * (e == 0))


def test_the_quotient_of_the_square_by_a_mirror_permutes_its_corners():
    group = D(4)
    corner = torch.tensor([1.0, 0.0], dtype=torch.float64)
    sub = group.stabilizer(corner)
    corners = group.matrices[group.cosets(sub).representatives] @ corner
    moved = group.matrices @ corners.T  # where each corner goes
    rep = Quotient(sub)
    assert rep.dim == 4
    for g in group.elements():
        want = torch.zeros(4, 4, dtype=torch.float64)
        for i in range(4):
            want[int((corners - moved[g][:, i]).norm(dim=1).argmin()), i] = 1
        assert torch.equal(rep.matrix(g), want)


def test_frobenius_reciprocity():
    group = Octahedral()
    sub = group.stabilizer([0.0, 0.0, 1.0])
    for sigma in (Trivial(sub), Vector(group).restrict(sub, sub.embed), Regular(sub)):
        for rho in (Trivial(group), Vector(group), Vector(group) ** 2):
            above = len(intertwiners(Induced(sigma), rho))
            below = len(intertwiners(sigma, rho.restrict(sub, sub.embed)))
            assert above == below


def test_the_dual_of_an_induced_representation():
    group = D(6)
    sub = group.subgroup(["r^2"])
    rep = Induced(Vector(group).restrict(sub, sub.embed).conjugate(torch.tensor([[1.0, 2.0], [0.0, 1.0]])))
    e = group.elements()
    assert torch.allclose(rep.dual().matrix(e), torch.linalg.inv(rep.matrix(e)).mT, atol=1e-12)


@pytest.mark.parametrize("group", [C(6), D(4), Icosahedral(), Cayley([[0, 1], [1, 0]])])
def test_words_reach_every_element(group):
    own, steps = generator_words(group)
    assert sorted(element for element, _, _ in steps) == list(range(1, int(group.order)))
    for element, k, earlier in steps:
        assert int(group.compose(own[k], torch.tensor(earlier))) == element


def test_generators_make_a_representation_or_an_error(generator):
    group = Tetrahedral()
    rep = from_generators(group, group.linear(group.generators()))
    assert torch.allclose(rep.matrix(group.elements()), group.matrices, atol=1e-12)
    sign = from_generators(C(4), [[[-1.0]]])
    assert sign.character(C(4).elements()).tolist() == [1, -1, 1, -1]
    with pytest.raises(InputError, match="no homomorphism"):
        from_generators(C(3), [[[-1.0]]])
    with pytest.raises(InputError, match="no homomorphism"):
        from_generators(C(3), [[[float("nan")]]])
    with pytest.raises(InputError, match="2 generators"):
        from_generators(D(4), torch.eye(2)[None])


class WithoutGenerators(Cayley):
    def generators(self, *, dtype=None, device=None):
        return torch.zeros(0, dtype=torch.int64)


class TooFew(Cayley):
    def generators(self, *, dtype=None, device=None):
        return torch.tensor([2])


def test_groups_that_name_no_or_too_few_generators():
    rows = C(4).table
    assert len(generator_words(WithoutGenerators(rows))[0]) == 3
    with pytest.raises(InputError, match="reach 2 of its 4"):
        generator_words(TooFew(rows))


def test_batches_of_elements_stand_for_leading_axes(generator):
    group = D(3)
    sub = group.subgroup(["s"])
    for rep in (Regular(group), Quotient(sub), Induced(Sign(Vector(group)).restrict(sub, sub.embed))):
        g = group.elements().view(2, 3)
        x = torch.randn(2, 1, 5, rep.dim, generator=generator, dtype=torch.float64)
        moved = rep.act(g, x)
        assert moved.shape == (2, 3, 5, rep.dim)
        assert torch.equal(moved[1, 2], x[1, 0] @ rep.matrix(g[1, 2]).T)


def test_what_does_not_fit_is_refused():
    group = D(4)
    assert isinstance(group, FiniteGroup)
    with pytest.raises(InputError, match="subgroup"):
        Quotient(group)
    with pytest.raises(InputError, match="subgroup"):
        Induced(Vector(group))
    with pytest.raises(ContractError, match="8 elements"):
        RegularAxis().move(group, torch.tensor(1), torch.zeros(3, 4), {})
    with pytest.raises(ContractError, match="finite"):
        RegularAxis().move(SO(2), SO(2).identity(), torch.zeros(3, 4), {})
    with pytest.raises(InputError, match="8, dim, dim"):
        Listed(group, Constant(torch.eye(2)))
    with pytest.raises(InputError, match="order"):
        RegularAxis().shape(2)
