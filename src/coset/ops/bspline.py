"""Cubic splines with uniform knots on [0, r_max], in B-spline form: a look-up and four products.

    s(r) = sum_(j<4) B_j(t) c[i + j],      i = floor(r / h),  t = r / h - i,  h = r_max / intervals

with ``6 B = ((1-t)^3, 3t^3 - 6t^2 + 4, -3t^3 + 3t^2 + 3t + 1, t^3)``, so ``s`` has two continuous derivatives. Outside the
interval ``s`` keeps its value at the end. ``s`` and its first two derivatives vanish at ``r_max`` exactly if the last three
coefficients are 0. Interpolation of a smooth ``f`` with its slopes at the ends has errors of at most ``5/384 h^4 max|f''''|``
in the value and ``1/24 h^3 max|f''''|`` in the slope. Sources: de Boor, A Practical Guide to Splines; Hall & Meyer, J. Approx.
Theory 16 (1976).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError


@dataclass(frozen=True)
class UniformBSpline:
    """The space of cubic splines with ``intervals`` equal pieces on [0, r_max]; coefficients are ``(intervals + 3, ...)``."""

    r_max: float
    intervals: int

    def __post_init__(self) -> None:
        if not self.r_max > 0 or self.intervals < 1:
            raise InputError(f"a spline needs r_max > 0 and at least 1 interval, got {self.r_max}, {self.intervals}")

    @property
    def size(self) -> int:
        """The number of coefficients."""
        return self.intervals + 3

    @property
    def step(self) -> float:
        """The distance of two knots."""
        return self.r_max / self.intervals

    def knots(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """``0, h, ..., r_max``, ``(intervals + 1,)``."""
        return torch.linspace(0, self.r_max, self.intervals + 1, dtype=torch.float64).to(dtype)

    def locate(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """For distances ``(...)`` the interval ``(...)`` int64 and the four basis values ``(..., 4)``, differentiable twice."""
        place = r.clamp(0.0, self.r_max) * (1 / self.step)
        index = place.detach().long().clamp(max=self.intervals - 1)
        return index, pieces(place - index)

    def evaluate(self, coefficients: Tensor, r: Tensor) -> Tensor:
        """The splines ``(..., *rest)`` at distances ``(...)`` for coefficients ``(intervals + 3, *rest)``; any derivative."""
        self.check(coefficients)
        index, basis = self.locate(r)
        return combine(coefficients, index, basis)

    def check(self, coefficients: Tensor) -> None:
        """InputError unless there is one row of coefficients per B-spline."""
        if len(coefficients) != self.size:
            raise InputError(f"{self.intervals} intervals have {self.size} coefficients, got {len(coefficients)} rows")

    def interpolate(self, values: Tensor, slopes: Tensor) -> Tensor:
        """The coefficients for ``values`` ``(intervals + 1, ...)`` at the knots and ``slopes`` ``(2, ...)`` at the two ends.

        Solved in float64, result in the dtype of ``values``. InputError if the shapes do not fit.
        """
        from scipy.linalg import solve_banded  # slow to import

        n = self.intervals
        if len(values) != n + 1 or len(slopes) != 2 or values.shape[1:] != slopes.shape[1:]:
            raise InputError(f"expected {n + 1} values and 2 slopes, got {tuple(values.shape)} and {tuple(slopes.shape)}")
        f, d = (x.detach().double().flatten(1) if x.ndim > 1 else x.detach().double()[:, None] for x in (values, slopes))
        # (c[i] + 4 c[i+1] + c[i+2]) / 6 = f[i]; the slopes give c[0] = c[2] - 2 h d[0] and c[n+2] = c[n] + 2 h d[1]
        right = 6 * f
        right[0] += 2 * self.step * d[0]
        right[-1] -= 2 * self.step * d[1]
        bands = torch.ones(3, n + 1, dtype=torch.float64)
        bands[1] = 4
        bands[0, 1] = bands[2, n - 1] = 2
        inner = torch.from_numpy(solve_banded((1, 1), bands.numpy(), right.cpu().numpy())).to(f.device)
        first, last = inner[1] - 2 * self.step * d[0], inner[n - 1] + 2 * self.step * d[1]
        return torch.cat([first[None], inner, last[None]]).view(n + 3, *values.shape[1:]).to(values.dtype)

    def fit(self, r: Tensor, values: Tensor, *, vanish: bool = False) -> Tensor:
        """The coefficients of least squared error at points ``r`` ``(n,)`` with ``values`` ``(n, ...)``.

        With ``vanish`` the spline and two derivatives are 0 at ``r_max``. Intervals without points take the smallest
        coefficients. Solved in float64, result in the dtype of ``values``. InputError if the shapes do not fit.
        """
        if r.ndim != 1 or values.shape[:1] != r.shape:
            raise InputError(f"expected points (n,) and values (n, ...), got {tuple(r.shape)} and {tuple(values.shape)}")
        index, basis = self.locate(r.detach().double())
        design = torch.zeros(len(r), self.size, dtype=torch.float64, device=r.device)
        design.scatter_(1, index[:, None] + torch.arange(4, device=r.device), basis)
        used = self.size - 3 * vanish
        given = values.detach().double().reshape(len(r), -1)
        found = torch.zeros(self.size, given.shape[1], dtype=torch.float64, device=r.device)
        found[:used] = torch.linalg.lstsq(design[:, :used].cpu(), given.cpu(), driver="gelsd").solution.to(r.device)
        return found.view(self.size, *values.shape[1:]).to(values.dtype)


def pieces(t: Tensor) -> Tensor:
    """The four pieces ``B_j(t)`` of the cubic B-spline, ``(..., 4)``, for ``t`` from 0 to 1."""
    u = 1 - t
    # the two in the middle, 4 - 6 t^2 + 3 t^3 and its mirror image, written so that nothing cancels
    falling, rising = (1 + 3 * v * (1 + t * u) for v in (u, t))
    return torch.stack([u * u * u, falling, rising, t * t * t], -1) / 6


def combine(coefficients: Tensor, index: Tensor, basis: Tensor) -> Tensor:
    """``sum_j basis[..., j] * coefficients[index + j]``: ``(..., *rest)``, linear in both and differentiable in both."""
    flat, shape = index.reshape(-1), coefficients.shape[1:]
    total = coefficients.new_zeros(())
    for j in range(4):
        share = basis[..., j].reshape(-1, *[1] * len(shape))
        total = total + share * coefficients.index_select(0, flat + j)
    return total.view(*index.shape, *shape)
