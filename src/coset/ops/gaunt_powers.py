"""Many-body features from powers of one signal: ``f, f^2, ..., f^nu`` projected back, each order with its own weights.

    B_l = sum_{k = 1..nu} W[species, k, l] proj_l(f^k),      f = sum_lm x_lm Y_lm .

Powers are formed on a grid that is exact for degree ``nu L + L_out`` by repeated squaring, f^k = f^{k // 2} f^{k - k // 2}:
the Gaunt form of the symmetric contraction of MACE, O(nu L^3) where that one takes O(L^{3 nu}) coefficients, with one weight
per degree where that one has many. Luo, Chen & Krishnapriyan, ICLR 2024, arXiv 2401.10216.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.gaunt import GauntProduct, contract, scaled
from coset.ops.gaunt_fourier import TorusGrid
from coset.ops.s2grid import S2Grid, degree_list


@dataclass(frozen=True)
class GauntPowers:
    """``powers(x (N, rows, C), weights, species (N,)) -> (N, rows_out, C)`` for degrees 0..``lmax`` to 0..``lout``.

    ``weights`` are ``(order, lout + 1, C)``, or ``(elements, order, lout + 1, C)`` selected by ``species``. InputError for an
    order below 1 and for degrees that no power reaches.
    """

    lmax: int
    lout: int
    order: int
    engine: str = "grid"
    normalization: str = field(default="component", kw_only=True)
    #: where powers are formed
    signals: S2Grid | TorusGrid = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.engine not in ("grid", "fourier", "dense"):
            raise unknown("engine", self.engine, ["grid", "fourier", "dense"])
        if self.order < 1 or not 0 <= self.lout <= self.order * self.lmax:
            raise InputError(
                f"GauntPowers: order >= 1 and 0 <= lout <= order lmax, got {self.order}, lout {self.lout}, lmax {self.lmax}"
            )
        band, top = self.order * self.lmax, max(self.lmax, self.lout)
        signals: S2Grid | TorusGrid = S2Grid(top, degree=band + self.lout, normalization=self.normalization)
        if self.engine == "fourier":
            signals = TorusGrid(band, self.lout, normalization=self.normalization)
        for lmax in (self.lmax, self.lout):
            signals.prepare(lmax)
        object.__setattr__(self, "signals", signals)

    def __call__(self, x: Tensor, weights: Tensor, species: Tensor | None = None) -> Tensor:
        """The weighted sum over orders."""
        expected = (self.order, self.lout + 1)
        if weights.shape[-3:-1] != expected or (weights.ndim == 4) is (species is None):
            raise InputError(
                f"GauntPowers: weights are (order {expected[0]}, degrees {expected[1]}, C), with species (elements, ...); got "
                f"{tuple(weights.shape)} and species {'missing' if species is None else 'given'}"
            )
        chosen = weights if species is None else weights.index_select(0, species)
        degrees = degree_list(self.lout)
        parts = self.project(x)
        total = scaled(parts[0], chosen[..., 0, :, :], degrees, "weights")
        for k in range(1, self.order):
            total = total + scaled(parts[k], chosen[..., k, :, :], degrees, "weights")
        return total

    def project(self, x: Tensor) -> list[Tensor]:
        """The projections of all powers 1..order, each ``(..., rows_out, C)``."""
        first = _cut(x, self.lmax, self.lout)
        if self.engine == "dense":
            return [first, *(self._dense(x, k) for k in range(2, self.order + 1))]
        signals, powers = self.signals, {1: self.signals.to_grid(x, degree_list(self.lmax))}
        for k in range(2, self.order + 1):
            powers[k] = powers[k // 2] * powers[k - k // 2]
        return [first, *(signals.from_grid(powers[k], degree_list(self.lout)) for k in range(2, self.order + 1))]

    def _dense(self, x: Tensor, power: int) -> Tensor:
        """The same by Gaunt coefficients, one factor at a time: the oracle."""
        total, reach = x, self.lmax
        for _ in range(power - 1):
            step = GauntProduct(reach, self.lmax, normalization=self.normalization)
            total, reach = contract(step.coefficients(), total, x), reach + self.lmax
        return _cut(total, reach, self.lout)


def _cut(x: Tensor, have: int, want: int) -> Tensor:
    """Degrees 0..want of a signal with degrees 0..have; those it lacks are zero."""
    if want <= have:
        return x[..., : (want + 1) ** 2, :]
    missing = (want + 1) ** 2 - (have + 1) ** 2
    return torch.cat([x, x.new_zeros(*x.shape[:-2], missing, x.shape[-1])], -2)
