"""Three forms of the radial weights: splines follow the network as h^4, all end flat, in one and the same product."""

import math
from itertools import pairwise

import pytest
import torch

from coset.errors import InputError
from coset.nn.edge_radial import FORMS, EdgeRadial, ScaledMLP, interpolation
from coset.ops.bspline import UniformBSpline
from coset.ops.index import Edges
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.ops.tensor_product import channelwise

F64 = torch.float64
R_MAX = 4.0
TP = channelwise("2x0e+2x1o", "0e+1o", keep="0e+1o")


def made(form, **options):
    torch.manual_seed(0)
    return EdgeRadial(TP, R_MAX, form=form, **{"basis": 4, "hidden": (6, 6), "intervals": 9} | options).double()


def twin(form, of, **options):
    """The same network in another form."""
    layer = made(form, **options)
    layer.mlp.load_state_dict(of.mlp.state_dict())
    return layer


def derivatives(f, r):
    """A function of distances and its first two derivatives, summed over what else there is."""
    r = r.clone().requires_grad_()
    value = f(r)
    (slope,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), r)
    return value.detach(), slope.detach(), bend


# ---------------------------------------------------------------------- functions of the distance


def test_the_spline_meets_the_network_at_its_knots():
    knots = made("knots")
    r = knots.spline.knots()
    gap = (knots.weights(r) - twin("network", knots).weights(r)).detach().abs().amax((1, 2))
    assert gap[:-2].max() < 1e-13
    assert gap[-1] == 0
    assert 0 < gap[-2] < 1e-2


@pytest.mark.parametrize(("order", "rate"), [(0, 4), (1, 3), (2, 2)])
def test_the_spline_goes_to_the_network_as_its_knots_get_denser(order, rate):
    r = torch.linspace(0, R_MAX, 3001, dtype=F64)
    network = made("network")
    exact = derivatives(network.weights, r)[order]
    errors = []
    for intervals in (32, 64, 128, 256):
        found = derivatives(twin("knots", network, intervals=intervals).weights, r)[order]
        errors.append(float((found - exact).abs().max() / exact.abs().max()))
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert errors[-1] < 10.0 ** (2 - 2 * rate)
    assert all(abs(found - rate) < 0.4 for found in rates[1:]), rates


@pytest.mark.parametrize("form", FORMS)
def test_weights_vanish_at_the_cutoff_with_two_derivatives_and_stay_zero(form):
    layer = made(form)
    near = R_MAX - torch.tensor([1e-2, 1e-3, 1e-4], dtype=F64)
    value, slope, bend = (x.abs() for x in derivatives(layer.weights, near))
    size = layer.weights(torch.linspace(0.5, 3.5, 30, dtype=F64)).abs().max()
    assert value[0].max() > 0
    # third order: each step of ten takes the function down by 1000, its slope by 100, its curvature by 10; Bessel functions
    # are zero there themselves
    order = 4 if form == "network" else 3
    for x, power in ((value.amax((1, 2)), order), (slope, order - 1), (bend, order - 2)):
        assert torch.allclose((x[:-1] / x[1:]).log10(), torch.full((2,), float(power), dtype=F64), atol=0.05, rtol=0)
    assert value[-1].max() < 1e-9 * size
    for x in derivatives(layer.weights, torch.tensor([R_MAX, R_MAX + 1e-9, 1.5 * R_MAX], dtype=F64)):
        assert not x.any()


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_finite_at_distance_zero(form):
    assert all(bool(x.isfinite().all()) for x in derivatives(made(form).weights, torch.zeros(2, dtype=F64)))


@pytest.mark.parametrize("form", ["knots", "spline"])
def test_two_derivatives_are_continuous_at_the_knots(form):
    layer = made(form)
    knots = layer.spline.knots()[1:-1]
    before, after = (derivatives(layer.weights, knots + side * 1e-9) for side in (-1, 1))
    for x, y in zip(before, after, strict=True):
        assert torch.allclose(x, y, atol=1e-6 * float(y.abs().max()), rtol=0)


def test_interpolation_is_a_spline_through_the_values_that_ends_flat():
    n = 8
    spline = UniformBSpline(R_MAX, n)
    values = torch.randn(n - 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    coefficients = torch.cat([interpolation(n) @ values, values.new_zeros(3)])
    assert torch.allclose(spline.evaluate(coefficients, spline.knots()[:-2]), values, atol=1e-13, rtol=0)
    third = coefficients.diff(n=3)  # the third derivative, piece by piece, in units of h
    assert torch.allclose(third[0], third[1], atol=1e-12, rtol=0), "no knot behind the first interval (de Boor)"
    with pytest.raises(InputError, match="at least 5 intervals"):
        interpolation(4)


def test_the_network_is_read_at_the_knots_whatever_the_number_of_edges():
    layer, seen = made("knots"), []
    layer.mlp.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    for edges in (0, 3, 500):
        layer.weights(torch.linspace(0.5, 5, edges, dtype=F64))
    assert seen == [layer.spline.intervals - 1] * 3


# ---------------------------------------------------------------------- the product


def problem(generator, nodes=4, edges=14):
    ends = torch.randint(0, nodes, (2, edges), generator=generator)
    vectors = torch.randn(edges, 3, generator=generator, dtype=F64)
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * torch.linspace(0.3, 1.1 * R_MAX, edges, dtype=F64)[:, None]
    x = torch.randn(nodes, 4, 2, generator=generator, dtype=F64)
    return x.requires_grad_(), vectors.requires_grad_(), Edges(ends, nodes)


def pattern(layer, product, x, vectors, edges):
    """The output, derivatives with respect to everything, and those of a loss on them: what training on forces asks for."""
    y = product(x, spherical_harmonics((0, 1), vectors), vectors.norm(dim=1), edges)
    given = [x, vectors, *(p for p in layer.parameters() if p.requires_grad)]
    first = torch.autograd.grad(y.sin().sum(), given, create_graph=True)
    return [y, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), given)]


