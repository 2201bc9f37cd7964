"""Ragged graphs with labels as a data set: samples by index, batches by joining, predictions in eval mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from coset.contract import evaluating, frozen
from coset.errors import InputError
from coset.reps.fields import Fields

FIELDS = Fields({"y": "B x scalar", "x": "N x F x scalar", "edge_index": "2 x E -> N", "batch": "N -> B"})
WITH_EDGES = Fields({**dict(FIELDS), "edge_attr": "E x D x scalar"})


class Graphs(Dataset):
    """Graphs, each a batch of one: ``y (1,)``, ``x (N, F)``, ``edge_index (2, E)``, ``batch (N,)``, or ``edge_attr (E, D)``.

    Raises InputError for no graphs, and where some have edge features and others none.
    """

    def __init__(self, samples: Sequence[Mapping[str, Tensor]]) -> None:
        self.samples = [dict(sample) for sample in samples]
        if not self.samples or len({frozenset(sample) for sample in self.samples}) != 1:
            raise InputError("graphs: expected at least one, all with the same tensors (edge_attr in all or in none)")
        self.fields = WITH_EDGES if "edge_attr" in self.samples[0] else FIELDS
        self.fields.check(self.samples[0])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.samples[index]

    def collate(self, samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One batch out of many: graphs side by side."""
        return self.fields.join(samples)

    def subset(self, indices: Sequence[int] | Tensor) -> Graphs:
        """The graphs at these places."""
        return Graphs([self.samples[int(i)] for i in indices])

    def joined(self, count: int | None = None) -> dict[str, Tensor]:
        """The first ``count`` graphs (all) as one batch."""
        return self.collate(self.samples[:count])

    @property
    def labels(self) -> Tensor:
        """``(graphs,)``."""
        return torch.cat([sample["y"] for sample in self.samples])

    def predict(self, model: Any, *, batch: int = 256) -> Tensor:
        """The model's outputs ``(graphs, ...)``, in eval mode and without gradients."""
        found = []
        with evaluating(model), frozen(model), torch.no_grad():
            for start in range(0, len(self), batch):
                inputs = self.collate(self.samples[start : start + batch])
                del inputs["y"]
                found.append(model(**inputs))
        return torch.cat(found)

    def percent_correct(self, model: Any) -> float:
        """How many labels the largest logit names, percent; a tie is half right and half wrong, not the first class."""
        logits, labels = self.predict(model).double(), self.labels
        top = logits >= logits.max(1, keepdim=True).values - 1e-12
        right = top.gather(1, labels.unsqueeze(1)).squeeze(1) / top.sum(1)
        return 100 * float(right.mean())


def graph_loss(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cross-entropy of the logits of a batch of graphs, averaged over graphs: an objective."""
    inputs = {name: value for name, value in batch.items() if name != "y"}
    return {"loss": torch.nn.functional.cross_entropy(model(**inputs), batch["y"])}
