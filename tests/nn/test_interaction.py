"""One convolution: the formula path by path, equivariant, a mean over neighbors; what it cannot reach is zero."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import O
from coset.nn.interaction import Interaction, SpeciesEmbedding
from coset.ops.index import Edges
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps

F64 = torch.float64
R_MAX = 3.0
IN, SH, OUT = Irreps("2x0e+2x1o"), Irreps("0e+1o"), Irreps("3x0e+2x1o")
RADIAL = {"basis": 3, "hidden": (4,), "intervals": 6}


def made(irreps_in=IN, irreps_out=OUT, **options):
    torch.manual_seed(0)
    return Interaction(irreps_in, SH, irreps_out, R_MAX, **(RADIAL | options)).double()


def graph(generator, nodes=4, edges=10):
    ends = torch.randint(0, nodes - 1, (2, edges), generator=generator)  # the last node has no edge
    vectors = torch.randn(edges, 3, generator=generator, dtype=F64)
    return IN.randn(nodes, generator=generator), vectors, ends


def apply(layer, h, vectors, ends):
    return layer(h, spherical_harmonics((0, 1), vectors), vectors.norm(dim=1), Edges(ends, len(h)))


def test_it_is_the_sum_over_neighbors_of_weighted_paths(generator):
    layer = made(irreps_out=Irreps("1x0e"), neighbors=2.5)
    h, vectors, ends = graph(generator)
    y = spherical_harmonics((0, 1), vectors)
    up = layer.up(h)
    s, v = up[:, :2], up[:, 2:].view(-1, 3, 2)  # rows of a degree, then channels
    weights = layer.radial.weights(vectors.norm(dim=1))
    names = [str(path) for path in layer.radial.tp.paths]
    message = torch.zeros(len(h), len(names), 2, dtype=F64)
    for e, (j, i) in enumerate(ends.T.tolist()):
        products = {"0e x 0e -> 0e": s[j] * y[e, 0], "1o x 1o -> 0e": (v[j] * y[e, 1:, None]).sum(0) / 3**0.5}
        message[i] += torch.stack([weights[e, p] * products[name] for p, name in enumerate(names)])
    expected = layer.down(message.flatten(1)) / 2.5
    assert torch.allclose(apply(layer, h, vectors, ends), expected, atol=1e-13, rtol=0)


def test_it_moves_as_its_irreps_do(generator):
    layer, group = made(), O(3)
    h, vectors, ends = graph(generator)
    y = apply(layer, h, vectors, ends)
    for g in group.sample(3, generator=generator):
        moved = apply(layer, IN.transform(g, h), vectors @ g.T, ends)
        assert torch.allclose(moved, OUT.transform(g, y), atol=1e-12, rtol=0)


def test_the_order_of_edges_is_nothing(generator):
    layer = made()
    h, vectors, ends = graph(generator)
    order = torch.randperm(ends.shape[1], generator=generator)
    assert torch.allclose(apply(layer, h, vectors, ends), apply(layer, h, vectors[order], ends[:, order]), atol=1e-14, rtol=0)


def test_lonely_atoms_hear_nothing_and_neighbors_divide(generator):
    layer = made()
    h, vectors, ends = graph(generator)
    y = apply(layer, h, vectors, ends)
    assert not y[-1].any()
    assert (y[:-1].abs().amax(1) > 0).sum() == len(set(ends[1].tolist()))
    assert torch.allclose(apply(made(neighbors=4.0), h, vectors, ends), y / 4, atol=1e-15, rtol=0)
    with pytest.raises(InputError, match="mean number of edges"):
        made(neighbors=0)


def test_what_the_product_cannot_reach_stays_zero(generator):
    layer = made(irreps_out=Irreps("2x0e+1x1e+1x2o"))  # scalars and vectors times harmonics to l = 1 have no 2o
    h, vectors, ends = graph(generator)
    y = apply(layer, h, vectors, ends)
    assert (y[:-1, :2].abs().amax(0) > 0).all()
    assert (y[:-1, 2:5].abs().amax(0) > 0).all()
    assert not y[:, 5:].any()


def test_blocks_in_any_order_are_read_as_they_are_named(generator):
    mixed = Irreps("2x1o+2x0e")
    layer = made(irreps_in=mixed)
    _, vectors, ends = graph(generator)
    h = mixed.randn(4, generator=generator)
    g = O(3).sample(1, generator=generator)[0]
    y = apply(layer, h, vectors, ends)
    moved = apply(layer, mixed.transform(g, h), vectors @ g.T, ends)
    assert torch.allclose(moved, OUT.transform(g, y), atol=1e-12, rtol=0)


def test_species_have_features_of_their_own():
    torch.manual_seed(0)
    embed = SpeciesEmbedding(3, 5)
    rows = embed(torch.tensor([2, 0, 2]))
    assert torch.equal(rows, embed.weight[[2, 0, 2]])
    assert len(embed.weight.unique(dim=0)) == 3
