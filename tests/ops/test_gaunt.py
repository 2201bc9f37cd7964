"""Gaunt products: three engines give one map, with the right coefficients, parity, equivariance and derivatives."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.backends.reference import evaluate
from coset.ops.gaunt import ENGINES, GauntProduct, gaunt_path, gaunt_tensor, natural
from coset.ops.s2grid import S2Grid
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.wigner import wigner_blocks


def signal(lmax, *lead, channels=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64).to(dtype)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def turn(lmax, x, seed=0):
    rotation = SO(3).sample(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[0]
    return torch.block_diag(*wigner_blocks(lmax, rotation)).to(x) @ x


@pytest.mark.parametrize("lmax", range(9))
def test_engines_agree_and_are_equivariant(lmax):
    x, y = signal(lmax, 3), signal(lmax, 3, seed=1)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(lmax + 1, generator=generator).double() for _ in range(3)]
    want = GauntProduct(lmax, lmax, lmax, "dense")(x, y, *weights)
    for engine in ENGINES:
        product = GauntProduct(lmax, lmax, lmax, engine)
        assert relative(product(x, y, *weights), want) < 1e-13
        moved = product(turn(lmax, x), turn(lmax, y), *weights)
        assert relative(moved, turn(lmax, want)) < 1e-12
        single = product(x.float(), y.float(), *(w.float() for w in weights))
        assert single.dtype == torch.float32
        assert relative(single.double(), want) < 2e-6
        assert relative(product(turn(lmax, x).float(), turn(lmax, y).float(), *weights).double(), turn(lmax, want)) < 2e-5


@pytest.mark.parametrize("degrees", [(2, 3, 5), (0, 4, 4), (3, 1, 0), (1, 2, 2), (8, 8, 16)])
@pytest.mark.parametrize("engine", ["grid", "fourier"])
def test_unequal_degrees(degrees, engine):
    l1, l2, l3 = degrees
    x, y = signal(l1, 2), signal(l2, 2, seed=1)
    assert relative(GauntProduct(l1, l2, l3, engine)(x, y), GauntProduct(l1, l2, l3, "dense")(x, y)) < 1e-12


@pytest.mark.parametrize("normalization", ["component", "integral", "norm"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_normalization_multiplies_functions(normalization, engine):
    grid = S2Grid.for_product(2, 2, 4, normalization=normalization)
    x, y = signal(2, 2), signal(2, 2, seed=1)
    z = GauntProduct(2, 2, 4, engine, normalization=normalization)(x, y)
    assert torch.allclose(grid.to_grid(z), grid.to_grid(x) * grid.to_grid(y), atol=1e-12)


def test_coefficients_are_integrals_of_three_orthonormal_harmonics():
    lmax, grid = 3, S2Grid.for_product(3, 3, 3, normalization="integral")
    values = grid.to_grid(torch.eye(16, dtype=torch.float64)).flatten(0, 1)
    integral = torch.einsum("p,pa,pb,pc->abc", grid.weights.flatten(), values, values, values)
    assert torch.allclose(gaunt_tensor(*[tuple(range(lmax + 1))] * 3, "integral"), integral, atol=1e-14)


def test_the_path_weight_is_that_of_the_paper():
    for l1, l2, l3 in [(1, 1, 2), (2, 2, 2), (3, 2, 1), (1, 1, 0)]:
        w = wigner_3j(l1, l2, l3)
        factor = ((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * torch.pi)) ** 0.5
        assert gaunt_path(l1, l2, l3, "integral") == pytest.approx(factor * w[l1, l2, l3].item(), abs=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
def test_odd_paths_vanish(engine):
    """Two vectors have no cross product on the sphere's functions."""
    x = torch.zeros(2, 4, 3, dtype=torch.float64)
    x[:, 1:] = signal(1, 2, channels=3)[:, 1:]
    y = torch.zeros_like(x)
    y[:, 1:] = signal(1, 2, channels=3, seed=1)[:, 1:]
    z = GauntProduct(1, 1, 2, engine)(x, y)
    assert z[:, 1:4].abs().max() < 1e-14
    assert z[:, 0].abs().min() > 1e-3
    for l1, l2, l3 in itertools.product(range(4), repeat=3):
        if (l1 + l2 + l3) % 2:
            assert gaunt_path(l1, l2, l3) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_operands_commute_when_their_weights_are_equal(engine):
    x, y, w = signal(3, 2), signal(3, 2, seed=1), torch.tensor([0.3, -1.0, 2.0, 0.5]).double()
    product = GauntProduct(3, 3, 3, engine)
    assert torch.allclose(product(x, y, w, w), product(y, x, w, w), atol=1e-13)
    assert not torch.allclose(product(x, y, w), product(y, x, w), atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_derivatives(engine):
    product = GauntProduct(2, 1, 2, engine)
    inputs = (signal(2, 2), signal(1, 2, seed=1), *(torch.rand(n, 2, dtype=torch.float64) for n in (3, 2, 3)))
    inputs = tuple(t.requires_grad_() for t in inputs)
    assert gradcheck(product, inputs)
    assert gradgradcheck(product, inputs)


def test_weights_per_channel_and_member():
    x, y = signal(2, 4, channels=5), signal(2, 4, channels=5, seed=1)
    product, per_member = GauntProduct(2, 2, 2), torch.rand(4, 3, 5, dtype=torch.float64)
    whole = product(x, y, per_member, w3=per_member[0])
    for i in range(4):
        assert torch.allclose(product(x[i], y[i], per_member[i], w3=per_member[0]), whole[i])


def test_output_weights_keep_unit_variance():
    product = GauntProduct(3, 3, 4)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20000, 16, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    z = product(x, y, w3=product.output_weights())
    power = [part.square().mean().item() for part in z.split([2 * degree + 1 for degree in range(5)], 1)]
    assert all(0.93 < value < 1.07 for value in power)
    raw = [part.square().mean().item() for part in product(x, y).split([1, 3, 5, 7, 9], 1)]
    assert max(raw) > 3  # what the weights are for


def test_the_plan_computes_the_same():
    product = GauntProduct(2, 2, 3)
    x, y = signal(2, 4), signal(2, 4, seed=1)
    assert torch.allclose(evaluate(product.plan, [x, y], {}, 4), product(x, y), atol=1e-13)
    assert product.plan.inputs[0].channels
    assert product.plan.inputs[1].channels


def test_missing_degrees_count_as_zero():
    product = GauntProduct((0, 2), (1, 3), (1, 2))
    x, y = signal(2, 2), signal(3, 2, seed=1)
    x[:, 1:4], y[:, :1], y[:, 4:9] = 0, 0, 0
    want = GauntProduct(2, 3, 2)(x, y)[:, 1:]
    got = product(x[:, [0, *range(4, 9)]], y[:, [*range(1, 4), *range(9, 16)]])
    assert torch.allclose(got, want, atol=1e-13)


def test_irreps_are_checked_and_named():
    assert natural("8x0e+8x1o+8x2e") == ((0, 1, 2), 1)
    assert natural("0o+1e") == ((0, 1), -1)
    assert GauntProduct.from_irreps("4x0e+4x1o", "4x0o+4x1e", "4x0o+4x1e+4x2o") == GauntProduct(1, 1, 2)
    assert GauntProduct.from_irreps("0e+2e", "0e+1o", pad=True) == GauntProduct((0, 2), 1, 2)
    for irreps, message in (
        ("0e+1e+1o", "1e|1o"), ("4x0e+8x1o", "one multiplicity"), ("0e+2e", r"lacks the degrees \[1\]"), ("", "at least one"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            GauntProduct.from_irreps(irreps, "0e+1o")
    with pytest.raises(InputError, match="vector product"):
        GauntProduct.from_irreps("0e+1o", "0e+1o", "0o+1e")


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at most 3"):
        GauntProduct(1, 2, 4)
    with pytest.raises(InputError, match="did you mean 'fourier'"):
        GauntProduct(1, 1, 1, "fourrier")
    with pytest.raises(InputError, match=r"beta >= 4 and alpha >= 7"):
        GauntProduct(2, 2, 2, grid=S2Grid(2, degree=4))
    assert GauntProduct(2, 2, 2, grid=S2Grid(2, beta=9, alpha=9)).signals.beta == 9
    with pytest.raises(InputError, match="float32 or float64"):
        GauntProduct(1, 1, 1, "fourier")(signal(1, 2, dtype=torch.bfloat16), signal(1, 2, dtype=torch.bfloat16))
    with pytest.raises(InputError, match="one weight per degree"):
        GauntProduct(1, 1, 1)(signal(1), signal(1), torch.ones(3))
    with pytest.raises(InputError, match="rows"):
        GauntProduct(1, 1, 1)(signal(2), signal(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_it_compiles_in_one_graph_for_any_number_of_members(engine):
    product = GauntProduct(2, 2, 2, engine)
    compiled = torch.compile(lambda a, b, w: product(a, b, w), fullgraph=True, backend="eager", dynamic=True)
    w = torch.rand(3)
    for n in (3, 5):
        x, y = (signal(2, n, dtype=torch.float32, seed=s) for s in (0, 1))
        assert torch.allclose(compiled(x, y, w), product(x, y, w), atol=1e-6)
