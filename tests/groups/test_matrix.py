"""Matrix groups: dimensions, invariant forms, logarithms onto the group, stabilizers, laws of samples."""

import math

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.decompose import LogPolar, polar
from coset.groups.group import Group
from coset.groups.haar import rotation_grid
from coset.groups.lie import MatrixGroup
from coset.groups.matrix import GL, SL, SO, SU, Lorentz, O, Sp, Stabilizer, U
from coset.reps.fields import Fields

DIMENSIONS = {
    **{GL(n): n * n for n in range(1, 5)},
    **{SL(n): n * n - 1 for n in range(1, 5)},
    **{group(n): n * (n - 1) // 2 for n in range(1, 6) for group in (O, SO)},
    **{U(n): n * n for n in range(1, 4)},
    **{SU(n): n * n - 1 for n in range(1, 4)},
    **{Sp(n): n * (2 * n + 1) for n in range(1, 4)},
    **{Lorentz(p, q): (p + q) * (p + q - 1) // 2 for p, q in ((1, 3), (1, 1), (2, 2))},
}


@pytest.mark.parametrize("group", DIMENSIONS, ids=str)
def test_algebra(group):
    """The right dimension, an orthogonal basis, closed under the bracket."""
    basis = group.algebra()
    assert group.dim == len(basis) == DIMENSIONS[group]
    gram = torch.einsum("aij,bij->ab", basis, basis.conj())
    assert float((gram - torch.diag(gram.diagonal())).abs().max() if group.dim else 0) < 1e-14
    bracket = torch.einsum("aij,bjk->abik", basis, basis)
    bracket = bracket - bracket.transpose(0, 1)
    back = (group.coordinates(bracket)[..., None, None] * basis).sum(-3)
    torch.testing.assert_close(back, bracket, atol=1e-13, rtol=0)


@pytest.mark.parametrize("group", [SO(2), SO(3), SO(4), SO(5), U(2), SU(3)], ids=str)
def test_logarithm_is_onto_connected_compact_groups(group, generator):
    g = group.sample(50, generator=generator)
    torch.testing.assert_close(group.exp(group.log(g)), g, atol=1e-12, rtol=0)


@pytest.mark.parametrize("group", [GL(2, positive=True), SL(2), SL(3), Sp(2), Lorentz(restricted=True)], ids=str)
def test_logarithm_where_there_is_one(group, generator):
    g = group.sample(200, generator=generator)
    values = torch.linalg.eigvals(g)
    good = ~((values.real < 0) & (values.imag.abs() < 1e-2 * values.abs())).any(-1)
    assert bool(good.any())
    torch.testing.assert_close(group.exp(group.log(g[good])), g[good], atol=1e-10, rtol=0)


def test_no_logarithm():
    with pytest.raises(InputError, match="reflection"):
        O(3).log(O(3).components()[0])
    for group, bad in ((SL(2), torch.diag(torch.tensor([-2.0, -0.5]))), (GL(2), torch.diag(torch.tensor([-1.0, 1.0])))):
        assert group.contains(bad.double())
        with pytest.raises(InputError, match="negative real axis"):
            group.log(bad.double())


def test_invariant_forms(generator):
    g = Lorentz().sample(20, generator=generator)
    x = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    form = Lorentz().form()
    moved = (g @ x[..., None])[..., 0]
    torch.testing.assert_close((moved @ form * moved).sum(-1), (x @ form * x).sum(-1), atol=1e-11, rtol=0)
    assert not Lorentz(restricted=True).contains(Lorentz().components()).any()
    assert bool((Lorentz(restricted=True).sample(50, generator=generator)[:, 0, 0] >= 1).all())  # time keeps its direction
    rapidity = torch.tensor([0.0, 0.0, 0.0, 1.5, 0.0, 0.0], dtype=torch.float64)
    assert Lorentz().exp(rapidity)[0, 0] == pytest.approx(math.cosh(1.5), rel=1e-12)
    torch.testing.assert_close(torch.linalg.det(Sp(2).sample(20, generator=generator)), torch.ones(20).double())


def test_contains_refuses(generator):
    g = SO(3).sample(4, generator=generator)
    assert not SO(3).contains(-g).any()
    assert O(3).contains(-g).all()
    assert not O(3).contains(1.001 * g).any()
    assert not SL(3).contains(1.001 * g).any()
    assert not SU(2).contains(1j * SU(2).sample(4, generator=generator)).all()
    assert not GL(3, positive=True).contains(-g).any()
    assert not GL(3).contains(torch.zeros(3, 3).double())
    for group in (GL(3), SL(3), SO(3), O(3), Lorentz(1, 2), GL(3, positive=True)):
        assert not group.contains(torch.full((3, 3), torch.nan).double())
    assert SO(3).contains(g.float()).all()


def test_constructors():
    quarter = SO(2).from_angle(math.pi / 2)
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0]).double(), torch.tensor([0.0, 1.0]).double(), atol=1e-15, rtol=0)
    assert SO(2).from_angle(torch.zeros(3, 2)).shape == (3, 2, 2, 2)
    about_z = SO(3).from_axis_angle([0, 0, 3], math.pi / 2)
    torch.testing.assert_close(about_z[:2, :2], quarter, atol=1e-15, rtol=0)
    torch.testing.assert_close(SO(3).from_quaternion([1, 0, 0, 1]), about_z, atol=1e-15, rtol=0)
    assert SO(3).from_axis_angle(torch.randn(5, 3), torch.rand(5)).shape == (5, 3, 3)
    with pytest.raises(ContractError, match="plane"):
        SO(3).from_angle(1.0)
    with pytest.raises(ContractError, match="expected SO"):
        SO(2).from_axis_angle([0, 0, 1], 1.0)
    with pytest.raises(InputError, match="zero"):
        SO(3).from_axis_angle([0, 0, 0], 1.0)
    with pytest.raises(InputError, match="3 coordinates"):
        SO(3).exp(torch.zeros(2))