@pytest.mark.parametrize("form", FORMS)
def test_the_product_is_that_of_the_weights_per_edge_to_the_second_derivative(form, generator):
    layer, (x, vectors, edges) = made(form), problem(generator)

    def by_edge(x, sh, r, edges):
        return TP(x, sh, layer.weights(r), edges, backend="reference")

    for found, expected in zip(
        pattern(layer, layer, x, vectors, edges), pattern(layer, by_edge, x, vectors, edges), strict=True
    ):
        assert expected.detach().abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * max(1.0, float(expected.detach().abs().max())))


@pytest.mark.parametrize("form", ["knots", "spline"])
def test_derivatives_are_those_of_differences(form, generator):
    layer, (x, vectors, edges) = made(form, hidden=(2,), intervals=6), problem(generator, 2, 3)

    def product(x, vectors, *weights):
        names = [name for name, p in layer.named_parameters() if p.requires_grad]
        given = (x, spherical_harmonics((0, 1), vectors), vectors.norm(dim=1), edges)
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), given)

    inputs = (x, vectors, *(p for p in layer.parameters() if p.requires_grad))
    assert torch.autograd.gradcheck(product, inputs)
    assert torch.autograd.gradgradcheck(product, inputs)


@pytest.mark.parametrize("form", FORMS)
def test_an_edge_beyond_the_cutoff_changes_nothing(form, generator):
    layer, (x, vectors, edges) = made(form), problem(generator, edges=6)
    source, target = (edges[end].values for end in ("source", "target"))
    far = torch.cat([vectors, torch.tensor([[R_MAX, 0, 0], [0, 9.0, 0]], dtype=F64)])
    more = Edges(torch.stack([torch.cat([source, source[:2]]), torch.cat([target, target[:2]])]), 4)
    outputs = [layer(x, spherical_harmonics((0, 1), v), v.norm(dim=1), e) for v, e in ((vectors, edges), (far, more))]
    assert torch.allclose(*outputs, atol=1e-14, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_without_edges_there_is_nothing(form):
    empty = torch.zeros(0, dtype=F64)
    layer, x = made(form), torch.randn(3, 4, 2, dtype=F64)
    y = layer(x, empty.view(0, 4), empty, Edges(torch.zeros(2, 0, dtype=torch.int64), 3))
    assert y.shape == (3, TP.plan.output.rows, 2)
    assert not y.any()


@pytest.mark.parametrize("form", FORMS)
def test_single_precision_stays_single(form, generator):
    x, vectors, edges = problem(generator)
    x, vectors = x.detach(), vectors.detach()
    layer = made(form)
    wide = layer(x, spherical_harmonics((0, 1), vectors), vectors.norm(dim=1), edges)
    v = vectors.float()
    narrow = layer.float()(x.float(), spherical_harmonics((0, 1), v), v.norm(dim=1), edges)
    assert narrow.dtype == torch.float32
    assert torch.allclose(narrow.double(), wide, atol=1e-5 * float(wide.detach().abs().max()), rtol=0)


def test_unknown_forms_and_missing_distances_are_refused(generator):
    with pytest.raises(InputError, match="did you mean 'knots'"):
        EdgeRadial(TP, R_MAX, form="knot")
    x, vectors, edges = problem(generator)
    with pytest.raises(InputError, match=r"one distance per edge, got \(13,\)"):
        made("knots")(x, spherical_harmonics((0, 1), vectors), vectors.norm(dim=1)[1:], edges)


# ---------------------------------------------------------------------- the network


def test_zero_gives_zero_and_normal_inputs_give_order_one():
    torch.manual_seed(0)
    mlp = ScaledMLP([64, 256, 256, 256])
    assert not mlp(torch.zeros(2, 64)).any()
    assert abs(float(mlp(torch.randn(256, 64)).detach().square().mean()) - 1) < 0.1
    assert [tuple(w.shape) for w in mlp.weights] == [(64, 256), (256, 256), (256, 256)]


def test_one_layer_is_linear(generator):
    mlp = ScaledMLP([3, 2]).double()
    x = torch.randn(5, 3, generator=generator, dtype=F64)
    assert torch.allclose(mlp(x), x @ mlp.weights[0] / 3**0.5, atol=1e-14, rtol=0)


@pytest.mark.parametrize("sizes", [[3], [3, 0], []])
def test_sizes_of_a_network_are_checked(sizes):
    with pytest.raises(InputError, match="at least an input and an output"):
        ScaledMLP(sizes)
