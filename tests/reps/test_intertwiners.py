import pytest
import torch

from coset.errors import ContractError, InputError
from coset.groups.euclidean import E, Scale, T
from coset.groups.finite import C, D, Icosahedral, Octahedral
from coset.groups.group import Rule
from coset.groups.matrix import GL, SL, SU, Lorentz, Sp, U
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.reps.defining import Determinant, Homogeneous, Permutation, Realified, Sign, Trivial, Vector, tensor
from coset.reps.induced import Listed, Regular
from coset.reps.intertwiners import block_bases, intertwiners, invariants, places, projector, reynolds
from coset.reps.representation import Constant

#: representation in, out, and the known dimension of the space of equivariant maps
KNOWN = [
    *((tensor(SO(3), 2), Trivial(SO(3)), 1), (tensor(SO(3), 2), Vector(SO(3)), 1), (tensor(O(3), 2), Vector(O(3)), 0)),
    *((tensor(SO(3), 2), tensor(SO(3), 2), 3), (tensor(SO(3), 3), Trivial(SO(3)), 1), (tensor(O(3), 3), Trivial(O(3)), 0)),
    *((tensor(O(2), 2), tensor(O(2), 2), 3), (tensor(SO(2), 2), tensor(SO(2), 2), 6), (Vector(SO(2)), Vector(SO(2)), 2)),
    *((Vector(O(2)), Vector(O(2)), 1), (Vector(C(4)), Vector(C(4)), 2), (Vector(D(4)), Vector(D(4)), 1)),
    (tensor(SO(4), 2), tensor(SO(4), 2), 4),  # three pairings and the volume form
    *((tensor(Icosahedral(), 2), tensor(Icosahedral(), 2), 3), (tensor(Octahedral(), 2), tensor(Octahedral(), 2), 4)),
    *((Permutation(S(5)), Permutation(S(5)), 2), (Permutation(S(4), 2), Permutation(S(4)), 5)),  # Bell numbers
    (Permutation(S(4), 2), Permutation(S(4), 2), 15),
    *((Sign(Permutation(S(3))), Permutation(S(3), 2), 1), (Regular(D(3)), Regular(D(3)), 6)),
    *((Realified(Vector(SU(2))), Realified(Vector(SU(2))), 4), (Realified(Vector(U(2))), Realified(Vector(U(2))), 2)),
    *((tensor(Lorentz(), 2), Trivial(Lorentz()), 1), (tensor(Lorentz(), 2), tensor(Lorentz(), 2), 3)),
    (tensor(Lorentz(restricted=True), 2), tensor(Lorentz(restricted=True), 2), 4),
    *((tensor(Sp(2), 2), Trivial(Sp(2)), 1), (tensor(SL(2), 2), Trivial(SL(2)), 1), (tensor(GL(2), 2), Trivial(GL(2)), 0)),
    *((Determinant(Vector(GL(2))), tensor(GL(2), 2), 1), (Vector(SL(3)), tensor(SL(3), 2).dual(), 1)),
    *((Vector(Scale(3)), Vector(Scale(3)), 9), (Vector(Scale(3)), Trivial(Scale(3)), 0)),
    *((Vector(Scale(3)) * Vector(Scale(3)).dual(), Trivial(Scale(3)), 9), (Vector(T(3)), Vector(T(3)), 9)),
    *((Homogeneous(T(1)), Homogeneous(T(1)), 2), (Homogeneous(E(3)), Homogeneous(E(3)), 1), (Vector(E(3)), Vector(E(3)), 1)),
]


@pytest.mark.parametrize(("rep_in", "rep_out", "known"), KNOWN, ids=lambda v: repr(v))
def test_known_numbers_and_equivariance(rep_in, rep_out, known):
    basis = intertwiners(rep_in, rep_out)
    assert basis.shape == (known, rep_out.dim, rep_in.dim)
    g = rep_in.group.sample(6, generator=torch.Generator().manual_seed(0))
    left, right = rep_out.matrix(g)[:, None] @ basis, basis @ rep_in.matrix(g)[:, None]
    assert known == 0 or (left - right).abs().max() <= 1e-11 * (1 + left.abs().max())
    gram = torch.einsum("kij,lij->kl", basis, basis)
    assert known == 0 or (gram - torch.eye(known)).abs().max() <= 1e-12


