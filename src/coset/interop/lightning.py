"""Equivariance error as a curve: a callback for anyone's own Lightning ``Trainer``, whatever its logger.

    from coset.interop.lightning import EquivarianceCallback

    watch = EquivarianceCallback(Contract(C(4), "image", "invariant"), images[:32])
    Trainer(callbacks=[watch], logger=TensorBoardLogger("logs")).fit(module, loader)

A network may be equivariant when it is initialized and no longer once it is trained (grids, padding, aligned data), so the
error is measured before the first step and after every epoch: of the module's ``forward``, or of the part that ``model``
names, on one fixed sample and the same elements each time. Nothing of the training changes: module by module the mode, the
weights' gradients, the random state and the precision are what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coset.audits.equivariance import equivariance_error
from coset.contract import Contract, contracts_of
from coset.errors import InputError, require

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:  # said when a callback is made
        Callback = object


class EquivarianceCallback(Callback):
    """Log the mean relative error of every contract as ``name`` (of several contracts, ``name/contract``).

    ``contracts`` are those that the model carries if None; ``sample`` is one sample of their inputs, held in memory and moved
    to the model's device. The error is that of :func:`coset.audits.equivariance.equivariance_error` over ``samples`` elements,
    in ``dtype`` (a copy of the model where its weights are of another one), after every ``every``-th epoch. It is logged at the
    end of the epoch, so ``ModelCheckpoint(monitor=name, save_on_train_epoch_end=True)`` and ``EarlyStopping`` with
    ``check_on_train_epoch_end=True`` can go by it; ``history`` keeps ``{"epoch": n, name: error}``, epoch 0 before training.

    Raises InputError for no contract, ``every < 1`` and, before the first step, for a sample that does not fit.
    """

    def __init__(
        self, contracts: Contract | Sequence[Contract] | None, sample: Any, *, model: str = "", every: int = 1,
        samples: int = 16, name: str = "equivariance_error", dtype: str = "float64", seed: int = 0,
    ) -> None:  # fmt: skip
        require("lightning.pytorch", extra="train")
        super().__init__()
        self.contracts = (contracts,) if isinstance(contracts, Contract) else None if contracts is None else tuple(contracts)
        if self.contracts == ():
            raise InputError("EquivarianceCallback: no contract to watch; pass one, or None for those that the model carries")
        if every < 1:
            raise InputError(f"EquivarianceCallback: every is a number of epochs, at least 1; got {every}")
        self.sample, self.model, self.every = sample, model, every
        self.samples, self.name, self.dtype, self.seed = samples, name, dtype, seed
        self.history: list[dict[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The error before the first step; not repeated where a training is resumed."""
        if trainer.global_step:
            return
        found = self.measure(pl_module)
        self.history.append({"epoch": 0, **found})
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics({**found, "epoch": 0}, step=0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The error after this epoch, to all loggers and to what other callbacks monitor."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every:
            return
        found = self.measure(pl_module)
        self.history.append({"epoch": epoch, **found})
        pl_module.log_dict(found)  # the same on every process: neither reduced nor left to the first

    def measure(self, module: LightningModule) -> dict[str, float]:
        """The error of every contract by the name that it is logged under."""
        f = module.get_submodule(self.model)
        promised = self.contracts or contracts_of(f)
        names = [self.name] if len(promised) == 1 else [f"{self.name}/{contract}" for contract in promised]
        sample = _on_device(self.sample, module.device)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(module.device.type, enabled=False):
            return {
                name: equivariance_error(f, contract, sample, samples=self.samples, seed=self.seed, dtype=self.dtype)
                for name, contract in zip(names, promised, strict=True)
            }


def _on_device(sample: Any, device: Any) -> Any:
    if isinstance(sample, Tensor):
        return sample.to(device)
    if isinstance(sample, (list, tuple)):
        return [_on_device(part, device) for part in sample]
    return {name: value.to(device) for name, value in sample.items()}
