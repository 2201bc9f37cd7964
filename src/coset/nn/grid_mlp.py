"""An MLP over channels at every point of a sphere: Facet's node update, and the gate that it replaces.

    s = W_1 x,    v(b, a) = sum_lm s_lm Y_lm(b, a),    u = f(f(v A) B),    y = W_2 (from_grid(u) | scalars of x)

``A`` and ``B`` mix the channels of one head, without biases; ``f`` is a SiLU. The MLP sees one point at a time, so that only
the projection back is not exact: aliases fall with the grid. Miklaucic et al., Facet, 2025, arXiv 2509.08418.

Contracts of :class:`GridMLP`: O(3), approximate, with the error measured on its grid for seeded weights; of
:class:`GateUpdate`: exact. :func:`symmetries` are the elements of O_h that map a grid onto itself: those the layer keeps to
rounding, whatever its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import Octahedral
from coset.groups.orthogonal import SO, O
from coset.groups.subgroups import Subgroup
from coset.nn.edge_radial import ScaledMLP
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, join_blocks, scalars, split_blocks
from coset.nn.irreps_gate import IrrepsGate
from coset.nn.irreps_linear import IrrepsLinear
from coset.ops.rotation import rotate
from coset.ops.s2grid import S2Grid
from coset.reps.irreps import Irreps

GRID = (10, 18)  #: Gauss-Legendre nodes and angles about the axis; an even number of these keeps the inversion
MARGIN = 2.0  #: what a layer promises, over the error of seeded signals and weights


class GridMLP(nn.Module):
    """``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``, irreps of O(3) with the parities of harmonics.

    Signals have the largest multiplicity of the degrees above 0 as their channels, shared out to ``heads``, each with a hidden
    layer of ``hidden``. Without degrees above 0 it is an MLP of two hidden layers. InputError for other parities, channels that
    do not divide, and a grid (beta, alpha) below ``2 lmax + 2``.
    """

    def __init__(
        self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, *, grid: Sequence[int] = GRID, heads: int = 2, hidden: int = 16
    ) -> None:
        super().__init__()
        self.irreps_in = as_irreps(irreps_in)
        self.irreps_out = as_irreps(irreps_out, self.irreps_in.group)
        for irreps in (self.irreps_in, self.irreps_out):
            natural(irreps, "GridMLP")
        self.lmax, self.error = max(ir.l for _, ir in self.irreps_in), 0.0
        group = self.irreps_in.group
        if self.lmax == 0:
            if self.irreps_out.lmax > 0:
                raise InputError(f"GridMLP: scalars {self.irreps_in} have no direction to make {self.irreps_out} of")
            self.mlp = ScaledMLP([self.irreps_in.dim, heads * hidden, heads * hidden, self.irreps_out.dim])
            self.contracts = (Contract(group, self.irreps_in, self.irreps_out),)
            return
        channels = max(mul for mul, ir in self.irreps_in if ir.l)
        if heads < 1 or hidden < 1 or channels % heads:
            raise InputError(f"GridMLP: {channels} channels are not shared out to {heads} heads of {hidden} hidden channels")
        self.grid = signal_grid(self.lmax, tuple(grid))
        self.signal = Irreps([(channels, (degree, (-1) ** degree)) for degree in range(self.lmax + 1)], group)
        self.kept = scalars(sum(mul for mul, ir in self.irreps_in if ir.is_scalar()), self.irreps_in)
        self.first = IrrepsLinear(self.irreps_in, self.signal, zero=True)
        self.inner = nn.Parameter(torch.randn(heads, channels // heads, hidden))
        self.outer = nn.Parameter(torch.randn(heads, hidden, channels // heads))
        self.last = IrrepsLinear(self.signal + self.kept, self.irreps_out, zero=True)
        self.error = aliasing(self.lmax, tuple(grid))
        self.contracts = (Contract(group, self.irreps_in, self.irreps_out, "approximate", MARGIN * self.error),)

    def forward(self, x: Tensor) -> Tensor:
        """See the module."""
        if self.lmax == 0:
            return self.mlp(x)
        rows = self.first(x).unflatten(-1, (-1, self.signal[0].mul))
        rows = on_sphere(self.grid, self.lmax, rows, self.inner, self.outer)
        plain = [
            part.flatten(-2) for part, (_, ir) in zip(split_blocks(x, self.irreps_in), self.irreps_in, strict=True) if ir.l == 0
        ]
        return self.last(torch.cat([rows.flatten(-2), *plain], -1))


class GateUpdate(nn.Module):
    """A linear map, a gate and a linear map, ``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``: exact, the usual update."""

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike) -> None:
        super().__init__()
        irreps_in = as_irreps(irreps_in)
        irreps_out = as_irreps(irreps_out, irreps_in.group)
        inner = [
            Irreps([(mul, ir) for mul, ir in irreps_in if flat is (ir.dim == 1)], irreps_in.group) for flat in (True, False)
        ]
        self.gate = IrrepsGate(*inner)
        self.first = IrrepsLinear(irreps_in, self.gate.irreps_in)
        self.last = IrrepsLinear(self.gate.irreps_out, irreps_out, zero=True)
        self.contracts = (Contract(irreps_in.group, irreps_in, irreps_out),)

    def forward(self, x: Tensor) -> Tensor:
        """``W_2 gate(W_1 x)``."""
        return self.last(self.gate(self.first(x)))


def refit(x: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Features ``(..., irreps_in.dim)`` cut off or filled up with zeros, irrep by irrep, to ``(..., irreps_out.dim)``."""
    parts = {ir: part for part, (_, ir) in zip(split_blocks(x, irreps_in), irreps_in, strict=True)}
    empty = x.new_zeros(*x.shape[:-1], 1, 0)
    out = [parts.get(ir, empty.expand(*x.shape[:-1], ir.dim, 0))[..., :mul] for mul, ir in irreps_out]
    return join_blocks([F.pad(part, (0, mul - part.shape[-1])) for part, (mul, _) in zip(out, irreps_out, strict=True)])


