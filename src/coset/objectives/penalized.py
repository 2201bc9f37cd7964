"""A loss plus penalties whose strengths are fixed, tuned once, or driven by a dual update.

    loss = base + sum_j lambda_j penalty_j

``Once`` is the rule of Kim et al. (Regularizing Towards Soft Equivariance Under Mixed Symmetries, ICML 2023, arXiv
2306.00356): up to epoch T_a record the running minimum r_j of every penalty, then
``lambda_j <- lambda_j / (r_j / min_i r_i)^p`` over the active ones, so that a symmetry which the data resist is released
and the one they obey keeps its weight. ``Dual`` ascends ``lambda_j <- max(0, lambda_j + eta (penalty_j - eps))``, the
update that invariance-constrained learning shares. Strengths, minima and histories are buffers: a checkpoint restores them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.draws import Draws


class Penalty(Protocol):
    """A term of its own: called ``(model, batch, generator) -> scalar``.

    One that compares outputs at two places also has ``views`` and ``distance`` (see ``OutputRegularizer``), so that it
    shares the forward pass of the base loss.
    """

    name: str
    strength: float

    def __call__(self, model: Any, batch: Any, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Fixed:
    """Strengths stay as given."""


@dataclass(frozen=True)
class Once:
    """Strengths are divided by ``(r_j / min r)^power`` once, at epoch T_a: ``epoch``, or the ``share`` of all epochs.

    ``r_j`` is the minimum of the penalty over the ``window`` epochs before, the first ``warm_up`` values left out. With
    ``warm_down`` the tuned strengths then fall linearly to zero over that many epochs: the data have the last word.
    """

    epoch: int | None = None
    share: float = 0.5
    power: float = 2.0
    window: int = 100
    warm_up: int = 50
    warm_down: int = 0

    def __post_init__(self) -> None:
        if self.epoch is not None and self.epoch < 1:
            raise InputError(f"Once: epoch >= 1, got {self.epoch}")
        if not 0 < self.share <= 1:
            raise InputError(f"Once: share is the part of training in (0, 1] after which strengths are tuned, got {self.share}")
        if self.window < 1 or self.power <= 0 or min(self.warm_up, self.warm_down) < 0:
            raise InputError(f"Once: window >= 1, power > 0, warm_up and warm_down >= 0; got {self}")

    def at(self, epochs: int) -> int:
        """T_a; InputError if it lies beyond the last epoch."""
        found = self.epoch or max(1, round(self.share * epochs))
        if found > epochs:
            raise InputError(f"strengths are tuned at epoch {found}, but training ends at {epochs}")
        return found


@dataclass(frozen=True)
class Dual:
    """Every step ``strength <- max(0, strength + eta (penalty - eps))``."""

    eps: float
    eta: float = 5e-3

    def __post_init__(self) -> None:
        if not (0 < self.eps < math.inf and 0 < self.eta < math.inf):
            raise InputError(f"Dual: eps and eta are finite and > 0, got eps {self.eps}, eta {self.eta}")


class History(nn.Module):
    """A curve of bounded size: every ``stride``-th value; when full, every second one is dropped and the stride doubled."""

    values: Tensor
    steps: Tensor
    state: Tensor

    def __init__(self, columns: int, size: int = 512) -> None:
        super().__init__()
        self.register_buffer("values", torch.full((size, columns), math.nan))
        self.register_buffer("steps", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("state", torch.tensor([0, 1, 0]))  # rows in use, stride, values seen

    def record(self, value: Tensor) -> None:
        """Keep ``value`` (columns,) if its turn has come."""
        used, stride, seen = self.state.tolist()
        if seen % stride == 0:
            if used == len(self.values):
                self.values[: used // 2] = self.values[::2].clone()
                self.steps[: used // 2] = self.steps[::2].clone()
                self.values[used // 2 :], self.steps[used // 2 :] = math.nan, -1
                used, stride = used // 2, 2 * stride
            self.values[used], self.steps[used] = value.detach().to(self.values), seen
            used += 1
        self.state.copy_(torch.tensor([used, stride, seen + 1]))

    def curve(self) -> tuple[Tensor, Tensor]:
        """Steps ``(n,)`` and values ``(n, columns)`` kept so far."""
        used = int(self.state[0])
        return self.steps[:used], self.values[:used]


def ascend(multiplier: Tensor, violation: Tensor, eta: float) -> Tensor:
    """One dual step, ``max(0, multiplier + eta violation)``; a violation that is not finite counts as none."""
    return (multiplier + eta * violation.nan_to_num(0.0, 0.0, 0.0)).clamp(min=0)


class Penalized(nn.Module):
    """``base`` plus ``penalties``, one strength each; ``tuner`` is :class:`Fixed`, :class:`Once` or :class:`Dual`.

    For ``Once`` the length of an epoch must be known: the training loop calls :meth:`plan` before the first step. A model
    with a buffer ``strengths`` of the same length is told the strengths after every step, so that they travel with it.
    Raises InputError for no penalty, a negative strength, or two penalties of one name.
    """

    strength: Tensor
    minimum: Tensor
    initial: Tensor
    schedule: Tensor

    def __init__(self, base: Any, *penalties: Any, tuner: Fixed | Once | Dual = Fixed(), seed: int | None = None) -> None:
        super().__init__()
        if not penalties:
            raise InputError("Penalized: expected at least one penalty (an empty list of groups regularises nothing)")
        names = [penalty.name for penalty in penalties]
        if len(set(names)) < len(names):
            raise InputError(f"Penalized: penalties are told apart by name, got {names}")
        for penalty in penalties:
            if not 0 <= penalty.strength < math.inf:
                raise InputError(f"penalty {penalty.name!r}: strength >= 0 and finite, got {penalty.strength}")
        self.base, self.penalties, self.tuner, self.names = base, tuple(penalties), tuner, tuple(names)
        strength = torch.tensor([float(penalty.strength) for penalty in penalties], dtype=torch.float64)
        self.register_buffer("strength", strength)
        self.register_buffer("initial", strength.clone())
        self.register_buffer("minimum", torch.full_like(strength, math.inf))
        self.register_buffer("schedule", torch.zeros(2, dtype=torch.int64))  # steps per epoch, T_a
        self.draws, self.history = Draws(seed), History(2 * len(names))
        self._seen: Tensor | None = None

    def plan(self, steps_per_epoch: int, epochs: int) -> None:
        """Told by the training loop before it starts; InputError when ``Once`` would tune after the end."""
        if isinstance(self.tuner, Once):
            self.schedule.copy_(torch.tensor([steps_per_epoch, self.tuner.at(epochs)]))

    def forward(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """The loss, and beside it every penalty and strength by name."""
        generator = self.draws.next(advance=getattr(model, "training", True))
        main, values = self._terms(model, batch, generator)
        self._seen = torch.stack([value.detach().double() for value in values])
        strength = self.strength.to(values[0])
        out = {"loss": main + sum(s * value for s, value in zip(strength, values, strict=True) if s > 0)}
        out["base"] = main.detach()
        for name, value, s in zip(self.names, values, strength, strict=True):
            out[f"penalty {name}"], out[f"strength {name}"] = value.detach(), s.clone()
        return out

    def _terms(self, model: Any, batch: Any, generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        paired = [penalty for penalty in self.penalties if hasattr(penalty, "views")]
        if not paired or not hasattr(self.base, "predictions"):
            return self.base(model, batch)["loss"], [penalty(model, batch, generator) for penalty in self.penalties]
        clean = paired[0].origin(batch)
        moved = {penalty.name: penalty.views(batch, generator) for penalty in paired}
        first, *rest = self.base.predictions(model, clean, *(view for view, _ in moved.values()))
        outputs = dict(zip(moved, rest, strict=True))
        values = [
            penalty.distance(first, outputs[penalty.name], moved[penalty.name][1], batch)
            if penalty.name in moved
            else penalty(model, batch, generator)
            for penalty in self.penalties
        ]
        return self.base.losses(first, clean).mean(), values

    def after_step(self, model: Any, step: int) -> None:
        """Tune the strengths; ``step`` is the number of optimizer steps done."""
        if (inner := getattr(self.base, "after_step", None)) is not None:
            inner(model, step)
        if self._seen is None:
            return
        values, self._seen = self._seen.to(self.strength.device), None
        if isinstance(self.tuner, Dual):
            self.strength.copy_(ascend(self.strength, values - self.tuner.eps, self.tuner.eta))
        elif isinstance(self.tuner, Once):
            self._tune(self.tuner, values, step)
        self.history.record(torch.cat([self.strength, values]))
        buffer = getattr(model, "strengths", None)
        if isinstance(buffer, Tensor) and buffer.shape == self.strength.shape:
            buffer.copy_(self.strength)

    def _tune(self, rule: Once, values: Tensor, done: int) -> None:
        per, epoch = self.schedule.tolist()
        if per < 1:
            raise InputError("Once counts epochs: call Penalized.plan(steps_per_epoch, epochs) before training")
        start, end = max(0, epoch - rule.window) * per, epoch * per
        if start + rule.warm_up < done <= end or done == end:
            self.minimum.copy_(torch.minimum(self.minimum, values))
        if done == end:
            self.strength.copy_(retuned(self.strength, self.minimum, rule.power, self.names))
            self.initial.copy_(self.strength)
        elif done > end and rule.warm_down:
            self.strength.copy_(self.initial * max(0.0, 1 - (done - end) / (rule.warm_down * per)))


def retuned(strength: Tensor, minimum: Tensor, power: float, names: Sequence[str] = ()) -> Tensor:
    """``lambda_j / (r_j / min_i r_i)^power``, the minimum over active penalties; unchanged where all r_j are zero.

    A penalty that reaches exactly zero is obeyed: it keeps its strength and the others lose theirs.
    """
    active = strength > 0
    if not bool(active.any()):
        return strength.clone()
    least = minimum[active].min()
    if bool((minimum[active] == 0).all()):
        warnings.warn(f"the model already obeys {', '.join(names) or 'every penalty'}: strengths are kept", stacklevel=2)
        return strength.clone()
    ratio = torch.where(minimum > least, least / minimum, torch.ones_like(minimum))
    return torch.where(active, strength * ratio**power, strength)
