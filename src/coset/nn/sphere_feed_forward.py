"""What happens to every atom between two attentions: up, a nonlinearity of the whole feature, down.

With ``h = W_up x`` (a matrix per degree, ``C`` to ``H`` channels) and numbers ``s = W x_0 + b`` of the scalars, three ways:

    swiglu   (a, b, c) = s,    y = W' [ sigmoid(c) from_grid( to_grid(U h) to_grid(V h) ) ],    y_0 += SiLU(a) b
    silu     y = from_grid(SiLU(to_grid(h))),   y_0 = SiLU(s)
    gate     y_l = sigmoid(s_l) h_l,            y_0 = SiLU(h_0)

then ``W_down y``. ``swiglu`` is the feed-forward network of EquiformerV3 (gated, merged): what happens on the grid is a
product, which the grid projects without error, so that it is exact; so is ``gate``. Matrices over channels are the same at all
points of the sphere and commute with the transforms; here they act on coefficients, of which there are fewer. Liao et al.,
2026, arXiv 2604.09130.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import unknown
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.separable_s2 import separable
from coset.ops.s2grid import S2Grid, degree_list, degree_of_rows
from coset.reps.irreps import Irreps

MERGED = 0.5**0.5  #: weights that read a sum of two terms of one size start smaller by this


class SphereFeedForward(nn.Module):
    """Features ``(..., irreps.dim)`` of all degrees ``0..lmax`` to the same, by ``hidden`` channels per degree.

    ``activation`` is ``"swiglu"``, ``"gate"`` (both exact) or ``"silu"`` (approximate). ``grid`` defaults to the least one that
    is exact for products of two signals; one made with ``exact=False`` makes the layer approximate.
    """

    def __init__(self, irreps: IrrepsLike, hidden: int, *, activation: str = "swiglu", grid: S2Grid | None = None) -> None:
        super().__init__()
        irreps = as_irreps(irreps)
        lmax, self.channels = complete(irreps, "SphereFeedForward")
        kinds: dict[str, Any] = {"swiglu": GridProduct, "gate": DegreeGate, "silu": GridSiLU}
        if activation not in kinds:
            raise unknown("activation", activation, kinds)
        grid = grid or S2Grid(lmax)
        inner = Irreps([(hidden, ir) for _, ir in irreps], irreps.group)
        self.up, self.down = IrrepsLinear(irreps, inner, bias=True), IrrepsLinear(inner, irreps, bias=True)
        self.activation = kinds[activation](grid, lmax, hidden)
        self.scalars = nn.Linear(self.channels, self.activation.scalars)
        if activation == "swiglu":
            with torch.no_grad():
                self.down.weight[: hidden * self.channels] *= MERGED
        exact = grid.exact and activation != "silu"
        self.contracts = (Contract(irreps.group, irreps, irreps, "exact" if exact else "approximate"),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        rows = self.up(x).unflatten(-1, (-1, self.activation.channels))
        return self.down(self.activation(rows, self.scalars(x[..., : self.channels])).flatten(-2))


class GridProduct(nn.Module):
    """The middle of ``swiglu``: rows ``(..., (lmax+1)^2, H)`` and ``3H`` scalars to rows."""

    def __init__(self, grid: S2Grid, lmax: int, channels: int) -> None:
        super().__init__()
        self.grid, self.lmax, self.channels, self.scalars = grid, lmax, channels, 3 * channels
        self.halves = nn.Linear(channels, 2 * channels, bias=False)
        self.mix = nn.Linear(channels, channels, bias=False)

    def forward(self, rows: Tensor, given: Tensor) -> Tensor:
        """See the module."""
        a, b, c = given.chunk(3, -1)
        u, v = self.grid.to_grid(self.halves(rows), self.lmax).chunk(2, -1)
        y = self.mix(self.grid.from_grid(u * v, self.lmax) * torch.sigmoid(c).unsqueeze(-2))
        first = y[..., :1, :] + (F.silu(a) * b).unsqueeze(-2)
        return torch.cat([first, y[..., 1:, :]], -2)  # not in place: derivatives of derivatives


class GridSiLU(nn.Module):
    """The middle of ``silu``: rows and ``H`` scalars to rows."""

    def __init__(self, grid: S2Grid, lmax: int, channels: int) -> None:
        super().__init__()
        self.grid, self.lmax, self.channels, self.scalars = grid, lmax, channels, channels

    def forward(self, rows: Tensor, given: Tensor) -> Tensor:
        """See the module."""
        return separable(self.grid, self.lmax, rows, given)


class DegreeGate(nn.Module):
    """The middle of ``gate``: rows and ``lmax H`` scalars to rows; the grid is not used."""

    def __init__(self, grid: S2Grid, lmax: int, channels: int) -> None:
        super().__init__()
        self.lmax, self.channels, self.scalars = lmax, channels, lmax * channels
        self.degrees = degree_of_rows(degree_list(lmax))[1:]

    def forward(self, rows: Tensor, given: Tensor) -> Tensor:
        """See the module."""
        gates = torch.sigmoid(given).unflatten(-1, (self.lmax, self.channels))
        place = torch.tensor(self.degrees, device=rows.device, dtype=torch.int64) - 1
        return torch.cat([F.silu(rows[..., :1, :]), rows[..., 1:, :] * gates.index_select(-2, place)], -2)
