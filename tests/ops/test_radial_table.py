import copy

import pytest
import torch
from torch import nn

from coset.errors import InputError
from coset.ops.index import Edges
from coset.ops.radial import bessel_basis, cosine_envelope, polynomial_envelope
from coset.ops.radial_table import table_convolution, tabulate
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.ops.tensor_product import channelwise

F64 = torch.float64
R_MAX = 5.0


def basis(r):
    return bessel_basis(r, R_MAX) * polynomial_envelope(r, R_MAX).unsqueeze(-1)


def network(seed, outputs=24, *, bias=False, activation=nn.SiLU):
    """A radial network; without biases it vanishes where its basis does."""
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, bias=bias) for a, b in ((8, 64), (64, 64), (64, outputs))]
    return nn.Sequential(layers[0], activation(), layers[1], activation(), layers[2])


def train(net, steps=150):
    """To Morse curves times an envelope, so that the weights are those of a trained network, not of its initialization."""
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    centers = torch.linspace(0.8, 3.3, net[-1].out_features)
    for _ in range(steps):
        r = 0.7 + (R_MAX - 0.7) * torch.rand(128)
        well = torch.exp(-1.5 * (r[:, None] - centers)).clamp(max=8)
        loss = (net(basis(r)) - polynomial_envelope(r, R_MAX)[:, None] * (well**2 - 2 * well) / 8).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def deviation(table, net, r):
    """Value and slope of table minus network at ``r``, relative to the largest."""
    exact = copy.deepcopy(net).double()
    pairs = (torch.autograd.functional.jvp(f, r, torch.ones_like(r)) for f in (table, lambda r: exact(basis(r))))
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*pairs, strict=True)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_the_stated_error_is_kept_everywhere(tolerance, bias, generator):
    net = network(0, bias=bias)
    table = tabulate(net, R_MAX, basis=basis, tolerance=tolerance, dtype=F64)
    value, slope = deviation(table, net, torch.rand(20_000, generator=generator, dtype=F64) * R_MAX)
    assert value <= 1.05 * table.error.value <= 1.05 * tolerance
    assert slope <= 1.05 * table.error.slope <= 1.05 * tolerance
    assert table.error.value < 3 * value  # and it is not a careless bound
    assert table.error.slope < 3 * slope
    half = tabulate(net, R_MAX, basis=basis, intervals=table.spline.intervals // 2)
    assert max(half.error.value, half.error.slope) > tolerance  # nor are there more intervals than needed


def test_any_trained_network_fits_into_64_intervals():
    """To 1e-3 of its range. The literature's 16 are too few for eight Bessel functions, which have eight half waves."""
    for seed in range(3):
        net = train(network(seed))
        value = {n: tabulate(net, R_MAX, basis=basis, intervals=n).error.value for n in (16, 32, 64)}
        assert value[64] < 1e-3
        assert value[16] > 10 * value[32] > 50 * value[64]


def test_what_vanishes_at_the_cutoff_still_does():
    table = tabulate(network(1), R_MAX, basis=basis, intervals=64)
    assert (table.coefficients[-3:] == 0).all()
    r = torch.tensor([R_MAX, R_MAX + 1, 50.0], requires_grad=True)
    y = table(r)
    (slope,) = torch.autograd.grad(y.sum(), r)
    assert (y == 0).all()
    assert (slope == 0).all()
    cosine = tabulate(lambda r: cosine_envelope(r, R_MAX), R_MAX, intervals=64, dtype=F64)  # its curvature does not vanish
    assert cosine(torch.tensor([R_MAX, 9.0], dtype=F64)).abs().max() < 1e-15
    assert cosine.error.value < 1e-7
    assert (cosine.coefficients[-3:] != 0).any()


def test_float32_tables_state_their_rounding(generator):
    net = network(2)
    single, double = (tabulate(net, R_MAX, basis=basis, intervals=256, dtype=d) for d in (torch.float32, F64))
    assert single.coefficients.dtype == torch.float32
    assert double.error.rounding == 0
    assert 0 < single.error.rounding < 1e-6
    r = torch.rand(3000, generator=generator) * R_MAX
    assert (single(r).double() - double(r.double())).abs().max() < 3e-6 * double.coefficients.abs().max()
    assert net[0].weight.dtype == torch.float32  # read in float64 from a copy
    assert "error: value" in str(single)


def test_functions_of_any_shape(generator):
    f = lambda r: torch.stack([torch.sin(r), torch.exp(-r), r, 0 * r], -1).view(-1, 2, 2)  # noqa: E731
    table = tabulate(f, 3.0, tolerance=1e-7, dtype=F64)
    r = torch.rand(4, 5, generator=generator, dtype=F64) * 3
    assert table.shape == (2, 2)
    assert (table(r) - f(r.view(-1)).view(4, 5, 2, 2)).abs().max() < 1e-6
    assert table.view(4).shape == (4,)
    assert table.to(torch.float32)(r.float()).dtype == torch.float32
    scalar = tabulate(torch.cos, 3.0, intervals=32, dtype=F64)
    assert scalar(r).shape == (4, 5)
    assert tabulate(lambda r: 0 * r, 3.0).error.value == 0


def test_twice_differentiable(generator):
    table = tabulate(network(0, 3), R_MAX, basis=basis, intervals=16, dtype=F64)
    r = (torch.rand(6, generator=generator, dtype=F64) * R_MAX).requires_grad_()
    assert torch.autograd.gradcheck(table, r)
    assert torch.autograd.gradgradcheck(table, r)


def message_passing(dtype, generator, channels=16):
    """Positions, features, a product with weights per edge, and its table."""
    nodes, edges = 5, torch.tensor([[0, 1, 2, 3, 4, 0, 2, 4, 1], [1, 0, 3, 2, 0, 4, 1, 2, 3]])
    tp = channelwise(f"{channels}x0e+{channels}x1o", "0e+1o+2e", keep="0e+1o")
    paths = len(tp.paths)
    table = tabulate(network(3, paths * channels), R_MAX, basis=basis, intervals=32, dtype=dtype).view(paths, channels)
    pos = torch.randn(nodes, 3, generator=generator, dtype=F64).to(dtype)
    x = torch.randn(nodes, 4, channels, generator=generator, dtype=F64).to(dtype)
    return tp, table, Edges(edges, nodes), pos, x


def geometry(pos, edges):
    v = pos[edges["target"].values] - pos[edges["source"].values]
    return v.norm(dim=-1), spherical_harmonics(2, v)


@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-12), (torch.float32, 1e-5)])
def test_a_table_inside_the_product_is_the_table_outside(dtype, bound, generator):
    """Value, forces, and the derivative of a loss on forces by positions, features and coefficients."""
    tp, table, edges, pos, x = message_passing(dtype, generator)
    results = []
    for inside in (True, False):
        p, y, c = (t.clone().requires_grad_() for t in (pos, x, table.coefficients))
        trained = type(table)(table.spline, c, table.error)
        r, s = geometry(p, edges)
        if inside:
            out = table_convolution(tp.plan, trained, r, y, s, edges)
        else:
            out = tp(y, s, trained(r), edges)
        (force,) = torch.autograd.grad(out.square().sum(), p, create_graph=True)
        results.append([out, force, *torch.autograd.grad(force.square().sum(), (p, y, c))])
    for a, b in zip(*results, strict=True):
        a, b = a.detach(), b.detach()
        assert (a - b).abs().max() <= bound * b.abs().max()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tabulate(lambda r: (r - 1.3).abs(), 3.0), "kink"),
        (lambda: tabulate(lambda r: r.float().sin(), 3.0, tolerance=1e-9), "float32"),
        (lambda: tabulate(lambda r: r.sum()[None], 3.0), r"17 distances gave values \(1,\)"),
        (lambda: tabulate(lambda r: 1 / r, 3.0), "not finite"),
        (lambda: tabulate(torch.cos, 0.0), "r_max > 0"),
        (lambda: tabulate(torch.cos, 3.0, intervals=0), "at least 1 interval"),
    ],
)
def test_bad_functions_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_table_that_does_not_fit_the_product_is_named(generator):
    tp, table, edges, pos, x = message_passing(F64, generator)
    r, s = geometry(pos, edges)
    with pytest.raises(InputError, match=r"the product has \d+ paths, the table is"):
        table_convolution(tp.plan, table.view(-1), r, x, s, edges)
