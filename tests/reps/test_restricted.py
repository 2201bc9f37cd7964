"""Restriction to an axis and to finite groups, induction by reciprocity, against characters and induced matrices."""

import math

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import SL, SU
from coset.groups.orthogonal import SO, O
from coset.reps.characters import Irreducible
from coset.reps.induced import Induced, Quotient, Regular
from coset.reps.intertwiners import intertwiners
from coset.reps.irrep_labels import Degree
from coset.reps.irreps import Irreps
from coset.reps.restricted import about_axis, induced_irreps, irreps_up_to, restrict, restrict_to_axis

AXES = [(0.0, 1.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 2.0, -3.0), (1e-9, -1.0, 0.0)]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_the_embedding_turns_about_the_axis(axis, generator):
    angle = torch.tensor([0.3, -2.0, math.pi], dtype=torch.float64)
    g = about_axis(axis)(SO(2).from_angle(angle))
    assert (g - SO(3).from_axis_angle(torch.tensor(axis).double().expand(3, 3), angle)).abs().max() <= 1e-15 * 3
    h, k = O(2).sample(2, generator=generator)
    for mirrors in (False, True):
        embed = about_axis(axis, mirrors=mirrors)
        assert torch.allclose(embed(h) @ embed(k), embed(h @ k), atol=1e-14)
        flip = embed(torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))
        n = torch.tensor(axis).double() / torch.tensor(axis).double().norm()
        assert torch.allclose(flip @ n, n if mirrors else -n, atol=1e-14)
        assert abs(torch.linalg.det(flip) - (-1 if mirrors else 1)) < 1e-14


@pytest.mark.parametrize("l", range(7))
def test_the_trace_of_a_turn_is_the_sum_of_its_frequencies(l):
    angle = torch.linspace(-3, 3, 11, dtype=torch.float64)
    trace = Irreducible(Degree(l)).restrict(SO(2), about_axis((1, 1, 0))).character(SO(2).from_angle(angle))
    assert (trace - sum(torch.cos(m * angle) for m in range(-l, l + 1))).abs().max() <= 1e-13


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("layout", ["ir_mul", "mul_ir"])
def test_the_basis_of_restriction(axis, layout, generator):
    irreps = Irreps("2x0e+3x1o+1x2e+2x3e", layout=layout)
    frequencies, q = restrict_to_axis(irreps, axis)
    assert frequencies.blocks == Irreps("8x0+6x1+3x2+2x3", SO(2)).blocks
    assert (q @ q.T - torch.eye(irreps.dim)).abs().max() <= 1e-14
    h, x = SO(2).sample(5, generator=generator), irreps.randn(5, generator=generator)
    there = irreps.transform(about_axis(axis)(h), x) @ q.T
    assert (there - frequencies.transform(h, x @ q.T)).abs().max() <= 1e-13
    assert irreps.representation().restrict(SO(2), about_axis(axis)).irreps().blocks == frequencies.blocks
    if axis == AXES[0]:
        assert (q - q.round()).abs().max() <= 1e-15  # an exchange of rows


@pytest.mark.parametrize(
    ("irreps", "group", "embedding", "want"),
    [
        (Irreps("2e"), Octahedral(), None, "E+T2"),
        (Irreps("3o"), Octahedral(), None, "A2+T1+T2"),
        (Irreps("3o"), Icosahedral(), None, "T2+G"),
        (Irreps("2e"), Tetrahedral(), None, "E+T"),
        (Irreps("2", SO(3)), O(2), about_axis(), "0e+1+2"),
        (Irreps("1", SO(3)), O(2), about_axis(), "0o+1"),
        (Irreps("1o"), O(2), about_axis(mirrors=True), "0e+1"),
        (Irreps("1e"), O(2), about_axis(mirrors=True), "0o+1"),
    ],
    ids=lambda value: "embedding" if callable(value) and not isinstance(value, Irreps) else str(value),
)
def test_restriction_to_subgroups(irreps, group, embedding, want, generator):
    seen, q = restrict(irreps, group, embedding)
    assert seen.blocks == Irreps(want, group).blocks
    h = group.sample(4, generator=generator, dtype=torch.float64)
    small = irreps.representation().restrict(group, embedding).matrix(h)
    assert (q @ small @ q.T - seen.representation().matrix(h)).abs().max() <= 1e-10


def fourfold():
    group = Octahedral()
    turn = next(g for g in range(24) if group.element_order(torch.tensor(g)) == 4)
    return group, group.subgroup([turn])


def test_reciprocity_of_a_quarter_turn_in_the_cube_group():
    group, small = fourfold()
    for i in range(3):
        sigma = Irreps([(1, i)], small)
        induced = Induced(sigma.representation())
        assert induced.irreps() == induced_irreps(sigma, group, embedding=small.embed)
        for _, ir in Irreps("A1+A2+E+T1+T2", group):
            large = Irreducible(ir)
            down = intertwiners(large.restrict(small, small.embed), sigma.representation())
            assert len(intertwiners(large, induced)) == len(down)


def test_induction_in_steps_and_of_the_trivial():
    group, small = fourfold()
    assert Quotient(small).irreps() == Induced(Irreps("A1", small).representation()).irreps() == Irreps("A1+E+T1", group)
    alone = group.subgroup([])
    assert Induced(Irreps("A", alone).representation()).irreps() == Regular(group).irreps()


def test_induction_from_the_turns_about_an_axis():
    """Fields on the sphere: frequency 0 gives every degree once, frequency m the degrees from m on (twice: m and -m)."""
    assert induced_irreps(Irreps("0", SO(2)), SO(3), top=3).blocks == Irreps("0+1+2+3", SO(3)).blocks
    assert induced_irreps(Irreps("2", SO(2)), SO(3), top=4).blocks == Irreps("2x2+2x3+2x4", SO(3)).blocks
    both = induced_irreps(Irreps("0+1", SO(2)), SO(3), top=2)
    assert both.blocks == Irreps("1x0+3x1+3x2", SO(3)).blocks
    # the projective plane sees even degrees only
    assert induced_irreps(Irreps("0e", O(2)), SO(3), top=4).blocks == Irreps("0+2+4", SO(3)).blocks
    # functions on the space of oriented cubes, SO(3) / O: degrees 0, 4, 6, ...
    cube = induced_irreps(Irreps("A1", Octahedral()), SO(3), top=6)
    assert cube.blocks == Irreps("0+4+6", SO(3)).blocks


def test_all_irreps_up_to_a_degree():
    assert list(map(str, irreps_up_to(O(3), 1))) == ["0o", "0e", "1o", "1e"]
    assert list(map(str, irreps_up_to(SU(2), 1.5))) == ["0", "1/2", "1", "3/2"]
    assert list(map(str, irreps_up_to(O(2), 2))) == ["0o", "0e", "1", "2"]
    assert list(map(str, irreps_up_to(SO(2), 1))) == ["0", "1"]
    assert sum(ir.dim**2 for ir in irreps_up_to(D(6), 0)) == 12
    with pytest.raises(ContractError, match="not known"):
        irreps_up_to(SL(2), 1)


def test_bad_input():
    with pytest.raises(InputError, match="axis"):
        about_axis((0, 0, 0))
    with pytest.raises(ContractError, match="SO"):
        restrict_to_axis(Irreps("A", C(3)))
