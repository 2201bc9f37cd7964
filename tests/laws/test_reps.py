"""Laws of every representation: homomorphism, dual pairing, characters, orthogonality, derivative, algebra."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset.errors import InputError
from coset.groups.euclidean import SE, Affine, E, Scale, T
from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.group import LieGroup
from coset.groups.matrix import GL, SL, SU, Lorentz, Sp, U
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.reps.defining import Determinant, Homogeneous, Permutation, Realified, Sign, Trivial, Vector, tensor
from coset.reps.induced import Induced, Listed, Quotient, Regular, from_generators
from coset.reps.intertwiners import intertwiners
from coset.reps.irreps import Irreps
from coset.reps.representation import Constant


def q(n):
    return torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def finite():
    for group in (C(1), C(5), D(3), D(4), Tetrahedral(), Octahedral(), Icosahedral()):
        yield from (Trivial(group), Vector(group), Regular(group), Sign(Vector(group)), tensor(group, 2))
    d4, cube = D(4), Octahedral()
    yield Quotient(d4.subgroup(["s"]))
    yield Quotient(cube.stabilizer([0.0, 0.0, 1.0]))
    turns = d4.subgroup(["r"])
    yield Induced(Vector(d4).restrict(turns, turns.embed))
    yield Induced(Sign(Vector(d4)).restrict(d4.subgroup(["s"]), d4.subgroup(["s"]).embed))
    yield from_generators(d4, Vector(d4).matrix(d4.generators()))
    yield Vector(d4).conjugate(q(2))
    yield 2 * Trivial(d4) + Vector(d4) * Regular(d4) + Vector(d4).dual()
    yield from (Permutation(S(4)), Permutation(S(3), 2), Sign(Permutation(S(4))))
    yield Vector(SO(3)).restrict(Icosahedral())
    for group, spec in [(C(5), "2xA+E2"), (d4, "A4+E"), (cube, "2xT2+E"), (Tetrahedral(), "E+T"), (Icosahedral(), "G+H")]:
        yield Irreps(spec, group).representation()


def continuous():
    for group in (SO(2), O(2), SO(3), O(3), SE(2), E(3), T(2), Scale(2), SL(2), GL(2), GL(2, positive=True), Affine(2), Sp(1)):
        yield from (Trivial(group), Vector(group), tensor(group, 2), Vector(group).dual())
    yield Vector(Lorentz())
    yield from (Homogeneous(E(2)), Homogeneous(T(2)), Homogeneous(E(2)).dual())
    yield from (Determinant(Vector(O(3))), Determinant(Vector(GL(2))), Sign(Vector(O(2))))
    yield from (Realified(Vector(SU(2))), Realified(Vector(U(1))))
    yield 2 * Trivial(SO(3)) + 3 * Vector(SO(3)) + tensor(SO(3), 2).conjugate(q(9))
    yield Vector(O(3)).restrict(O(3).stabilizer([0.0, 0.0, 1.0]))
    yield Irreps("2x0e+0o+1o+2x1e+3o").representation()
    yield Irreps("2x2e+1o", layout="mul_ir").representation()
    for group, spec in [(SO(3), "0+2x2"), (SO(2), "0+2x1+3"), (O(2), "0o+0e+2x2")]:
        yield Irreps(spec, group).representation()
    yield Realified(Irreps("1/2+1", SU(2)).representation())
    product = SO(2) * C(3)
    yield Vector(SO(2)).restrict(product, lambda g: g.parts[0]) * Vector(C(3)).restrict(product, lambda g: g.parts[1])


FINITE = list(finite())
ALL = [*FINITE, *continuous()]


def name(rep):
    return f"{rep} of {rep.group}"


def pairs(rep, n=6):
    draw = torch.Generator().manual_seed(1)
    return rep.group.sample(n, generator=draw), rep.group.sample(n, generator=draw)


@pytest.mark.parametrize("rep", ALL, ids=name)
def test_homomorphism(rep):
    g, h = pairs(rep)
    product = rep.matrix(rep.group.compose(g, h))
    scale = 1 + (rep.matrix(g).abs().amax() * rep.matrix(h).abs().amax()).item()
    assert product.shape == (6, rep.dim, rep.dim)
    assert (rep.matrix(g) @ rep.matrix(h) - product).abs().max() <= 1e-11 * scale
    unit = rep.matrix(rep.group.identity(dtype=torch.float64))
    assert (unit - torch.eye(rep.dim, dtype=torch.float64)).abs().max() <= 1e-14 * scale


@pytest.mark.parametrize("rep", ALL, ids=name)
def test_act_is_the_matrix(rep):
    g, _ = pairs(rep)
    x = torch.randn(1, 2, rep.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    want = torch.einsum("gij,gnj->gni", rep.matrix(g), x.expand(6, 2, rep.dim))
    assert (rep.act(g, x) - want).abs().max() <= 1e-12 * (1 + want.abs().max())


@pytest.mark.parametrize("rep", ALL, ids=name)
def test_the_dual_keeps_the_pairing(rep):
    g, _ = pairs(rep)
    form, x = torch.randn(2, 6, rep.dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    before = (form * x).sum(-1)
    after = (rep.dual().act(g, form) * rep.act(g, x)).sum(-1)
    size = (rep.dual().act(g, form).norm(dim=-1) * rep.act(g, x).norm(dim=-1)).max()
    assert (after - before).abs().max() <= 1e-11 * (1 + size)


@pytest.mark.parametrize("rep", ALL, ids=name)
def test_characters_of_sums_products_multiples_and_duals(rep):
    g, _ = pairs(rep)
    other = Trivial(rep.group) + rep
    chi = rep.character(g)
    scale = 1 + chi.abs().max().item() ** 2
    assert ((rep + other).character(g) - (2 * chi + 1)).abs().max() <= 1e-11 * scale
    assert ((3 * rep).character(g) - 3 * chi).abs().max() <= 1e-11 * scale
    assert ((rep * other).character(g) - chi * (chi + 1)).abs().max() <= 1e-11 * scale
    assert (rep.dual().character(g) - rep.character(rep.group.inverse(g))).abs().max() <= 1e-10 * scale
    assert (rep.conjugate(q(rep.dim)).character(g) - chi).abs().max() <= 1e-11 * scale
    assert (chi - rep.matrix(g).diagonal(dim1=-2, dim2=-1).sum(-1)).abs().max() <= 1e-11 * scale


@pytest.mark.parametrize("rep", ALL, ids=name)
def test_orthogonal_says_what_all_matrices_are(rep):
    g, _ = pairs(rep, 20)
    m = rep.matrix(g)
    gap = (m @ m.mT - torch.eye(rep.dim, dtype=m.dtype)).abs().max().item()
    assert rep.orthogonal() == (gap <= 1e-9)


@pytest.mark.parametrize("rep", [r for r in ALL if isinstance(r.group, LieGroup)], ids=name)
def test_the_algebra_is_the_derivative(rep):
    group, slopes = rep.group, rep.algebra()
    assert slopes.shape == (group.dim, rep.dim, rep.dim)
    step = 1e-5
    for k, a in enumerate(torch.eye(group.dim, dtype=torch.float64)):
        slope = (rep.matrix(group.exp(step * a)) - rep.matrix(group.exp(-step * a))) / (2 * step)
        assert (slope - slopes[k]).abs().max() <= 1e-8
    a = 0.3 * torch.randn(group.dim, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    along = torch.linalg.matrix_exp(torch.einsum("k,kij->ij", a, slopes))
    assert (along - rep.matrix(group.exp(a))).abs().max() <= 1e-10


def orthonormality(one, other):
    """``<chi, psi>``: the mean over the group of the product of two real characters."""
    elements = one.group.elements()
    return (one.character(elements) * other.character(elements)).mean().item()


@pytest.mark.parametrize("rep", [r for r in FINITE if r.dim <= 24], ids=name)
def test_the_number_of_intertwiners_is_the_inner_product_of_characters(rep):
    for other in (rep, Trivial(rep.group)):
        basis = intertwiners(other, rep)
        assert len(basis) == pytest.approx(orthonormality(other, rep), abs=1e-9)
        g = rep.group.elements()
        gap = rep.matrix(g)[:, None] @ basis - basis @ other.matrix(g)[:, None]
        assert not gap.numel() or gap.abs().max() <= 1e-10
        gram = torch.einsum("kij,lij->kl", basis, basis)
        assert not gram.numel() or (gram - torch.eye(len(basis))).abs().max() <= 1e-12


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), dihedral=st.booleans(), a=st.integers(1, 3), b=st.integers(1, 2), seed=st.integers(0, 10**6))
def test_any_expression_is_a_homomorphism(n, dihedral, a, b, seed):
    group = D(n) if dihedral else C(n)
    v = Vector(group)
    rep = (a * Trivial(group) + b * v.conjugate(q(2))) * v.dual() + Regular(group)
    draw = torch.Generator().manual_seed(seed)
    g, h = group.sample(3, generator=draw), group.sample(3, generator=draw)
    gap = rep.matrix(g) @ rep.matrix(h) - rep.matrix(group.compose(g, h))
    assert gap.abs().max() <= 1e-10
    assert rep.dim == 2 * (a + 2 * b) + int(group.order)


def test_broken_twin_matrices_without_the_relations_are_caught():
    group = D(4)
    with pytest.raises(InputError, match="no homomorphism"):
        from_generators(group, q(2).expand(2, 2, 2))
    listed = Listed(group, Constant(Vector(group).matrix(group.elements()).roll(1, 0)))
    with pytest.raises(AssertionError):
        test_homomorphism(listed)
