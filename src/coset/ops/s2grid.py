"""Functions on the sphere, as coefficients of spherical harmonics and as values on a grid; both ways exact where promised.

Points are ``(sin b sin a, cos b, sin b cos a)``: the polar axis is y, and ``a`` turns about it. With ``N_lm P_lm`` the
associated Legendre functions without the sign (-1)^m,

    Y_lm = s_l N_l|m| P_l|m|(cos b) * { sqrt 2 sin |m| a  (m < 0),  1  (m = 0),  sqrt 2 cos m a  (m > 0) },

    f(b, a) = sum_lm x_lm Y_lm(b, a),        x_lm = s_l^-2 sum_points w f Y_lm.

``s_l`` is 1 for the normalization "integral" (orthonormal), sqrt(4 pi) for "component" (mean square 1), sqrt(4 pi / (2l + 1))
for "norm". A rule of ``beta`` polar nodes integrates polynomials up to a degree d: 2 beta - 1 at Gauss-Legendre nodes
("gauss"), beta - 1 at equidistant angles ("soft", Fejer's first rule, which for even beta is the quadrature of Driscoll and
Healy, Advances in Applied Mathematics 15, 1994, and of SOFT and e3nn). ``alpha`` equal angles integrate frequencies below
``alpha``. Projecting the product of signals of degrees L1 and L2 onto degrees up to L3 is exact if d and alpha - 1 reach L1 +
L2 + L3, and not below.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, unknown

Degrees = int | Sequence[int]  #: a largest degree, or the degrees themselves
SCALES = {"component": lambda l: 4 * math.pi, "integral": lambda l: 1.0, "norm": lambda l: 4 * math.pi / (2 * l + 1)}
TRUTH = torch.empty(0, dtype=torch.float64)  #: what tables are computed in
FOLD = 8  #: fewer channels than this go into one matrix product; more are multiplied member by member, without a copy


def degree_list(degrees: Degrees) -> tuple[int, ...]:
    """``3`` means 0, 1, 2, 3; a sequence means itself and must increase."""
    found = tuple(range(degrees + 1)) if isinstance(degrees, int) else tuple(int(l) for l in degrees)
    if not found or found[0] < 0 or any(a >= b for a, b in pairwise(found)):
        raise InputError(f"degrees are a number >= 0 or increasing numbers, got {degrees!r}")
    return found


def degree_of_rows(degrees: Sequence[int]) -> list[int]:
    """The degree that each row belongs to: l repeated 2l + 1 times."""
    return [l for l in degrees for _ in range(2 * l + 1)]


def legendre(lmax: int, cosine: np.ndarray) -> np.ndarray:
    """``N_lm P_lm`` for 0 <= m <= l <= lmax, ``(nodes, lmax + 1, lmax + 1)``, orthonormal together with :func:`waves`.

    By the recurrence upward in l at fixed m, which is stable (Press et al., Numerical Recipes, 6.7); positive at small
    angles.
    """
    sine = np.sqrt(np.clip(1 - cosine**2, 0, None))
    p = np.zeros((len(cosine), lmax + 1, lmax + 1))
    p[:, 0, 0] = math.sqrt(1 / (4 * math.pi))
    for m in range(1, lmax + 1):
        p[:, m, m] = math.sqrt((2 * m + 1) / (2 * m)) * sine * p[:, m - 1, m - 1]
    for m in range(lmax):
        p[:, m + 1, m] = math.sqrt(2 * m + 3) * cosine * p[:, m, m]
        for l in range(m + 2, lmax + 1):
            step = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            back = math.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
            p[:, l, m] = step * (cosine * p[:, l - 1, m] - back * p[:, l - 2, m])
    return p


def waves(orders: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """``sqrt 2 sin |m| a``, ``1``, ``sqrt 2 cos m a``, ``(angles, orders)``."""
    turn = angles[:, None] * np.abs(orders)
    return np.where(orders < 0, math.sqrt(2) * np.sin(turn), np.where(orders > 0, math.sqrt(2) * np.cos(turn), 1.0))


def polar_rule(kind: str, beta: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the polar nodes, from the north pole down, and weights that sum to 2."""
    if kind == "gauss":
        nodes, weights = np.polynomial.legendre.leggauss(beta)
        return nodes[::-1].copy(), weights[::-1].copy()
    angle = (np.arange(beta) + 0.5) * math.pi / beta
    k = np.arange(1, beta // 2 + 1)
    return np.cos(angle), (2 / beta) * (1 - 2 * (np.cos(2 * angle[:, None] * k) / (4 * k * k - 1)).sum(1))


@dataclass(frozen=True)
class S2Grid:
    """A grid for signals of degrees up to ``lmax`` and orders up to ``mmax``: ``beta`` polar nodes times ``alpha`` angles.

    ``degree`` is the degree of the integrands that must come out exact, ``3 lmax`` (a product of two signals, projected)
    unless given; orders follow in proportion, ``mmax`` of a product's three factors (the frame of an edge needs only those).
    Sizes left out are the least exact ones. Too small a size is an InputError that states the required one; with
    ``exact=False`` it is a warning, for pointwise nonlinearities, which no grid makes exact.
    """

    lmax: int
    mmax: int | None = None
    beta: int = field(default=0, kw_only=True)
    alpha: int = field(default=0, kw_only=True)
    kind: Literal["gauss", "soft"] = field(default="gauss", kw_only=True)
    normalization: str = field(default="component", kw_only=True)
    degree: int | None = field(default=None, kw_only=True)
    exact: bool = field(default=True, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        if self.lmax < 0 or (self.mmax is not None and not 0 <= self.mmax <= self.lmax):
            raise InputError(f"S2Grid: expected 0 <= mmax <= lmax, got lmax {self.lmax}, mmax {self.mmax}")
        if self.kind not in ("gauss", "soft"):
            raise unknown("kind of grid", self.kind, ["gauss", "soft"])
        if self.normalization not in SCALES:
            raise unknown("normalization", self.normalization, SCALES)
        degree = 3 * self.lmax if self.degree is None else self.degree
        order = degree if self.mmax is None else min(degree, 3 * self.mmax)
        beta, alpha = self.least_beta(degree, self.kind), order + 1
        if 0 < self.beta < beta or 0 < self.alpha < alpha:
            got = f"beta {self.beta or beta} x alpha {self.alpha or alpha}"
            text = f"S2Grid: integrands of degree {degree} need beta >= {beta} and alpha >= {alpha} ({self.kind}), got {got}"
            if self.exact:
                raise InputError(f"{text}; pass exact=False where an approximation will do")
            warnings.warn(text, stacklevel=3)
        for name, value in (("degree", degree), ("beta", self.beta or beta), ("alpha", self.alpha or alpha)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_tables", {})
        self.prepare(self.lmax)

    @staticmethod
    def least_beta(degree: int, kind: str = "gauss") -> int:
        """Polar nodes that integrate polynomials of this degree; even for "soft", as its tables are everywhere."""
        return degree // 2 + 1 if kind == "gauss" else degree + 1 + (degree + 1) % 2

    @classmethod
    def for_product(
        cls, l1: int, l2: int, l3: int, *, kind: Literal["gauss", "soft"] = "gauss", normalization: str = "component"
    ) -> S2Grid:
        """The least grid on which products of degrees ``l1`` and ``l2`` are projected exactly onto degrees up to ``l3``."""
        return cls(max(l1, l2, l3), kind=kind, normalization=normalization, degree=l1 + l2 + l3)

    def __len__(self) -> int:
        return self.beta * self.alpha

    # ------------------------------------------------------------------ geometry

    @cached_property
    def angles(self) -> tuple[np.ndarray, np.ndarray]:
        """Polar angles ``(beta,)`` and angles about the axis ``(alpha,)``."""
        return np.arccos(polar_rule(self.kind, self.beta)[0]), np.arange(self.alpha) * (2 * math.pi / self.alpha)

    @cached_property
    def points(self) -> Tensor:
        """Unit vectors ``(beta, alpha, 3)`` float64."""
        b, a = (torch.from_numpy(v) for v in self.angles)
        b, a = b[:, None], a[None, :]
        return torch.stack([b.sin() * a.sin(), b.cos().expand(-1, self.alpha), b.sin() * a.cos()], -1)

    @cached_property
    def weights(self) -> Tensor:
        """Quadrature weights ``(beta, alpha)`` float64, summing to 4 pi."""
        polar = torch.from_numpy(polar_rule(self.kind, self.beta)[1])
        return (polar * (2 * math.pi / self.alpha))[:, None].expand(-1, self.alpha).contiguous()

    def rows(self, degrees: Degrees | None = None) -> tuple[tuple[int, int], ...]:
        """(l, m) of every row of a signal: all |m| <= min(l, mmax), degree by degree."""
        top = self.lmax if self.mmax is None else self.mmax
        return tuple(
            (l, m) for l in degree_list(self.lmax if degrees is None else degrees) for m in range(-min(l, top), min(l, top) + 1)
        )

    # ------------------------------------------------------------------ transforms

    def to_grid(self, x: Tensor, degrees: Degrees | None = None) -> Tensor:
        """Values ``(..., beta, alpha, C)`` of signals ``x (..., rows, C)``; of degrees 0..l unless others are named.

        Raises InputError where the rows are not those of the degrees.
        """
        degrees = self._degrees(x, degrees)
        table = self.table("to", degrees, x)
        return rows_product(table, x).unflatten(-2, (self.beta, self.alpha))

    def from_grid(self, values: Tensor, degrees: Degrees | None = None) -> Tensor:
        """Coefficients ``(..., rows, C)`` of values ``(..., beta, alpha, C)``: the projection onto ``degrees``."""
        if values.ndim < 3 or values.shape[-3:-1] != (self.beta, self.alpha):
            raise InputError(f"from_grid: expected (..., {self.beta}, {self.alpha}, C), got {tuple(values.shape)}")
        degrees = degree_list(self.lmax if degrees is None else degrees)
        return rows_product(self.table("from", degrees, values), values.flatten(-3, -2))

    def table(self, way: Literal["to", "from"], degrees: tuple[int, ...], like: Tensor) -> Tensor:
        """The matrix of a transform, ``(points, rows)`` or ``(rows, points)`` back, in the dtype of ``like``."""
        return constant(self._tables, (way, degrees), lambda: self._matrix(way, degrees), like)  # type: ignore[attr-defined]

    def prepare(self, degrees: Degrees) -> None:
        """Compute the tables for these degrees now: code that is compiled finds them (those of 0..lmax always are there)."""
        for way in ("to", "from"):
            self.table(way, degree_list(degrees), TRUTH)

    def _matrix(self, way: str, degrees: tuple[int, ...]) -> np.ndarray:
        if max(degrees) > self.lmax:
            raise InputError(f"this grid is made for degrees up to {self.lmax}, got {degrees}")
        cosine, weight = polar_rule(self.kind, self.beta)
        l, m = np.array(self.rows(degrees)).T
        polar = legendre(max(degrees), cosine)[:, l, np.abs(m)]
        scale = np.sqrt([SCALES[self.normalization](degree) for degree in l])
        values = polar[:, None] * waves(m, self.angles[1]) * scale
        if way == "to":
            return values.reshape(len(self), len(l))
        weighted = values * (weight * (2 * math.pi / self.alpha))[:, None, None] / scale**2
        return np.ascontiguousarray(weighted.reshape(len(self), len(l)).T)

    def _degrees(self, x: Tensor, degrees: Degrees | None) -> tuple[int, ...]:
        if x.ndim < 2:
            raise InputError(f"to_grid: expected (..., rows, channels), got {tuple(x.shape)}")
        if degrees is None:
            for lmax in range(self.lmax + 1):
                if len(self.rows(lmax)) == x.shape[-2]:
                    return degree_list(lmax)
            sizes = [len(self.rows(lmax)) for lmax in range(self.lmax + 1)]
            raise InputError(f"to_grid: {x.shape[-2]} rows are no complete set of degrees 0..l (those have {sizes} rows)")
        found = degree_list(degrees)
        if len(self.rows(found)) != x.shape[-2]:
            raise InputError(f"to_grid: degrees {found} have {len(self.rows(found))} rows, got {x.shape[-2]}")
        return found


def constant(tables: dict[Any, Tensor], name: Any, make: Callable[[], Any], like: Tensor) -> Tensor:
    """What ``make`` returns (float64) in the dtype and on the device of ``like``, kept in ``tables`` for each of them."""
    if name not in tables:
        with torch.inference_mode(False):  # what is made in inference mode could not be used in training later
            tables[name] = torch.as_tensor(make())
    if torch.compiler.is_compiling():
        return tables[name].to(like)
    key = (name, like.dtype, like.device)
    if key not in tables:
        with torch.inference_mode(False):
            tables[key] = tables[name].to(like)
    return tables[key]


def rows_product(table: Tensor, x: Tensor) -> Tensor:
    """``table (K, rows)`` times ``x (..., rows, C)``: ``(..., K, C)``, in the arrangement that is fastest for C."""
    lead, (rows, channels) = x.shape[:-2], x.shape[-2:]
    if channels < FOLD:
        out = x.movedim(-1, -2).reshape(-1, rows) @ table.T
        return out.view(*lead, channels, len(table)).movedim(-1, -2)
    flat = x.reshape(-1, rows, channels)
    return torch.bmm(table.expand(len(flat), -1, -1), flat).view(*lead, len(table), channels)
