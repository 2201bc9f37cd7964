"""All ways to couple ``nu`` equal arguments to an irrep: an orthonormal basis of the symmetric equivariant maps.

A *covariant* of degree ``d`` and type ``(l, p)`` is a row of ``2l + 1`` homogeneous polynomials of degree ``d`` in the
components of ``x`` that turn like that irrep when ``x`` turns. Those of degree ``d`` come from those of degree ``d - 1`` by
one more Clebsch-Gordan product with ``x``: every one of them is reached, because ``d * P = sum_i x_i dP/dx_i`` and the gradient
of a covariant is made of covariants. Polynomials commute, so the result is symmetric in its arguments without any
symmetrizing, and what is linearly dependent (most coupling trees are) is removed by a Gram-Schmidt process in a fixed order.

The inner product is that of the symmetric tensors behind the polynomials, ``<x^a, x^b> = delta_ab a! / d!``. It is invariant
under rotations, so by Schur's lemma it is enough to orthonormalize the first component of each covariant. In this norm every
component of a basis element has norm 1, which is what "component" normalization means for coupling tensors.

Source: the construction is Batatia et al., MACE (2022), eq. 10, with dependent couplings removed; the inner product is that of
Bombieri and Fischer.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from coset.ops.polynomial import Monomial
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irrep

DEPENDENT = 1e-8
"""A covariant whose remainder is smaller than this (all have norm about 1) is a combination of the ones before it."""
ROUNDING = 1e-13
"""Coefficients below this are what is left of exact cancellations."""


@dataclass(frozen=True)
class Block:
    """The rows of ``x`` that form one copy of an irrep."""

    irrep: Irrep
    rows: tuple[int, ...]


Covariant = list[dict[Monomial, float]]
"""The ``2l + 1`` polynomials of a covariant, each as monomial -> coefficient."""


def symmetric_basis(blocks: Sequence[Block], outputs: Sequence[Irrep], order: int) -> dict[Irrep, list[Covariant]]:
    """For each irrep of ``outputs`` the independent covariants of degree ``order`` in the variables of ``blocks``."""
    basis = _covariants(tuple(blocks), max(ir.l for ir in outputs), order, order)
    monomials = _Monomials.of(blocks, order).listed
    found: dict[Irrep, list[Covariant]] = {}
    for irrep in outputs:
        found[irrep] = [
            [{monomials[k]: float(row[k]) for k in np.flatnonzero(row)} for row in covariant]
            for covariant in basis.get(irrep, ())
        ]
    return found


@lru_cache(maxsize=64)
def _covariants(blocks: tuple[Block, ...], lmax: int, degree: int, order: int) -> dict[Irrep, list[np.ndarray]]:
    """The covariants of ``degree`` from which one of degree ``order`` and ``l <= lmax`` can still be made.

    Each is an array ``(2l + 1, monomials)``.
    """
    reach = lmax + (order - degree) * max(block.irrep.l for block in blocks)
    monomials = _Monomials.of(blocks, degree)
    made: dict[Irrep, list[np.ndarray]] = defaultdict(list)
    if degree == 1:
        for block in blocks:
            rows = np.zeros((block.irrep.dim, len(monomials.listed)))
            rows[np.arange(block.irrep.dim), [monomials.place[(row,)] for row in block.rows]] = 1.0
            made[block.irrep].append(rows)
        return {irrep: covariants for irrep, covariants in made.items() if irrep.l <= reach}
    below = _covariants(blocks, lmax, degree - 1, order)
    for left in sorted(below, key=lambda ir: (ir.l, ir.p)):
        for covariant in below[left]:
            for block in blocks:
                for irrep in left * block.irrep:
                    if irrep.l <= reach:
                        made[irrep].append(_couple(covariant, left, block, irrep, blocks, degree))
    return {irrep: _independent(candidates, monomials.norms) for irrep, candidates in made.items()}


def _couple(q: np.ndarray, left: Irrep, block: Block, irrep: Irrep, blocks: Sequence[Block], degree: int) -> np.ndarray:
    """``sum_{m, m'} sqrt(2L+1) (l' l L; m' m M) q_m' x_m`` as polynomials of ``degree``."""
    w3j = np.asarray(wigner_3j(left.l, block.irrep.l, irrep.l)) * math.sqrt(irrep.dim)
    times = _Monomials.of(blocks, degree - 1).times
    product = np.zeros((irrep.dim, len(_Monomials.of(blocks, degree).listed)))
    for m, row in enumerate(block.rows):
        product[:, times[row]] += w3j[:, m, :].T @ q
    return product


def _independent(candidates: list[np.ndarray], norms: np.ndarray) -> list[np.ndarray]:
    """Gram-Schmidt in the given order, each remainder taken twice; small remainders are dependent and left out."""
    kept: list[np.ndarray] = []
    for candidate in candidates:
        size = math.sqrt(float((candidate[0] ** 2 * norms).sum()))
        if size < DEPENDENT:
            continue
        rest = candidate / size
        for _ in range(2):
            for other in kept:
                rest = rest - float((other[0] * rest[0] * norms).sum()) * other
        size = math.sqrt(float((rest[0] ** 2 * norms).sum()))
        if size > DEPENDENT:
            kept.append(rest / size)
    return [np.where(np.abs(covariant) < ROUNDING, 0.0, covariant) for covariant in kept]


class _Monomials:
    """The monomials of one degree: their list, places, norms, and where each goes when multiplied by a variable."""

    def __init__(self, variables: tuple[int, ...], degree: int) -> None:
        self.listed: list[Monomial] = list(itertools.combinations_with_replacement(variables, degree))
        self.place = {monomial: k for k, monomial in enumerate(self.listed)}
        factorials = [math.prod(math.factorial(monomial.count(v)) for v in set(monomial)) for monomial in self.listed]
        self.norms = np.asarray(factorials) / math.factorial(degree)
        self._variables, self._degree = variables, degree

    @property
    def times(self) -> dict[int, np.ndarray]:
        """For each variable the places, one degree higher, of the monomials times that variable."""
        return _times(self._variables, self._degree)

    @staticmethod
    def of(blocks: Sequence[Block], degree: int) -> _Monomials:
        return _monomials(tuple(sorted(row for block in blocks for row in block.rows)), degree)


@lru_cache(maxsize=32)
def _monomials(variables: tuple[int, ...], degree: int) -> _Monomials:
    return _Monomials(variables, degree)


@lru_cache(maxsize=32)
def _times(variables: tuple[int, ...], degree: int) -> dict[int, np.ndarray]:
    low, high = _monomials(variables, degree), _monomials(variables, degree + 1)
    return {v: np.asarray([high.place[tuple(sorted((*monomial, v)))] for monomial in low.listed]) for v in variables}
