"""Supervised loss of named tensors, per sample: what the other objectives build on.

``Supervised("cross_entropy")`` reads ``batch["x"]`` and ``batch["y"]``. Losses are kept per sample (no reduction), since
invariance-constrained learning weighs and resamples them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import ContractError, InputError, unknown

Batch = Mapping[str, Tensor]
PerSample = Callable[[Any, Any], Tensor]  #: (prediction, target) -> (B,)


def cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, classes)`` against labels ``(B,)``, per sample."""
    return F.cross_entropy(y, target.long(), reduction="none")


def mse(y: Tensor, target: Tensor) -> Tensor:
    """Squared error averaged over everything but the first axis, per sample."""
    if y.shape != target.shape:
        raise ContractError(f"mse: the model returns {tuple(y.shape)}, the target is {tuple(target.shape)}")
    return (y - target).square().flatten(1).mean(1) if y.ndim > 1 else (y - target).square()


def logistic(y: Tensor, target: Tensor) -> Tensor:
    """``log(1 + exp(-t y))`` of scores ``(B,)`` against signs ``(B,)``, per sample."""
    return F.softplus(-target.to(y) * y)


LOSSES: dict[str, PerSample] = {"cross_entropy": cross_entropy, "mse": mse, "logistic": logistic}


class Supervised:
    """``mean loss(model(inputs), target)`` over a batch.

    ``loss`` is ``"cross_entropy"``, ``"mse"``, ``"logistic"`` or a callable ``(prediction, target) -> (B,)``. One input is
    given to the model by position, several by name. With ``contract`` the sample is presented at the identity, ``e . x``:
    an image is then resampled like its turned copies. Raises InputError for unknown names or a loss that is not per sample.
    """

    def __init__(
        self,
        loss: str | PerSample = "cross_entropy",
        inputs: Sequence[str] = ("x",),
        *,
        target: str = "y",
        contract: Contract | None = None,
    ) -> None:
        if isinstance(inputs, str) or not inputs:
            raise InputError(f"Supervised: inputs is a tuple of names such as ('x',), got {inputs!r}")
        if isinstance(loss, str) and loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        self.loss: PerSample = LOSSES[loss] if isinstance(loss, str) else loss
        self.inputs, self.target, self.contract = tuple(inputs), target, contract

    def __call__(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        batch = self.present(batch)
        return {"loss": self.losses(self.predict(model, batch), batch).mean()}

    def present(self, batch: Batch) -> dict[str, Tensor]:
        """The batch as the model sees it untransformed, ``e . x``."""
        if self.contract is None:
            return dict(batch)
        x = sample(self.contract, batch, self.inputs)
        fields = self.contract.inputs
        bound = replace(self.contract, group=self.contract.group.bind(fields, fields.pack(x)))
        return {**batch, **named(bound.origin(x), self.inputs)}

    def predict(self, model: Any, batch: Batch) -> Any:
        """The model's output on the inputs of ``batch``."""
        missing = [name for name in (*self.inputs, self.target) if name not in batch]
        if missing:
            raise InputError(f"the batch has no {missing[0]!r}; it holds {sorted(batch)}")
        if len(self.inputs) == 1:
            return model(batch[self.inputs[0]])
        return model(**{name: batch[name] for name in self.inputs})

    def predictions(self, model: Any, *batches: Batch) -> list[Any]:
        """Outputs on several batches from one forward pass, so that batch norm sees them together."""
        if len(batches) == 1:
            return [self.predict(model, batches[0])]
        sizes = [len(batch[self.inputs[0]]) for batch in batches]
        names = (*self.inputs, self.target)
        y = self.predict(model, {name: torch.cat([batch[name] for batch in batches]) for name in names})
        if isinstance(y, Mapping):
            parts = {name: value.split(sizes) for name, value in y.items()}
            return [{name: part[i] for name, part in parts.items()} for i in range(len(sizes))]
        return list(y.split(sizes))

    def losses(self, y: Any, batch: Batch) -> Tensor:
        """The loss of every sample, ``(B,)``; InputError when the loss has been reduced."""
        out = self.loss(y, batch[self.target])
        size = len(batch[self.inputs[0]])
        if out.shape != (size,):
            raise InputError(
                f"the loss of {size} samples has shape {tuple(out.shape)}, expected ({size},): give a per-sample loss "
                f'(reduction="none", averaged over all but the first axis)'
            )
        return out


def sample(contract: Contract, batch: Batch, inputs: Sequence[str]) -> Any:
    """The input of ``contract`` in a batch: its named fields, or the first input for an unnamed one."""
    if contract.inputs.unnamed:
        return batch[inputs[0]]
    return {name: batch[name] for name in contract.inputs.names()}


def named(x: Any, inputs: Sequence[str]) -> dict[str, Tensor]:
    """The inverse of :func:`sample`: tensors by the names they have in the batch."""
    return dict(x) if isinstance(x, Mapping) else {inputs[0]: x}
