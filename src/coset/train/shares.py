"""What a part of a batch weighs in the mean over the whole: over processes, over micro-batches, over unequal counts.

A term of a loss is a mean over something: samples, or atoms, or bonds. Of a batch that is divided into P parts with counts n_p,

    mean over the batch = (1/P) sum_p s_p (mean over part p),        s_p = P n_p / sum_q n_q,

and since processes average gradients and micro-batches are divided by their number, a loss that weighs every term of its part
with ``s_p`` has the gradient of the whole batch, whatever the counts. An objective that averages over anything but samples says
so: ``denominators(batch)`` gives the count of each term, and it is then called with ``shares={term: s_p}``. The counts of all
parts are known before the first is worked on, so no gradient is kept back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader

from coset.train.batches import order_of
from coset.train.ranks import total

SAMPLES = ""  #: the name under which the share by samples is found


class Part(NamedTuple):
    """A part of a batch, how many samples the whole batch has, and the share of each term."""

    batch: Any
    samples: float
    shares: dict[str, float]


class Parts:
    """The batches of a loader as parts that know their shares; ``accumulate`` of them make a step.

    ``world`` processes must iterate together: they add up their counts once per step.
    """

    def __init__(self, batches: DataLoader, objective: Any, *, accumulate: int, world: int, device: str) -> None:
        self.batches, self.objective = batches, objective
        self.accumulate, self.world, self.device = accumulate, world, device

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Part]:
        order = order_of(self.batches)
        index, batches = 0 if order is None else order.start * self.accumulate, iter(self.batches)
        while group := list(islice(batches, self.accumulate)):
            own = [length(batch) if order is None else order.own(index + i) for i, batch in enumerate(group)]
            counts = [self._counts(batch, samples) for batch, samples in zip(group, own, strict=True)]
            sums = {name: sum(count[name] for count in counts) for name in counts[0]}
            if self.world > 1:
                sums = dict(zip(sums, total(list(sums.values()), self.device), strict=True))
            parts = self.world * self.accumulate
            for batch, count in zip(group, counts, strict=True):
                yield Part(batch, sums[SAMPLES], {name: parts * count[name] / (sums[name] or 1.0) for name in sums})
            index += len(group)

    def _counts(self, batch: Any, samples: int) -> dict[str, float]:
        """A part without samples of its own carries one along for company, which counts nothing."""
        each: Mapping[str, Any] = self.objective.denominators(batch) if hasattr(self.objective, "denominators") else {}
        return {SAMPLES: float(samples), **{name: float(count) if samples else 0.0 for name, count in each.items()}}


def length(batch: Any) -> int:
    """Samples in a batch of unknown make: the length of its first tensor that has one."""
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else [batch]
    return next((len(v) for v in values if isinstance(v, Tensor) and v.ndim), 1)
