"""A product whose weights come from a table is the product of the weights that the table gives, to the second derivative."""

import pytest
import torch

from coset.errors import InputError
from coset.ops.bspline import UniformBSpline, combine
from coset.ops.index import Edges, Index
from coset.ops.product import product
from coset.ops.tabulated import INTERVAL, tabulated, windows
from coset.ops.tensor_product import channelwise

F64 = torch.float64
TP = channelwise("2x0e+2x1o", "0e+1o+2e", keep="0e+1o+2e")
SPLINE = UniformBSpline(5.0, 6)


def problem(edges, nodes, channels, generator):
    ends = torch.randint(0, nodes, (2, edges), generator=generator)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64).requires_grad_()  # noqa: E731
    r = (torch.rand(edges, generator=generator, dtype=F64) * 5).requires_grad_()
    table = normal(SPLINE.size, len(TP.paths), channels)
    return [normal(nodes, 4, channels), normal(edges, 9), table, r], Edges(ends, nodes)


def from_table(operands, edges, backend):
    x, s, table, r = operands
    index, basis = SPLINE.locate(r)
    indices = {**edges, INTERVAL: Index(index, SPLINE.intervals)}
    return product(tabulated(TP.plan), [x, s, basis, windows(table)], indices, backend=backend)


def from_weights(operands, edges):
    x, s, table, r = operands
    weights = combine(table, *SPLINE.locate(r))
    return product(TP.plan, [x, s, weights], edges, backend="reference")


def scale(x):
    """The largest absolute entry, at least 1."""
    return max([1.0, *x.detach().abs().flatten().tolist()])


def forces(f, operands):
    """The output, the first derivatives, and those of a loss on them: the pattern of force training."""
    y = f(operands)
    first = torch.autograd.grad(y.sin().sum(), operands, create_graph=True)
    loss = sum((x * x).sum() for x in first) + y.square().sum()
    return [y, *first, *torch.autograd.grad(loss, operands)]


@pytest.mark.parametrize("backend", ["cpu", "torch", "reference"])
@pytest.mark.parametrize(("edges", "nodes", "channels"), [(60, 5, 4), (3, 9, 1), (0, 2, 3)])
def test_values_and_two_derivatives(backend, edges, nodes, channels, generator):
    operands, graph = problem(edges, nodes, channels, generator)
    found = forces(lambda o: from_table(o, graph, backend), operands)
    expected = forces(lambda o: from_weights(o, graph), operands)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * scale(b))


def test_windows_are_a_view():
    table = torch.arange(5.0 * 2 * 3).view(5, 2, 3)
    shown = windows(table)
    assert shown.shape == (2, 8, 3)
    assert shown.data_ptr() == table.data_ptr()
    for i in range(2):
        for b in range(4):
            assert torch.equal(shown[i, b * 2 : b * 2 + 2], table[i + b])


def test_what_cannot_be_tabulated():
    with pytest.raises(InputError, match="per item"):
        tabulated(TP.plan, "s")
    shared = channelwise("2x0e+2x1o", "0e+1o", weights="shared")
    with pytest.raises(InputError, match="per item"):
        tabulated(shared.plan)
    with pytest.raises(InputError, match="a table is"):
        windows(torch.zeros(3, 2, 2))
    with pytest.raises(InputError, match="no input"):
        tabulated(TP.plan, "weights")
