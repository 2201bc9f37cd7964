"""Gaunt products: signals on the sphere multiplied point by point. O(L^3) for what Clebsch-Gordan coefficients do in O(L^6).

Coefficients ``x_1, x_2`` stand for functions ``f_i = sum_lm x_lm Y_lm``; the product of the functions has the coefficients

    z_{l3 m3} = w3[l3] sum G(l1 m1, l2 m2, l3 m3)  w1[l1] x1_{l1 m1}  w2[l2] x2_{l2 m2},
    G = sqrt((2l1+1)(2l2+1)(2l3+1) / 4 pi) (l1 l2 l3; 0 0 0) w3j(m1, m2, m3)          (orthonormal harmonics).

It is a Clebsch-Gordan product whose path weights are fixed but for one number per degree and operand. Paths with l1 + l2 + l3
odd vanish: there is no cross product in it (:mod:`coset.ops.vector_product` brings those). Equivariant under SO(3), and under
O(3) where every degree l of an operand has parity p (-1)^l with one sign p; signs multiply.

Engines: ``grid`` (values on a Gauss-Legendre grid, exact; the default), ``fourier`` (the same on a torus by FFT, the form of
the paper), ``dense`` (contraction with G, the oracle). Luo, Chen & Krishnapriyan, Enabling Efficient Equivariant Operations
in the Fourier Basis via Gaunt Tensor Products, ICLR 2024, arXiv 2401.10216; grid: Xie et al., The Price of Freedom, ICML
2025.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.gaunt_fourier import TorusGrid
from coset.ops.plan import Operand, Plan, make_plan
from coset.ops.s2grid import SCALES, TRUTH, Degrees, S2Grid, constant, degree_list, degree_of_rows
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps

ENGINES = ("grid", "fourier", "dense")
Engine = Literal["grid", "fourier", "dense"]


@dataclass(frozen=True)
class GauntProduct:
    """``product(x1 (..., rows1, C), x2 (..., rows2, C)) -> (..., rows3, C)``, channel by channel.

    ``degrees`` are largest degrees or lists of them; the third goes up to the sum of the first two and is that sum if left
    out. ``grid`` replaces the least exact grid. Raises InputError for degrees out of reach, a grid below the exactness bound
    (unless it was made with ``exact=False``) and half precision with the engine ``fourier``.
    """

    degrees_1: Degrees
    degrees_2: Degrees
    degrees_3: Degrees | None = None
    engine: Engine = "grid"
    normalization: str = field(default="component", kw_only=True)
    grid: S2Grid | None = field(default=None, kw_only=True)
    #: where the signals are multiplied
    signals: S2Grid | TorusGrid = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.normalization not in SCALES:
            raise unknown("normalization", self.normalization, SCALES)
        first, second = degree_list(self.degrees_1), degree_list(self.degrees_2)
        top = first[-1] + second[-1]
        third = degree_list(top if self.degrees_3 is None else self.degrees_3)
        if third[-1] > top:
            raise InputError(f"GauntProduct: degrees {first[-1]} and {second[-1]} multiply to at most {top}, asked {third[-1]}")
        for name, value in (("degrees_1", first), ("degrees_2", second), ("degrees_3", third)):
            object.__setattr__(self, name, value)
        if self.grid is not None:
            self._check_grid(self.grid, top + third[-1])
        object.__setattr__(self, "_tables", {})
        object.__setattr__(self, "signals", self._signals(first[-1], second[-1], third[-1]))
        if self.engine == "dense":
            self._dense(TRUTH)
        else:
            for degrees in (first, second, third):
                self.signals.prepare(degrees)

    def _signals(self, l1: int, l2: int, l3: int) -> S2Grid | TorusGrid:
        if self.engine == "fourier":
            return TorusGrid(l1 + l2, l3, normalization=self.normalization)
        return self.grid or S2Grid.for_product(l1, l2, l3, normalization=self.normalization)

    def _check_grid(self, grid: S2Grid, degree: int) -> None:
        if grid.normalization != self.normalization:
            raise InputError(f"GauntProduct: normalization {self.normalization}, but that of the grid is {grid.normalization}")
        beta = S2Grid.least_beta(degree, grid.kind)
        if grid.exact and (grid.beta < beta or grid.alpha < degree + 1):
            raise InputError(
                f"GauntProduct: this product needs beta >= {beta} and alpha >= {degree + 1} ({grid.kind}), "
                f"got {grid.beta} x {grid.alpha}; S2Grid.for_product makes the least grid"
            )

    @classmethod
    def from_irreps(
        cls, irreps_1: Any, irreps_2: Any, irreps_3: Any = None, engine: Engine = "grid", *, pad: bool = False,
        normalization: str = "component",
    ) -> GauntProduct:  # fmt: skip
        """The product of features with these irreps: each degree once, all with the same multiplicity (the channels).

        ``irreps_3`` left out: all degrees up to the larger of the two. Raises InputError for mixed parity, for parities of
        the result that the operands do not multiply to, and for missing degrees unless ``pad`` (then they count as zero).
        """
        (l1, p1), (l2, p2) = natural(irreps_1, pad=pad), natural(irreps_2, pad=pad)
        l3: Degrees = max(l1[-1], l2[-1])
        if irreps_3 is not None:
            l3, p3 = natural(irreps_3, pad=True)
            if p3 != p1 * p2:
                raise InputError(
                    f"GauntProduct: {irreps_1} times {irreps_2} has parity {'+-'[p1 * p2 < 0]}(-1)^l, asked for {irreps_3}; "
                    "a vector product reaches the other one"
                )
        return cls(l1, l2, l3, engine, normalization=normalization)

    def __call__(
        self, x1: Tensor, x2: Tensor, w1: Tensor | None = None, w2: Tensor | None = None, w3: Tensor | None = None
    ) -> Tensor:
        """Weights are ``(degrees,)``, or ``(..., degrees, C)`` (per channel, per member), in the order of the degrees."""
        first, second, third = self._degrees
        x1, x2 = scaled(x1, w1, first, "w1"), scaled(x2, w2, second, "w2")
        if self.engine == "dense":
            return scaled(contract(self._dense(x1), x1, x2), w3, third, "w3")
        signals = self.signals
        values = signals.to_grid(x1, first) * signals.to_grid(x2, second)
        return scaled(signals.from_grid(values, third), w3, third, "w3")

    @property
    def _degrees(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return self.degrees_1, self.degrees_2, self.degrees_3  # type: ignore[return-value]

    def _dense(self, like: Tensor) -> Tensor:
        return constant(self._tables, "dense", self.coefficients, like)  # type: ignore[attr-defined]

    def coefficients(self) -> Tensor:
        """The dense tensor of the product, ``(rows1, rows2, rows3)`` float64, in this normalization."""
        return gaunt_tensor(*self._degrees, self.normalization)

    @cached_property
    def plan(self) -> Plan:
        """The same product for :func:`coset.ops.product.product`: two operands with channels, one output."""
        dense = self.coefficients().numpy()
        table = np.argwhere(dense)
        sizes = zip(("x1", "x2", "out"), dense.shape, strict=True)
        x1, x2, out = (Operand(name, rows) for name, rows in sizes)
        label = "gaunt " + ",".join(str(degrees[-1]) for degrees in self._degrees)
        return make_plan((x1, x2), out, table, dense[tuple(table.T)], label)

    def output_weights(self) -> Tensor:
        """``w3`` with which independent inputs of variance 1 give outputs of variance 1 in every degree; float64.

        The variance of degree l3 is ``sum_{l1 l2} (G's norm)^2 / (2 l3 + 1)``, over the degrees given.
        """
        return unit_variance(self.coefficients(), self._degrees[2])


def dense_of(product: Callable[..., Tensor], rows_1: int, rows_2: int) -> Tensor:
    """The tensor ``(rows1, rows2, rows3)`` float64 of any bilinear product, by feeding it all pairs of unit vectors."""
    a, b = (torch.eye(rows, dtype=torch.float64).unsqueeze(-1) for rows in (rows_1, rows_2))
    return product(a.repeat_interleave(rows_2, 0), b.repeat(rows_1, 1, 1)).view(rows_1, rows_2, -1)


def unit_variance(dense: Tensor, degrees: Sequence[int]) -> Tensor:
    """One factor per degree of the last axis of ``(rows1, rows2, rows3)`` that makes its variance 1 (or is 1)."""
    power = torch.stack([part.mean() for part in dense.square().sum((0, 1)).split([2 * l + 1 for l in degrees])])
    return torch.where(power > 1e-24, power, torch.ones_like(power)).rsqrt()


def contract(dense: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """``sum_ab dense[a, b, k] x1[..., a, c] x2[..., b, c]``."""
    return torch.einsum("abk,...ac,...bc->...kc", dense.to(x1), x1, x2)


def scaled(x: Tensor, weights: Tensor | None, degrees: Sequence[int], name: str) -> Tensor:
    """Every degree's rows times its weight."""
    if weights is None:
        return x
    axis = -1 if weights.ndim == 1 else -2
    if weights.shape[axis] != len(degrees):
        raise InputError(f"{name} has one weight per degree of {tuple(degrees)}, got {tuple(weights.shape)}")
    weights = weights.to(x.dtype).unsqueeze(-1) if weights.ndim == 1 else weights
    place = {l: i for i, l in enumerate(degrees)}
    rows = torch.tensor([place[l] for l in degree_of_rows(degrees)], device=x.device)
    return x * weights.index_select(-2, rows)


def gaunt_path(l1: int, l2: int, l3: int, normalization: str = "component") -> float:
    """What stands before the unit-norm w3j in G: ``sqrt((2l1+1)(2l2+1)(2l3+1)/4 pi) (l1 l2 l3; 0 0 0)`` and the scales."""
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    center = float(wigner_3j(l1, l2, l3)[l1, l2, l3])
    s1, s2, s3 = (math.sqrt(SCALES[normalization](l)) for l in (l1, l2, l3))
    return math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * math.pi)) * center * s1 * s2 / s3


