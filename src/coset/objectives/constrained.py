"""Invariance-constrained learning: augmentation as a constraint with a multiplier, its transformations found by sampling.

    min E l(f(x), y)   subject to   E_x E_{g ~ nu} l(f(g x), y) <= eps,   nu proportional to the loss at g x

Per step: M uniform proposals for every sample, an independence Metropolis-Hastings chain over their losses, one descent
step on ``clean + gamma * moved``, one dual step ``gamma <- max(0, gamma + eta (moved - eps))``.
Hounie, Chamon & Ribeiro, Automatic Data Augmentation via Invariance-Constrained Learning, ICML 2023, arXiv 2209.15031.
Differs from the reference code: proposals are judged in eval mode, so batch norm's statistics are those of training
batches; 0/0 is accepted, so that a chain of solved samples keeps moving; and several constraints, one for each group,
stand side by side. ``eps`` is in units of the loss: take 1.1 times what a plainly augmented model reaches on transformed
validation data (:func:`eps_by_rule`). The constraint is on the *sampled* law, so M changes its meaning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from coset.contract import evaluating
from coset.errors import InputError
from coset.nn.draws import Draws
from coset.objectives.penalized import History, ascend


class Space(Protocol):
    """Transformations that can be sampled and applied, one for every member of a batch."""

    name: str
    labels: tuple[str, ...]  #: what accepted transformations are counted by

    def draw(self, batch: Any, generator: torch.Generator) -> Any: ...

    def apply(self, batch: Any, g: Any) -> Any: ...

    def origin(self, batch: Any) -> Any: ...

    def label(self, g: Any) -> Tensor: ...


def chain(losses: Tensor, *, generator: torch.Generator, temper: float = 1.0, cap: float = math.inf) -> tuple[Tensor, Tensor]:
    """Independence Metropolis-Hastings along the first axis: which of M proposals every sample ends on.

    ``losses`` (M, B) of proposals drawn uniformly; the stationary law is proportional to ``min(loss, cap)^temper``. Returns
    the final index ``(B,)`` and, for every proposal after the first, whether it was accepted ``(M - 1, B)``. A loss that is
    not finite is never accepted, and left at once if the chain starts there; 0/0 is accepted.
    """
    weight = torch.where(losses.isfinite(), losses.clamp(0, cap) ** temper, -1.0)
    uniform = torch.rand(losses.shape, generator=generator, dtype=torch.float64).to(weight)
    state = torch.zeros(losses.shape[1], dtype=torch.int64, device=losses.device)
    current, accepted = weight[0], []
    for m in range(1, len(weight)):
        take = (weight[m] >= 0) & (uniform[m] * current <= weight[m])
        state, current = torch.where(take, m, state), torch.where(take, weight[m], current)
        accepted.append(take)
    return state, torch.stack(accepted) if accepted else torch.zeros(0, losses.shape[1], dtype=torch.bool)


class Constrained(nn.Module):
    """``base`` constrained to lose at most ``eps`` on samples moved within ``space``; an objective with its own state.

    ``space`` may be a tuple of spaces with a tuple ``eps``: one constraint each. ``M`` proposals per sample, ``eta`` the
    dual step, ``gamma`` the multiplier at the start. ``sample=True`` pays for one forward pass: every sample is clean with
    probability ``1 / (1 + gamma)`` and moved otherwise (the Lagrangian divided by 1 + gamma). ``M=1, eta=0`` is the control:
    uniform augmentation beside the clean term, weight fixed. ``temper`` and ``clip`` tame unbounded losses in long chains.

    Buffers: ``gamma``, the ``history`` of gamma and moved loss, ``accepted`` and ``proposed`` counts and the ``failing``
    loss for every label of a space. Raises InputError for eps that is not positive and finite, M < 1, a base without
    per-sample losses, a space that changes shape or dtype, and gamma above ``cap``: the constraint is then infeasible, and
    the message names the transformations that fail.
    """

    def __init__(
        self, base: Any, space: Any, eps: Any, *, M: int = 2, eta: float = 1e-4, gamma: float = 1.0, cap: float = 1e3,
        sample: bool = False, temper: float = 1.0, clip: float = math.inf, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spaces: tuple[Any, ...] = tuple(space) if isinstance(space, Sequence) else (space,)
        self.eps = tuple(float(e) for e in eps) if isinstance(eps, Sequence) else (float(eps),) * len(self.spaces)
        _check(base, self.spaces, self.eps, M, eta, gamma, cap, temper)
        if sample and len(self.spaces) > 1:
            raise InputError("Constrained: sample=True splits a batch between clean and one space; give one space")
        self.base, self.M, self.eta, self.cap, self.sample = base, M, eta, cap, sample
        self.temper, self.clip, self.draws = temper, clip, Draws(seed)
        self.register_buffer("gamma", torch.full((len(self.spaces),), float(gamma), dtype=torch.float64))
        for j, member in enumerate(self.spaces):
            for name in ("proposed", "accepted", "failing"):
                self.register_buffer(f"{name}_{j}", torch.zeros(len(member.labels), dtype=torch.float64))
        self.history = History(2 * len(self.spaces))
        self._moved: Tensor | None = None

    gamma: Tensor

    def forward(self, model: Any, batch: Any) -> dict[str, Tensor]:
        """Clean loss plus multipliers times the moved losses, and all of them by name."""
        training = getattr(model, "training", True)
        generator = self.draws.next(advance=training)
        clean = self.spaces[0].origin(batch)
        moved = [self._worst(j, model, batch, clean, generator, keep=training) for j in range(len(self.spaces))]
        if self.sample:
            return self._sampled(model, clean, moved[0], generator)
        first, *rest = self.base.predictions(model, clean, *moved)
        main = self.base.losses(first, clean).mean()
        terms = [self.base.losses(y, b).mean() for y, b in zip(rest, moved, strict=True)]
        self._moved = torch.stack([term.detach().double() for term in terms])
        loss = main + sum(g * term for g, term in zip(self.gamma.to(main), terms, strict=True))
        return self._report(loss, main)

    def _sampled(self, model: Any, clean: Any, moved: Any, generator: torch.Generator) -> dict[str, Tensor]:
        names = (*self.base.inputs, self.base.target)
        size = len(clean[names[0]])
        turn = torch.rand(size, generator=generator, dtype=torch.float64) >= 1 / (1 + float(self.gamma[0]))
        turn = turn.to(clean[names[0]].device)
        mixed = {n: torch.where(turn.view(-1, *[1] * (clean[n].ndim - 1)), moved[n], clean[n]) for n in names}
        losses = self.base.losses(self.base.predict(model, mixed), mixed)
        # without a moved sample there is nothing to learn about the constraint: no dual step
        self._moved = losses[turn].mean().detach().double().view(1) if bool(turn.any()) else None
        return self._report(losses.mean(), losses[~turn].mean() if bool((~turn).any()) else losses.mean())

    def _report(self, loss: Tensor, main: Tensor) -> dict[str, Tensor]:
        out = {"loss": loss, "clean": main.detach()}
        for j, space in enumerate(self.spaces):
            out[f"gamma {space.name}"] = self.gamma[j].clone()
            if self._moved is not None:
                out[f"moved {space.name}"] = self._moved[j]
            out[f"accepted {space.name}"] = self.counts(j)[1].sum() / self.counts(j)[0].sum().clamp(min=1)
        return out

    def _worst(self, j: int, model: Any, batch: Any, clean: Any, generator: torch.Generator, *, keep: bool) -> Any:
        """The batch moved by the last state of every sample's chain."""
        space = self.spaces[j]
        drawn = [space.draw(batch, generator) for _ in range(self.M)]
        moved = [space.apply(batch, g) for g in drawn]
        _check_alike(space, clean, moved[0], self.base)
        if self.M == 1 and self.eta == 0:
            return moved[0]
        with torch.no_grad(), evaluating(model):
            outputs = self.base.predictions(model, *moved)
            losses = torch.stack([self.base.losses(y, b) for y, b in zip(outputs, moved, strict=True)])
        state, accepted = chain(losses, generator=generator, temper=self.temper, cap=self.clip)
        if keep:
            self._count(j, torch.stack([space.label(g) for g in drawn]).to(losses.device), losses, state, accepted)
        rows = torch.arange(len(state), device=state.device)
        names = (*self.base.inputs, self.base.target)
        return {**batch, **{n: torch.stack([b[n] for b in moved])[state, rows] for n in names}}

    def _count(self, j: int, labels: Tensor, losses: Tensor, state: Tensor, accepted: Tensor) -> None:
        proposed, taken, failing = self.counts(j)
        if self.M > 1:
            later = labels[1:].flatten()
            proposed.index_add_(0, later, torch.ones_like(later, dtype=proposed.dtype))
            taken.index_add_(0, later, accepted.flatten().to(taken))
        flat, values = labels.flatten(), losses.flatten().nan_to_num(0.0, 0.0, 0.0).to(failing)
        count = torch.bincount(flat, minlength=len(failing))
        mean = torch.zeros_like(failing).index_add_(0, flat, values) / count.clamp(min=1)
        failing.copy_(torch.where(count > 0, torch.where(failing == 0, mean, 0.95 * failing + 0.05 * mean), failing))

    def counts(self, j: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Proposed and accepted transformations of space ``j`` by label, and the running mean loss there."""
        return tuple(getattr(self, f"{name}_{j}") for name in ("proposed", "accepted", "failing"))  # type: ignore[return-value]

    def found(self, j: int = 0) -> dict[str, float]:
        """Acceptance rate by label: what the model still fails on, the symmetry that the data allow."""
        proposed, accepted, _ = self.counts(j)
        rates = (accepted / proposed.clamp(min=1)).tolist()
        return dict(zip(self.spaces[j].labels, rates, strict=True))

    def after_step(self, model: Any, step: int) -> None:
        """The dual step."""
        if (inner := getattr(self.base, "after_step", None)) is not None:
            inner(model, step)
        if self._moved is None:
            return
        moved, self._moved = self._moved.to(self.gamma.device), None
        self.gamma.copy_(ascend(self.gamma, moved - moved.new_tensor(self.eps), self.eta))
        self.history.record(torch.cat([self.gamma, moved]))
        buffer = getattr(model, "strengths", None)
        if isinstance(buffer, Tensor) and buffer.shape == self.gamma.shape:
            buffer.copy_(self.gamma)
        if bool((over := self.gamma > self.cap).any()):
            j = int(over.to(torch.int64).argmax())
            failing = self.counts(j)[2]
            worst = [f"{self.spaces[j].labels[i]} (loss {failing[i]:.3g})" for i in failing.topk(min(3, len(failing))).indices]
            raise InputError(
                f"constraint {self.spaces[j].name}: gamma {float(self.gamma[j]):.3g} passed the cap {self.cap:g}, so a loss of "
                f"at most {self.eps[j]:g} is infeasible; raise eps or leave out what fails most: {', '.join(worst)}"
            )


def eps_by_rule(
    base: Any, space: Any, model: nn.Module, batch: Any, *, M: int = 2, factor: float = 1.1, repeats: int = 8, seed: int = 0,
) -> float:  # fmt: skip
    """The eps that the rule suggests: ``factor`` times the loss of a plainly augmented ``model`` on moved validation data.

    The loss is taken under the law that M proposals sample, which is what the constraint is about; ``repeats`` chains for
    every sample of ``batch``. Raises InputError where that loss is not finite.
    """
    generator, total = torch.Generator().manual_seed(seed), 0.0
    with torch.no_grad(), evaluating(model):
        for _ in range(repeats):
            moved = [space.apply(batch, space.draw(batch, generator)) for _ in range(M)]
            losses = torch.stack([base.losses(base.predict(model, b), b) for b in moved])
            state, _ = chain(losses, generator=generator)
            total += losses[state, torch.arange(len(state), device=state.device)].mean().item()
    eps = factor * total / repeats
    if not 0 < eps < math.inf:
        raise InputError(f"eps_by_rule: the model's loss on moved data is {eps / factor}; train it with augmentation first")
    return eps


def _check(base: Any, spaces: tuple, eps: tuple, proposals: int, eta: float, gamma: float, cap: float, temper: float) -> None:
    if not spaces or len(eps) != len(spaces):
        raise InputError(f"Constrained: one eps for each space, got {len(spaces)} spaces and {len(eps)} eps")
    if any(not 0 < e < math.inf for e in eps):
        raise InputError(f"Constrained: eps is a loss > 0 and finite, got {eps if len(eps) > 1 else eps[0]}")
    if proposals < 1:
        raise InputError(f"Constrained: M is a number of proposals >= 1, got {proposals}")
    if not (0 <= eta < math.inf and 0 <= gamma <= cap and temper > 0):
        raise InputError(
            f"Constrained: eta >= 0, 0 <= gamma <= cap, temper > 0; got eta {eta}, gamma {gamma}, cap {cap}, temper {temper}"
        )
    if not (hasattr(base, "predictions") and hasattr(base, "losses")):
        raise InputError(
            f"Constrained: {type(base).__name__} has no per-sample losses; use Supervised(loss) with a loss of reduction "
            f'"none", or give it predictions(model, *batches) and losses(y, batch)'
        )


def _check_alike(space: Any, clean: Any, moved: Any, base: Any) -> None:
    for name in (*base.inputs, base.target):
        if moved[name].shape != clean[name].shape or moved[name].dtype != clean[name].dtype:
            raise InputError(
                f"space {space.name}: {name!r} came back as {moved[name].dtype} {tuple(moved[name].shape)}, expected "
                f"{clean[name].dtype} {tuple(clean[name].shape)}"
            )
