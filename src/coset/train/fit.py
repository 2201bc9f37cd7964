"""The default training loop: one model, one objective, one recipe, run by Lightning.

``fit`` is the only user of Lightning (extra ``train``). What a training does follows from its model, objective, data,
recipe and ``run.seed`` alone: not from the number of processes that share a batch, and not from being killed and resumed.
A step costs about 1 ms more than in a bare loop (torch 2.13, Lightning 2.6, one core).
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from coset.contract import seeded
from coset.errors import InputError, require
from coset.recipe import Data, Recipe
from coset.train.batches import loader, order_of
from coset.train.precision import check_precision
from coset.train.ranks import GlobalBatchNorm, launched
from coset.train.run import Run, mix, write_curve
from coset.train.shares import Parts
from coset.train.state import read_state, write_state
from coset.train.steps import Steps


def fit(model: Any, objective: Any, data: Data, recipe: Recipe, run: Run | None = None) -> Any:
    """Train ``model`` in place and return it in eval mode, in the dtype it came in.

    ``objective(model, batch)`` gives ``{"loss": scalar, other terms to log}``; a copy of it is trained along, and its
    ``plan(steps_per_epoch, epochs)`` and ``after_step(model, step)``, where it has them, are called before the first step and
    after every optimizer step. One whose terms are means over other things than samples says over how many by
    ``denominators(batch)`` and is called with ``shares`` where a batch is divided (:mod:`coset.train.shares`). ``data.train``
    is a mapping of tensors with one leading axis, a Dataset (batches by its ``collate``) or a DataLoader; ``data.valid``
    likewise.
    With ``recipe.patience`` the weights of the best validation loss are kept.

    Raises MissingExtra without Lightning; InputError for data, recipe or objective that do not fit, and when the loss
    stops being a number.
    """
    lightning = require("lightning.pytorch", extra="train")
    run = run or Run()
    if not isinstance(model, nn.Module):
        raise InputError(f"fit trains a torch module, got {type(model).__name__}; give the stage another loop, or loop=None")
    if objective is None:
        raise InputError("fit needs an objective: the task has none and the stage gives none")
    if recipe.patience and data.valid is None:
        raise InputError("recipe: patience needs data.valid, which this task does not give")
    if recipe.epochs < 1:
        raise InputError(f"recipe: epochs is at least 1, got {recipe.epochs}")
    check_precision(model, recipe.precision)
    rank, world = launched(run.devices)
    share: dict[str, Any] = {"seed": mix(run.seed, 1), "rank": rank, "world": world}
    share |= {"accumulate": recipe.accumulate, "edges": recipe.edges}
    train = loader(data.train, recipe.batch, samples=recipe.samples, **share)
    valid = None if data.valid is None else loader(data.valid, recipe.batch, shuffle=False, **share)
    order, held = order_of(train), None if valid is None else order_of(valid)
    epoch = -(-len(train) // recipe.accumulate)
    began, dtypes = time.perf_counter(), {name: p.dtype for name, p in model.named_parameters()}
    with seeded(run.seed), _quiet():
        own = _private(objective)
        if hasattr(own, "plan"):
            own.plan(epoch, recipe.epochs)
        steps = _mixed(lightning)(model.train(), own, recipe, run, steps=recipe.epochs * epoch, order=order, held=held)
        trainer = _trainer(lightning, recipe, run, world)
        with GlobalBatchNorm() if world > 1 else contextlib.nullcontext():
            _go(trainer, steps, *(_parts(batches, own, recipe, run, world) for batches in (train, valid)))
    run.trace.total += time.perf_counter() - began
    _restore(model, dtypes)
    return model.eval()


def _parts(batches: Any, objective: Any, recipe: Recipe, run: Run, world: int) -> Any:
    """The batches themselves where they are worked off whole."""
    if batches is None or world * recipe.accumulate == 1:
        return batches
    return Parts(batches, objective, accumulate=recipe.accumulate, world=world, device=run.device)


def _go(trainer: Any, steps: Any, train: Any, valid: Any) -> None:
    run = steps.run
    kept = run.checkpoint if run.resume and run.checkpoint and run.checkpoint.is_file() else None
    try:
        trainer.fit(steps, train, valid, ckpt_path=kept, weights_only=False)
    except SystemExit:  # how Lightning answers an interrupt
        raise KeyboardInterrupt from None


def _trainer(lightning: ModuleType, recipe: Recipe, run: Run, world: int) -> Any:
    device = torch.device(run.device)
    chosen: Any = [device.index] if device.index is not None else run.devices if world == 1 or device.type != "cpu" else world
    plugins: list[Any] = [_checkpoints()]
    if world > 1:
        plugins.append(require("lightning.fabric.plugins.environments", extra="train").TorchElasticEnvironment())
    strategy: Any = "auto"
    if world > 1:
        backend = "gloo" if device.type == "cpu" else "nccl"
        strategy = lightning.strategies.DDPStrategy(process_group_backend=backend, find_unused_parameters=True)
    try:
        return lightning.Trainer(
            accelerator="cpu" if device.type == "cpu" else "gpu",
            devices=chosen,
            strategy=strategy,
            precision=recipe.precision,
            max_epochs=recipe.epochs,
            accumulate_grad_batches=recipe.accumulate,
            reload_dataloaders_every_n_epochs=int(recipe.edges > 0),  # epochs differ in how many batches they are cut into
            logger=_logger(lightning, run) or False,
            callbacks=[_keeper()(run, run.folder)] if run.folder else [],
            plugins=plugins,
            sync_batchnorm=world > 1 and device.type != "cpu",
            use_distributed_sampler=False,
            inference_mode=False,
            num_sanity_val_steps=0,
            enable_checkpointing=bool(run.folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=str(run.folder or Path.cwd()),
        )
    except (ValueError, lightning.utilities.exceptions.MisconfigurationException) as error:
        raise InputError(f"cannot train with precision {recipe.precision!r} on {run.device}: {error}") from error


def _logger(lightning: ModuleType, run: Run) -> Any:
    if run.logger != "tensorboard" or run.folder is None:
        return None
    require("tensorboard", extra="track")
    return lightning.loggers.TensorBoardLogger(str(run.folder), name="", version="tensorboard")


@cache
def _mixed(lightning: ModuleType) -> type:
    return type("Training", (Steps, lightning.LightningModule), {})


@cache
def _checkpoints() -> Any:
    """Lightning's checkpoints as safetensors and JSON."""
    base = require("lightning.fabric.plugins.io.checkpoint_io", extra="train").CheckpointIO

    class StateFiles(base):  # type: ignore[misc, valid-type]
        """Optimizer, loops, schedulers, callbacks and weights in one file, written whole or not at all."""

        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            write_state(path, checkpoint, kind="training")

        def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
            return read_state(path, kind="training")

        def remove_checkpoint(self, path: Any) -> None:
            Path(path).unlink(missing_ok=True)

    return StateFiles()


