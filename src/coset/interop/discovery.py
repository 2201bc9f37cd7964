"""Symmetry discovery in the manner of scikit-learn: ``SymmetryDiscovery().fit(X, y).group_``.

    found = SymmetryDiscovery().fit(X, y)
    found.group_, found.score(X_new, y_new)      # O(2), 0.99
    X_more, y_more = found.augment(X, y)         # four moved copies of every sample

It is :func:`coset.audits.discover.scan` with the conventions of scikit-learn: parameters are kept as they are given, what is
learned ends in an underscore, NaN, sparse and complex data are refused, and clones, pipelines and grid searches work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from coset.audits.dataset import LEAST, LabelLaw, input_law, move_each
from coset.audits.discover import Scan, scan
from coset.audits.elements import steps
from coset.contract import Contract
from coset.errors import CosetError, InputError, require
from coset.groups.euclidean import SE, E, Scale, T
from coset.groups.finite import C, D
from coset.groups.group import Family, Group
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.reps.fields import Fields

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
else:
    try:
        from sklearn.base import BaseEstimator
    except ImportError:  # said by fit
        BaseEstimator = object


class SymmetryDiscovery(BaseEstimator):
    """Which of the ``candidates`` leave the law of ``y`` given ``X`` (without ``y``: of ``X``) as it is?

    ``candidates`` are groups or contracts (a sequence, or a mapping by name). By default they are the groups of the features'
    space: turns, reflections, shifts, motions, scalings, and exchanges of features. Groups act on samples declared ``inputs``
    and labels declared ``outputs``, by default points of space and numbers that do not move; ``level`` is the chance of one
    false alarm in the whole scan, ``random_state`` a number.

    After ``fit``: ``group_``, the largest candidate that holds (None where none does); ``groups_``, all that no other contains,
    largest first; ``generators_``, matrices ``(k, d + 1, d + 1)`` that act on ``(x, 1)`` and generate ``group_`` (None where it
    does not act on the ``d`` features); ``scan_``, the evidence for every candidate; ``n_features_in_``.
    """

    def __init__(
        self, candidates: Any = None, *, inputs: Any = None, outputs: Any = None, level: float = 1e-3, random_state: int = 0
    ) -> None:
        self.candidates = candidates
        self.inputs = inputs
        self.outputs = outputs
        self.level = level
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Scan ``X`` ``(n, d)`` and labels ``y`` ``(n,)`` or ``(n, q)``: numbers, or classes of any type.

        Raises InputError (a ValueError) for fewer than 40 samples, labels that are all equal, and no candidates.
        """
        x, labels = self._checked(X, y, reset=True)
        if len(x) < LEAST:
            raise InputError(f"SymmetryDiscovery: n_samples={len(x)}, a minimum of {LEAST} is required to test a symmetry")
        named = self._contracts(x.shape[1], labels)
        data = {name: _shaped(contract.inputs, x) for name, contract in named.items()}
        one = next(iter(data.values()))
        given = one if labels is None else (one, labels)
        self.scan_: Scan = scan(given, named, level=self.level, seed=self.random_state)
        held = sorted(self.scan_.found, key=lambda name: _extent(named[name].bind(data[name]).group), reverse=True)
        self.groups_ = [named[name].group for name in held]
        self.contract_ = named[held[0]] if held else None
        self.group_ = self.groups_[0] if held else None
        self.generators_ = _generators(named[held[0]].bind(data[held[0]]).group, x.shape[1]) if held else None
        return self

    def score(self, X: Any, y: Any = None) -> float:
        """How well ``group_`` holds on other data: 1 if moved labels are as good as the data's own, 0 if they say nothing.

        This is ``1 - excess`` (:mod:`coset.audits.dataset`), at most 1; without labels the p-value of "the law of ``X`` is
        invariant". 0 where no symmetry was found.
        """
        x, labels = self._fitted(X, y)
        if self.contract_ is None:
            return 0.0
        contract, sample = self._bound(self.contract_, x)
        if labels is None:
            return input_law(contract, sample, seed=self.random_state).p_value
        outputs = contract.outputs.pack(labels)
        law = LabelLaw(contract.inputs, contract.outputs, sample, outputs, seed=self.random_state)
        return float(min(1.0, 1.0 - law.test(contract).excess))

    def augment(self, X: Any, y: Any = None, *, copies: int = 4) -> Any:
        """``copies`` of every sample, each moved by its own random element of ``group_``: ``X`` or ``(X, y)``, row by row."""
        x, labels = self._fitted(X, y)
        if self.contract_ is None or copies < 1:
            raise InputError("SymmetryDiscovery.augment: no symmetry was found, or copies < 1")
        contract, sample = self._bound(self.contract_, x.repeat_interleave(copies, 0))
        g = contract.group.sample(
            len(x) * copies, generator=torch.Generator().manual_seed(self.random_state), dtype=torch.float64
        )
        moved = move_each(contract.group, contract.inputs, g, sample, sample)
        more = contract.inputs.unpack(moved).reshape(len(g), -1).numpy()
        if y is None:
            return more
        if all(declared.still for _, declared in contract.outputs):
            return more, np.repeat(np.asarray(y), copies, axis=0)
        repeated = contract.outputs.pack(labels.repeat_interleave(copies, 0))
        return more, contract.outputs.unpack(move_each(contract.group, contract.outputs, g, repeated, sample)).numpy()

    def _fitted(self, X: Any, y: Any) -> tuple[torch.Tensor, Any]:
        require("sklearn.utils.validation", extra="train").check_is_fitted(self)
        return self._checked(X, y, reset=False)

    def _bound(self, contract: Contract, x: torch.Tensor) -> tuple[Contract, dict[str, torch.Tensor]]:
        sample = contract.inputs.pack(_shaped(contract.inputs, x))
        return contract.bind(sample), sample

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[torch.Tensor, Any]:
        """Tensors of what scikit-learn finds valid; classes as whole numbers."""
        validate = require("sklearn.utils.validation", extra="train").validate_data
        if y is None:
            return torch.tensor(validate(self, X, reset=reset, dtype=np.float64)), None
        x, labels = validate(self, X, y, reset=reset, dtype=np.float64, multi_output=True)
        kind = require("sklearn.utils.multiclass", extra="train").type_of_target(labels, input_name="y")
        if kind in ("binary", "multiclass") and labels.ndim == 1:
            labels = np.unique(labels, return_inverse=True)[1]
        else:
            labels = np.asarray(labels, np.float64)
        return torch.tensor(x), torch.tensor(labels)  # copies: the arrays may be read-only

    def _contracts(self, d: int, labels: Any) -> dict[str, Contract]:
        """The candidates as contracts, by name."""
        outputs = self.outputs or ("B x scalar" if labels is None or labels.ndim == 1 else f"B x {labels.shape[1]} x scalar")
        given = candidates_in(d, outputs) if self.candidates is None else self.candidates
        pairs = given.items() if isinstance(given, Mapping) else [(str(one), one) for one in given]
        named = {}
        for name, one in pairs:
            if not isinstance(one, (Contract, Family)):
                raise InputError(f"SymmetryDiscovery: candidates are groups or contracts, got {one!r} for {name!r}")
            named[name] = one if isinstance(one, Contract) else Contract(one, self.inputs or "B x position", outputs)
        if not named:
            raise InputError("SymmetryDiscovery: no candidates; leave them out for those of the features' space")
        return named


