"""The torus holds signals exactly: series reproduce the harmonics, the way back is exact, half precision is refused."""

import math

import numpy as np
import pytest
import torch

from coset.errors import InputError
from coset.ops.gaunt_fourier import TorusGrid, backward_table, forward_table, pairs, rows
from coset.ops.s2grid import S2Grid, legendre


@pytest.mark.parametrize("lmax", [0, 1, 4, 8])
def test_series_reproduce_the_legendre_functions(lmax):
    table = forward_table(range(lmax + 1))  # (v, u, degree)
    angle = np.linspace(0.1, 3.0, 7)
    series = np.einsum("vul,un->nlv", table, np.exp(1j * np.arange(-lmax, lmax + 1)[:, None] * angle))
    assert np.abs(series - legendre(lmax, np.cos(angle))).max() < 1e-13


@pytest.mark.parametrize(("band", "lmax"), [(2, 2), (4, 3), (12, 6)])
def test_the_way_back_integrates_exactly(band, lmax):
    """Against 200 Gauss-Legendre nodes, for series with the symmetry that signals have."""
    z = backward_table(range(lmax + 1), band)
    y = forward_table(range(band + 1))  # series of all signals of the band
    u = np.fft.fftfreq(2 * band + 1, 1 / (2 * band + 1)).round().astype(int)
    got = np.einsum("vlu,vuk->vlk", z, y[: lmax + 1, u + band])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    p = legendre(band, nodes)
    want = 2 * math.pi * np.einsum("n,nlv,nkv->vlk", weights, p[:, : lmax + 1, : lmax + 1], p[:, :, : lmax + 1])
    assert np.abs(got - want).max() < 1e-12


def test_rows_and_their_pairs():
    x = torch.randn(3, 16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rows(pairs(x, range(4)), range(4)), x)
    some = torch.cat([x[:, :1], x[:, 4:9]], 1)
    assert torch.allclose(rows(pairs(some, (0, 2)), (0, 2)), some)


def test_torus_and_sphere_hold_the_same_values():
    x = torch.randn(2, 9, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torus = TorusGrid(4, 2)
    values = torus.to_grid(x, 2)
    turn = 2 * math.pi * torch.arange(9, dtype=torch.float64) / 9
    grid = S2Grid(2)
    for i in range(1, 5):  # polar angles in the northern and southern half, away from the poles
        b, a = turn[i], turn
        points = torch.stack([b.sin() * a.sin(), b.cos().expand(9), b.sin() * a.cos()], -1)
        assert torch.allclose(values[0, i, :, 0], _synthesize(x[0, :, 0], points), atol=1e-13)
    assert torch.allclose(torus.from_grid(values, 2), x, atol=1e-13)
    assert grid.to_grid(x).shape[1:3] == (grid.beta, grid.alpha)


def _synthesize(x, p):
    a, y, c = p.unbind(-1)
    s3, s5, s15 = 3**0.5, 5**0.5, 15**0.5
    basis = [torch.ones_like(a), s3 * a, s3 * y, s3 * c, s15 * a * c, s15 * a * y, s5 * (1.5 * y * y - 0.5), s15 * y * c]
    return torch.stack([*basis, s15 / 2 * (c * c - a * a)], -1) @ x


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(InputError, match="cast up"):
        TorusGrid(2, 2).to_grid(torch.ones(1, 4, 1, dtype=dtype), 1)
