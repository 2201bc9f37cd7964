"""Tables of radial functions: a trained radial network replaced by cubic splines with a measured error.

    table = tabulate(mlp, 5.0, basis=lambda r: bessel_basis(r, 5.0) * polynomial_envelope(r, 5.0).unsqueeze(-1))
    weights = table(r)                        # (E, ...) like the network's, at the cost of a look-up

Inside a product no weights per edge need exist (:mod:`coset.ops.tabulated`)::

    product = channelwise(...)                # with one weight per edge, path and channel
    out = table_convolution(product.plan, table.view(paths, channels), r, x, s, edges)

The network is read in float64 at the knots, with its slopes at both ends, and interpolated
(:class:`coset.ops.bspline.UniformBSpline`). The error is what is found at eight points in every interval, for the value and
for the slope, since forces need both; intervals are divided until both are within the tolerance. Source of the idea for
interatomic potentials: Miklaucic et al., arXiv 2509.08418; error bounds: Hall & Meyer, J. Approx. Theory 16 (1976).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.ops.bspline import UniformBSpline, pieces
from coset.ops.index import Index
from coset.ops.plan import Plan
from coset.ops.product import product
from coset.ops.tabulated import INTERVAL, tabulated, windows

LIMIT = 1 << 14  #: intervals at most
FIRST = 16  #: intervals to begin with
PROBES = 8  #: points per interval at which the error is measured

_tabulated: dict[str, Plan] = {}


@dataclass(frozen=True)
class TableError:
    """Largest deviations found, relative to the largest absolute value (slope: to the largest absolute slope) on [0, r_max].

    ``value`` and ``slope`` are those of the splines in float64; ``rounding`` is what storing and summing the table in its own
    dtype adds to the value.
    """

    value: float
    slope: float
    rounding: float

    def __str__(self) -> str:
        return f"value {self.value:.1e}, slope {self.slope:.1e}, rounding {self.rounding:.1e}"


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Radial functions as splines: ``table(r)`` is ``(..., *shape)`` for distances ``(...)``, differentiable to any order.

    ``coefficients`` are ``(intervals + 3, *shape)``, in the table's dtype; a kernel takes them with ``table.locate(r)``.
    """

    spline: UniformBSpline
    coefficients: Tensor
    error: TableError

    def __call__(self, r: Tensor) -> Tensor:
        """The functions at distances ``(...)`` of the table's dtype; beyond ``r_max`` their value there."""
        return self.spline.evaluate(self.coefficients, r)

    @property
    def shape(self) -> torch.Size:
        """Of the functions' values at one distance."""
        return self.coefficients.shape[1:]

    def locate(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """The interval and the four basis values of each distance, as :meth:`coset.ops.bspline.UniformBSpline.locate`."""
        return self.spline.locate(r)

    def to(self, where: torch.dtype | torch.device | str) -> RadialTable:
        """The same table in another dtype or on another device; the stated rounding is that of the first."""
        return replace(self, coefficients=self.coefficients.to(where))

    def view(self, *shape: int) -> RadialTable:
        """The same functions arranged as ``shape``, for instance (paths, channels)."""
        return replace(self, coefficients=self.coefficients.view(len(self.coefficients), *shape))

    def __str__(self) -> str:
        s = self.spline
        size = self.coefficients.numel() * self.coefficients.itemsize / 1024
        shape = " x ".join(map(str, self.shape)) or "1"
        return f"{shape} radial functions on [0, {s.r_max:g}], {s.intervals} intervals, {size:.0f} KB; error: {self.error}"


def tabulate(
    function: Callable[[Tensor], Tensor],
    r_max: float,
    *,
    basis: Callable[[Tensor], Tensor] | None = None,
    tolerance: float = 1e-6,
    intervals: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> RadialTable:
    """A table of ``function``, a network or any differentiable function of distances ``(E,)`` with values ``(E, ...)``.

    With ``basis`` it is ``function(basis(r))``. A ``nn.Module`` is copied and read in float64; other functions are called with
    float64 distances. ``intervals`` fixes their number; otherwise it is doubled until value and slope are within
    ``tolerance`` of the largest value and slope; the value alone is then about a hundred times better. If functions, slopes and
    curvatures vanish at ``r_max``, so do the splines.

    The table holds numbers: gradients do not flow back to the function. InputError if the values do not fit, are not finite, or
    the tolerance is out of reach (a kink in the function, or a function that computes in float32).
    """
    f = _Sampled(function, basis, r_max)
    count = FIRST if intervals is None else intervals
    while True:
        table = _table(f, UniformBSpline(r_max, count), dtype)
        worst = max(table.error.value, table.error.slope)
        if intervals is not None or worst <= tolerance:
            return table
        count *= 2 ** max(1, int(math.log2(worst / tolerance) / 4))  # no spline converges faster than by 2^4
        if count > LIMIT:
            raise InputError(
                f"tabulate: {table.spline.intervals} intervals leave an error of {table.error}, above {tolerance:g}: has the "
                "function a kink, or does it compute in float32? raise the tolerance or give intervals="
            )


class _Sampled:
    """The function in float64, with its slope."""

    def __init__(self, function: Callable, basis: Callable | None, r_max: float) -> None:
        self._parts = [_double(part) for part in (basis, function) if part is not None]
        self.r_max = r_max

    def value(self, r: Tensor) -> Tensor:
        """``(n, outputs...)`` of float64 distances ``(n,)``."""
        out = r
        for part in self._parts:
            out = part(out)
        if out.shape[:1] != r.shape:
            raise InputError(f"tabulate: {len(r)} distances gave values {tuple(out.shape)}; expected ({len(r)}, ...)")
        return out.double()

    def both(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Values and slopes ``(n, outputs...)``."""
        with torch.enable_grad():
            value, slope = torch.autograd.functional.jvp(self.value, r, torch.ones_like(r))
        if not bool(torch.isfinite(value).all() and torch.isfinite(slope).all()):
            raise InputError(f"tabulate: the function or its slope is not finite somewhere on [0, {self.r_max:g}]")
        return value.detach(), slope.detach()


def table_convolution(
    plan: Plan,
    table: RadialTable,
    r: Tensor,
    x: Tensor,
    s: Tensor,
    indices: Mapping[str, Index],
    *,
    backend: str = "auto",
) -> Tensor:
    """A product with weights ``table(r)``, read from the table edge by edge inside the kernel.

    ``plan`` takes ``x``, ``s`` and weights ``w`` per edge, as :func:`coset.ops.tensor_product.channelwise` makes it, ``r`` are
    distances ``(E,)``, ``table.shape`` is (paths, channels), the rest as in :func:`coset.ops.product.product`. Differentiable
    to any order in ``r``, ``x``, ``s`` and ``table.coefficients``. InputError if table and plan do not fit.
    """
    rows = plan.inputs[plan.position("w")].rows
    if len(table.shape) != 2 or table.shape[0] != rows:
        raise InputError(
            f"table_convolution: the product has {rows} paths, the table is {tuple(table.shape)}; arrange it with "
            f"table.view({rows}, channels)"
        )
    if plan.key not in _tabulated:
        _tabulated[plan.key] = tabulated(plan, "w")
    index, basis = table.locate(r)
    here = {**indices, INTERVAL: Index(index, table.spline.intervals)}
    return product(_tabulated[plan.key], [x, s, basis, windows(table.coefficients)], here, backend=backend)


def _double(part: Callable) -> Callable:
    if not isinstance(part, nn.Module):
        return part
    return copy.deepcopy(part).double().eval()


def _table(f: _Sampled, spline: UniformBSpline, dtype: torch.dtype) -> RadialTable:
    """The interpolation, with its last three coefficients zero if that loses nothing."""
    value, _ = f.both(spline.knots())
    _, ends = f.both(spline.knots()[[0, -1]])
    coefficients = spline.interpolate(value, ends)
    vanishing = torch.cat([coefficients[:-3], torch.zeros_like(coefficients[-3:])])
    largest, error = _error(f, spline, coefficients, dtype, 0)
    # only the last three intervals change
    _, changed = _error(f, spline, vanishing, dtype, max(spline.intervals - 3, 0))
    if bool((changed <= 1.1 * error).all()):
        coefficients, error = vanishing, torch.maximum(error, changed)
    return RadialTable(spline, coefficients.to(dtype), TableError(*(error / largest).tolist()))


def _error(f: _Sampled, spline: UniformBSpline, coefficients: Tensor, dtype: torch.dtype, first: int) -> tuple[Tensor, Tensor]:
    """From interval ``first`` on: the largest value, slope and value, and the largest errors of a :class:`TableError`."""
    intervals = torch.arange(first, spline.intervals, dtype=torch.float64)
    stored, largest, error = coefficients.to(dtype), torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for t in (torch.arange(PROBES, dtype=torch.float64) + 0.5) / PROBES:
        truth, truth_slope = f.both((intervals + t) * spline.step)
        weights, rise = torch.autograd.functional.jvp(pieces, t, torch.ones_like(t))
        found, slope, rounded = (
            _sum(w, c, first) for w, c in ((weights, coefficients), (rise, coefficients), (weights, stored))
        )
        pairs = (found - truth, slope / spline.step - truth_slope, rounded.double() - found)
        error = torch.maximum(error, torch.stack([pair.abs().max() for pair in pairs]))
        largest = torch.maximum(largest, torch.stack([x.abs().max() for x in (truth, truth_slope, truth)]))
    return torch.where(largest > 0, largest, torch.ones_like(largest)), error


def _sum(weights: Tensor, coefficients: Tensor, first: int) -> Tensor:
    """The spline at one place in every interval from ``first`` on."""
    count = len(coefficients) - 3
    terms = (w * coefficients[first + j : count + j] for j, w in enumerate(weights.to(coefficients.dtype)))
    return sum(terms, coefficients.new_zeros(()))
