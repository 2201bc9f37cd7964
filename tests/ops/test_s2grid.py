"""Grids on the sphere: exact where the bound says so and not below it, invertible, in the basis of the harmonics."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.ops.gaunt import gaunt_tensor
from coset.ops.s2grid import S2Grid, legendre, polar_rule
from coset.reps.wigner import wigner_blocks

E3NN = {1: 4, 2: 8, 3: 10, 4: 14, 6: 20}  # least even square grids for L, L -> L


def signal(lmax, *lead, channels=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64).to(dtype)


def product_error(grid, lmax):
    """Of the pointwise product on a grid, against Gaunt coefficients."""
    x, y = signal(lmax, 3), signal(lmax, 3, seed=1)
    degrees = tuple(range(lmax + 1))
    want = torch.einsum("abk,nac,nbc->nkc", gaunt_tensor(degrees, degrees, degrees), x, y)
    got = grid.from_grid(grid.to_grid(x) * grid.to_grid(y))
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.parametrize("kind", ["gauss", "soft"])
@pytest.mark.parametrize("lmax", range(9))
def test_there_and_back_is_the_identity(lmax, kind):
    grid, x = S2Grid(lmax, kind=kind), signal(lmax, 4)
    assert torch.allclose(grid.from_grid(grid.to_grid(x)), x, atol=1e-13)


@pytest.mark.parametrize("lmax", [1, 2, 3, 8])
def test_values_are_those_of_the_harmonics_of_degree_one_and_two(lmax):
    grid = S2Grid(lmax)
    x, y, z = grid.points.unbind(-1)
    columns = grid.to_grid(torch.eye((lmax + 1) ** 2, dtype=torch.float64))
    for row, value in enumerate([torch.ones_like(x), 3**0.5 * x, 3**0.5 * y, 3**0.5 * z]):
        assert torch.allclose(columns[..., row], value, atol=1e-14)
    if lmax > 1:
        wanted = [15**0.5 * x * z, 15**0.5 * x * y, 5**0.5 * (1.5 * y**2 - 0.5), 15**0.5 * y * z, 15**0.5 / 2 * (z**2 - x**2)]
        for row, value in enumerate(wanted):
            assert torch.allclose(columns[..., 4 + row], value, atol=1e-14)


def test_harmonics_turn_with_their_wigner_matrices():
    lmax, grid = 8, S2Grid(8)
    turn = SO(3).sample(1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[0]
    matrix = torch.block_diag(*wigner_blocks(lmax, turn))
    values = grid.to_grid(torch.eye((lmax + 1) ** 2, dtype=torch.float64)).flatten(0, 1)
    fine = S2Grid(lmax, beta=40, alpha=61)
    there = torch.from_numpy(_harmonics(lmax, (grid.points @ turn.T).flatten(0, 1).numpy()))
    assert (there - values @ matrix.T).abs().max() < 1e-12  # Y(R p) = D(R) Y(p)
    assert len(fine) == 40 * 61


def _harmonics(lmax, points):
    beta, alpha = points[:, 1], np.arctan2(points[:, 0], points[:, 2])
    p = legendre(lmax, np.clip(beta, -1, 1)) * np.sqrt(4 * np.pi)
    columns = []
    for degree in range(lmax + 1):
        for m in range(-degree, degree + 1):
            wave = 1.0 if m == 0 else 2**0.5 * (np.sin(-m * alpha) if m < 0 else np.cos(m * alpha))
            columns.append(p[:, degree, abs(m)] * wave)
    return np.stack(columns, -1)


@pytest.mark.parametrize("beta", range(1, 25))
def test_polar_rules_have_the_degree_they_claim(beta):
    for kind, degree in (("gauss", 2 * beta - 1), ("soft", beta - 1)):
        cosine, weight = polar_rule(kind, beta)
        moments = [(weight * np.polynomial.legendre.Legendre.basis(k)(cosine)).sum() for k in range(degree + 1)]
        assert np.allclose(moments, [2.0] + [0.0] * degree, atol=2e-14)
    assert S2Grid.least_beta(2 * beta - 1) == beta


@pytest.mark.parametrize(("lmax", "size"), E3NN.items())
def test_equiangular_grids_of_the_listed_sizes_are_exact_and_two_sizes_below_are_not(lmax, size):
    least = S2Grid(lmax, kind="soft")
    assert (least.beta, least.alpha) == (size, 3 * lmax + 1)
    assert product_error(S2Grid(lmax, beta=size, alpha=size, kind="soft"), lmax) < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        below = S2Grid(lmax, beta=size - 2, alpha=size - 2, kind="soft", exact=False)
    assert product_error(below, lmax) > 1e-2


@pytest.mark.parametrize("lmax", range(1, 9))
def test_the_bound_is_tight(lmax):
    least = S2Grid(lmax)
    assert (least.beta, least.alpha) == (3 * lmax // 2 + 1, 3 * lmax + 1)
    assert product_error(least, lmax) < 1e-13
    for name in ("beta", "alpha"):
        small = {"beta": least.beta, "alpha": least.alpha, name: getattr(least, name) - 1}
        with pytest.raises(InputError, match=f"{name} >= {getattr(least, name)}"):
            S2Grid(lmax, **small)
        with pytest.warns(UserWarning, match="need beta"):
            grid = S2Grid(lmax, **small, exact=False)
        assert product_error(grid, lmax) > 1e-4


@pytest.mark.parametrize("degrees", list(itertools.product((1, 2, 4), (0, 3), (1, 5))))
def test_a_grid_for_three_degrees_is_the_least_exact_one(degrees):
    l1, l2, l3 = degrees
    grid = S2Grid.for_product(l1, l2, l3)
    total = l1 + l2 + l3
    assert (2 * grid.beta - 1 >= total > 2 * grid.beta - 3, grid.alpha) == (True, total + 1)
    x, y = signal(l1, 2), signal(l2, 2, seed=1)
    ranges = [tuple(range(degree + 1)) for degree in degrees]
    want = torch.einsum("abk,nac,nbc->nkc", gaunt_tensor(*ranges), x, y)
    assert torch.allclose(grid.from_grid(grid.to_grid(x) * grid.to_grid(y), l3), want, atol=1e-12)


@pytest.mark.parametrize("lmax", [2, 3, 4, 6])
def test_no_grid_makes_a_nonlinearity_exact(lmax):
    """On grids exact for products a SiLU errs by about 1 percent, SiLU(u) v by 3 to 6: the reason to gate by scalars."""
    grid = S2Grid(lmax, beta=E3NN[lmax], alpha=E3NN[lmax], kind="soft", normalization="norm")
    silu = torch.nn.functional.silu
    x, y = (signal(lmax, 256, channels=1, seed=seed) / (lmax + 1) ** 0.5 for seed in (0, 1))  # values of variance 1
    gates = {
        "silu": lambda a, b: grid.from_grid(silu(grid.to_grid(a))),
        "swiglu": lambda a, b: grid.from_grid(silu(grid.to_grid(a)) * grid.to_grid(b)),
    }
    turns = SO(3).sample(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = dict.fromkeys(gates, 0.0)
    for turn in turns:
        matrix = torch.block_diag(*wigner_blocks(lmax, turn))
        for name, gate in gates.items():
            want = matrix @ gate(x, y)
            found[name] += ((gate(matrix @ x, matrix @ y) - want).norm() / want.norm()).item() / len(turns)
    assert 0.007 < found["silu"] < 0.016
    assert 0.02 < found["swiglu"] < 0.06


def test_normalizations_differ_by_the_scale_of_their_harmonics():
    x = signal(3, 2)
    values = {name: S2Grid(3, normalization=name).to_grid(x) for name in ("component", "integral", "norm")}
    assert torch.allclose(values["component"], (4 * torch.pi) ** 0.5 * values["integral"])
    scale = torch.tensor([(2 * degree + 1) ** 0.5 for degree in range(4) for _ in range(2 * degree + 1)]).double()[:, None]
    assert torch.allclose(S2Grid(3, normalization="norm").to_grid(x * scale), values["component"])
    for name in values:
        grid = S2Grid(3, normalization=name)
        assert torch.allclose(grid.from_grid(grid.to_grid(x)), x, atol=1e-13)


@pytest.mark.parametrize("mmax", [0, 1, 2])
def test_orders_can_be_cut(mmax):
    full, cut = S2Grid(4), S2Grid(4, mmax)
    assert cut.alpha == 3 * mmax + 1
    keep = [i for i, (_, m) in enumerate(full.rows()) if abs(m) <= mmax]
    x, y = signal(4, 3), signal(4, 3, seed=1)
    some = torch.zeros_like(x), torch.zeros_like(y)
    for part, whole in zip(some, (x, y), strict=True):
        part[:, keep] = whole[:, keep]
    want = full.from_grid(full.to_grid(some[0]) * full.to_grid(some[1]))[:, keep]
    got = cut.from_grid(cut.to_grid(x[:, keep]) * cut.to_grid(y[:, keep]))
    assert torch.allclose(got, want, atol=1e-13)


@pytest.mark.parametrize("channels", [1, 3, 16])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_any_leading_axes_and_channels(channels, lead):
    grid, x = S2Grid(3), signal(3, *lead, channels=channels)
    values = grid.to_grid(x)
    assert values.shape == (*lead, grid.beta, grid.alpha, channels)
    assert torch.allclose(grid.from_grid(values), x, atol=1e-13)
    wide = torch.stack([x, x], -2).flatten(-3, -2)[..., ::2, :]  # rows not contiguous
    assert torch.equal(grid.to_grid(wide), values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    values = S2Grid(2).to_grid(signal(2, 3, dtype=dtype))
    assert values.dtype == dtype
    assert S2Grid(2).from_grid(values).dtype == dtype


def test_derivatives():
    grid, x = S2Grid(2), signal(2, 2).requires_grad_()
    for f in (grid.to_grid, lambda v: grid.from_grid(grid.to_grid(v) ** 2)):
        assert gradcheck(f, (x,))
        assert gradgradcheck(f, (x,))


def test_tables_made_without_gradients_serve_training():
    grid, x = S2Grid(2), signal(2, 2, dtype=torch.float32)
    with torch.inference_mode():
        grid.to_grid(x)
    grid.to_grid(x.requires_grad_()).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_it_is_a_value():
    assert S2Grid(2) == S2Grid(2, beta=4, alpha=7)
    assert len({S2Grid(2), S2Grid(2), S2Grid(3)}) == 2
    assert dataclasses.replace(S2Grid(2), kind="soft", beta=0).beta == 8


def test_e3nn_has_the_same_equiangular_grid():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        o3 = pytest.importorskip("e3nn.o3", reason="compares with e3nn")
        for lmax in (1, 3):
            theirs = o3.ToS2Grid(lmax, (10, 11), normalization="component", dtype=torch.float64)
            back = o3.FromS2Grid((10, 11), lmax, normalization="component", dtype=torch.float64)
            ours = S2Grid(lmax, beta=10, alpha=11, kind="soft", degree=2 * lmax, normalization="norm")
            x = signal(lmax, 4, channels=1)
            values = theirs(x[..., 0])  # of variance 1: divided by the number of degrees
            assert torch.allclose(ours.to_grid(x)[..., 0], values * (lmax + 1) ** 0.5, atol=1e-5)
            assert torch.allclose(back(values), x[..., 0], atol=1e-5)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="0 <= mmax <= lmax"):
        S2Grid(2, 3)
    with pytest.raises(InputError, match="did you mean 'gauss'"):
        S2Grid(2, kind="gaus")
    with pytest.raises(InputError, match="normalization"):
        S2Grid(2, normalization="fourier")
    with pytest.raises(InputError, match="no complete set"):
        S2Grid(2).to_grid(torch.randn(3, 5, 2))
    with pytest.raises(InputError, match="have 5 rows"):
        S2Grid(2).to_grid(torch.randn(3, 9, 2), (2,))
    with pytest.raises(InputError, match="up to 2"):
        S2Grid(2).from_grid(torch.randn(4, 7, 2), 3)
    with pytest.raises(InputError, match="expected"):
        S2Grid(2).from_grid(torch.randn(4, 8, 2))