@pytest.mark.parametrize(("rep_in", "rep_out", "known"), KNOWN, ids=lambda v: repr(v))
def test_the_projector_is_the_one_on_the_null_space(rep_in, rep_out, known):
    p, basis = projector(rep_in, rep_out), intertwiners(rep_in, rep_out).flatten(1)
    assert (p - basis.T @ basis).abs().max() <= 1e-11
    assert (p @ p - p).abs().max() <= 1e-11
    assert (p - p.T).abs().max() <= 1e-11


def multiplicities(group):
    return 24 * Trivial(group) + 12 * Vector(group) + 8 * tensor(group, 2)


@pytest.mark.parametrize("group", [O(3), O(3).stabilizer([0.0, 0.0, 1.0]), C(4), Scale(3), SO(3), Icosahedral()], ids=str)
def test_reynolds_on_many_scalars_vectors_and_tensors(group, generator):
    rep = multiplicities(group) if group != C(4) else 24 * Trivial(group) + 12 * Vector(group) + 8 * tensor(group, 2)
    weight = torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64)
    p = reynolds(weight, rep, rep)
    assert (reynolds(p, rep, rep) - p).abs().max() <= 1e-12
    other = torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64)
    assert abs((p * other).sum() - (weight * reynolds(other, rep, rep)).sum()) <= 1e-9  # symmetric
    g = group.sample(4, generator=generator)
    m = rep.matrix(g)
    assert (m @ p - p @ m).abs().max() <= 1e-12 * (1 + m.abs().max()) * 100
    bias = torch.randn(rep.dim, generator=generator, dtype=torch.float64)
    still = reynolds(bias.unsqueeze(-1), Trivial(group), rep).squeeze(-1)
    assert ((m @ still) - still).abs().max() <= 1e-11
    assert still.norm() > 0.1
    small = reynolds(weight.float(), rep, rep)
    assert small.dtype == torch.float32
    assert (small - p).abs().max() < 1e-4


def test_reynolds_equals_the_plain_sum_over_the_group(generator):
    group = D(4)
    rep_in = Trivial(group) + Vector(group) + 2 * Regular(group) + Vector(group)
    rep_out = Vector(group) + Trivial(group) + Vector(group)
    weight = torch.randn(3, rep_out.dim, rep_in.dim, generator=generator, dtype=torch.float64)
    e = group.elements()
    want = (rep_out.matrix(group.inverse(e)) @ weight[:, None] @ rep_in.matrix(e)).mean(1)
    assert (reynolds(weight, rep_in, rep_out) - want).abs().max() <= 1e-13
    assert (reynolds(weight, rep_in, rep_out, group.quadrature(0)) - want).abs().max() <= 1e-13


def test_reynolds_carries_gradients(generator):
    rep = 2 * Trivial(D(4)) + Vector(D(4))
    weight = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: reynolds(w, rep, rep), (weight,))


def test_the_basis_spans_exactly_the_image_of_reynolds(generator):
    group = SO(3)
    rep = Vector(group) + Trivial(group) + tensor(group, 2) + Vector(group)
    basis = intertwiners(rep, rep)
    assert len(basis) == 4 + 1 + 3 + 2 * (1 + 2)  # vector-vector, scalar, tensor-tensor, tensor with scalar and vectors
    weight = torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64)
    coordinates = torch.einsum("kij,ij->k", basis, weight)
    assert (torch.einsum("k,kij->ij", coordinates, basis) - reynolds(weight, rep, rep)).abs().max() <= 1e-12


