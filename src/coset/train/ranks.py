"""Several processes that train one row together: how they are started, and batch norm over what they hold in common.

Each process runs the whole row from its names and holds an equal share of every batch; only the first writes and measures.
They find each other through the variables that torchrun sets, so torchrun itself, or a cluster, can start them as well.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from coset.errors import InputError


def launched(devices: int) -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) for ``devices=1``.

    Raises InputError where the others were not started, or not that many.
    """
    if devices == 1:
        return 0, 1
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world % devices or "RANK" not in os.environ or world == 1:
        raise InputError(
            f"devices={devices}, but {world} process was started; "
            f"use coset train ... --devices {devices}, or torchrun --nproc-per-node {devices}"
        )
    return int(os.environ["RANK"]), world


def external() -> int | None:
    """This process's rank where torchrun or a cluster started it; None where nobody did."""
    return int(os.environ["RANK"]) if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ else None


def environments(devices: int) -> list[dict[str, str]]:
    """The variables that each of ``devices`` processes on this machine is started with."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices)}
    common["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # notes to developers about unused parameters
    common["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")  # Lightning chooses a number where this is not set
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"} for rank in range(devices)]


def total(values: Sequence[float], device: str = "cpu") -> list[float]:
    """The sums of these numbers over processes, in float64."""
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def of_first(values: Sequence[float], device: str = "cpu") -> list[float]:
    """The numbers that the first process has, in all of them: clocks differ, decisions must not."""
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return shared.tolist()


def gathered(value: Any) -> list[Any]:
    """What each process has, in all of them; for one process a list of its own."""
    if not dist.is_initialized():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


class GlobalBatchNorm(TorchFunctionMode):
    """Inside the block, batch norm in training mode takes its statistics over the batches of all processes.

    Torch's own SyncBatchNorm exists on accelerators only. Mean and variance are summed in two differentiable reductions,
    so gradients, too, are those of the whole batch. Running statistics come out equal in all processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.group: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm and dist.is_initialized():
            return self._batch_norm(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        plain: Any,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or x.device.type != "cpu":
            return plain(x, running_mean, running_var, weight, bias, training, momentum, eps)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        count = self._sum(torch.tensor(float(x.numel() // x.shape[1]), dtype=torch.float64)).item()
        mean = self._sum(x.sum(axes)) / count
        centered = x - mean.view(shape)
        var = self._sum(centered.square().sum(axes)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.detach().to(running_mean), momentum)
                running_var.lerp_((var.detach() * (count / max(count - 1, 1))).to(running_var), momentum)
        y = centered * (var + eps).rsqrt().view(shape)
        y = y if weight is None else y * weight.view(shape)
        return y if bias is None else y + bias.view(shape)

    def _sum(self, value: Tensor) -> Tensor:
        """Over processes, differentiable; in a group of its own, apart from the reduction of gradients."""
        if self.group is None:
            self.group = dist.new_group()
        return _Sum.apply(value, self.group)


class _Sum(torch.autograd.Function):
    """Sum over processes; each one's value enters all their losses, so its gradient is the sum of theirs, and so on."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        ctx.group = group
        out = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _Sum.apply(gradient, ctx.group), None