@lru_cache(maxsize=64)
def gaunt_tensor(
    degrees_1: tuple[int, ...], degrees_2: tuple[int, ...], degrees_3: tuple[int, ...], normalization: str = "component"
) -> Tensor:
    """All Gaunt coefficients between these degrees, ``(rows1, rows2, rows3)`` float64."""
    blocks = [[[gaunt_path(a, b, k, normalization) * _block(a, b, k) for k in degrees_3] for b in degrees_2] for a in degrees_1]
    return torch.cat([torch.cat([torch.cat(row, 2) for row in plane], 1) for plane in blocks], 0)


def _block(l1: int, l2: int, l3: int) -> Tensor:
    if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0:
        return wigner_3j(l1, l2, l3)
    return torch.zeros(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1, dtype=torch.float64)


def natural(irreps: Any, *, pad: bool = False) -> tuple[tuple[int, ...], int]:
    """Degrees and sign p of features whose every degree l has parity p (-1)^l, once, with one multiplicity.

    Raises InputError that names the irreps in the way; missing degrees pass with ``pad`` only.
    """
    found: Iterable[Any] = list(Irreps(irreps))
    blocks = [(mul, ir) for mul, ir in found]
    if not blocks:
        raise InputError("signals on the sphere need at least one irrep, got none")
    signs = {ir.p * (-1) ** ir.l for _, ir in blocks}
    if len(signs) > 1:
        odd = [str(ir) for _, ir in blocks if ir.p * (-1) ** ir.l != blocks[0][1].p * (-1) ** blocks[0][1].l]
        raise InputError(
            f"mixed parity: beside {blocks[0][1]} there are {', '.join(odd)} in {irreps}; a signal on the sphere has parity "
            "p (-1)^l with one sign p for all degrees: make two signals of them"
        )
    if len({mul for mul, _ in blocks}) > 1:
        raise InputError(f"the channels of a signal share all degrees: expected one multiplicity, got {irreps}; mix them first")
    degrees = [ir.l for _, ir in blocks]
    missing = [l for l in range(max(degrees) + 1) if l not in degrees]
    if missing and not pad:
        raise InputError(f"{irreps} lacks the degrees {missing}; pad=True counts them as zero")
    return degree_list(degrees), signs.pop()
