"""First features of atoms: radial functions times harmonics of the edges, smooth at the cutoff; invariants of edges."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.edge_degree import EdgeDegree, EdgeInvariants
from coset.ops.index import Edges
from coset.ops.radial import polynomial_envelope
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps
from coset.testing import check

F64 = torch.float64
SO3 = Irreps("4x0+4x1+4x2", SO(3))


@pytest.mark.parametrize("irreps", [SO3, "4x0e+4x1o+4x2e"], ids=str)
def test_it_keeps_its_contracts(irreps):
    torch.manual_seed(0)
    assert max(check(EdgeDegree(irreps, 5, 9.0, radial=(6,))).errors.values()) < 1e-10


def test_it_is_radial_functions_times_harmonics(generator):
    torch.manual_seed(0)
    layer = EdgeDegree(SO3, 5, 3.0, neighbors=2.0).double()
    x = SO3.randn(3, generator=generator)
    vectors, attr = (torch.randn(4, size, generator=generator, dtype=F64) for size in (3, 5))
    edge_index = torch.tensor([[1, 2, 0, 1], [0, 0, 1, 2]])
    sh = spherical_harmonics(2, vectors)
    weights = layer.radial(attr).unflatten(-1, (3, 4)) * polynomial_envelope(vectors.norm(dim=1), 3.0, 5)[:, None, None]
    each = weights[:, [0, 1, 1, 1, 2, 2, 2, 2, 2]] * sh.unsqueeze(-1)
    want = x + torch.zeros(3, 9, 4, dtype=F64).index_add(0, edge_index[1], each).flatten(1) / 2
    assert torch.allclose(layer(x, vectors, attr, edge_index), want, atol=1e-12)


def test_without_an_envelope_edges_beyond_the_cutoff_count(generator):
    torch.manual_seed(0)
    x, attr, edge_index = SO3.randn(2, generator=generator), torch.ones(1, 5, dtype=F64), torch.tensor([[0], [1]])
    far = torch.tensor([[0.0, 0.0, 4.0]], dtype=F64)
    assert torch.equal(EdgeDegree(SO3, 5, 3.0).double()(x, far, attr, edge_index), x)
    assert not torch.equal(EdgeDegree(SO3, 5, 3.0, p=None).double()(x, far, attr, edge_index), x)


def test_invariants_are_of_the_length_and_both_ends():
    torch.manual_seed(0)
    layer = EdgeInvariants(3, 4.0, basis=6, channels=2)
    assert layer.features == 10
    edges = Edges(torch.tensor([[0, 1], [1, 0]]), 2)
    out = layer(torch.tensor([1.0, 1.0]), torch.tensor([2, 0]), edges)
    assert torch.equal(out[:, :6], layer.gaussians(torch.tensor([1.0, 1.0])))
    assert torch.equal(out[0, 6:], torch.cat([layer.source[2], layer.target[0]]))
    assert torch.equal(out[1, 6:], torch.cat([layer.source[0], layer.target[2]]))
    assert out[:, 6:].abs().max() <= 1e-3


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="positive"):
        EdgeDegree(SO3, 5, 0.0)
    with pytest.raises(InputError, match="length zero"):
        EdgeDegree(SO3, 5, 3.0)(torch.zeros(2, 36), torch.zeros(1, 3), torch.zeros(1, 5), torch.tensor([[0], [1]]))
