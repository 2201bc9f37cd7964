"""Interleaved timing in one process: every call once per round, process CPU time, medians and minima over rounds."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Seconds:
    """Of one call."""

    median: float
    least: float


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int, *, clock=time.process_time) -> dict[str, Seconds]:
    """The calls take turns, so that whatever else the machine does meets all of them; the first round only warms up."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            began = clock()
            call()
            if turn:
                samples[name].append(clock() - began)
    return {name: Seconds(statistics.median(values), min(values)) for name, values in samples.items()}


def matmul(flops: float) -> Callable[[], object]:
    """A square matrix product in float32 with about this many FLOPs: the rate that a processor reaches at best."""
    n = max(64, round((flops / 2) ** (1 / 3)))
    a, b = torch.randn(n, n), torch.randn(n, n)
    out = torch.empty(n, n)
    return lambda: torch.mm(a, b, out=out)


def matmul_flops(flops: float) -> float:
    """What :func:`matmul` really computes."""
    return 2.0 * max(64, round((flops / 2) ** (1 / 3))) ** 3


def copy_rate(bytes_moved: int = 1 << 26) -> float:
    """Bytes read and written per second by a copy that does not fit into the cache."""
    source, target = torch.ones(bytes_moved // 8), torch.empty(bytes_moved // 8)
    return bytes_moved / interleaved({"copy": lambda: target.copy_(source)}, 9)["copy"].least
