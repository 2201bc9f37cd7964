"""Is a data set symmetric? Two questions, tested apart, to say whether a symmetry should be imposed at all.

*Inputs*: are ``g . x`` distributed as ``x``? For a compact group and Haar ``g`` the pair ``(x, g . x)`` is then exchangeable,
so swapping inside pairs gives an exact permutation test (energy distance and kernels of three widths). Without an invariant
law of its own, as under shifts and scales, no probability distribution can have this symmetry.

*Labels*: does ``y`` at ``g . x`` follow the law that the data show there, ``p(g . y | g . x) = p(y | x)``? A regression fitted
to one half predicts the other half, at ``x`` and at ``g . x``, where data lie. ``excess`` is what the transformation adds to
the squared error, as a share of that of unrelated labels: 0 if the symmetry holds, 1 if the orbit says nothing. It is judged
against ``slack = 0.003 + own / 4``, with ``own`` the share at untransformed points: a regression tells no more finely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coset.audits.regression import Regression, fit
from coset.audits.twosample import kernel_test
from coset.contract import Contract
from coset.errors import InputError
from coset.groups.group import Family, FiniteGroup, Group
from coset.reps.action import Position, Tensorial
from coset.reps.fields import ANY, Field, Fields

LEAST = 40  #: samples that a test of labels needs
PAIRS = 250  #: samples of the test of inputs
NEIGHBORS = 5  #: untransformed samples whose errors say what is to be expected at a place
DRAWS = 4  #: elements for every sample in the test of labels
SUPPORT = 0.95  #: share of the data's own points that count as lying where data are
UNPREDICTABLE = 0.25  #: own error share above which labels say too little


@dataclass
class InputTest:
    """Are ``g . x`` distributed as ``x``?"""

    statistic: float
    p_value: float


@dataclass
class LabelTest:
    """Does ``y`` follow its law along the orbit?"""

    excess: float  #: 0 holds, 1 as wrong as unrelated labels
    error: float  #: standard error of ``excess``
    own: float  #: the same share at untransformed points
    slack: float
    p_value: float  #: of ``excess <= slack``
    supported: float  #: share of transformed points that lie where data are

    @property
    def decisive(self) -> bool:
        """Whether a symmetry that is not refuted may be believed."""
        return self.own <= UNPREDICTABLE and self.supported >= 0.1


def input_law(contract: Contract, x: Mapping[str, Tensor], *, seed: int = 0, permutations: int = 9999) -> InputTest:
    """Test the law of the inputs; at most 250 samples are used. For compact groups only (see the module)."""
    generator = torch.Generator().manual_seed(seed)
    count = len(next(iter(x.values())))
    rows = torch.randperm(count, generator=generator)[:PAIRS]
    part = {name: value[rows] for name, value in x.items()}
    g = contract.group.sample(len(rows), generator=generator, dtype=torch.float64)
    moved = move_each(contract.group, contract.inputs, g, part, part)
    before, after = features(contract.inputs, part), features(contract.inputs, moved)
    return InputTest(*kernel_test(before, after, permutations=permutations, generator=generator, paired=True))


class LabelLaw:
    """Regressions of ``y`` on ``x``, fitted to either half of a data set, against which any number of groups is tested.

    ``x`` and ``y`` are named tensors of the fields, samples along the first axis. InputError for fewer than 40 samples or
    labels that are all equal.
    """

    def __init__(
        self, inputs: Fields, outputs: Fields, x: Mapping[str, Tensor], y: Mapping[str, Tensor], *, seed: int = 0
    ) -> None:
        self.inputs, self.outputs, self.seed = inputs, outputs, seed
        count = len(next(iter(x.values())))
        if count < LEAST:
            raise InputError(f"a test of labels needs at least {LEAST} samples, got {count}")
        self.spread = float(features(outputs, y).var(0).sum())
        if not self.spread > 0:
            raise InputError("all labels are equal: every symmetry holds, and none says anything")
        first, second = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).chunk(2)
        self.halves = []
        for fitted, judged in ((first, second), (second, first)):
            model = fit(features(inputs, _rows(x, fitted)), features(outputs, _rows(y, fitted)))
            self.halves.append((model, _rows(x, judged), _rows(y, judged)))

    def test(self, contract: Contract) -> LabelTest:
        """Test one contract over these fields."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        found = [_judge(contract, model, x, y, generator) for model, x, y in self.halves]
        gain = torch.cat([gain for gain, _, _ in found]) / (2 * self.spread)
        own = float(torch.cat([own for _, own, _ in found]).mean()) / (2 * self.spread)
        supported = sum(share for _, _, share in found) / len(found)
        slack = 0.003 + 0.25 * own
        if len(gain) < 10:
            return LabelTest(math.nan, math.nan, own, slack, 1.0, supported)
        excess, error = float(gain.mean()), float(gain.std() / math.sqrt(len(gain)))
        p = 0.5 * math.erfc((excess - slack) / (max(error, 1e-12) * math.sqrt(2)))
        return LabelTest(excess, error, own, slack, p, supported)


