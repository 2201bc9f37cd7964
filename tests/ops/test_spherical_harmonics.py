import json
import subprocess
import sys
import warnings

import mpmath
import pytest
import torch

from coset.errors import InputError
from coset.groups.haar import haar_matrices, sphere_rule
from coset.ops.backends.select import use
from coset.ops.spherical_harmonics import BACKENDS, choose, parse_degrees, spherical_harmonics
from coset.reps.irreps import Irreps
from coset.reps.wigner import wigner_blocks

F64 = torch.float64
NAMES = [name for name in BACKENDS if name != "auto"]
FAST = ["cpu", "torch"]


def vectors(n, generator, dtype=F64):
    return torch.randn(n, 3, generator=generator, dtype=F64).to(dtype)


def relative(a, b):
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / b.abs().max())


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(("dtype", "bound"), [(F64, 2e-13), (torch.float32, 3e-6)])
def test_backends_agree_with_the_reference(backend, normalize, dtype, bound, generator):
    v = vectors(37, generator, dtype)
    for degrees in (0, 1, 2, 3, 8, [1], [2], [5, 0, 3, 3], []):
        got = spherical_harmonics(degrees, v, normalize=normalize, backend=backend)
        want = spherical_harmonics(degrees, v.double(), normalize=normalize, backend="reference")
        assert got.dtype == dtype
        assert got.shape == want.shape == (37, sum(2 * l + 1 for l in parse_degrees(degrees)))
        if degrees:
            assert relative(got, want) < bound


@pytest.mark.parametrize("backend", NAMES)
def test_degree_12_against_fifty_digits(backend, generator):
    v = torch.cat([vectors(2, generator), torch.eye(3, dtype=F64), torch.tensor([[1e-9, -1.0, 1e-9]], dtype=F64)])
    got = spherical_harmonics([12], v, backend=backend, normalization="integral")
    want = torch.tensor([[float(exact(12, m, *row)) for m in range(-12, 13)] for row in v.tolist()], dtype=F64)
    assert (got - want).abs().max() < (1e-11 if backend == "reference" else 1e-13)


def exact(l, m, x, y, z):
    """The textbook's real harmonic with polar axis y and azimuth from z to x, by mpmath with 50 digits."""
    with mpmath.workdps(50):
        x, y, z = map(mpmath.mpf, (x, y, z))
        theta = mpmath.acos(y / mpmath.sqrt(x * x + y * y + z * z))
        value = mpmath.spherharm(l, abs(m), theta, mpmath.atan2(x, z)) * (-1) ** m  # without the Condon-Shortley phase
        if m == 0:
            return value.real
        return mpmath.sqrt(2) * (value.real if m > 0 else value.imag)


@pytest.mark.parametrize("backend", NAMES)
def test_harmonics_are_orthonormal(backend):
    """<Y_i Y_j> over the sphere is the unit matrix ("component"), by a quadrature that is exact for their degree."""
    points, weights = sphere_rule(3, 12)
    y = spherical_harmonics(6, points, backend=backend)
    assert (torch.einsum("n,ni,nj->ij", weights, y, y) - torch.eye(49, dtype=F64)).abs().max() < 1e-12


def test_normalizations_differ_by_a_factor(generator):
    v = vectors(5, generator)
    component, integral, norm = (spherical_harmonics(3, v, normalization=n) for n in ("component", "integral", "norm"))
    assert (component / (4 * torch.pi) ** 0.5 - integral).abs().max() < 1e-14
    for l in range(4):
        block = slice(l * l, (l + 1) ** 2)
        assert (norm[:, block].square().sum(-1) - 1).abs().max() < 1e-14
        assert (component[:, block] / (2 * l + 1) ** 0.5 - norm[:, block]).abs().max() < 1e-14


@pytest.mark.parametrize("backend", FAST)
def test_degree_one_is_the_vector(backend, generator):
    v = vectors(5, generator)
    assert (spherical_harmonics([1], v, normalize=False, normalization="norm", backend=backend) - v).abs().max() < 1e-15