def test_blocks_and_places_describe_a_sum():
    group = D(4)
    rep = Vector(group) + Trivial(group) + Vector(group)
    assert {str(k): v.tolist() for k, v in places(rep).items()} == {"vector": [[0, 1], [3, 4]], "trivial": [[2]]}
    blocks = block_bases(rep, rep)
    assert {(str(a), str(b)): len(v) for (a, b), v in blocks.items()} == {("vector", "vector"): 1, ("trivial", "trivial"): 1}
    assert len(intertwiners(rep, rep)) == 5
    blocks[Vector(group), Vector(group)].zero_()  # what is remembered is not what was given away
    assert intertwiners(rep, rep).norm() > 1
    projector(rep, rep).zero_()
    assert projector(rep, rep).norm() > 1


def test_invariant_vectors():
    group = O(3)
    rep = Trivial(group) + Vector(group) + tensor(group, 2)
    basis = invariants(rep)
    assert basis.shape == (2, 13)
    assert torch.equal(rep.invariants(), basis)
    identity = torch.eye(3, dtype=torch.float64).flatten() / 3**0.5
    assert abs(abs(basis[:, 4:] @ identity).max() - 1) <= 1e-12


@pytest.mark.parametrize(("group", "too_low"), [(SO(2), C(4)), (SO(3), Octahedral()), (O(3), Octahedral(inversion=True))])
def test_a_rule_of_too_low_degree_is_refused(group, too_low):
    rep = tensor(group, 2)
    n = len(too_low.elements())
    weights = torch.full((n,), 1 / n, dtype=torch.float64)
    honest = Rule(too_low.matrices, weights, 3)
    with pytest.raises(InputError, match="degree"):
        projector(rep, rep, honest)
    lying = Rule(too_low.matrices, weights, 99)  # a subgroup: P P = P holds, equivariance does not
    with pytest.raises(InputError, match="not exact"):
        reynolds(torch.eye(rep.dim), rep, rep, lying)
    reynolds(torch.eye(rep.dim), rep, rep, group.quadrature(4))


def test_a_rule_that_is_no_mean_is_refused():
    group = SO(2)
    rule = group.quadrature(4)
    lopsided = Rule(rule.elements, rule.weights * torch.linspace(0.5, 1.5, len(rule)), rule.degree)
    with pytest.raises(InputError, match="not exact"):
        projector(Vector(group), Vector(group), lopsided)


def test_non_orthogonal_representations_are_projected_not_averaged(generator):
    group = D(4)
    skewed = Vector(group).conjugate(torch.tensor([[1.0, 0.5], [0.0, 2.0]]))
    assert not skewed.orthogonal()
    with pytest.raises(InputError, match="rule"):
        projector(skewed, skewed, group.quadrature(0))
    weight = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    p = reynolds(weight, skewed, Vector(group))
    basis = intertwiners(skewed, Vector(group)).flatten(1)
    assert torch.allclose(p.flatten(), basis.T @ (basis @ weight.flatten()), atol=1e-13)


def test_what_does_not_fit_is_refused():
    v = Vector(D(4))
    with pytest.raises(ContractError, match="different groups"):
        intertwiners(v, Vector(D(3)))
    with pytest.raises(InputError, match=r"\(\.\.\., 2, 2\)"):
        reynolds(torch.zeros(3, 2), v, v)
    with pytest.raises(InputError, match="more than"):
        intertwiners(v**7, v**7)
    with pytest.raises(ContractError, match="Realified"):
        intertwiners(Vector(U(2)), Vector(U(2)))


def test_singular_values_without_a_gap_are_refused():
    group = C(2)
    nearly = Listed(group, Constant(torch.tensor([[[1.0, 0], [0, 1]], [[1.0, 0], [0, 1 + 1e-8]]], dtype=torch.float64)))
    with pytest.raises(ContractError, match="neither zero nor clear"):
        intertwiners(nearly, nearly)


def test_broken_twin_a_weight_that_mixes_coordinates_is_caught(generator):
    rep = multiplicities(O(3))
    weight = reynolds(torch.randn(rep.dim, rep.dim, generator=generator, dtype=torch.float64), rep, rep)
    m = rep.matrix(O(3).sample(1, generator=generator))[0]
    weight[30, 40] += 0.1
    assert (m @ weight - weight @ m).abs().max() > 1e-3
