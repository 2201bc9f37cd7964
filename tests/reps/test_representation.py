import pytest
import torch

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE
from coset.groups.finite import C, D, Icosahedral, Octahedral
from coset.groups.orthogonal import SO, O
from coset.reps.defining import Permutation, Trivial, Vector, tensor
from coset.reps.representation import Constant, block_diagonal


def test_built_alike_means_equal_with_one_hash_and_one_print():
    def build():
        v = Vector(SO(3))
        return 2 * Trivial(SO(3)) + v + v * (v + Trivial(SO(3))).dual()

    assert build() == build()
    assert hash(build()) == hash(build())
    assert str(build()) == "2 * trivial + vector + vector * (dual(vector) + trivial)"
    assert repr(Vector(D(4))) == "<vector of D(4)>"
    assert Vector(SO(3)) != Vector(O(3))
    q = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    assert Vector(SO(3)).conjugate(q) == Vector(SO(3)).conjugate(q.clone())
    assert Vector(SO(3)).conjugate(q) != Vector(SO(3)).conjugate(q + 1)
    assert len({Constant(q), Constant(q.double()), Constant(q.T)}) == 2


def test_the_algebra_flattens():
    v, one = Vector(D(4)), Trivial(D(4))
    assert (one + v) + v == one + (v + v) == one + 2 * v
    assert (v * v) * v == v * (v * v) == v**3 == tensor(D(4), 3)
    assert v * 2 == 2 * v == v + v
    assert v.dual().dual() == v
    assert 1 * v == v**1 == v


def test_sums_and_products_keep_the_order_of_coordinates(generator):
    group = Octahedral()
    v, g = Vector(group), Octahedral().elements()[5]
    x, y = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    m = group.linear(g)
    moved = (v + Trivial(group) + v).act(g, torch.cat([x, torch.ones(1), y]))
    assert torch.allclose(moved, torch.cat([m @ x, torch.ones(1), m @ y]), atol=1e-14)
    assert torch.allclose((v * v).act(g, torch.outer(x, y).flatten()), torch.outer(m @ x, m @ y).flatten(), atol=1e-14)


@pytest.mark.parametrize("group", [D(5), SO(3), SE(2)])
def test_act_is_the_matrix_also_on_batches(group, generator):
    v, one = Vector(group), Trivial(group)
    rep = 2 * one + 3 * v + v**2 + v.dual()
    g = group.sample(4, generator=generator, dtype=torch.float64)
    x = torch.randn(1, 5, rep.dim, generator=generator, dtype=torch.float64)
    want = torch.einsum("gij,gnj->gni", rep.matrix(g), x.expand(4, 5, rep.dim))
    assert torch.allclose(rep.act(g, x), want, atol=1e-12)
    assert torch.allclose(rep.act(g[0], x[0]), want[0], atol=1e-12)
    assert rep.act(g, x.float()).dtype == torch.float32
    assert torch.allclose(one.act(g, x[..., :1]), x[..., :1].expand(4, 5, 1))


def test_restriction_finds_the_evident_embeddings(generator):
    v = Vector(O(3))
    g = SO(3).sample(3, generator=generator)
    assert torch.equal(v.restrict(SO(3)).matrix(g), g)
    solid = Icosahedral()
    assert torch.equal(v.restrict(solid).matrix(solid.elements()), solid.matrices)
    quarter = Vector(D(4)).restrict(C(4), [0, 1, 2, 3])
    assert torch.allclose(quarter.matrix(torch.tensor(1)), C(4).linear(torch.tensor(1)))
    sub = D(4).subgroup(["s"])
    assert torch.equal(Vector(D(4)).restrict(sub, sub.embed).matrix(torch.tensor(1)), sub.linear(torch.tensor(1)))
    with pytest.raises(ContractError, match="embedding"):
        Vector(SO(3)).restrict(SO(2)).matrix(SO(2).sample(1))
    with pytest.raises(InputError, match="order"):
        Vector(D(4)).restrict(C(4), [0, 1])


def test_pulling_back_along_any_homomorphism():
    product = SO(3) * C(4)
    on_first = Vector(SO(3)).restrict(product, lambda g: g.parts[0])
    g = product.sample(2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(on_first.matrix(g), g.parts[0])
    assert on_first.algebra().shape == (3, 3, 3)


def test_a_field_of_a_representation_is_moved_by_its_own_group_only(generator):
    rep = Trivial(D(4)) + Vector(D(4))
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    contract = Contract(D(4), {"x": rep}, {"y": "N x scalar"})
    moved = contract.act(torch.tensor(3), {"x": x})["x"]
    assert torch.allclose(moved, x @ rep.matrix(torch.tensor(3)).T)
    assert str(contract.inputs) == "x: trivial + vector"
    with pytest.raises(ContractError, match="restrict"):
        Contract(C(4), {"x": rep}, {"y": "N x scalar"}).act(torch.tensor(3), {"x": x})


def test_a_representation_of_a_product_is_moved_by_the_product(generator):
    product = SO(3) * D(4)
    first, second = Vector(SO(3)).restrict(product, lambda g: g.parts[0]), Vector(D(4)).restrict(product, lambda g: g.parts[1])
    rep = first * second
    g = product.sample(2, generator=generator)
    x = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    moved = Contract(product, {"x": rep}, {"x": rep}).act(g, {"x": x})["x"]
    want = torch.einsum("nij,nkl,njl->nik", g.parts[0], D(4).linear(g.parts[1]), x.view(2, 3, 2)).flatten(1)
    assert torch.allclose(moved, want, atol=1e-12)


def test_what_does_not_fit_is_refused():
    v = Vector(D(4))
    with pytest.raises(ContractError, match="one group"):
        v + Vector(D(3))
    with pytest.raises(ContractError, match="one group"):
        v * Vector(D(3))
    with pytest.raises(InputError, match="multiple"):
        0 * v
    with pytest.raises(InputError, match="power"):
        v**0
    with pytest.raises(InputError, match="invertible"):
        v.conjugate(torch.zeros(2, 2))
    with pytest.raises(ContractError, match="last axis"):
        (v + v).act(torch.tensor(1), torch.zeros(5))
    with pytest.raises(ContractError, match="last axis"):
        (v * v).act(torch.tensor(1), torch.zeros(5))


def test_block_diagonal_broadcasts():
    blocks = block_diagonal([torch.ones(4, 2, 2), 2 * torch.ones(1, 1)])
    assert blocks.shape == (4, 3, 3)
    assert torch.equal(blocks[3], torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 2]]))


def test_permutations_of_nodes_and_edges_move_as_fields_do(generator):
    from coset.groups.permutation import S

    group, x = S(4), torch.randn(4, 4, generator=generator, dtype=torch.float64)
    p = group.sample(1, generator=generator)[0]
    assert torch.equal(Permutation(group).act(p, x[0]), x[0][p])
    assert torch.equal(Permutation(group, 2).act(p, x.flatten()), x[p][:, p].flatten())
