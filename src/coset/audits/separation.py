"""Which pairs of inputs does a model tell apart? Distances between its outputs on pairs that differ, in float64.

An exact invariant gives equal outputs on inputs of one orbit; on inputs of different orbits it may still be blind. The
distance is ``|f(a) - f(b)| / max(|f(a)|, |f(b)|)``: rounding below :data:`THRESHOLD`, separation above. For models with random
weights a single draw decides, since outputs are analytic in the weights almost everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.precision import at_dtype
from coset.contract import evaluating, frozen
from coset.errors import InputError
from coset.records import Finding

THRESHOLD = 1e-8  #: relative; between the rounding of float64 (1e-13) and what is seen in practice (above 1e-4)

Sample = Mapping[str, Tensor]


def distances(model: Callable[..., Tensor], pairs: Mapping[str, tuple[Sample, Sample]]) -> dict[str, float]:
    """The relative distance of the outputs of every pair, in float64 and eval mode; the model itself stays as it is."""
    f = at_dtype(model, torch.float64)
    found = {}
    with evaluating(f), frozen(f), torch.no_grad():
        for name, pair in pairs.items():
            a, b = (f(**{k: v.double() if v.is_floating_point() else v for k, v in sample.items()}) for sample in pair)
            size = max(a.norm().item(), b.norm().item())
            found[name] = (a - b).norm().item() / size if size else 0.0
    return found


@dataclass
class Separation(Finding):
    """Pairs by name, their distances, and whether an upper bound allows them to be told apart."""

    names: list[str]
    distances: np.ndarray
    allowed: list[bool]
    bound: str = ""  #: what the bound is called

    @property
    def separated(self) -> list[bool]:
        """Distances beyond rounding."""
        return [bool(d > THRESHOLD) for d in self.distances]

    def plot(self) -> Any:
        """A bar for each pair on a logarithmic axis; pairs that the bound forbids are of the second color."""
        from coset.figures.bars import bars

        forbidden = [i for i, allowed in enumerate(self.allowed) if not allowed]
        label = "relative distance of outputs (dashed: where rounding ends)"
        label += f"\norange: equal for all weights ({self.bound})" if self.bound else ""
        made = bars(self.names, self.distances, marked=forbidden, label=label, log=True)
        made.axes[0].axvline(THRESHOLD, color="black", ls="--", lw=1)
        return made


def separation(
    model: Callable[..., Tensor],
    pairs: Mapping[str, tuple[Sample, Sample]],
    allowed: Mapping[str, bool] | None = None,
    *,
    bound: str = "",
) -> Separation:
    """Distances of all ``pairs`` of named tensors; ``allowed`` (default: all) is what an upper bound says.

    Raises InputError where there are no pairs.
    """
    if not pairs:
        raise InputError("separation: no pairs given")
    found = distances(model, pairs)
    may = [True if allowed is None else allowed[name] for name in pairs]
    return Separation(list(pairs), np.array([*found.values()]), may, bound)
