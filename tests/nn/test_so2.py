import pytest
import torch

from coset.errors import InputError
from coset.groups.orthogonal import SO, O
from coset.nn.graph_attention import GraphAttention
from coset.nn.so2 import SO2Convolution, SO2Linear
from coset.ops.index import Edges
from coset.ops.orders import Orders
from coset.ops.rotation import Frames
from coset.reps.irreps import Irreps
from coset.testing import Broken, check

F64 = torch.float64
SO3 = Irreps("4x0+4x1+4x2", SO(3))


def sample(layer, generator, nodes=6, edges=15):
    return layer.contracts[0].inputs.example({"N": nodes, "E": edges}, generator=generator)


@pytest.mark.parametrize("mmax", [0, 1, 2])
@pytest.mark.parametrize("reflections", [False, True])
def test_the_linear_layer_is_one_of_so2(mmax, reflections, generator):
    torch.manual_seed(0)
    layer = SO2Linear(Orders(2, mmax), 3, 4, scalars=2, reflections=reflections)
    assert layer.irreps_out.dim == 2 + 4 * Orders(2, mmax).rows
    check(layer, layer.irreps_in.randn(5, generator=generator))
    halved = sum(w.numel() for w in SO2Linear(Orders(2, mmax), 3, 4, reflections=True).parameters())
    assert mmax == 0 or halved < sum(w.numel() for w in SO2Linear(Orders(2, mmax), 3, 4).parameters())


@pytest.mark.parametrize(("irreps", "mmax"), [(SO3, None), (SO3, 1), ("3x0e+3x1o+3x2e", None), ("3x0e+3x1o+3x2e", 1)], ids=str)
def test_convolutions_keep_their_contracts(irreps, mmax, generator):
    torch.manual_seed(0)
    layer = SO2Convolution(irreps, irreps, 5, mmax=mmax, neighbors=3.0)
    found = check(layer, sample(layer, generator))
    assert max(found.errors.values()) < 1e-12
    assert layer.contracts[0].group == (SO(3) if irreps is SO3 else O(3))


def test_other_degrees_out_and_shared_frames(generator):
    torch.manual_seed(0)
    layer = SO2Convolution(SO3, Irreps("2x0+2x1+2x2+2x3", SO(3)), 4, mmax=1).double()
    x = sample(layer, generator)
    check(layer, x)
    y = layer(**x)
    shared = Edges(x["edge_index"], 6)
    assert torch.equal(layer(x["x"], x["vectors"], x["edge_attr"], shared, Frames.of(x["vectors"], 3)), y)
    layer.chunk = 4
    assert torch.allclose(layer(**x), y, atol=1e-12)


def test_imaginary_parts_see_handedness(generator):
    torch.manual_seed(0)
    layer = SO2Convolution("3x0e+3x1o+3x2e", "3x0e+3x1o+3x2e", 5)
    layer.linear = SO2Linear(layer.orders_in, 3, 3)  # the broken twin: all of SO(3)'s weights under O(3)
    with pytest.raises(Broken):
        check(layer, sample(layer, generator))


def test_derivatives_twice_and_state(generator):
    torch.manual_seed(0)
    make = lambda: SO2Convolution(Irreps("1x0+1x1", SO(3)), Irreps("1x0+1x1", SO(3)), 2, hidden=4).double()  # noqa: E731
    layer, twin = make(), make()
    x = sample(layer, generator, 3, 4)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(layer(**x), twin(**x))
    f = lambda features, vectors: layer(features, vectors, x["edge_attr"], x["edge_index"])  # noqa: E731
    inputs = (x["x"].requires_grad_(), x["vectors"].requires_grad_())
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_isolated_nodes_get_zero(generator):
    layer = SO2Convolution(SO3, SO3, 5)
    x = sample(layer, generator)
    x["edge_index"], x["vectors"], x["edge_attr"] = torch.tensor([[0], [1]]), x["vectors"][:1], x["edge_attr"][:1]
    y = layer.double()(**x)
    assert bool(y[1].any())
    assert torch.equal(y[2:], torch.zeros_like(y[2:]))
    none = {
        "edge_index": torch.zeros(2, 0, dtype=torch.int64),
        "vectors": torch.zeros(0, 3).double(),
        "edge_attr": torch.zeros(0, 5).double(),
    }
    assert not bool(layer(x["x"], **none).any())


def test_bad_input_is_named(generator):
    with pytest.raises(InputError, match="mmax <= lmax"):
        SO2Convolution(SO3, SO3, 5, mmax=3)
    with pytest.raises(InputError, match="at least one channel"):
        SO2Linear(Orders(1, 1), 0, 1)
    with pytest.raises(InputError, match="one multiplicity"):
        SO2Convolution("4x0e+2x1o", "4x0e", 5)
    layer = SO2Convolution(SO3, SO3, 5).double()
    x = sample(layer, generator)
    x["vectors"][2] = 0
    with pytest.raises(InputError, match="length zero"):
        layer(**x)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_layers_compile_once_for_all_sizes(kind, generator):
    layer = SO2Convolution(SO3, SO3, 5, mmax=1) if kind == "convolution" else GraphAttention(SO3, SO3, 5, 3.0, mmax=1)
    counted = []

    def backend(graph, inputs):
        counted.append(graph)
        return graph.forward

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for nodes in (7, 9, 12):
        x = layer.contracts[0].inputs.example({"N": nodes, "E": nodes + 3}, generator=generator, dtype=torch.float32)
        assert torch.allclose(compiled(**x), layer(**x), atol=1e-5)
    assert len(counted) == 1
