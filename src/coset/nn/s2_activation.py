"""Nonlinearities on the sphere: a feature as a signal, sampled on a grid, changed point by point, projected back.

A product of two signals of degree L has degree 2L, and a grid that integrates degree 3L projects it back without error, so that
:class:`SwiGLUS2` is exactly equivariant. Any other function has all degrees, the grid folds the high ones back, and the layer
is equivariant as far as the grid goes: :class:`GridActivation` measures that when it is built and states it as its bound.
Grids: :mod:`coset.ops.s2grid`. Sources: Cohen et al., ICLR 2018, arXiv 1801.10130; EquiformerV3, arXiv 2604.09130.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete, scalars
from coset.nn.irreps_gate import Activation
from coset.nn.so2 import frame_contract
from coset.ops.orders import Orders
from coset.ops.rotation import rotate
from coset.ops.s2grid import S2Grid
from coset.reps.irreps import Irreps


class GridActivation(nn.Module):
    """``n from_grid(f(to_grid(x / n)))`` for features of all degrees ``0..lmax``, once each and with one multiplicity.

    ``n = lmax + 1`` gives the signal of a standard normal feature unit variance on the sphere.

    Approximate, with the bound measured on this grid for standard normal features (twice the largest error over a few
    rotations). ``grid`` defaults to one that integrates degree ``5 lmax``; a finer one (``S2Grid(lmax, degree=7 * lmax)``)
    lowers the error. InputError for features without a sphere's degrees and parities.
    """

    def __init__(self, irreps: IrrepsLike, activation: Activation = F.silu, *, grid: S2Grid | None = None) -> None:
        super().__init__()
        self.irreps = as_irreps(irreps)
        lmax, self.channels = complete(self.irreps, "GridActivation")
        self.activation, self.grid = activation, grid or S2Grid(lmax, degree=5 * lmax)
        bound = 2 * self.measure(lmax)
        self.contracts = (Contract(self.irreps.group, self.irreps, self.irreps, "approximate", bound),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., irreps.dim)`` to the same."""
        return self._apply_rows(x.unflatten(-1, (-1, self.channels))).flatten(-2)

    def _apply_rows(self, x: Tensor) -> Tensor:
        size = math.sqrt(x.shape[-2])
        return self.grid.from_grid(self.activation(self.grid.to_grid(x) / size), round(size) - 1) * size

    def measure(self, lmax: int, turns: int = 8) -> float:
        """The largest relative equivariance error over seeded rotations, for standard normal features in float64."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(32, (lmax + 1) ** 2, 1, generator=generator, dtype=torch.float64)
        y, errors = self._apply_rows(x), []
        for g in SO(3).sample(turns, generator=generator, dtype=torch.float64):
            want = rotate(y, g)
            errors.append(float((self._apply_rows(rotate(x, g)) - want).norm() / want.norm().clamp(min=1e-300)))
        return max(errors)


class SwiGLUS2(nn.Module):
    """Scalars gate, signals multiply: ``3C`` scalars and ``2C`` channels of every degree to ``C`` channels of every degree.

    With the scalars ``s = (a, b, c)`` and the signals' two halves ``u``, ``v``,

        y = sigmoid(c) from_grid(to_grid(u) to_grid(v)),     then  SiLU(a) b  added to degree 0 of y

    Only products happen on the grid, so that it is exact (the gated, merged variant of EquiformerV3). ``irreps`` is what comes
    out; :attr:`irreps_in` what goes in. Two terms meet in degree 0: a layer that follows may halve its variance there.
    """

    def __init__(self, irreps: IrrepsLike, *, grid: S2Grid | None = None) -> None:
        super().__init__()
        self.irreps_out = as_irreps(irreps)
        self.lmax, self.channels = complete(self.irreps_out, "SwiGLUS2")
        self.grid = grid or S2Grid(self.lmax)
        if not self.grid.exact:
            raise InputError("SwiGLUS2: the layer promises exactness, which a grid made with exact=False may not keep")
        signal = Irreps([(2 * self.channels, ir) for _, ir in self.irreps_out], self.irreps_out.group)
        self.irreps_in = scalars(3 * self.channels, self.irreps_out) + signal
        self.contracts = (Contract(self.irreps_out.group, self.irreps_in, self.irreps_out),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``."""
        if x.shape[-1] != self.irreps_in.dim:
            raise InputError(f"SwiGLUS2: expected {self.irreps_in} (..., {self.irreps_in.dim}), got {tuple(x.shape)}")
        given, signal = x[..., : 3 * self.channels], x[..., 3 * self.channels :]
        return swiglu(self.grid, self.lmax, signal.unflatten(-1, (-1, 2 * self.channels)), given).flatten(-2)


class FrameSwiGLU(nn.Module):
    """The same inside the frames of edges, where only orders up to ``mmax`` exist and a smaller grid is exact.

    ``z`` ``(..., orders.rows * 2C)``, a flat feature of :func:`coset.nn.so2.frame_irreps`, and ``3C`` scalars to ``C``
    channels.
    """

    def __init__(self, orders: Orders, channels: int) -> None:
        super().__init__()
        self.orders, self.channels_in, self.channels_out, self.scalars = orders, 2 * channels, channels, 3 * channels
        self.grid = S2Grid(orders.lmax, orders.mmax)
        self.contracts = (frame_contract(orders, 2 * channels, channels, self.scalars),)

    def forward(self, z: Tensor, scalars: Tensor) -> Tensor:
        """See the class."""
        layout = self.orders.layout
        to_orders, to_degrees = (torch.tensor(rows, device=z.device) for rows in (layout.to_orders, layout.to_degrees))
        rows = z.unflatten(-1, (self.orders.rows, self.channels_in)).index_select(-2, to_degrees)
        return swiglu(self.grid, self.orders.lmax, rows, scalars).index_select(-2, to_orders).flatten(-2)


def swiglu(grid: S2Grid, lmax: int, signal: Tensor, given: Tensor) -> Tensor:
    """``signal`` ``(..., rows, 2C)`` and scalars ``(..., 3C)`` to ``(..., rows, C)``; see :class:`SwiGLUS2`."""
    a, b, c = given.chunk(3, -1)
    u, v = grid.to_grid(signal, lmax).chunk(2, -1)
    y = grid.from_grid(u * v, lmax) * torch.sigmoid(c).unsqueeze(-2)
    first = y[..., :1, :] + (F.silu(a) * b).unsqueeze(-2)
    return torch.cat([first, y[..., 1:, :]], -2)  # not in place: derivatives of derivatives