@pytest.mark.parametrize("group", [O(3), SO(3), O(2), SO(4)], ids=str)
def test_stabilizer(group, generator):
    v = torch.randn(group.n, generator=generator, dtype=torch.float64)
    h = group.stabilizer(v)
    assert h.dim == (group.n - 1) * (group.n - 2) // 2
    for g in (h.sample(50, generator=generator), h.generators(), h.quadrature(2).elements):
        torch.testing.assert_close(g @ v, v.expand(len(g), -1), atol=1e-12, rtol=0)
        assert group.contains(g).all()
    assert not h.contains(group.sample(20, generator=generator)).any()
    assert isinstance(h, Stabilizer)
    assert group.stabilizer(4 * v) == h
    assert group.stabilizer(list(h.vector)) == h
    # Haar mean of g is the projector onto v
    rule = h.quadrature(1)
    mean = torch.einsum("n,nij->ij", rule.weights, h.linear(rule.elements))
    torch.testing.assert_close(mean, torch.outer(v, v) / (v @ v), atol=1e-12, rtol=0) if group.n > 2 or isinstance(
        group, O
    ) else None


def test_stabilizer_turns_positively_about_its_axis(generator):
    for axis in torch.cat([torch.eye(3), -torch.eye(3), torch.randn(5, 3, generator=generator)]).double():
        turn = SO(3).stabilizer(axis).exp(torch.tensor([0.3], dtype=torch.float64))
        torch.testing.assert_close(turn, SO(3).from_axis_angle(axis, 0.3), atol=1e-14, rtol=0)
    h = SO(3).stabilizer([0, 0, 2])
    turn = h.exp(torch.tensor([0.3], dtype=torch.float64))
    torch.testing.assert_close(turn[:2, :2], SO(2).from_angle(0.3), atol=1e-15, rtol=0)
    for bad in ([0, 0, 0], [1, 2], [math.nan, 0, 0], [[1, 0, 0]]):
        with pytest.raises(InputError, match="non-zero vector"):
            O(3).stabilizer(bad)
    with pytest.raises(InputError, match="n >= 2"):
        O(1).stabilizer([1.0])


def test_law_of_samples(generator):
    """On GL+(2): the symmetric part has the stated deviation in every coordinate, the rotation is uniform."""
    for group in (GL(2, positive=True, spread=0.4), SL(3, spread=0.4)):
        g = group.sample(4000, generator=generator)
        assert group.contains(g).all()
        turns = group.n * (group.n - 1) // 2
        c = LogPolar(group).coordinates(g)[:, turns:]
        torch.testing.assert_close(c.std(0), torch.full_like(c[0], 0.4), atol=0.03, rtol=0)
        assert float(c.mean(0).abs().max()) < 0.03
        assert float(polar(g)[1].mean(0).abs().max()) < 5 / math.sqrt(4000)
    signs = torch.linalg.det(GL(2).sample(1000, generator=generator)).sign()
    assert abs(float(signs.mean())) < 5 / math.sqrt(1000)
    times = Lorentz().sample(1000, generator=generator)[:, 0, 0].sign()
    assert abs(float(times.mean())) < 5 / math.sqrt(1000)


def test_spread_is_no_part_of_the_group():
    assert GL(2, spread=0.1) == GL(2)
    assert hash(SL(3, spread=1.0)) == hash(SL(3))
    with pytest.raises(InputError, match="spread"):
        SL(2, spread=-1)


def test_unitary_groups_move_complex_tensors_only(generator):
    field = Fields("N x vector").of("")
    g = U(2).sample(3, generator=generator)
    x = torch.randn(1, 5, 2, generator=generator, dtype=torch.complex128)
    moved = U(2).move(g, field, x, {})
    torch.testing.assert_close(moved.norm(dim=-1), x.norm(dim=-1).expand(3, -1))
    with pytest.raises(ContractError, match="complex"):
        U(2).move(g, field, x.real, {})


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3", True])
@pytest.mark.parametrize("group", [GL, SL, O, SO, U, SU, Sp])
def test_bad_sizes(group, bad):
    with pytest.raises(InputError, match="whole number"):
        group(bad)


def test_a_group_without_a_rule_says_so():
    class Bare(MatrixGroup):
        n = 2

        def __str__(self) -> str:
            return "Bare"

    with pytest.raises(ContractError, match="basis"):
        Bare().algebra()
    with pytest.raises(ContractError, match="samples"):
        Bare().sample(2)
    with pytest.raises(ContractError, match="no grid"):
        SO(4).grid(10)
    assert isinstance(SO(4), Group)
    assert torch.equal(SO(3).grid(7), rotation_grid(7))