def _judge(
    contract: Contract, model: Regression, x: dict[str, Tensor], y: dict[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """For every sample that a transformation leaves where data are: added squared error; own errors; share of those.

    What an error at ``g . x`` is compared with are the errors of the untransformed samples nearest to that place, so that a
    law which is harder to guess there does not count against the symmetry.
    """
    here = features(contract.inputs, x)
    guess, doubt = model.predict(here)
    own = (features(contract.outputs, y) - guess).square().sum(1)
    limit = doubt.quantile(SUPPORT)
    total, hits = torch.zeros_like(own), torch.zeros_like(own)
    scale = _scale(contract.inputs, x)
    for _ in range(DRAWS):
        g = _moving(contract.group, len(own), generator)
        near, label = _scaled(contract.inputs, x, 1 / scale), _scaled(contract.outputs, y, 1 / scale)
        gx = _scaled(contract.inputs, move_each(contract.group, contract.inputs, g, near, near), scale)
        gy = _scaled(contract.outputs, move_each(contract.group, contract.outputs, g, label, near), scale)
        there = features(contract.inputs, gx)
        guess, doubt = model.predict(there)
        inside = (doubt <= limit).double()
        neighbors = torch.cdist(there / model.spread, here / model.spread).topk(min(NEIGHBORS, len(own)), largest=False).indices
        added = (features(contract.outputs, gy) - guess).square().sum(1) - own[neighbors].mean(1)
        total += inside * added
        hits += inside
    kept = hits > 0
    return total[kept] / hits[kept], own, float(hits.mean() / DRAWS)


def move_each(group: Family, fields: Fields, g: Any, x: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every sample along the first axis moved by its own element."""
    return {name: group.move(g, _within(declared), x[name], given) for name, declared in fields}


def features(fields: Fields, x: Mapping[str, Tensor]) -> Tensor:
    """One row of numbers per sample; integer labels one-hot, complex numbers as pairs."""
    columns = []
    for name, _ in fields:
        value = x[name]
        if value.is_complex():
            value = torch.view_as_real(value)
        if not value.is_floating_point() and value.ndim == 1:
            _, value = value.unique(return_inverse=True)
            value = torch.nn.functional.one_hot(value)
        columns.append(value.double().reshape(len(value), -1))
    return torch.cat(columns, 1)


def _within(declared: Field) -> Field:
    """The field of one sample: the index of samples taken off."""
    return declared if declared.index[:1] == (ANY,) else replace(declared, index=declared.index[1:])


def _rows(x: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in x.items()}


def _moving(group: Family, count: int, generator: torch.Generator) -> Any:
    """Elements for every sample; of a finite group none is the identity, which tests nothing."""
    if isinstance(group, FiniteGroup) and group.order > 1:
        return torch.randint(1, int(group.order), (count,), generator=generator)
    return group.sample(count, generator=generator, dtype=torch.float64)


def _scale(fields: Fields, x: Mapping[str, Tensor]) -> float:
    """The spread of positions, in whose units shifts are drawn; 1 without positions."""
    spreads = [float(x[name].double().std()) for name, d in fields if isinstance(d.kind, Position)]
    return spreads[0] if spreads and spreads[0] > 0 else 1.0


def _scaled(fields: Fields, x: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    spatial = {name for name, d in fields if isinstance(d.kind, (Position, Tensorial))}
    return {name: value * factor if name in spatial and factor != 1 else value for name, value in x.items()}


def can_have_law(group: Family) -> bool:
    """Whether a probability distribution can be invariant: for compact groups."""
    return isinstance(group, Group) and group.compact
