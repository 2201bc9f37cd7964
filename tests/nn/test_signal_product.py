"""Products inside message passing: the sums they claim, equivariant, with the parities they claim."""

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import SO, O
from coset.nn.signal_product import PRODUCTS, SignalProduct, signal_irreps
from coset.ops.gaunt import GauntProduct
from coset.ops.index import Edges
from coset.ops.spherical_harmonics import spherical_harmonics


def graph(nodes=4, *, generator):
    edge_index = torch.tensor([[0, 1, 2, 3, 1], [1, 0, 0, 2, 2]])
    pos = torch.randn(nodes, 3, generator=generator, dtype=torch.float64)
    return edge_index, pos


def sample(layer, generator):
    edge_index, pos = graph(generator=generator)
    x = torch.randn(4, layer.irreps_in.dim, generator=generator, dtype=torch.float64)
    weights = torch.randn(edge_index.shape[1], layer.weights, layer.channels, generator=generator, dtype=torch.float64)
    return x, pos, weights, edge_index


def apply(layer, x, pos, weights, edge_index):
    d = pos[edge_index[1]] - pos[edge_index[0]]
    return layer(x, spherical_harmonics(layer.lmax, d), weights, Edges(edge_index, len(pos)))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("product", PRODUCTS)
def test_messages_turn_with_the_graph(product, both, generator):
    layer = SignalProduct(product, 3, 2, both=both).double()
    x, pos, weights, edge_index = sample(layer, generator)
    group = layer.group
    turns = SO(3).sample(2, generator=generator, dtype=torch.float64)
    for g in (turns[0], turns[1] if product == "matrix" else -turns[1]):
        want = layer.irreps_out.move(group, g, apply(layer, x, pos, weights, edge_index), {})
        got = apply(layer, layer.irreps_in.move(group, g, x, {}), pos @ g.T, weights, edge_index)
        assert (got - want).norm() < 1e-12 * want.norm()
    assert group == (SO(3) if product == "matrix" else O(3))


def test_a_gaunt_message_by_hand(generator):
    layer = SignalProduct("gaunt", 2, 1).double()
    x, pos, weights, edge_index = sample(layer, generator)
    product, want = GauntProduct(1, 1, 1), torch.zeros(4, 4, 2, dtype=torch.float64)
    scale = product.output_weights()[:, None]
    for e, (source, target) in enumerate(edge_index.T.tolist()):
        harmonics = spherical_harmonics(1, pos[target] - pos[source]).unsqueeze(-1).expand(-1, 2)
        w1, w2, w3 = weights[e].split(2)
        want[target] += product(x[source].view(4, 2), harmonics, w1, w2, w3 * scale)
    assert torch.allclose(apply(layer, x, pos, weights, edge_index), want.flatten(1), atol=1e-6)  # scales are kept in float32


def test_only_odd_paths_change_the_sign(generator):
    even, full = SignalProduct("gaunt", 2, 1, both=True).double(), SignalProduct("gaunt+vector", 2, 1).double()
    x, pos, weights, edge_index = sample(full, generator)
    x = x.clone()
    x[:, 2:4], x[:, 10:] = 0, 0  # 0o and 1e: no odd features come in
    y = apply(even, x, pos, weights[:, : even.weights], edge_index)
    assert y[:, 2:4].abs().max() == y[:, 10:].abs().max() == 0
    z = apply(full, x, pos, weights, edge_index)
    assert full.irreps_out.dim == 2 * full.irreps_in.dim
    assert z[:, 20:].abs().max() > 1e-3  # axial vectors


def test_sizes_and_weights():
    assert SignalProduct("gaunt", 4, 2).weights == 9
    assert SignalProduct("gaunt+vector", 4, 2).weights == 2 * (9 + 18)
    assert SignalProduct("cg", 4, 2).weights == 11
    assert str(signal_irreps(4, 1, both=True)) == "4x0e+4x0o+4x1o+4x1e"


def test_bad_input_is_refused(generator):
    with pytest.raises(InputError, match="did you mean 'gaunt'"):
        SignalProduct("gauntt", 4, 2)
    with pytest.raises(InputError, match="channels >= 1"):
        SignalProduct("gaunt", 0, 2)
    layer = SignalProduct("gaunt", 2, 1).double()
    x, pos, weights, edge_index = sample(layer, generator)
    with pytest.raises(InputError, match=r"takes \(6, 2\) weights"):
        apply(layer, x, pos, weights[:, :5], edge_index)
