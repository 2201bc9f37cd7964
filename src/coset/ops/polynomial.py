"""Channelwise polynomials with weights per species: what a symmetric contraction is once its symbols are gone.

Node ``n`` of species ``z(n)`` has variables ``x[n, i, c]``; channel by channel,

    out[n, r, c] = sum_t  k_t  w[z(n), p_t, c]  x[n, i_1, c] ... x[n, i_d, c]          over the terms t with output r_t = r,

a term being an output ``r_t``, a *monomial* (a sorted tuple of variables, of any degree) and a weight ``p_t``. The order of the
variables does not matter, so a symmetric tensor with ``d!`` equal entries is one term. Terms that share output and monomial
share a *slot*: the number that multiplies that monomial is ``a[z, slot, c] = sum k_t w[z, p_t, c]``, made once per species.
With the slots at hand Horner's rule spends one fused multiply-add on each of them (:attr:`Polynomials.trees`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from coset.errors import InputError

Monomial = tuple[int, ...]
_KNOWN: dict[
    str, Polynomials
] = {}  # those made in this process by their key, so that a graph of tensors and strings can name one


def known_polynomials(key: str) -> Polynomials:
    """The polynomials with this :attr:`Polynomials.key`; InputError if none were made in this process."""
    if key not in _KNOWN:
        raise InputError(f"no polynomials with key {key} were made in this process; make the contraction again first")
    return _KNOWN[key]


@dataclass(frozen=True)
class Horner:
    """``a[slot] + sum_v x[v] * branch_v``: a polynomial with every common factor taken out. ``slot`` -1: no constant."""

    slot: int
    branches: tuple[tuple[int, Horner], ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether it is only a coefficient."""
        return not self.branches

    def operations(self) -> int:
        """Multiply-adds of one evaluation: one per slot and one per inner branch."""
        return len(self.branches) + sum(branch.operations() for _, branch in self.branches)

    def pieces(self, limit: int) -> list[Horner]:
        """Trees of at most ``limit`` operations (or a single branch) whose sum is this one, in the same order."""
        if self.operations() <= limit:
            return [self]
        parts = [(v, part) for v, branch in self.branches for part in branch.pieces(limit - 1)]
        found, size = [Horner(self.slot)] if self.slot >= 0 else [], limit
        for v, part in parts:
            cost = 1 + part.operations()
            if size + cost > limit:
                found.append(Horner(-1))
                size = 0
            found[-1] = Horner(found[-1].slot, (*found[-1].branches, (v, part)))
            size += cost
        return found