@pytest.mark.parametrize("backend", FAST)
def test_rotation_law(backend, generator):
    v, rotations = vectors(11, generator), haar_matrices(4, 3, special=True, generator=generator)
    blocks = wigner_blocks(8, rotations)
    turned = spherical_harmonics(8, v @ rotations.mT, backend=backend)
    still = spherical_harmonics(8, v, backend=backend)
    for l, d in enumerate(blocks):
        block = slice(l * l, (l + 1) ** 2)
        assert (turned[..., block] - still[:, block] @ d.mT).abs().max() < 1e-12


@pytest.mark.parametrize("backend", NAMES)
def test_solid_harmonics_are_homogeneous(backend, generator):
    v = vectors(7, generator)
    twice, once = (spherical_harmonics(4, s * v, normalize=False, backend=backend) for s in (2, 1))
    powers = torch.tensor([2.0**l for l in range(5) for _ in range(2 * l + 1)], dtype=F64)
    assert relative(twice, once * powers) < 1e-14


def test_equal_to_e3nn(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="the peer is compared where it is installed")
        v = vectors(50, generator)
        for normalize in (True, False):
            for normalization in ("component", "integral", "norm"):
                want = o3.spherical_harmonics(list(range(9)), v, normalize, normalization)
                got = spherical_harmonics(8, v, normalize=normalize, normalization=normalization)
                assert relative(got, want) < 1e-14


def test_equal_to_sphericart():
    """Its basis has the polar axis z and is orthonormal: (x, y, z) there is (z, x, y) here. It crashes at exit: a process."""
    pytest.importorskip("importlib.metadata").version("sphericart-torch")
    code = (
        "import os, sys, json, torch, sphericart.torch as s\n"
        "v = torch.tensor(json.load(sys.stdin), dtype=torch.float64)\n"
        "print(json.dumps(s.SphericalHarmonics(8).compute(v).tolist())); sys.stdout.flush(); os._exit(0)"
    )
    v = torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    given = json.dumps(v[:, [2, 0, 1]].tolist())
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, timeout=120, check=True)
    want = torch.tensor(json.loads(done.stdout), dtype=F64)
    assert (spherical_harmonics(8, v, normalization="integral") - want).abs().max() < 1e-13


# ---------------------------------------------------------------------- derivatives


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("backend", NAMES)
def test_first_and_second_derivatives(backend, normalize, generator):
    v = torch.cat([vectors(3, generator), torch.eye(3, dtype=F64), -torch.eye(3, dtype=F64)])  # the poles among them
    v = v if normalize else torch.cat([v, torch.zeros(1, 3, dtype=F64)])
    f = lambda v: spherical_harmonics([0, 1, 3], v, normalize=normalize, backend=backend)  # noqa: E731
    assert torch.autograd.gradcheck(f, v.requires_grad_())
    assert torch.autograd.gradgradcheck(f, v)


def derivatives(v, w, orders, **options):
    """Gradients of <Y, w>^2 and so on, each of the squared norm of the one before; the last also by w."""
    v, w = v.clone().requires_grad_(), w.clone().requires_grad_()
    value, found = (spherical_harmonics(options.pop("degrees"), v, **options) * w).sum().square(), []
    for _ in range(orders):
        (gradient,) = torch.autograd.grad(value, v, create_graph=True)
        found.append(gradient)
        value = gradient.square().sum()
    return [*found, *torch.autograd.grad(value, (v, w))]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [(F64, 1e-11), (torch.float32, 1e-4)])
