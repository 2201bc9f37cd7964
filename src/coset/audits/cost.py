"""What a model costs: parameters, floating point operations, seconds and memory of a forward pass and of a training step.

Operations are counted by ``torch.utils.flop_counter`` (matrix products and convolutions, twice the multiply-adds), times
are medians after warming up, memory is what the step adds at its peak (:mod:`coset.audits.memory`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from coset.audits.memory import peak_bytes, process_peak
from coset.contract import evaluating, frozen
from coset.errors import InputError
from coset.records import Finding


@dataclass
class Cost(Finding):
    """The price of one call and one step on one batch."""

    parameters: int
    trainable: int
    flops: int  #: of one forward pass
    forward_seconds: float  #: median
    step_seconds: float | None  #: median of forward, backward and update; None without trainable parameters
    memory_bytes: int  #: added at the peak of a step (of a forward pass where there is no step)
    process_peak_bytes: int  #: of the process so far
    samples: int  #: in the batch
    device: str = "cpu"

    @property
    def seconds_per_sample(self) -> float:
        """Of a forward pass."""
        return self.forward_seconds / max(self.samples, 1)

    def plot(self) -> Any:
        """Times as bars, in milliseconds."""
        from coset.figures.bars import bars

        rows = {"forward": self.forward_seconds, "step": self.step_seconds or 0.0}
        return bars(
            list(rows),
            [1e3 * v for v in rows.values()],
            label="ms",
            title=f"{self.parameters} parameters, {self.flops:.3g} flops",
        )


def cost(
    f: Callable[..., Any], x: Any, *, loss: Callable[[Any], Tensor] | None = None, repeats: int = 5, train: bool = True
) -> Cost:
    """Measure ``f`` on the sample ``x`` (a tensor, or a mapping of named ones).

    ``loss`` turns the output into a scalar; the mean square of all floating outputs by default. The model is left as it
    was: weights, gradients and mode. Raises InputError for ``repeats`` below 1.
    """
    if repeats < 1:
        raise InputError(f"cost: repeats is at least 1, got {repeats}")
    module = f if isinstance(f, nn.Module) else None
    parameters = list(module.parameters()) if module is not None else []
    learned = [p for p in parameters if p.requires_grad]
    first = next(iter(x.values())) if isinstance(x, Mapping) else x

    def forward() -> Any:
        return f(**x) if isinstance(x, Mapping) else f(x)

    with evaluating(f), frozen(f):
        forward()
        with FlopCounterMode(display=False) as counter:
            forward()
        seconds = median_seconds(forward, repeats, first.device)
        memory = peak_bytes(forward, first.device)
    step_seconds = None
    if train and learned:
        step = _step(forward, learned, loss or _mean_square)
        kept = [p.grad for p in parameters]
        state = {name: value.clone() for name, value in module.state_dict().items()}  # type: ignore[union-attr]
        try:
            step()
            step_seconds = median_seconds(step, repeats, first.device)
            memory = peak_bytes(step, first.device)
        finally:
            module.load_state_dict(state)  # type: ignore[union-attr]
            for p, gradient in zip(parameters, kept, strict=True):
                p.grad = gradient
    return Cost(
        parameters=sum(p.numel() for p in parameters), trainable=sum(p.numel() for p in learned),
        flops=counter.get_total_flops(),
        forward_seconds=seconds, step_seconds=step_seconds, memory_bytes=memory, process_peak_bytes=process_peak(),
        samples=int(first.shape[0]) if first.ndim else 1, device=str(first.device),
    )  # fmt: skip


def _step(forward: Callable[[], Any], learned: list[nn.Parameter], loss: Callable[[Any], Tensor]) -> Callable[[], None]:
    def step() -> None:
        for p in learned:
            p.grad = None
        value = loss(forward())
        if value.requires_grad:
            value.backward()
        with torch.no_grad():
            for p in learned:
                if p.grad is not None:
                    p.sub_(p.grad, alpha=0.0)  # what an update costs, without its effect

    return step


def _mean_square(y: Any) -> Tensor:
    parts = y.values() if isinstance(y, Mapping) else (y,)
    return torch.stack([part.abs().square().mean() for part in parts if part.is_floating_point() or part.is_complex()]).sum()


def median_seconds(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Wall time of one call, the median of ``repeats``."""
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