@dataclass(frozen=True)
class Polynomials:
    """``outputs`` polynomials in ``variables`` variables, linear in ``weights`` weights; terms ``(output, monomial, weight)``.

    Raises InputError for a term that points outside, an unsorted monomial or one of degree zero.
    """

    variables: int
    outputs: int
    weights: int
    terms: tuple[tuple[int, Monomial, int], ...]
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.terms) != len(self.coefficients):
            raise InputError(f"{len(self.terms)} terms but {len(self.coefficients)} coefficients")
        for output, monomial, weight in self.terms:
            inside = 0 <= output < self.outputs and 0 <= weight < self.weights and bool(monomial)
            if not (inside and monomial[0] >= 0 and monomial[-1] < self.variables and list(monomial) == sorted(monomial)):
                raise InputError(
                    f"term {(output, monomial, weight)} does not fit {self}; monomials are sorted and of degree at least 1"
                )
        _KNOWN.setdefault(self.key, self)

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """A name made from the content: equal in every process."""
        sizes = (self.variables, self.outputs, self.weights)
        text = json.dumps([sizes, self.terms, [c.hex() for c in self.coefficients]])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @cached_property
    def shape_key(self) -> str:
        """A name made from the slots alone: compiled code depends on nothing else (coefficients enter as data)."""
        text = json.dumps([self.variables, self.outputs, self.slots])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def degree(self) -> int:
        """The largest degree of a monomial."""
        return max((len(monomial) for _, monomial, _ in self.terms), default=0)

    @cached_property
    def slots(self) -> tuple[tuple[int, Monomial], ...]:
        """The different ``(output, monomial)``, in the order in which Horner's rule reads them."""
        return tuple((output, monomial) for output in range(self.outputs) for monomial in _walk(self._factored[output]))

    @cached_property
    def trees(self) -> tuple[Horner, ...]:
        """One tree per output; a leaf names its slot."""
        place = {slot: k for k, slot in enumerate(self.slots)}

        def number(tree: _Factored, output: int, prefix: Monomial) -> Horner:
            slot = place.get((output, tuple(sorted(prefix))), -1) if tree.constant else -1
            return Horner(slot, tuple((v, number(branch, output, (*prefix, v))) for v, branch in tree.branches))

        return tuple(number(tree, output, ()) for output, tree in enumerate(self._factored))

    def bundles(self, limit: int) -> list[list[tuple[int, Horner]]]:
        """The trees, cut and packed into bundles of about ``limit`` operations; at least one bundle."""
        found: list[list[tuple[int, Horner]]] = [[]]
        size = 0
        for output, tree in enumerate(self.trees):
            for piece in tree.pieces(limit):
                if found[-1] and size + piece.operations() > limit:
                    found.append([])
                    size = 0
                if piece.branches:
                    found[-1].append((output, piece))
                    size += piece.operations()
        return found

    @cached_property
    def mixing(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(slot, weight, coefficient)`` of every term, sorted: ``a[slot] += coefficient * w[weight]``."""
        place = {slot: k for k, slot in enumerate(self.slots)}
        slots = np.asarray([place[output, monomial] for output, monomial, _ in self.terms], dtype=np.int64)
        weights = np.asarray([weight for *_, weight in self.terms], dtype=np.int64)
        order = np.lexsort((weights, slots))
        return slots[order], weights[order], np.asarray(self.coefficients, dtype=np.float64)[order]

    def matrix(self) -> np.ndarray:
        """:attr:`mixing` as a dense ``(slots, weights)`` float64 matrix."""
        slots, weights, coefficients = self.mixing
        dense = np.zeros((len(self.slots), self.weights))
        dense[slots, weights] = coefficients
        return dense

    @cached_property
    def operations(self) -> int:
        """Multiply-adds per node and channel once the slots are known."""
        return sum(tree.operations() for tree in self.trees)

    @cached_property
    def _factored(self) -> tuple[_Factored, ...]:
        monomials: list[set[Monomial]] = [set() for _ in range(self.outputs)]
        for output, monomial, _ in self.terms:
            monomials[output].add(monomial)
        return tuple(_factor(sorted(group)) for group in monomials)

    def __str__(self) -> str:
        return f"{self.outputs} polynomials in {self.variables} variables, {self.weights} weights, {len(self.terms)} terms"


@dataclass(frozen=True)
class _Factored:
    constant: bool
    branches: tuple[tuple[int, _Factored], ...]


def _factor(monomials: list[Monomial]) -> _Factored:
    """Horner's rule in many variables, greedily: take out the variable that most monomials contain, until none is left."""
    rest = [monomial for monomial in monomials if monomial]
    branches = []
    while rest:
        count = Counter(v for monomial in rest for v in set(monomial))
        best = min(count, key=lambda v: (-count[v], v))
        quotients = []
        for monomial in rest:
            if best in monomial:
                at = monomial.index(best)
                quotients.append(monomial[:at] + monomial[at + 1 :])
        branches.append((best, _factor(quotients)))
        rest = [monomial for monomial in rest if best not in monomial]
    return _Factored(() in monomials, tuple(branches))


def _walk(tree: _Factored, prefix: Monomial = ()) -> Iterable[Monomial]:
    if tree.constant:
        yield tuple(sorted(prefix))
    for v, branch in tree.branches:
        yield from _walk(branch, (*prefix, v))


def make_polynomials(
    variables: int, outputs: int, weights: int, terms: Mapping[tuple[int, Monomial, int], float]
) -> Polynomials:
    """Polynomials from a table ``(output, monomial, weight) -> coefficient``; zeros are dropped, terms sorted."""
    kept = sorted(term for term, value in terms.items() if value != 0.0)
    return Polynomials(variables, outputs, weights, tuple(kept), tuple(float(terms[term]) for term in kept))
