import pytest
import torch

from coset.errors import InputError
from coset.groups.euclidean import SE
from coset.groups.finite import D
from coset.groups.matrix import GL, U
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.reps.defining import Determinant, Homogeneous, Permutation, Realified, Sign, Trivial, Vector, tensor


def test_homogeneous_coordinates_move_points_as_positions_move(generator):
    group = SE(3)
    g = group.sample(4, generator=generator)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    moved = Homogeneous(group).act(g, torch.cat([x, torch.ones(4, 1)], -1))
    want = torch.einsum("nij,nj->ni", group.linear(g), x) + group.shift(g)
    assert torch.allclose(moved[:, :3], want, atol=1e-12)
    assert torch.equal(moved[:, 3], torch.ones(4, dtype=torch.float64))


def test_determinant_and_sign(generator):
    g = GL(3).sample(8, generator=generator)
    det = Determinant(Vector(GL(3))).character(g)
    assert torch.allclose(det, torch.linalg.det(g))
    assert torch.equal(Sign(Vector(GL(3))).character(g), det.sign())
    slope = Determinant(Vector(GL(3))).algebra()[:, 0, 0]
    assert torch.allclose(slope, GL(3).algebra().diagonal(dim1=1, dim2=2).sum(1), atol=1e-12)  # the trace


def test_the_sign_of_a_permutation_counts_its_swaps():
    sign = Sign(Permutation(S(4)))
    assert torch.equal(sign.character(S(4).generators()), -torch.ones(3, dtype=torch.float64))
    assert sign.character(S(4).elements()).sum() == 0


def test_complex_numbers_as_pairs(generator):
    group = U(2)
    rep = Realified(Vector(group))
    g = group.sample(3, generator=generator)
    z = torch.view_as_complex(torch.randn(3, 2, 2, generator=generator, dtype=torch.float64))
    moved = rep.act(g, torch.cat([z.real, z.imag], -1))
    want = (g @ z.unsqueeze(-1)).squeeze(-1)
    assert torch.allclose(moved, torch.cat([want.real, want.imag], -1), atol=1e-12)
    assert rep.orthogonal()


def test_tensor_of_rank_zero_is_trivial():
    assert tensor(D(4), 0) == Trivial(D(4))
    assert tensor(D(4), 1) == Vector(D(4))
    assert [tensor(O(3), k).dim for k in range(4)] == [1, 3, 9, 27]
    assert [tensor(O(3), k).degree for k in range(4)] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="rank"):
        tensor(D(4), -1)
    with pytest.raises(InputError, match="S\\(n\\)"):
        Permutation(D(4))


def test_dtype_of_matrices_follows_the_element():
    for rep in (Trivial(SO(3)), Vector(SO(3)), Vector(SO(3)).dual() + tensor(SO(3), 2)):
        assert rep.matrix(SO(3).identity(dtype=torch.float32)).dtype == torch.float32
    assert Trivial(D(4)).matrix(torch.tensor(1)).dtype == torch.float64