@cache
def _keeper() -> type:
    """After every epoch: the checkpoint to resume from, and the curve."""
    base = require(
        "lightning.pytorch.callbacks", extra="train"
    ).Checkpoint  # of this kind: called after the epoch's line is written

    class Keeper(base):  # type: ignore[misc, valid-type]
        def __init__(self, run: Run, folder: Path) -> None:
            self.run, self.folder = run, folder

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            trainer.save_checkpoint(self.run.checkpoint)
            if trainer.global_rank == 0:
                write_curve(self.folder / "curve.csv", [*self.run.earlier, *self.run.trace.curve])

    return Keeper


def _private(objective: Any) -> Any:
    """A copy for this row alone, in training mode; a plain function is its own copy."""
    copied = copy.deepcopy(objective)
    return copied.train() if isinstance(copied, nn.Module) else copied


def _restore(model: nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    """Precision 64 trains in float64; what follows expects the dtype the model came in."""
    kinds = set(dtypes.values())
    if len(kinds) == 1 and any(p.dtype not in kinds for p in model.parameters()):
        model.to(kinds.pop())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notices (devices found, few workers, tips) are not for our reader; its errors still come through."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        warnings.filterwarnings("ignore", message=r".*(does not have many workers|treespec|in eval mode at the start).*")
        for logger, _ in levels:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in levels:
                logger.setLevel(level)
