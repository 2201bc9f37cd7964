"""The loop that all joint-embedding systems share: draw two views of every member, embed both, compare.

``TwoViews(criterion, views)`` is an objective for :func:`coset.train.fit.fit`. ``views(batch, generator)`` gives what the model
takes, twice, and the motion from first to second where it is known: recorded pairs (:class:`RecordedPairs`), or the same
sample moved twice at random (:class:`MovedTwice`). The model gives an embedding, or ``invariant`` and ``equivariant`` parts;
then its ``predict(e, z)`` carries the equivariant part of the first view to the second. :class:`OneView` gives a supervised
objective the same views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.groups.poses import relative_quaternion
from coset.nn.draws import Draws

Batch = Mapping[str, Tensor]


class Pair(NamedTuple):
    """Two views and, where it is known, the poses ``(M, 4)`` of both and what else changed, ``(M, extra)``."""

    first: Any
    second: Any
    poses: tuple[Tensor, Tensor] | None = None
    change: Tensor | None = None


class TwoViews(nn.Module):
    """``criterion`` on the embeddings of two views, drawn anew each step (of validation: the same every time)."""

    def __init__(
        self, criterion: nn.Module, views: Callable[[Batch, torch.Generator], Pair], *, seed: int | None = None
    ) -> None:
        super().__init__()
        self.criterion, self.views, self.draws = criterion, views, Draws(seed)

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """The criterion's terms."""
        pair = self.views(batch, self.draws.next(advance=getattr(model, "training", True)))
        a, b = _embed(model, pair.first), _embed(model, pair.second)
        if not isinstance(a, Mapping):
            return self.criterion(a, b)
        if pair.poses is None:
            raise InputError("TwoViews: this model predicts from a motion, so its views need poses: use RecordedPairs")
        z = model.motion(relative_quaternion(*pair.poses, frame=model.frame), pair.change)
        predicted = model.predict(a["equivariant"], z)
        return self.criterion(a["invariant"], a["equivariant"], b["invariant"], b["equivariant"], predicted)


class OneView(nn.Module):
    """``base`` (a supervised objective) on one view of every member: the control that has labels but sees the same views."""

    def __init__(self, base: Any, views: Callable[[Batch, torch.Generator], Pair], *, seed: int | None = None) -> None:
        super().__init__()
        self.base, self.views, self.draws = base, views, Draws(seed)

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        """The base's terms."""
        pair = self.views(batch, self.draws.next(advance=getattr(model, "training", True)))
        return self.base(model, {**batch, self.base.inputs[0]: pair.first})


def _embed(model: Any, view: Any) -> Any:
    return model(**view) if isinstance(view, Mapping) else model(view)


@dataclass(frozen=True)
class RecordedPairs:
    """Two different views of every thing: ``x`` (M, V, ...) (uint8 is brought to [0, 1]), ``pose`` (M, V, 4).

    ``extra`` names further latents (M, V, k) whose differences (second - first) belong to the motion. Where the batch says
    which ``thing`` a view shows (M, V), views of different things are refused. Raises InputError for fewer than two views.
    """

    x: str = "x"
    pose: str = "pose"
    extra: str = ""
    thing: str = "thing"

    def __call__(self, batch: Batch, generator: torch.Generator) -> Pair:
        """Views in a random order."""
        if missing := [name for name in (self.x, self.pose, self.extra) if name and name not in batch]:
            raise InputError(f"RecordedPairs: the batch has no {missing[0]!r}; it holds {sorted(batch)}")
        x = batch[self.x]
        if x.ndim < 2 or x.shape[1] < 2:
            raise InputError(f"RecordedPairs: {self.x!r} is (things, views, ...) with two views at least, got {tuple(x.shape)}")
        order = torch.rand(x.shape[:2], generator=generator).argsort(1)[:, :2].to(x.device)
        rows = torch.arange(len(x), device=x.device)
        first, second = ((rows, order[:, k]) for k in (0, 1))
        if self.thing in batch and bool((batch[self.thing][first] != batch[self.thing][second]).any()):
            raise InputError("RecordedPairs: views of different things are paired; each row holds the views of one")
        q = batch[self.pose]
        change = batch[self.extra][second] - batch[self.extra][first] if self.extra else None
        return Pair(_unit(x[first]), _unit(x[second]), (q[first], q[second]), change)


def _unit(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else x


@dataclass(frozen=True)
class MovedTwice:
    """The same sample moved twice at random: ``move(x, generator)``, and ``other`` for the second view (asymmetric pairs)."""

    move: Callable[[Tensor, torch.Generator], Tensor]
    other: Callable[[Tensor, torch.Generator], Tensor] | None = None
    x: str = "x"

    def __call__(self, batch: Batch, generator: torch.Generator) -> Pair:
        """Independent draws for both views."""
        if self.x not in batch:
            raise InputError(f"MovedTwice: the batch has no {self.x!r}; it holds {sorted(batch)}")
        x = batch[self.x]
        return Pair(self.move(x, generator), (self.other or self.move)(x, generator))
