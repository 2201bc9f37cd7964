"""What happens in each step and epoch of :func:`coset.train.fit.fit`, as the hooks that Lightning calls.

:class:`Steps` is mixed with ``LightningModule`` by :mod:`coset.train.fit`, which alone imports Lightning.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import seeded
from coset.errors import InputError, unknown
from coset.recipe import Recipe
from coset.train.average import MovingAverage
from coset.train.batches import GlobalBatches
from coset.train.lars import LARS, warm_up
from coset.train.run import Run, mix

SECONDS_BETWEEN_REPORTS = 0.5


class Steps:
    """A model and a private copy of its objective, trained together."""

    trainer: Any
    current_epoch: int

    def __init__(self, model: nn.Module, objective: Any, recipe: Recipe, run: Run, *, steps: int, order: GlobalBatches | None):
        super().__init__()
        self.model = model
        self.objective = objective
        self.recipe, self.run, self.steps, self.order = recipe, run, steps, order
        self.trace = run.trace
        self.clock = self.reported = time.perf_counter()
        self.sums: dict[str, Tensor] = {}  #: of the epoch: terms weighted by samples, and the samples
        self.best: dict[str, Any] = {"loss": math.inf, "epoch": -1, "weights": {}}
        self.last = math.nan
        self.average = MovingAverage(model, recipe.ema) if recipe.ema else None

    # ------------------------------------------------------------------ steps

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The loss of one batch; with several processes weighted by this one's share of it."""
        terms = self._terms(batch)
        weight, size = (self.order.weight(index), self.order.size(index)) if self.order is not None else (1.0, 1)
        self._add(terms, weight * size)
        if self.run.record:
            self.trace.losses.append(self._mean(terms["loss"].detach() * weight).item())
        return terms["loss"] * weight if weight != 1 else terms["loss"]

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """The objective's own move after the optimizer's; progress; the deadline."""
        step = self.trainer.global_step
        if hasattr(self.objective, "after_step"):
            with torch.no_grad():
                self.objective.after_step(self.model, step)
        if self.average is not None:
            self.average.update(step)
        self.trace.steps += 1
        now = time.perf_counter()
        if now - self.reported > SECONDS_BETWEEN_REPORTS:
            self._report(now)
        # several processes must stop at the same step: they decide together, at the end of an epoch
        if self.trainer.world_size == 1 and self.run.expired():
            self._stop(f"time was up in epoch {self.current_epoch + 1} of {self.recipe.epochs}")

    def validation_step(self, batch: Any, index: int) -> None:
        """The objective on held-out samples; gradients stay possible for models that differentiate (forces)."""
        with torch.enable_grad():
            terms = self._terms(batch)
        size = next((len(v) for v in _tensors(batch) if v.ndim), 1)
        self._add({f"valid_{name}": value for name, value in terms.items()}, float(size))

    def _terms(self, batch: Any) -> dict[str, Tensor]:
        found = self.objective(self.model, batch)
        if not isinstance(found, Mapping) or not isinstance(found.get("loss"), Tensor):
            raise InputError(f"objective {_name(self.objective)}: expected a mapping with a tensor 'loss', got {_shape(found)}")
        terms = {name: value if isinstance(value, Tensor) else torch.tensor(float(value)) for name, value in found.items()}
        if terms["loss"].ndim:
            raise InputError(f"objective {_name(self.objective)}: 'loss' is a scalar, got shape {tuple(terms['loss'].shape)}")
        return terms

    def _add(self, terms: Mapping[str, Tensor], weight: float) -> None:
        for name, value in terms.items():
            if value.numel() == 1:
                sums = self.sums.setdefault(name, torch.zeros(2, dtype=torch.float64, device=value.device))
                sums += torch.stack([value.detach().double().reshape(()) * weight, sums.new_tensor(weight)])

    # ------------------------------------------------------------------ epochs

    def on_train_start(self) -> None:
        """Say where training goes on from."""
        if done := self.current_epoch:
            self.run.say(
                epoch=done, epochs=self.recipe.epochs, step=self.trainer.global_step, note=f"goes on after epoch {done}"
            )

    def on_train_epoch_start(self) -> None:
        """Random numbers follow from (seed, epoch, process), so a resumed epoch draws what an unbroken one would."""
        torch.manual_seed(mix(self.run.seed, 2, self.current_epoch, self.trainer.global_rank))
        if self.order is not None:
            self.order.set_epoch(self.current_epoch)
        self.sums = {}
        self.clock = time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Validation is not counted as time of the steps, and leaves the random state alone."""
        self.trace.seconds += time.perf_counter() - self.clock
        self.quiet = seeded(mix(self.run.seed, 3))
        self.quiet.__enter__()
        self._exchange()

    def on_validation_epoch_end(self) -> None:
        """Back to training."""
        self._exchange()
        self.quiet.__exit__(None, None, None)
        self.clock = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """A line of the curve; early stopping; a loss that is no number ends the training."""
        self.trace.seconds += time.perf_counter() - self.clock
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
        if self.trainer.world_size > 1 and self.trainer.strategy.reduce_boolean_decision(self.run.expired(), all=False):
            self._stop(f"time was up after epoch {self.current_epoch + 1} of {self.recipe.epochs}")
        for logger in self.trainer.loggers:
            logger.log_metrics(line, step=self.trainer.global_step)
        self._report(time.perf_counter(), finished=1)

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
        """A group for the model, one for what its ``undecayed()`` names, one for every part of the objective that owns any."""
        owned = {id(p) for p in self.model.parameters()}
        spared = set(getattr(self.model, "undecayed", list)())
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for name, p in named if name not in spared], "lr": self.recipe.lr},
            {"params": [p for name, p in named if name in spared], "lr": self.recipe.lr, "weight_decay": 0.0},
        ]
        if isinstance(self.objective, nn.Module):
            groups += [
                {"params": params, "lr": rate, "weight_decay": 0.0}
                for rate, params in _owned(self.objective, self.recipe.lr, owned)
            ]
        groups = [group for group in groups if group["params"]]
        if not groups:
            raise InputError("nothing to train: no parameter of the model asks for a gradient; use Stage(loop=None)")
        optimizer = make_optimizer(self.recipe, groups)
        schedule = make_schedule(self.recipe, optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None):
        """By the norm of the model's gradient; the objective's own parameters neither count nor shrink."""
        if self.recipe.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """On the CPU there is nothing to move, and looking would cost as much as a small step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)  # type: ignore[misc]

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside weights and optimizer: the curve so far, the best weights, private random generators."""
        generators = {name: g.get_state() for name, g in self._generators()}
        trace = {
            "steps": self.trace.steps,
            "seconds": self.trace.seconds,
            "curve": self.trace.curve,
            "losses": self.trace.losses,
        }
        average = self.average.state() if self.average is not None else {}
        checkpoint["coset"] = {"trace": trace, "best": self.best, "generators": generators, "average": average}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what :meth:`on_save_checkpoint` kept."""
        kept = checkpoint["coset"]
        for name, value in kept["trace"].items():
            setattr(self.trace, name, value)
        self.best = kept["best"]
        if self.average is not None:
            self.average.load(kept.get("average", {}))
        for name, generator in self._generators():
            if name in kept["generators"]:
                generator.set_state(kept["generators"][name])

    def _generators(self) -> Iterator[tuple[str, torch.Generator]]:
        for root, top in (("model", self.model), ("objective", self.objective)):
            for path, part in top.named_modules() if isinstance(top, nn.Module) else [("", top)]:
                for name, value in vars(part).items() if hasattr(part, "__dict__") else ():
                    if isinstance(value, torch.Generator):
                        yield f"{root}.{path}.{name}", value


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """adamw, adam, amsgrad (Adam that keeps its largest second moment), sgd (momentum 0.9) or lars.

    InputError with the nearest name otherwise.
    """
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "lars":
        return LARS(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    known = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    if recipe.optimizer not in (*known, "amsgrad"):
        raise unknown("optimizer", recipe.optimizer, [*known, "amsgrad", "sgd", "lars"])
    # one fused call for all tensors: for small networks a third of a step
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    if recipe.optimizer == "amsgrad":
        return torch.optim.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, amsgrad=True, fused=fused)
    return known[recipe.optimizer](groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def make_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """one-cycle, cosine (to zero), warm-up (then a cosine to 1/1000) or constant, one value per optimizer step."""
    rates = [group["lr"] for group in optimizer.param_groups]
    if recipe.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=max(steps, 1))
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    if recipe.schedule == "warm-up":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up(steps))
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    raise unknown("schedule", recipe.schedule, ["one-cycle", "cosine", "warm-up", "constant"])


def _owned(objective: nn.Module, rate: float, taken: set[int]) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Learning rate and parameters of each part; a part with an attribute ``lr`` decides for itself and what is in it."""
    rate = float(getattr(objective, "lr", None) or rate)
    mine = [p for p in objective.parameters(recurse=False) if p.requires_grad and id(p) not in taken]
    taken |= {id(p) for p in mine}
    if mine:
        yield rate, mine
    for child in objective.children():
        yield from _owned(child, rate, taken)


def _tensors(batch: Any) -> Iterator[Tensor]:
    for value in batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else [batch]:
        if isinstance(value, Tensor):
            yield value


def _name(objective: Any) -> str:
    return getattr(objective, "__qualname__", type(objective).__name__)


def _shape(found: Any) -> str:
    return f"keys {sorted(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
