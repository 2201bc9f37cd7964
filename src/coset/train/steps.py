"""What happens in each step and epoch of :func:`coset.train.fit.fit`, as the hooks that Lightning calls.

:class:`Steps` is mixed with ``LightningModule`` by :mod:`coset.train.fit`, which alone imports Lightning.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import seeded
from coset.errors import InputError
from coset.recipe import Recipe
from coset.train.average import MovingAverage
from coset.train.batches import GlobalBatches
from coset.train.clock import Clock
from coset.train.optimizers import make_optimizer, parameter_groups
from coset.train.run import Run, mix
from coset.train.schedule import make_schedule
from coset.train.shares import SAMPLES, Part, length
from coset.train.snapshot import keep, restore, set_random

SECONDS_BETWEEN_REPORTS = 0.5


class Steps:
    """A model and a private copy of its objective, trained together."""

    trainer: Any
    current_epoch: int

    def __init__(self, model: nn.Module, objective: Any, recipe: Recipe, run: Run, *, steps: int,
                 order: GlobalBatches | None, held: GlobalBatches | None = None) -> None:  # fmt: skip
        super().__init__()
        self.model = model
        self.objective = objective
        self.recipe, self.run, self.steps, self.order, self.held = recipe, run, steps, order, held
        self.trace = run.trace
        self.clock = Clock(run)
        self.began = self.reported = time.perf_counter()
        self.sums: dict[str, Tensor] = {}  #: of the epoch: terms weighted by samples, and the samples
        self.loss: list[Tensor] = []  #: of the step, by its micro-batches
        self.best: dict[str, Any] = {"loss": math.inf, "epoch": -1, "weights": {}}
        self.last = math.nan
        self.done = 0.0  #: of the epoch
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None
        self.random: list[Any] | None = None  #: to begin with, where a training goes on within an epoch
        self.counting = hasattr(objective, "denominators")

    # ------------------------------------------------------------------ steps

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The loss of a batch or, weighted by its shares, of a part of one."""
        part = batch if isinstance(batch, Part) else Part(batch, self.order.size(index) if self.order is not None else 1, {})
        self.done = (index + 1) / self.trainer.num_training_batches
        loss = self._add(self._terms(part), part)
        if self.run.record:
            self.loss.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """After the optimizer's move: the objective's own, the average's; progress; a checkpoint; the deadline."""
        last = index + 1 == self.trainer.num_training_batches
        if (index + 1) % self.recipe.accumulate and not last:
            return
        step = self.trainer.global_step
        if hasattr(self.objective, "after_step"):
            with torch.no_grad():
                self.objective.after_step(self.model, step)
        if self.average is not None:
            self.average.update(step)
        self.trace.steps += 1
        if self.run.record:
            self.trace.losses.append(self._mean(torch.stack(self.loss).sum() / self.recipe.accumulate).item())
            self.loss = []
        now = time.perf_counter()
        if now - self.reported > SECONDS_BETWEEN_REPORTS:
            self._report(now)
        if self.clock.share >= 1:
            self._stop(f"time was up in epoch {self.current_epoch + 1} of {self.recipe.epochs}")
        elif self.clock.due and not last and self.order is not None:
            self.order.start = (index + 1) // self.recipe.accumulate
            self._write()

    def validation_step(self, batch: Any, index: int) -> None:
        """The objective on held-out samples; gradients stay possible for models that differentiate (forces)."""
        samples = self.held.size(index) if self.held is not None else length(batch)
        part = batch if isinstance(batch, Part) else Part(batch, samples, {})
        with torch.enable_grad():
            self._add(self._terms(part), part, "valid_")

    def _terms(self, part: Part) -> dict[str, Tensor]:
        told = {"shares": {n: s for n, s in part.shares.items() if n != SAMPLES}} if self.counting and part.shares else {}
        found = self.objective(self.model, part.batch, **told)
        if not isinstance(found, Mapping) or not isinstance(found.get("loss"), Tensor):
            raise InputError(f"objective {_name(self.objective)}: expected a mapping with a tensor 'loss', got {_shape(found)}")
        terms = {name: value if isinstance(value, Tensor) else torch.tensor(float(value)) for name, value in found.items()}
        if terms["loss"].ndim:
            raise InputError(f"objective {_name(self.objective)}: 'loss' is a scalar, got shape {tuple(terms['loss'].shape)}")
        return terms

    def _add(self, terms: Mapping[str, Tensor], part: Part, prefix: str = "") -> Tensor:
        """Count the terms into the epoch's means; the loss whose average over all parts is that of the whole batch."""
        common = part.shares.get(SAMPLES, 1.0)
        shares = {"loss": 1.0, **part.shares} if self.counting else {}  # such an objective has weighed its loss itself
        for name, value in terms.items():
            if value.numel() == 1:
                weight = shares.get(name, common) * part.samples
                new = value.new_tensor(weight, dtype=torch.float64)
                new = torch.stack([value.detach().double().reshape(()) * weight, new])
                self.sums[prefix + name] = self.sums[prefix + name].to(new.device) + new if prefix + name in self.sums else new
        share = shares.get("loss", common)
        return terms["loss"] * share if share != 1 else terms["loss"]

    # ------------------------------------------------------------------ epochs

    def on_train_start(self) -> None:
        """The clock starts; say where training goes on from, with the random state that it was left in."""
        self.clock.start(self.trainer.world_size)
        self.began = time.perf_counter()
        if self.random is not None:
            set_random(self.random)
        done, inside = self.current_epoch, self.order.start if self.order is not None else 0
        if done or inside:
            note = f"goes on after step {inside} of epoch {done + 1}" if inside else f"goes on after epoch {done}"
            self.run.say(epoch=done, epochs=self.recipe.epochs, step=self.trainer.global_step, note=note)

    def on_train_epoch_start(self) -> None:
        """Random numbers follow from (seed, epoch, process), so a resumed epoch draws what an unbroken one would."""
        torch.manual_seed(mix(self.run.seed, 2, self.current_epoch, self.trainer.global_rank))
        if self.order is not None:
            self.order.set_epoch(self.current_epoch)
        self.sums = {}
        self.began = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Validation is not counted as time of the steps, and leaves the random state alone."""
        self.trace.seconds += time.perf_counter() - self.began
        self.quiet = seeded(mix(self.run.seed, 3))
        self.quiet.__enter__()
        self._exchange()

    def on_validation_epoch_end(self) -> None:
        """Back to training."""
        self._exchange()
        self.quiet.__exit__(None, None, None)
        self.began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """A line of the curve; early stopping; a loss that is no number ends the training."""
        self.trace.seconds += time.perf_counter() - self.began
        means = {name: self._mean(sums) for name, sums in self.sums.items()}
        line = {name: (total[0] / total[1]).item() for name, total in means.items()}
        if not math.isfinite(line.get("loss", 0.0)):
            raise InputError(
                f"training diverged: the loss is {line['loss']} in epoch {self.current_epoch + 1}; "
                f"check the data for NaN, or lower lr (it is {self.recipe.lr:g})"
            )
        self.last = line.get("loss", self.last)
        head = {"stage": self.run.stage, "epoch": self.current_epoch + 1, "step": self.trainer.global_step}
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.trace.curve.append(head | {"seconds": round(self.trace.seconds, 3), "lr": rate} | line)
        self._judge(line)
        for logger in self.trainer.loggers:
            logger.log_metrics(line, step=self.trainer.global_step)
        self._report(time.perf_counter(), finished=1)
        if self.order is not None:
            self.order.go_on(self.current_epoch + 1, 0)  # now, for the loop asks how many batches the next epoch has

    def _judge(self, line: Mapping[str, float]) -> None:
        """Keep the weights of the best validation loss; stop when it has not improved for ``patience`` epochs."""
        if not self.recipe.patience:
            return
        if line["valid_loss"] < self.best["loss"]:
            self._exchange()
            weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self._exchange()
            self.best = {"loss": line["valid_loss"], "epoch": self.current_epoch, "weights": weights}
        elif self.current_epoch - self.best["epoch"] >= self.recipe.patience:
            self._stop(f"no better validation loss for {self.recipe.patience} epochs", early=False)

    def on_train_end(self) -> None:
        """With early stopping the best weights are the ones kept, else the average where there is one."""
        if self.best["weights"]:
            self.model.load_state_dict(self.best["weights"])
        else:
            self._exchange()

    def _exchange(self) -> None:
        if self.average is not None:
            self.average.exchange()

    def _stop(self, why: str, *, early: bool = True) -> None:
        self.trainer.should_stop = True
        if early:
            self.trace.stopped = why

    def _report(self, now: float, finished: int = 0) -> None:
        self.reported = now
        done = self.current_epoch + finished
        self.run.say(epoch=done, epochs=self.recipe.epochs, step=self.trainer.global_step, loss=self.last)

    def _mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return self.trainer.strategy.reduce(value, reduce_op="mean") if self.trainer.world_size > 1 else value

    # ------------------------------------------------------------------ optimizer

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer over all parameters, and its schedule."""
        optimizer = make_optimizer(self.recipe, parameter_groups(self.model, self.objective, self.recipe.lr))
        schedule = make_schedule(self.recipe, optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """As far as the steps are or, under a budget, the time, whichever is further."""
        self.clock.tick()
        step = self.trainer.global_step
        if self.recipe.edges:  # epochs differ in how many steps they have: this one's are an equal part of the whole
            step = (self.current_epoch + self.done) * self.steps / self.recipe.epochs
        scheduler.move(max(step, self.steps * min(1.0, self.clock.share)))

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None):
        """By the norm of the model's gradient; the objective's own parameters neither count nor shrink."""
        if self.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """On the CPU there is nothing to move, and looking would cost as much as a small step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)  # type: ignore[misc]

    # ------------------------------------------------------------------ checkpoints

    def _write(self) -> None:
        """A checkpoint within the epoch."""
        now = time.perf_counter()
        self.trace.seconds += now - self.began
        self.began = now
        self.trainer.save_checkpoint(self.run.checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside weights and optimizer: see :mod:`coset.train.snapshot`."""
        checkpoint["coset"] = keep(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what :meth:`on_save_checkpoint` kept."""
        restore(self, checkpoint["coset"])


def _name(objective: Any) -> str:
    return getattr(objective, "__qualname__", type(objective).__name__)


def _shape(found: Any) -> str:
    return f"keys {sorted(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
