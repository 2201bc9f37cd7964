import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO, O
from coset.nn.graph_attention import GraphAttention, SmoothLeakyReLU, envelope_softmax
from coset.nn.so2 import FrameGate
from coset.ops.index import Index
from coset.ops.orders import Orders
from coset.ops.radial import polynomial_envelope
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
SO3 = Irreps("4x0+4x1+4x2", SO(3))
SMALL = {"heads": 2, "hidden": 3, "value": 2, "alpha": 4}


def sample(layer, generator, nodes=6, edges=15):
    x = layer.contracts[0].inputs.example({"N": nodes, "E": edges}, generator=generator)
    x["vectors"] = x["vectors"] * 0.7
    return x


@pytest.mark.parametrize(
    ("irreps", "activation", "mmax"),
    [(SO3, "gate", None), (SO3, "swiglu", 1), ("4x0e+4x1o+4x2e", "gate", 1), ("4x0e+4x1o+4x2e", "swiglu", None)],
    ids=str,
)
def test_attention_keeps_its_contracts(irreps, activation, mmax, generator):
    torch.manual_seed(0)
    layer = GraphAttention(irreps, irreps, 5, 3.0, activation=activation, mmax=mmax, **SMALL)
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10
    assert layer.contracts[0].group == (SO(3) if irreps is SO3 else O(3))


def test_weights_are_a_softmax_with_two_envelopes(generator):
    scores = torch.randn(7, 2, generator=generator, dtype=F64)
    envelope, target = torch.rand(7, generator=generator, dtype=F64), Index(torch.tensor([0, 0, 0, 2, 2, 4, 4]), 6)
    got = envelope_softmax(scores, envelope, target)
    for node in (0, 2, 4):
        at = target.values == node
        inner = torch.exp(scores[at]) * envelope[at, None]
        assert torch.allclose(got[at], envelope[at, None] * inner / inner.sum(0), rtol=1e-6)
    assert torch.allclose(envelope_softmax(scores + 1000, envelope, target), got, atol=1e-9)


def test_edges_without_weight_and_nodes_without_edges():
    target = Index(torch.tensor([0, 0, 1]), 3)
    scores = torch.tensor([[0.0], [500.0], [3.0]], dtype=F64, requires_grad=True)
    envelope = torch.tensor([1.0, 0.0, 0.0], dtype=F64, requires_grad=True)
    got = envelope_softmax(scores, envelope, target)
    assert torch.allclose(got[:, 0], torch.tensor([1.0, 0, 0], dtype=F64), atol=1e-7)
    first = torch.autograd.grad(got.sum(), (scores, envelope), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (scores, envelope))
    assert all(torch.isfinite(g).all() for g in (*first, *second))
    with pytest.raises(InputError, match=r"scores \(E, heads\)"):
        envelope_softmax(scores, envelope[:2], target)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_derivatives_stay_finite_at_the_cutoff(dtype):
    r = torch.tensor([2.9999999, 3.0, 3.1, 2.999, 2.99, 1e-3], dtype=dtype, requires_grad=True)
    got = envelope_softmax(torch.zeros(6, 1, dtype=dtype), polynomial_envelope(r, 3.0, 5), Index(torch.arange(6), 6))
    (first,) = torch.autograd.grad(got.sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    assert torch.isfinite(second).all()
    assert bool((got >= 0).all())


def scan(layer, count):
    """Outputs of a node with ``count`` other neighbors while one more edge crosses the cutoff, and the distances."""
    generator = torch.Generator().manual_seed(1)
    n = count + 2
    x, attr = layer.out.irreps_in.randn(0), torch.rand(count + 1, 5, generator=generator, dtype=F64)
    x = torch.randn(n, 36, generator=generator, dtype=F64)
    others = torch.randn(count, 3, generator=generator, dtype=F64)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=F64)
    edge_index = torch.stack([torch.arange(1, n), torch.zeros(n - 1, dtype=torch.int64)])
    distances = torch.linspace(2.98, 3.02, 41, dtype=F64)
    rows = [layer(x, torch.cat([others, r * direction[None]]), attr, edge_index)[0].detach() for r in distances]
    return distances, torch.stack(rows)


