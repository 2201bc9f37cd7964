"""What a model of dipoles and polarizabilities is trained for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.objectives.energy_forces import LABELS


class MomentsLoss:
    """``mean |mu - mu'|^2 / N^2`` times ``dipole`` plus ``mean |alpha - alpha'|^2 / N^2`` times ``polarizability``.

    Labels that have no weight may be missing. Labels of polarizability are symmetrized: what is antisymmetric in them is noise.
    """

    def __init__(self, dipole: float = 0.0, polarizability: float = 0.0) -> None:
        if min(dipole, polarizability) < 0 or not dipole + polarizability > 0:
            raise InputError(f"MomentsLoss: weights are not negative and not all zero, got {dipole}, {polarizability}")
        self.weights = {"dipole": dipole, "polarizability": polarizability}

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = {name: value for name, value in batch.items() if name not in LABELS}
        out, loss, terms = model(**inputs), torch.zeros(()), {}
        counts = torch.bincount(batch["batch"]).to(batch["pos"])
        for name, weight in self.weights.items():
            if not weight:
                continue
            if name not in batch:
                raise InputError(f"MomentsLoss: {name} has a weight but no label; the batch holds {sorted(batch)}")
            label = 0.5 * (batch[name] + batch[name].mT) if name == "polarizability" else batch[name]
            terms[name] = ((out[name] - label).flatten(1).square().mean(1) / counts.square()).mean()
            loss = loss + weight * terms[name]
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}
