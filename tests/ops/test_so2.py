import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.backends.select import use
from coset.ops.index import Edges
from coset.ops.orders import Orders
from coset.ops.rotation import Frames, rotate
from coset.ops.so2 import in_frames, so2_linear, weights_from_paths
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.wigner import wigner_matrix

F64 = torch.float64
EDGES = Edges(torch.tensor([[0, 1, 2, 3, 0, 1], [1, 0, 1, 0, 2, 3]]), 5)


def draw(orders_in, orders_out, c_in, c_out, generator):
    out = []
    for m in range(orders_in.mmax + 1):
        shape = (orders_out.degrees(m) * c_out, orders_in.degrees(m) * c_in)
        out.append(torch.randn(*(() if m == 0 else (2,)), *shape, generator=generator, dtype=F64))
    return out


def graph(generator, lmax=3, channels=4):
    x = torch.randn(5, (lmax + 1) ** 2, channels, generator=generator, dtype=F64)
    return x, torch.randn(6, 3, generator=generator, dtype=F64)


def convolve(x, vectors, weights, orders_in, orders_out, **kwargs):
    frames = Frames.of(vectors, max(orders_in.lmax, orders_out.lmax))
    mix = lambda z: so2_linear(z, weights, orders_in, orders_out)  # noqa: E731
    return in_frames(mix, x, frames, EDGES, orders_in, orders_out, **kwargs)


def harmonic(degree, vectors):
    """Component-normalized harmonics of directions, through the rotation that makes them."""
    from coset.ops.rotation import edge_frames

    return math.sqrt(2 * degree + 1) * wigner_matrix(degree, edge_frames(vectors))[:, degree]


@pytest.mark.parametrize(("lmax_in", "lmax_out"), [(3, 3), (1, 3), (3, 2)])
def test_all_orders_equal_all_clebsch_gordan_paths(lmax_in, lmax_out, generator):
    mmax = min(lmax_in, lmax_out)
    orders_in, orders_out = Orders(lmax_in, mmax), Orders(lmax_out, mmax)
    x, vectors = graph(generator, lmax_in)
    paths = {
        (a, b, c): torch.randn(2, 4, generator=generator, dtype=F64)
        for a in range(lmax_in + 1)
        for c in range(lmax_out + 1)
        for b in range(abs(a - c), a + c + 1)
    }
    want = torch.zeros(5, (lmax_out + 1) ** 2, 2, dtype=F64)
    source, target = EDGES["source"].values, EDGES["target"].values
    for (a, b, c), matrix in paths.items():
        message = torch.einsum(
            "ijk,eiu,ej,wu->ekw", wigner_3j(a, b, c), x[source, a**2 : (a + 1) ** 2], harmonic(b, vectors), matrix
        )
        want[:, c**2 : (c + 1) ** 2].index_add_(0, target, math.sqrt(2 * c + 1) * message)
    weights = weights_from_paths(paths, orders_in, orders_out)
    if lmax_in == lmax_out:
        got = convolve(x, vectors, weights, orders_in, orders_out)
        assert torch.allclose(got, want, atol=1e-12)
    else:  # rows above mmax are cut on one side, and coupled to nothing there
        frames = Frames.of(vectors, 3)
        z = so2_linear(frames.enter(x, orders_in, EDGES["source"]), weights, orders_in, orders_out)
        parts = []
        for degree in range(lmax_out + 1):
            kept = [row for row, entry in enumerate(orders_out.entries) if entry[0] == degree]
            kept.sort(key=lambda row: orders_out.entries[row][1])
            cut = max(degree - mmax, 0)
            parts.append(frames.blocks[degree][:, cut : 2 * degree + 1 - cut].mT @ z[:, kept])
        assert torch.allclose(torch.zeros_like(want).index_add(0, target, torch.cat(parts, 1)), want, atol=1e-12)


@pytest.mark.parametrize("mmax", [0, 1, 2, 3])
def test_the_convolution_is_equivariant_whatever_orders_are_kept(mmax, generator):
    orders = Orders(3, mmax)
    x, vectors = graph(generator)
    vectors[0], vectors[1] = torch.tensor([0.0, 1, 0]), torch.tensor([0.0, -1, 0])
    weights = draw(orders, orders, 4, 3, generator)
    y = convolve(x, vectors, weights, orders, orders)
    for g in SO(3).sample(4, generator=generator, dtype=F64):
        gy = convolve(rotate(x, g), vectors @ g.T, weights, orders, orders)
        assert (gy - rotate(y, g)).norm() <= 1e-12 * y.norm()