def natural(irreps: Irreps, who: str) -> None:
    """InputError unless every irrep is one of O(3) with the parity of its harmonics, each once."""
    if irreps.group != O(3) or any(ir.p != (-1) ** ir.l for _, ir in irreps) or len({ir for _, ir in irreps}) != len(irreps):
        raise InputError(
            f"{who}: on the sphere degree l has parity (-1)^l, 0e, 1o, 2e, ..., each once; got {irreps} of {irreps.group}"
        )


@cache
def signal_grid(lmax: int, grid: tuple[int, ...]) -> S2Grid:
    """The grid of ``(beta, alpha)`` points for signals of degrees up to ``lmax``; InputError below ``2 lmax + 2``."""
    if len(grid) != 2 or min(grid) < 2 * lmax + 2:
        raise InputError(
            f"a grid for an MLP on signals up to degree {lmax} has at least {2 * lmax + 2} x {2 * lmax + 2} points, got {grid}"
        )
    return S2Grid(lmax, beta=grid[0], alpha=grid[1], degree=2 * lmax)


def on_sphere(grid: S2Grid, lmax: int, rows: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    """Rows ``(..., (lmax + 1)^2, C)`` through the MLP of weights ``(heads, C / heads, hidden)`` and back at every point."""
    size = lmax + 1.0
    values = grid.to_grid(rows) / size
    for weight in (inner, outer):
        mixed = torch.block_diag(*weight) if len(weight) > 1 else weight[0]
        values = F.silu(values @ (mixed / weight.shape[1] ** 0.5))
    return grid.from_grid(values, lmax) * size


@cache
def aliasing(lmax: int, grid: tuple[int, ...], turns: int = 8) -> float:
    """The largest relative equivariance error over seeded rotations, for normal weights, in float64.

    Signals are twice as large as standard normal ones: larger than in a fresh model, as trained ones are.
    """
    generator = torch.Generator().manual_seed(0)
    points = signal_grid(lmax, grid)
    x = 2 * torch.randn(16, (lmax + 1) ** 2, 8, generator=generator, dtype=torch.float64)
    weights = [torch.randn(1, *shape, generator=generator, dtype=torch.float64) for shape in ((8, 16), (16, 8))]
    y, errors = on_sphere(points, lmax, x, *weights), []
    for g in SO(3).sample(turns, generator=generator, dtype=torch.float64):
        want = rotate(y, g)
        errors.append(float((on_sphere(points, lmax, rotate(x, g), *weights) - want).norm() / want.norm()))
    return max(errors)


def symmetries(grid: S2Grid) -> Subgroup:
    """The rotations and reflections of the cube that map the points of ``grid`` onto themselves."""
    group, points = Octahedral(inversion=True), grid.points.flatten(0, 1)
    moved = torch.einsum("gij,pj->gpi", group.matrices, points)
    nearest = torch.cdist(moved, points[None].expand(len(moved), -1, -1)).amin(-1).amax(-1)
    return group.subgroup(torch.nonzero(nearest < 1e-6).flatten())