def test_kernels_differentiate_as_the_polynomials_do(normalize, dtype, bound, generator):
    v, w = vectors(40, generator), torch.randn(40, 49, generator=generator, dtype=F64)
    want = derivatives(v, w, 1, degrees=6, normalize=normalize, backend="torch")
    got = derivatives(v.to(dtype), w.to(dtype), 1, degrees=6, normalize=normalize, backend="cpu")
    for a, b in zip(got, want, strict=True):
        assert relative(a, b) < bound


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("degrees", [[0], [1], [0, 2], [3]])
def test_derivatives_of_any_order(degrees, normalize, generator):
    v, w = vectors(19, generator), torch.randn(19, sum(2 * l + 1 for l in degrees), generator=generator, dtype=F64)
    want, got = (derivatives(v, w, 3, degrees=degrees, normalize=normalize, backend=b) for b in ("torch", "cpu"))
    for a, b in zip(got, want, strict=True):
        assert (a - b).abs().max() <= 1e-10 * (1 + b.abs().max())


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("backend", NAMES)
def test_the_zero_vector_has_no_direction(backend, dtype):
    """Degree 0 is constant, the others are 0, so are all derivatives; neighbors in the same call are not touched."""
    v = torch.zeros(20, 3, dtype=dtype)
    v[7] = torch.tensor([0.0, 2.0, 0.0])
    v[9] = 1e-30 if dtype == torch.float32 else 1e-160
    v.requires_grad_()
    y = spherical_harmonics(3, v, backend=backend)
    assert (y[0] == torch.tensor([1.0] + [0.0] * 15, dtype=dtype)).all()
    assert (y[9] == y[0]).all()
    (first,) = torch.autograd.grad(y.square().sum() + y.sum(), v, create_graph=True)
    (second,) = torch.autograd.grad(first.sum() + first.square().sum(), v)
    for gradient in (first, second):
        assert torch.isfinite(gradient).all()
        assert (gradient[torch.arange(20) != 7] == 0).all()
        assert (gradient[7] != 0).any()


@pytest.mark.parametrize("length", [3e-12, 1e12])
@pytest.mark.parametrize("backend", NAMES)
def test_short_and_long_vectors_in_float32(backend, length, generator):
    v = vectors(20, generator)
    v = (v / v.norm(dim=-1, keepdim=True) * length).float()
    got = derivatives(v, torch.ones(20, 16), 0, degrees=3, backend=backend)[0]
    want = derivatives(v.double(), torch.ones(20, 16, dtype=F64), 0, degrees=3, backend="torch")[0]
    assert relative(got, want) < 1e-5


# ---------------------------------------------------------------------- shapes, tracing, choices


@pytest.mark.parametrize("count", [0, 1, 3, 15, 16, 17, 33])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_every_number_of_vectors(count, dtype, generator):
    v, w = vectors(count, generator, dtype), torch.randn(count, 9, generator=generator, dtype=F64).to(dtype)
    got, want = (derivatives(v, w, 1, degrees=2, backend=b) for b in ("cpu", "torch"))
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max() if count else True


def test_any_leading_shape_and_strides(generator):
    v = torch.randn(3, 4, 2, generator=generator, dtype=F64).transpose(0, 2)  # (2, 4, 3), last axis not contiguous
    want = spherical_harmonics(3, v.contiguous().view(8, 3), backend="reference").view(2, 4, 16)
    for backend in NAMES:
        assert relative(spherical_harmonics(3, v, backend=backend), want) < 1e-14
        assert spherical_harmonics(3, v[0, 0], backend=backend).shape == (16,)
    expanded = v[0, 0].expand(40, 3).requires_grad_(False).clone().requires_grad_()
    y = spherical_harmonics(3, expanded)
    (g,) = torch.autograd.grad(y.sum(), expanded)  # the cotangent is an expanded scalar
    assert (g - g[0]).abs().max() == 0