def test_a_matrix_that_mixes_orders_is_not_equivariant(generator):
    orders = Orders(2, 2)
    x, vectors = graph(generator, 2)
    frames = Frames.of(vectors, 2)
    free = torch.randn(9, 9, generator=generator, dtype=F64)
    g = SO(3).sample(1, generator=generator, dtype=F64)[0]
    y = in_frames(lambda z: free @ z, x, frames, EDGES, orders, orders)
    gy = in_frames(lambda z: free @ z, rotate(x, g), Frames.of(vectors @ g.T, 2), EDGES, orders, orders)
    assert (gy - rotate(y, g)).norm() > 0.1 * y.norm()


def test_both_ends_and_data_of_the_edges(generator):
    orders = Orders(2, 1)
    x, vectors = graph(generator, 2)
    weights, scale = draw(orders, orders, 8, 3, generator), torch.rand(6, 1, 8, generator=generator, dtype=F64)
    frames, ends = Frames.of(vectors, 2), ("source", "target")
    mix = lambda z, s: so2_linear(z * s, weights, orders, orders)  # noqa: E731
    whole = in_frames(mix, x, frames, EDGES, orders, orders, ends=ends, data=(scale,))
    for chunk in (1, 4, 6, 100):
        assert torch.allclose(
            in_frames(mix, x, frames, EDGES, orders, orders, ends=ends, data=(scale,), chunk=chunk), whole, atol=1e-13
        )
    g = SO(3).sample(1, generator=generator, dtype=F64)[0]
    turned = in_frames(mix, rotate(x, g), Frames.of(vectors @ g.T, 2), EDGES, orders, orders, ends=ends, data=(scale,))
    assert torch.allclose(turned, rotate(whole, g), atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("chunk", [None, 4])
def test_derivatives_twice_also_at_the_poles(chunk, backend, generator):
    orders = Orders(2, 1)
    x, vectors = graph(generator, 2, 2)
    vectors[0], vectors[1] = torch.tensor([0.0, 1, 0]), torch.tensor([0.0, -1, 0])
    weights = [w.requires_grad_() for w in draw(orders, orders, 2, 1, generator)]
    x.requires_grad_(), vectors.requires_grad_()
    with use(backend):
        energy = convolve(x, vectors, weights, orders, orders, chunk=chunk).square().sum()
        forces = torch.autograd.grad(energy, vectors, create_graph=True)[0]
        step, h = torch.randn(6, 3, generator=generator, dtype=F64), 1e-5
        with torch.no_grad():
            ends = [convolve(x, vectors + s * h * step, weights, orders, orders).square().sum() for s in (1, -1)]
        assert float((ends[0] - ends[1]) / (2 * h)) == pytest.approx(float((forces.detach() * step).sum()), rel=1e-7)
        second = torch.autograd.grad(forces.square().sum(), [x, vectors, *weights])
        assert all(torch.isfinite(grad).all() and bool(grad.any()) for grad in second)


def test_second_derivatives_are_right(generator):
    orders = Orders(1, 1)
    x, vectors = graph(generator, 1, 1)
    weights = draw(orders, orders, 1, 1, generator)
    inputs = (x.requires_grad_(), vectors.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, v: convolve(x, v, weights, orders, orders), inputs)


def test_no_edges_give_zeros(generator):
    orders, x = Orders(1, 1), torch.randn(3, 4, 2, generator=generator)
    none = Edges(torch.zeros(2, 0, dtype=torch.int64), 3)
    weights = [w.float() for w in draw(orders, orders, 2, 2, generator)]
    y = in_frames(lambda z: so2_linear(z, weights, orders, orders), x, Frames.of(torch.zeros(0, 3), 1), none, orders, orders)
    assert torch.equal(y, torch.zeros(3, 4, 2))


def test_bad_input_is_named(generator):
    orders, z = Orders(2, 1), torch.zeros(1, 7, 2)
    weights = [w.float() for w in draw(orders, orders, 2, 2, generator)]
    with pytest.raises(InputError, match="share one mmax"):
        so2_linear(z, weights, orders, Orders(2, 2))
    with pytest.raises(InputError, match="expected 7 rows"):
        so2_linear(torch.zeros(1, 9, 2), weights, orders, orders)
    with pytest.raises(InputError, match="order 0"):
        so2_linear(torch.zeros(1, 7, 3), weights, orders, orders)
    with pytest.raises(InputError, match="outside"):
        weights_from_paths({(3, 1, 2): torch.ones(1, 1)}, orders, orders)
    with pytest.raises(InputError, match="chunk"):
        convolve(torch.zeros(5, 9, 2), torch.ones(6, 3), weights, orders, orders, chunk=0)