def candidates_in(d: int, outputs: Any = "B x scalar") -> list[Contract]:
    """Groups that act on ``d`` features as on points of space, and exchanges of features."""
    groups: list[Group] = [SO(d), O(d), T(d), SE(d), E(d), Scale(d)] if d > 1 else [O(1), T(1), Scale(1)]
    if d == 2:
        groups = [*map(C, (2, 3, 4, 6)), D(1), D(2), D(4), *groups]
    found = [Contract(group, "B x position", outputs) for group in groups]
    return found + [Contract(S("F"), "B x F x scalar", outputs)] * (d > 1)


def _shaped(fields: Fields, x: torch.Tensor) -> torch.Tensor:
    """Samples as their field has them: ``(n, d)``, or ``(n, m, d / m)`` for ``"B x m x vector"``."""
    if not fields.unnamed:
        raise InputError(f"SymmetryDiscovery: samples are one array, so inputs are one field; got {fields}")
    lead = [int(size) for size in fields.of("").index[1:] if size.isdigit()]
    return x.reshape(len(x), *lead, -1) if lead else x


def _extent(group: Family) -> tuple[float, float]:
    """What makes a group large: its dimension, then its order."""
    return (group.dim, group.order) if isinstance(group, Group) else (-1.0, 0.0)


def _generators(group: Family, d: int) -> np.ndarray | None:
    """What generates a group, as matrices that act on ``(features, 1)``; None where features are no points of its space."""
    try:
        own, _ = steps(group)
        if own is None:
            return None
        matrix = torch.eye(d).double()[own] if isinstance(group, S) else group.linear(own).double()
        shift = torch.zeros(len(own), d).double() if isinstance(group, S) else group.shift(own).double()
    except CosetError:
        return None
    if matrix.shape[-1] != d:
        return None
    whole = np.tile(np.eye(d + 1), (len(matrix), 1, 1))
    whole[:, :d, :d], whole[:, :d, d] = matrix.numpy(), shift.numpy()
    return whole
