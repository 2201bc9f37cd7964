import math

import pytest
import torch

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.backends import reference
from coset.ops.backends.select import use
from coset.ops.index import Edges
from coset.ops.orders import Orders
from coset.ops.rotation import Frames, edge_frames, rotate
from coset.reps.wigner import wigner_matrix

F64 = torch.float64
POLES = torch.tensor([[0.0, 1.0, 0.0], [0.0, -2.0, 0.0], [1e-9, 1.0, 0.0], [0.0, -1.0, 1e-9]], dtype=F64)
EQUATOR = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.0, -0.8], [1.0, -0.0, 1.0], [0.3, 1e-16, 0.4]], dtype=F64)


def vectors(generator, n=50):
    return torch.cat([torch.randn(n, 3, generator=generator, dtype=F64), POLES, EQUATOR])


def features(generator, n, lmax=3, channels=4):
    return torch.randn(n, (lmax + 1) ** 2, channels, generator=generator, dtype=F64)


def test_frames_are_rotations_of_the_edge_to_the_pole(generator):
    r = vectors(generator)
    frames = edge_frames(r)
    unit = r / r.norm(dim=-1, keepdim=True)
    assert torch.allclose((frames @ unit[..., None])[..., 0], torch.tensor([0.0, 1, 0]).double().expand_as(r), atol=1e-15)
    assert torch.allclose(frames @ frames.mT, torch.eye(3, dtype=F64).expand_as(frames), atol=4e-16)
    assert torch.allclose(torch.linalg.det(frames), torch.ones(len(r), dtype=F64), atol=1e-15)


def test_frames_have_finite_derivatives_everywhere(generator):
    r = vectors(generator, 2)
    first = torch.autograd.functional.jacobian(edge_frames, r, create_graph=True)
    assert torch.isfinite(first).all()
    at_pole = POLES[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: Frames.of(v, 2).entries, (torch.tensor([[0.3, 0.5, -0.2]], dtype=F64).requires_grad_(),)
    )
    weighing = torch.randn(2, 35, generator=generator, dtype=F64)
    value = (Frames.of(at_pole, 2).entries * weighing).sum().sin()
    slope = torch.autograd.grad(value, at_pole, create_graph=True)[0]
    (curvature,) = torch.autograd.grad(slope.square().sum(), at_pole)
    assert torch.isfinite(slope).all()
    assert torch.isfinite(curvature).all()
    assert bool(slope.abs().sum() > 0)


def test_length_zero_is_an_error():
    with pytest.raises(InputError, match=r"1 of 2 vectors have length zero"):
        edge_frames(torch.tensor([[0.0, 0, 0], [1, 0, 0]]))
    with pytest.raises(InputError, match=r"\(\.\.\., 3\)"):
        edge_frames(torch.zeros(2, 2))


def test_orders_list_the_rows_order_by_order():
    orders = Orders(2, 1)
    assert orders.entries == ((0, 0), (1, 0), (2, 0), (1, -1), (2, -1), (1, 1), (2, 1))
    assert (orders.rows, orders.block(0), orders.block(1)) == (7, slice(0, 3), slice(3, 7))
    assert Orders(3, 3).rows == 16
    assert Orders(6, 2).rows == 29
    for lmax, mmax in ((1, 2), (2, -1)):
        with pytest.raises(InputError, match="mmax <= lmax"):
            Orders(lmax, mmax)


def test_entering_and_leaving_is_the_identity_when_all_orders_are_kept(generator):
    r, orders = vectors(generator), Orders(3, 3)
    x, frames = features(generator, len(r)), Frames.of(r, 3)
    assert torch.allclose(frames.leave(frames.enter(x, orders), orders), x, atol=1e-13)
    assert torch.allclose(frames.turn_back(frames.turn(x)), x, atol=1e-13)


@pytest.mark.parametrize("mmax", [0, 1, 2, 3])
def test_rows_kept_are_those_of_the_wigner_matrix(mmax, generator):
    r, orders = vectors(generator), Orders(3, mmax)
    x, frames = features(generator, len(r)), Frames.of(r, 3)
    rotation = edge_frames(r)
    inside = frames.enter(x, orders)
    back = frames.leave(inside, orders)
    for row, (degree, m) in enumerate(orders.entries):
        block = slice(degree**2, (degree + 1) ** 2)
        want = (wigner_matrix(degree, rotation) @ x[:, block])[:, degree + m]
        assert torch.allclose(inside[:, row], want, atol=1e-13)
    for degree in range(4):
        block = slice(degree**2, (degree + 1) ** 2)
        kept = slice(max(degree - mmax, 0), 2 * degree + 1 - max(degree - mmax, 0))
        d = wigner_matrix(degree, rotation)[:, kept]
        factor = math.sqrt((2 * degree + 1) / (2 * mmax + 1)) if degree > mmax else 1.0
        assert torch.allclose(back[:, block], factor * d.mT @ d @ x[:, block], atol=1e-13)


def test_rotations_move_features(generator):
    g, h = SO(3).sample(2, generator=generator, dtype=F64)
    x = features(generator, 5)
    assert torch.allclose(rotate(rotate(x, g), h), rotate(x, h @ g), atol=1e-13)
    assert torch.allclose(rotate(x, g)[:, 1:4], g @ x[:, 1:4], atol=1e-13)
    many = SO(3).sample(5, generator=generator, dtype=F64)
    assert torch.allclose(rotate(x, many)[2], rotate(x[2], many[2]), atol=1e-13)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("mmax", [1, 2])
def test_the_plans_are_the_rotation(mmax, backend, generator):
    orders, edges = Orders(2, mmax), Edges(torch.tensor([[0, 1, 2, 0, 1], [1, 1, 0, 2, 0]]), 4)
    frames, x = Frames.of(torch.randn(5, 3, generator=generator, dtype=F64), 2), features(generator, 4, 2, 3)
    with use(backend):  # torch: one product per degree
        want = frames.enter(x, orders, edges["source"])
        summed = frames.leave(want, orders, edges["target"])
        item = frames.leave(frames.enter(x[edges["source"].values], orders), orders)
    assert torch.allclose(reference.evaluate(orders.layout.enter["source"], [x, frames.entries], edges, 5), want, atol=1e-14)
    assert torch.allclose(torch.zeros_like(summed).index_add(0, edges["target"].values, item), summed, atol=1e-14)
    assert torch.allclose(
        reference.evaluate(orders.layout.leave["target"], [want, frames.entries], edges, 5), summed, atol=1e-14
    )
    assert torch.equal(summed[3], torch.zeros_like(summed[3]))


def test_misfits_are_named(generator):
    frames = Frames.of(torch.randn(2, 3, generator=generator), 1)
    with pytest.raises(InputError, match="asked for 2"):
        frames.enter(torch.zeros(2, 9, 1), Orders(2, 1))
    with pytest.raises(InputError, match=r"\(\.\.\., 4, channels\)"):
        frames.turn(torch.zeros(2, 9, 1))
    with pytest.raises(InputError, match="expected 4 rows"):
        frames.leave(torch.zeros(2, 3, 1), Orders(1, 1))
    assert not Frames.of(torch.ones(1, 3, requires_grad=True), 1).detach().entries.requires_grad
