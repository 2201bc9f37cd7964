"""Every backend x operation x dtype against the reference: values, two derivatives, on awkward graphs and shapes."""

import pytest
import torch

from coset.ops.backends import select
from coset.ops.index import Edges
from coset.ops.instructed import full, fully_connected
from coset.ops.tensor_product import channelwise, elementwise

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
BACKENDS = ("cpu", "torch")
GRAPHS = {  # (edges, nodes): edge_index (source, target)
    "usual": (lambda g: torch.randint(0, 7, (2, 40), generator=g), 7),
    "sorted": (lambda g: torch.stack([torch.randint(0, 4, (90,), generator=g), torch.arange(90) // 30]), 4),
    "isolated": (lambda g: torch.tensor([[3, 3, 1], [1, 1, 3]]), 6),
    "atom": (lambda g: torch.zeros(2, 3, dtype=torch.long), 1),
    "empty": (lambda g: torch.zeros(2, 0, dtype=torch.long), 5),
    "nothing": (lambda g: torch.zeros(2, 0, dtype=torch.long), 0),
}


def strided(*shape, generator, dtype):
    """A tensor of this shape whose memory is not contiguous."""
    x = torch.randn(*shape[:-1], 2 * max(shape[-1], 1), generator=generator, dtype=torch.float64).to(dtype)
    return x[..., ::2][..., : shape[-1]].detach().requires_grad_()


def derivatives(function, inputs):
    """The value, the gradients of a nonlinear loss, and the gradients of their squares."""
    out = function(*inputs)
    first = torch.autograd.grad(out.square().sum() + out.sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(f.square().sum() for f in first), inputs)
    return out, *first, *second


def compare(function, inputs, backend, dtype):
    found = derivatives(lambda *x: function(*x, backend=backend), inputs)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    for a, b in zip(found, derivatives(lambda *x: function(*x, backend="reference"), exact), strict=True):
        assert a.dtype == dtype
        assert (a - b).abs().max() <= TOLERANCE[dtype] * max(1.0, b.abs().max()) if b.numel() else a.shape == b.shape


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "channels", "dtype"),
    [(name, 19, torch.float64) for name in GRAPHS]
    + [("usual", channels, dtype) for channels in (1, 16, 40) for dtype in (torch.float32, torch.float64)],
    ids=str,
)
def test_messages(name, channels, backend, dtype, generator):
    make, nodes = GRAPHS[name]
    edges = Edges(make(generator), nodes)
    tp = channelwise(f"{channels}x0e+{channels}x1o", "0e+1o+2e", keep="0e+1o+2e")
    count = len(edges["target"].values)
    shapes = (nodes, 4, channels), (count, 9), (count, len(tp.paths), channels)
    inputs = [strided(*shape, generator=generator, dtype=dtype) for shape in shapes]
    compare(lambda x, s, w, backend: tp(x, s, w, edges, backend=backend), inputs, backend, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weights", ["shared", "absent"])
@pytest.mark.parametrize("ends", [("source", "target"), ("item", "target"), ("source", "item"), ("item", "item")])
def test_ways_to_read_and_write(ends, weights, backend, generator):
    tp = channelwise("5x0e+10x1o", "0e+1o", weights=weights, source=ends[0], target=ends[1])
    edges = Edges(torch.randint(0, 6, (2, 30), generator=generator), 6)
    x = strided(6 if ends[0] == "source" else 30, 7, 5, generator=generator, dtype=torch.float64)
    s = strided(30, 4, generator=generator, dtype=torch.float64)
    w = [] if weights == "absent" else [strided(len(tp.paths), 5, generator=generator, dtype=torch.float64)]
    indices = edges if ends != ("item", "item") else None
    compare(lambda x, s, *w, backend: tp(x, s, *(w or (None,)), indices, backend=backend), [x, s, *w], backend, torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_high_degrees(backend, generator):
    tp = channelwise("2x0e+2x6e", "6e", keep="0e+2e+6e")
    edges = Edges(torch.randint(0, 3, (2, 9), generator=generator), 3)
    shapes = (3, 14, 2), (9, 13), (9, len(tp.paths), 2)
    inputs = [strided(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    compare(lambda x, s, w, backend: tp(x, s, w, edges, backend=backend), inputs, backend, torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_products_of_nodes(dtype, generator):
    """Fully connected, full and elementwise products: both operands may have channels."""
    connected, all_of = fully_connected("3x0e+2x1o", "2x0e+1x1o", "2x0e+3x1o"), full("2x0e+2x1o", "1x0e+2x1o")
    each = elementwise("3x0e+3x1o", "3x0e+3x1o", weights="shared")
    x, y = (strided(4, dim, generator=generator, dtype=dtype) for dim in (9, 5))
    w = strided(connected.weight_numel, generator=generator, dtype=dtype)
    compare(connected, [x, y, w], "torch", dtype)
    compare(lambda x, y, backend: all_of(x, y, backend=backend), [x[:, :8], y.repeat(1, 2)[:, :7]], "torch", dtype)
    a, b = (strided(4, 4, 3, generator=generator, dtype=dtype) for _ in range(2))
    compare(each, [a, b, strided(len(each.paths), 3, generator=generator, dtype=dtype)], "torch", dtype)


def test_channelwise_runs_on_the_kernels(generator):
    tp = channelwise("16x0e+16x1o", "0e+1o")
    edges = Edges(torch.zeros(2, 1, dtype=torch.long), 1)
    inputs = [torch.randn(shape, generator=generator) for shape in ((1, 4, 16), (1, 4), (1, len(tp.paths), 16))]
    assert select.choose(tp.plan, inputs, edges).backend == "cpu"


def test_equal_calls_give_equal_bits(generator):
    tp = channelwise("16x0e+16x1o", "0e+1o")
    edges = Edges(torch.randint(0, 5, (2, 60), generator=generator), 5)
    inputs = [torch.randn(shape, generator=generator) for shape in ((5, 4, 16), (60, 4), (60, len(tp.paths), 16))]
    for backend in BACKENDS:
        assert torch.equal(tp(*inputs, edges, backend=backend), tp(*inputs, edges, backend=backend))
