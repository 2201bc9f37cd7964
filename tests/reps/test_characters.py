"""Decomposition of representations: by characters, and by the basis that shows the blocks."""

import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.matrix import GL, SU
from coset.groups.orthogonal import SO, O
from coset.reps.characters import Irreducible, decompose, irreps_of
from coset.reps.defining import Determinant, Permutation, Realified, Trivial, Vector, tensor
from coset.reps.induced import Listed, Quotient, Regular
from coset.reps.irrep_labels import Degree, Spin
from coset.reps.irreps import Irreps
from coset.reps.representation import Constant, Representation

QUATERNION = Cayley(
    [
        [0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6], [2, 3, 1, 0, 6, 7, 5, 4], [3, 2, 0, 1, 7, 6, 4, 5],
        [4, 5, 7, 6, 1, 0, 2, 3], [5, 4, 6, 7, 0, 1, 3, 2], [6, 7, 4, 5, 3, 2, 1, 0], [7, 6, 5, 4, 2, 3, 0, 1],
    ]
)  # fmt: skip


def mixed(n):
    return torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)).Q


@pytest.mark.parametrize(
    ("rep", "want"),
    [
        (Vector(O(3)), "1o"),
        (tensor(O(3), 2), "0e+1e+2e"),
        (tensor(O(3), 3), "0o+3x1o+2x2o+3o"),
        (Determinant(Vector(O(3))), "0o"),
        (Determinant(Vector(O(3))) * Vector(O(3)), "1e"),
        (tensor(SO(3), 3), "1x0+3x1+2x2+1x3"),
        (tensor(SO(2), 3), "3x1+1x3"),
        (tensor(O(2), 2), "0o+0e+2"),
        (Vector(SU(2)) ** 3, "2x1/2+3/2"),
        (Realified(Vector(SU(2))), "2x1/2"),
        (Vector(Octahedral()) ** 2, "A1+E+T1+T2"),
        (Regular(Icosahedral()), "A+3xT1+3xT2+4xG+5xH"),
        (Regular(C(5)), "A+E1+E2"),
        (Vector(D(4)), "E"),
    ],
    ids=str,
)
def test_known_decompositions(rep, want):
    assert rep.irreps() == Irreps(want, rep.group)


@pytest.mark.parametrize(
    "rep",
    [
        tensor(O(3), 2).conjugate(mixed(9)),
        (Trivial(SO(3)) + 2 * Vector(SO(3)) + tensor(SO(3), 2)).conjugate(mixed(16)),
        tensor(SO(2), 3).conjugate(mixed(8)),
        tensor(O(2), 3),
        Regular(Octahedral()),
        Regular(Tetrahedral()).conjugate(mixed(12)),
        Regular(C(6)),
        Quotient(Icosahedral().subgroup([1])),
        Regular(QUATERNION).conjugate(mixed(8)),
        Vector(O(3)).restrict(Icosahedral()) * Vector(Icosahedral()),
        Irreps("3x0e+2x1o+2e").representation(),
        Irreps("1o+2e").representation().restrict(Octahedral(inversion=True)),
    ],
    ids=str,
)
def test_the_basis_shows_the_blocks(rep, generator):
    irreps, q = decompose(rep)
    assert irreps.blocks == rep.irreps().blocks
    assert irreps.dim == rep.dim
    assert (q @ q.T - torch.eye(rep.dim)).abs().max() <= 1e-12
    g = rep.group.sample(8, generator=generator, dtype=torch.float64)
    assert (q @ rep.matrix(g) @ q.T - irreps.representation().matrix(g)).abs().max() <= 1e-10


def test_characters_are_orthonormal_on_the_haar_measure():
    for group, labels in [
        (O(3), Irreps("0e+0o+1o+1e+2e")),
        (O(2), Irreps("0e+0o+1+2", O(2))),
        (SU(2), Irreps("0+1/2+1", SU(2))),
    ]:
        reps = [Irreducible(ir) for _, ir in labels]
        rule = group.quadrature(2 * max(rep.degree for rep in reps), dtype=torch.float64)
        chi = torch.stack([rep.character(rule.elements).to(torch.complex128) for rep in reps])
        gram = torch.einsum("an,bn,n->ab", chi.conj(), chi, rule.weights.to(chi.dtype))
        assert (gram - torch.eye(len(reps))).abs().max() <= 1e-13


@pytest.mark.parametrize("l", range(5))
def test_the_character_of_a_turn(l):
    angle = torch.linspace(0.1, 3, 7, dtype=torch.float64)
    g = SO(3).from_axis_angle(torch.tensor([1.0, 2, -2]).double().expand(7, 3), angle)
    want = torch.sin((l + 0.5) * angle) / torch.sin(angle / 2)
    assert (Irreducible(Degree(l)).character(g) - want).abs().max() <= 1e-13


def test_the_quaternion_group_has_an_irrep_of_quaternionic_type():
    irreps = Regular(QUATERNION).irreps()
    assert [(mul, ir.dim, ir.commutant) for mul, ir in irreps] == [(1, 1, 1)] * 4 + [(1, 4, 4)]


def test_duals():
    assert Irreducible(Degree(2)).dual() == Irreducible(Degree(2))
    spin = Irreducible(Spin(0.5))
    g = SU(2).sample(3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(spin.dual().matrix(g), g.conj(), atol=1e-12)


def test_what_has_no_known_irreps():
    with pytest.raises(ContractError, match="restrict"):
        irreps_of(Vector(GL(3)))
    shear = torch.tensor([[1.0, 1], [0, 1]])
    with pytest.raises(ContractError, match="not orthogonal"):
        decompose(Vector(SO(2)).conjugate(shear))
    with pytest.raises(ContractError, match="complex"):
        decompose(Vector(SU(2)))
    assert Permutation.__mro__[1] is Representation
    wrong = Listed(C(3), Constant(torch.tensor([[[1.0]], [[0.5]], [[0.5]]])))
    with pytest.raises(InputError, match="no character"):
        wrong.irreps()


def test_a_wrong_degree_is_noticed():
    class Understated(type(tensor(SO(3), 3))):
        degree = 1

    with pytest.raises(InputError, match="degree 1"):
        Understated(tensor(SO(3), 3).parts).irreps()