@pytest.mark.parametrize("count", [0, 2])
def test_an_edge_crosses_the_cutoff_with_two_continuous_derivatives(count):
    torch.manual_seed(0)
    layer = GraphAttention(SO3, SO3, 5, 3.0, **SMALL).double()
    distances, rows = scan(layer, count)
    step = distances[1] - distances[0]
    second = (rows[2:] - 2 * rows[1:-1] + rows[:-2]) / step**2
    assert second[20:].abs().max() < 1e-6  # nothing beyond
    jumps = (second[1:] - second[:-1]).abs().max()
    assert jumps < 0.05 * max(rows.abs().max(), 1)
    torch.nn.init.zeros_(layer.out.bias)

    def blunt(r, cutoff, p):
        return (r < cutoff).to(r)

    import coset.nn.graph_attention as module

    smooth, module.polynomial_envelope = module.polynomial_envelope, blunt
    try:
        _, rough = scan(layer, count)
    finally:
        module.polynomial_envelope = smooth
    assert (rough[1:] - rough[:-1]).abs().max() > 100 * (rows[1:] - rows[:-1]).abs().max()


def test_isolated_nodes(generator):
    torch.manual_seed(0)
    layer = GraphAttention(SO3, SO3, 5, 3.0, **SMALL).double()
    torch.nn.init.zeros_(layer.out.bias)
    x = sample(layer, generator)
    none = {
        "edge_index": torch.zeros(2, 0, dtype=torch.int64),
        "vectors": torch.zeros(0, 3).double(),
        "edge_attr": torch.zeros(0, 5).double(),
    }
    y = layer(x["x"].requires_grad_(), **none)
    assert torch.equal(y, torch.zeros_like(y))
    assert torch.isfinite(torch.autograd.grad(y.sum(), x["x"], allow_unused=True, materialize_grads=True)[0]).all()


def test_derivatives_twice_and_state(generator):
    torch.manual_seed(0)
    irreps = Irreps("1x0+1x1", SO(3))
    make = lambda: GraphAttention(irreps, irreps, 2, 4.0, heads=1, hidden=1, value=1, alpha=2, activation="swiglu").double()  # noqa: E731
    layer, twin = make(), make()
    x = sample(layer, generator, 3, 4)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(layer(**x), twin(**x))
    f = lambda features, vectors: layer(features, vectors, x["edge_attr"], x["edge_index"])  # noqa: E731
    inputs = (x["x"].requires_grad_(), x["vectors"].requires_grad_())
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_smooth_leaky_relu():
    f = SmoothLeakyReLU(0.2)
    assert torch.allclose(f(torch.tensor([-50.0, 0.0, 50.0])), torch.tensor([-10.0, 0.0, 50.0]))


class Coordinates(GraphAttention):
    """A broken twin: components of the edge enter the scores."""

    def forward(self, x, vectors, edge_attr, edge_index, frames=None):
        return super().forward(x, vectors, edge_attr + vectors[:, :1], edge_index, frames)


def test_broken_twin_and_bad_input(generator):
    layer = Coordinates(SO3, SO3, 5, 3.0, **SMALL)
    with pytest.raises(Broken):
        check(layer, sample(layer, generator))
    with pytest.raises(InputError, match="activation"):
        GraphAttention(SO3, SO3, 5, 3.0, activation="relu")
    with pytest.raises(InputError, match="positive"):
        GraphAttention(SO3, SO3, 5, 0.0)
    with pytest.raises(InputError, match="mmax <= lmax"):
        GraphAttention(SO3, SO3, 5, 3.0, mmax=4)


def test_radial_sizes_and_activations_of_ones_own(generator):
    torch.manual_seed(0)
    own = FrameGate(Orders(2, 2), 3)
    layer = GraphAttention(SO3, SO3, 5, 3.0, activation=own, radial=(7, 8), **SMALL)
    assert layer.activation is own
    assert [part.out_features for part in layer.radial if isinstance(part, torch.nn.Linear)] == [7, 8, 24]
    assert max(check(layer, sample(layer, generator)).errors.values()) < 1e-10


def test_without_an_envelope_the_last_edge_leaves_at_once():
    torch.manual_seed(0)
    smooth, blunt = (GraphAttention(SO3, SO3, 5, 3.0, p=p, **SMALL).double() for p in (5, None))
    assert torch.equal(scan(smooth, 0)[1][-1], torch.zeros(36).double())
    far = scan(blunt, 0)[1]
    assert (far[-1] - far[0]).abs().max() < 0.1 * far[-1].abs().max()  # beyond the cutoff it still counts