def test_two_threads_give_the_same(generator):
    v, w = vectors(300_000, generator, torch.float32), torch.randn(300_000, 4, generator=generator)
    one = derivatives(v, w, 0, degrees=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = derivatives(v, w, 0, degrees=1)
    finally:
        torch.set_num_threads(before)
    assert all(bool((a == b).all()) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_compiles_in_one_graph_for_any_number_of_vectors(backend, generator):
    torch._dynamo.reset()

    def energy(v, w):
        return (spherical_harmonics(2, v, backend=backend) * w).sum().square()

    graphs = []

    def count(graph, example):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(energy, fullgraph=True, dynamic=True, backend=count)
    for n in (20, 33, 50):
        v, w = vectors(n, generator).requires_grad_(), torch.randn(n, 9, generator=generator, dtype=F64)
        (got,), (want,) = (torch.autograd.grad(f(v, w), v) for f in (compiled, energy))
        assert relative(got, want) < 1e-13
    assert len(graphs) == 1


def test_ops_are_registered_faithfully(generator):
    v, g, h = (torch.randn(5, n, generator=generator, dtype=F64).requires_grad_() for n in (3, 9, 3))
    ops, kind = torch.ops.coset, ([0, 1, 2], True, "component")
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    for op, args in ((ops.harmonics, (v,)), (ops.harmonics_gradient, (v, g)), (ops.harmonics_second, (v, g, h))):
        torch.library.opcheck(op.default, (*args, *kind), test_utils=tests)


def test_functional_transforms_run_on_the_polynomials(generator):
    v = vectors(4, generator)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: spherical_harmonics(3, v)))(v)
    want = torch.autograd.functional.jacobian(lambda v: spherical_harmonics(3, v).sum(0), v).transpose(0, 1)
    assert (jacobian - want).abs().max() < 1e-13


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype, generator):
    v = vectors(20, generator, dtype)
    y = spherical_harmonics(4, v)
    assert y.dtype == dtype
    assert (y == spherical_harmonics(4, v.float(), backend="torch").to(dtype)).all()


def test_autocast_leaves_them_alone(generator):
    v = vectors(20, generator, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for backend in FAST:
            assert spherical_harmonics(3, v, backend=backend).dtype == torch.float32


def test_the_choice_is_explained(generator):
    v = vectors(2, generator)
    assert choose((3,), v).backend == "cpu"
    assert "generated" in choose((3,), v).reason
    assert choose((13,), v).backend == "torch"
    assert "above 12" in choose((13,), v).reason
    assert "bfloat16" in choose((3,), v.bfloat16()).reason
    assert "meta" in choose((3,), v.to("meta")).reason
    with use("reference"):
        assert choose((3,), v).backend == "reference"
        assert choose((3,), v, "torch").backend == "torch"


def test_parities_of_irreps(generator):
    v = vectors(3, generator)
    for text, degrees in (("0e+1o+2e", [0, 1, 2]), ("1e+3e", [1, 3]), ("2x1o", [1, 1])):
        assert (spherical_harmonics(Irreps(text), v) == spherical_harmonics(degrees, v)).all()
    with pytest.raises(InputError, match="parity"):
        spherical_harmonics(Irreps("1e+1o"), v)
    with pytest.raises(InputError, match="parity"):
        spherical_harmonics(Irreps("0o"), v)


@pytest.mark.parametrize(
    ("degrees", "v", "options", "words"),
    [
        (2, torch.zeros(3, 4), {}, r"\(\.\.\., 3\), got \(3, 4\)"),
        (2, torch.zeros(3, dtype=torch.int64), {}, "int64"),
        (2, torch.zeros(3, dtype=torch.complex64), {}, "complex64"),
        (-1, torch.zeros(3), {}, "at least 0, got -1"),
        ([1, 1.5], torch.zeros(3), {}, "got 1.5"),
        (True, torch.zeros(3), {}, "degree"),
        (2, torch.zeros(3), {"normalization": "components"}, "component"),
        (2, torch.zeros(3), {"backend": "tourch"}, "torch"),
        (2, torch.zeros(3, dtype=torch.float16), {"backend": "cpu"}, "float16"),
        (13, torch.zeros(3), {"backend": "cpu"}, "above 12"),
    ],
)
def test_bad_input_is_named(degrees, v, options, words):
    with pytest.raises(InputError, match=words):
        spherical_harmonics(degrees, v, **options)
