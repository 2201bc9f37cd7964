"""Weights of a convolution as functions of the edge's length: a network per edge, a network on knots, or splines.

=============  ==================================================================================================
``"knots"``    the network is evaluated at the knots of a cubic spline and interpolated in between, inside the product:
               its cost does not grow with the number of edges, and forces need no derivative of it
``"network"``  the network at every edge: the oracle, and the form of the papers
``"spline"``   coefficients of the spline learned directly (Facet, arXiv 2509.08418)
=============  ==================================================================================================

All read Bessel functions times an envelope, have no biases, and so vanish with two derivatives at the cutoff. Interpolation is
linear in the values at the knots: forces are the exact derivatives of the interpolated function, not of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.errors import InputError, unknown
from coset.nn.irreps_gate import second_moment
from coset.nn.radial import BesselBasis
from coset.ops.bspline import UniformBSpline
from coset.ops.index import Edges, Index
from coset.ops.product import product
from coset.ops.tabulated import INTERVAL, tabulated, windows
from coset.ops.tensor_product import TensorProduct

FORMS = ("knots", "network", "spline")
VANISH = 3  #: coefficients that are zero, so that a spline ends at r_max with two derivatives
INTERVALS = 64


class EdgeRadial(nn.Module):
    """The product ``tp`` of node features and harmonics, weighted by functions of the edges' lengths ``(E,)``.

    ``basis`` Bessel functions feed a network of layers ``hidden``; ``intervals`` of the spline on ``[0, r_max]``.
    Raises InputError for an unknown ``form``.
    """

    def __init__(
        self, tp: TensorProduct, r_max: float, *, form: str = "knots", basis: int = 8, hidden: tuple[int, ...] = (64, 64, 64),
        intervals: int = INTERVALS, envelope: int = 6,
    ) -> None:  # fmt: skip
        super().__init__()
        if form not in FORMS:
            raise unknown("radial form", form, FORMS)
        self.tp, self.form = tp, form
        self.spline = UniformBSpline(r_max, intervals)
        if form != "network":
            self.plan = tabulated(tp.plan, "w")
        if form == "spline":
            self.table = nn.Parameter(torch.randn(self.spline.size - VANISH, len(tp.paths), tp.channels))
            return
        self.basis = BesselBasis(r_max, basis, p=envelope)
        self.mlp = ScaledMLP([basis, *hidden, len(tp.paths) * tp.channels])

    def weights(self, r: Tensor) -> Tensor:
        """The functions themselves at distances ``(E,)``: ``(E, paths, C)``."""
        if self.form == "network":
            return self._network(r)
        return self.spline.evaluate(self.coefficients(r.dtype), r)

    def coefficients(self, dtype: torch.dtype) -> Tensor:
        """Of the splines, ``(intervals + 3, paths, C)``; the last three are zero."""
        if self.form == "spline":
            free = self.table
        else:
            free = torch.tensordot(interpolation(self.spline.intervals).to(self.mlp.weights[0]), self._values(), 1)
        return torch.cat([free, free.new_zeros(VANISH, *free.shape[1:])]).to(dtype)

    def _values(self) -> Tensor:
        """The network at the knots but the last two: at the end it vanishes, and next to it the spline does not ask."""
        return self._network(self.spline.knots()[:-2].to(self.mlp.weights[0]))

    def _network(self, r: Tensor) -> Tensor:
        return self.mlp(self.basis(r)).unflatten(-1, (len(self.tp.paths), self.tp.channels))

    def forward(self, x: Tensor, sh: Tensor, r: Tensor, edges: Edges) -> Tensor:
        """``x`` ``(N, rows, C)``, harmonics ``(E, rows)``, distances ``(E,)`` to ``(N, rows out, C)``."""
        if r.shape != sh.shape[:1]:
            raise InputError(f"EdgeRadial: one distance per edge, got {tuple(r.shape)} for harmonics {tuple(sh.shape)}")
        if self.form == "network":
            return self.tp(x, sh, self._network(r), edges)
        place, basis = self.spline.locate(r)
        table = windows(self.coefficients(x.dtype))
        return product(self.plan, [x, sh, basis, table], {**edges, INTERVAL: Index(place, self.spline.intervals)})


class ScaledMLP(nn.Module):
    """``(E, sizes[0])`` to ``(E, sizes[-1])`` without biases, so that zero gives zero: the radial network of MACE and NequIP.

        x -> c silu(x W / sqrt(n)) -> ... -> x W / sqrt(n)

    with weights of variance 1 and ``c`` such that a normal input gives an output of mean square 1: every layer then takes the
    same learning rate as the linear maps of irreps, whose weights are scaled alike.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(f"ScaledMLP: at least an input and an output size, all positive, got {list(sizes)}")
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(a, b)) for a, b in pairwise(sizes))
        self.gain = second_moment(F.silu) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """``(..., sizes[0])`` to ``(..., sizes[-1])``."""
        for place, weight in enumerate(self.weights):
            x = (self.gain * F.silu(x) if place else x) @ (weight / len(weight) ** 0.5)
        return x


@cache
def interpolation(intervals: int) -> Tensor:
    """The matrix from values at the knots ``0 .. n-2`` to the coefficients but the last three, ``(n, n-1)``, float64.

    The spline meets the values there and vanishes with two derivatives at the last knot, where what it interpolates vanishes to
    third order (so the value before the last is close without being asked for); at 0 it has no knot (de Boor). InputError for
    fewer than 5 intervals.
    """
    n = intervals
    if n < 5:
        raise InputError(f"a spline that vanishes at its end needs at least 5 intervals, got {n}")
    system = torch.zeros(n, n, dtype=torch.float64)
    system[0, :5] = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0])
    for i in range(n - 1):  # the value at knot i is (c[i] + 4 c[i+1] + c[i+2]) / 6, with c[n] = 0
        system[i + 1, i : i + 3] = torch.tensor([1.0, 4.0, 1.0][: n - i], dtype=torch.float64) / 6
    return torch.linalg.inv(system)[:, 1:].contiguous()
