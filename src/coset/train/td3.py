"""TD3: twin delayed deterministic policy gradients, in one file, with the signature of :func:`coset.train.fit.fit`.

    y = r + gamma (1 - end) min_i Q_i'(s', clip(pi'(s') + clip(noise, c), -1, 1))

Fujimoto, van Hoof & Meger, Addressing Function Approximation Error in Actor-Critic Methods, ICML 2018, arXiv 1802.09477;
defaults as in Chen et al., ICML 2023, arXiv 2305.18951. A critic may value every limb by itself, (B, N): each value is
fitted to the reward of the whole body. Everything follows from ``run.seed``; a checkpoint holds weights, optimizers, replay
buffer, random states and the environment's state, so a killed run goes on bit for bit. An environment that cannot tell its
state (no ``state`` and ``restore``) begins a new episode instead.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import seeded
from coset.errors import InputError
from coset.recipe import Data, Recipe
from coset.train.optimizers import make_optimizer
from coset.train.replay import Replay
from coset.train.rollout import batched, bounds, episodes, expanded
from coset.train.run import Run, mix, write_curve
from coset.train.state import read_state, write_state

STEPS = 1000  #: of the environment in an epoch, unless the recipe says


@dataclass(frozen=True)
class TD3:
    """A loop: ``Stage(loop=TD3())``. Optimizer, lr, batch and clip are the recipe's; ``recipe.samples`` steps of the
    environment (1000 if 0) make an epoch.

    ``data.train`` makes an environment; ``data.valid``, where given, is a sequence of ``reset`` options for the episodes
    that the curve's ``valid_return`` averages every ``judge`` epochs; ``data.info["every"]``, where given, stands for
    ``every``. The policy has a method ``critic()`` that makes a
    fresh critic, called with the observation and ``action``. Raises InputError for models, environments and fields that do
    not fit, and for a loss that stops being a number.
    """

    warmup: int = 1  #: epochs of random actions before the first update
    every: int = 1  #: environment steps for one update
    gamma: float = 0.99
    tau: float = 0.005  #: how far targets follow in one update
    delay: int = 2  #: critic updates for one of the policy
    explore: float = 0.126  #: standard deviation of the noise on actions
    smooth: float = 0.2  #: of that on target actions, cut at ``cut``
    cut: float = 0.5
    capacity: int = 10**7
    keep: int = 5  #: epochs between checkpoints
    judge: int = 10  #: epochs between validations

    def __post_init__(self) -> None:
        bad = [
            f.name
            for f in fields(self)
            if not getattr(self, f.name) >= (0 if f.name in ("warmup", "explore", "smooth", "cut") else 1e-9)
        ]
        if bad or self.gamma > 1 or self.tau > 1:
            raise InputError(f"TD3: {', '.join(bad) or 'gamma and tau'} out of range in {self}")

    def __call__(self, model: nn.Module, objective: Any, data: Data, recipe: Recipe, run: Run | None = None) -> nn.Module:
        """Train ``model`` in place and return it in eval mode."""
        run = run or Run()
        if objective is not None:
            raise InputError("TD3 has its own losses: the stage's objective must be None")
        if not isinstance(model, nn.Module) or not callable(getattr(model, "critic", None)):
            raise InputError(f"TD3 trains a policy with a method critic(), got {type(model).__name__}")
        began = time.perf_counter()
        with seeded(run.seed):
            Training(self, model, data, recipe, run).go()
        run.trace.total += time.perf_counter() - began
        return model.eval()


class Learner:
    """Policy, twin critics, their slow copies and optimizers; :meth:`update` is one step of TD3."""

    def __init__(self, how: TD3, policy: nn.Module, recipe: Recipe, constants: Mapping[str, np.ndarray]) -> None:
        self.how, self.recipe, self.policy = how, recipe, policy.train()
        self.like = next(policy.parameters())
        self.critics = nn.ModuleList(policy.critic().to(self.like) for _ in range(2))  # type: ignore[operator]
        self.slow = copy.deepcopy(nn.ModuleList([policy, *self.critics])).requires_grad_(False)
        self.constants = expanded(constants, recipe.batch, self.like)
        # walking through modules costs as much as a small network's forward pass: once is enough
        self.weights = [list(part.parameters()) for part in (policy, self.critics)]
        self.slow_weights: list[Tensor] = list(self.slow.parameters())
        self.optimizers = [make_optimizer(recipe, [{"params": part, "lr": recipe.lr}]) for part in self.weights]
        self.updates = 0

    def update(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, float]:
        """Critics towards the smaller of both slow values, every ``delay``-th time the policy uphill; losses as numbers."""
        here, then = ({k: v.to(self.like) for k, v in batch[part].items()} | self.constants for part in ("seen", "then"))
        action, reward, fallen = (batch[name].to(self.like) for name in ("action", "reward", "fallen"))
        with torch.no_grad():
            target = self._target(then, reward, fallen, generator)
        values = (critic(**here, action=action) for critic in self.critics)
        loss = torch.stack([F.mse_loss(value, target.expand_as(value)) for value in values]).sum()
        found = {"loss": self._descend(loss, 1)}
        self.updates += 1
        if self.updates % self.how.delay == 0:
            found["value"] = -self._descend(-self.critics[0](**here, action=self.policy(**here)).mean(), 0)
            with torch.no_grad():
                fast: list[Tensor] = [*self.weights[0], *self.weights[1]]
                torch._foreach_lerp_(self.slow_weights, fast, self.how.tau)
        return found

    def _target(self, then: Mapping[str, Tensor], reward: Tensor, fallen: Tensor, generator: torch.Generator) -> Tensor:
        policy, first, second = self.slow
        action = policy(**then)
        noise = torch.randn(action.shape, generator=generator).to(action) * self.how.smooth
        action = (action + noise.clamp(-self.how.cut, self.how.cut)).clamp(-1, 1)
        value = torch.minimum(first(**then, action=action), second(**then, action=action))
        return reward[:, None] + self.how.gamma * (1 - fallen[:, None]) * value

    def _descend(self, loss: Tensor, part: int) -> float:
        """A step of the policy (0) or of the critics (1); the loss before it."""
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"TD3 diverged: a loss is {value} after {self.updates} updates; lower lr (it is {self.recipe.lr:g})"
            )
        self.optimizers[part].zero_grad()
        loss.backward(inputs=self.weights[part])
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.weights[part], self.recipe.clip)
        self.optimizers[part].step()
        return value

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        modules = {name: dict(getattr(self, name).state_dict()) for name in ("policy", "critics", "slow")}
        return {**modules, "optimizers": [o.state_dict() for o in self.optimizers], "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        for name in ("policy", "critics", "slow"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.updates = int(state["updates"])


class Training:
    """One run: acting, storing, updating, epoch after epoch."""

    def __init__(self, how: TD3, policy: nn.Module, data: Data, recipe: Recipe, run: Run) -> None:
        self.how, self.data, self.recipe, self.run = how, data, recipe, run
        self.env, self.steps = data.train(), recipe.samples or STEPS
        self.every = int(data.info.get("every", how.every))
        self.middle, self.half = bounds(self.env.action_space)
        self.constants = getattr(self.env.unwrapped, "constants", {})
        self.learner = Learner(how, policy, recipe, self.constants)
        self.random = torch.Generator().manual_seed(mix(run.seed, 1))
        self.seen, _ = self.env.reset(seed=mix(run.seed, 2) % 2**31)
        shapes = {name: value.shape for name, value in self.seen.items()}
        frames = 2 * recipe.epochs * self.steps + 2  # at most one closing frame for every step
        self.replay = Replay(min(how.capacity, frames), shapes, self.env.action_space.shape)
        self.replay.begin(self.seen)
        self.epoch, self.total, self.ended = 0, 0.0, []  # type: ignore[var-annotated]

    def go(self) -> None:
        """All epochs, from the checkpoint where there is one."""
        self._resume()
        while self.epoch < self.recipe.epochs:
            began, sums = time.perf_counter(), {}  # type: ignore[var-annotated]
            for _ in range(self.steps):
                for name, value in self._step().items():
                    sums.setdefault(name, []).append(value)
                if self.run.expired():
                    self.run.trace.stopped = f"time was up in epoch {self.epoch + 1} of {self.recipe.epochs}"
                    return
            self.run.trace.seconds += time.perf_counter() - began
            self._close_epoch({name: float(np.mean(values)) for name, values in sums.items()})

    def _step(self) -> dict[str, float]:
        """One step of the environment and, after the warmup, one update in ``every`` steps."""
        warming = self.epoch < self.how.warmup
        action = self._act(random=warming)
        seen, reward, fallen, over, _ = self.env.step((self.middle + self.half * action).astype(np.float32))
        self.replay.step(action, reward, fallen, seen)
        self.seen, self.total = seen, self.total + reward
        if fallen or over:
            self.ended.append(self.total)
            self._begin()
        self.run.trace.steps += 1
        if warming or self.run.trace.steps % self.every:
            return {}
        return self.learner.update(self.replay.draw(self.recipe.batch, self.random), self.random)

    def _begin(self) -> None:
        self.seen, self.total = self.env.reset()[0], 0.0
        self.replay.begin(self.seen)

    def _act(self, *, random: bool) -> np.ndarray:
        shape = self.env.action_space.shape
        if random:
            return (2 * torch.rand(shape, generator=self.random) - 1).numpy()
        with torch.no_grad():
            action = self.learner.policy(**batched([self.seen], self.constants, self.learner.like))[0].cpu()
        noise = self.how.explore * torch.randn(shape, generator=self.random)
        return (action + noise).clamp(-1, 1).float().numpy()

    def _close_epoch(self, line: dict[str, float]) -> None:
        self.epoch += 1
        trace, last = self.run.trace, self.epoch == self.recipe.epochs
        head = {"stage": self.run.stage, "epoch": self.epoch, "step": trace.steps, "seconds": round(trace.seconds, 3)}
        line["return"] = float(np.mean(self.ended)) if self.ended else math.nan
        line["episodes"] = float(len(self.ended))
        self.ended = []
        if self.data.valid and (last or self.epoch % self.how.judge == 0):
            line["valid_return"] = float(episodes(self.learner.policy, self.data.train, self.data.valid).returns.mean())
            self.learner.policy.train()
        trace.curve.append(head | line)
        self.run.say(epoch=self.epoch, epochs=self.recipe.epochs, step=trace.steps, loss=line.get("loss", math.nan))
        if self.run.folder:
            write_curve(self.run.folder / "curve.csv", [*self.run.earlier, *trace.curve])
        if self.run.checkpoint and (last or self.epoch % self.how.keep == 0):
            write_state(self.run.checkpoint, self._state(), kind="td3")

    # ------------------------------------------------------------------ checkpoints

    def _state(self) -> dict[str, Any]:
        trace, told = self.run.trace, getattr(self.env.unwrapped, "state", None)
        return {
            "learner": self.learner.state_dict(), "replay": self.replay.state_dict(), "random": self.random.get_state(),
            "epoch": self.epoch, "total": self.total, "seen": dict(self.seen), "environment": told() if told else None,
            "trace": {"steps": trace.steps, "seconds": trace.seconds, "curve": trace.curve},
        }  # fmt: skip

    def _resume(self) -> None:
        path = self.run.checkpoint
        if not (self.run.resume and path and path.is_file()):
            return
        kept = read_state(path, kind="td3")
        self.learner.load_state_dict(kept["learner"])
        self.replay.load_state_dict(kept["replay"])
        self.random.set_state(kept["random"])
        self.epoch = int(kept["epoch"])
        for name, value in kept["trace"].items():
            setattr(self.run.trace, name, value)
        if kept["environment"] is None:
            self._begin()
        else:
            self.env.unwrapped.restore(kept["environment"])
            self.seen, self.total = kept["seen"], float(kept["total"])
        self.run.say(
            epoch=self.epoch, epochs=self.recipe.epochs, step=self.run.trace.steps, note=f"goes on after epoch {self.epoch}"
        )
