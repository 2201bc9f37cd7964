"""Memory of this process: now, and the largest since it was last asked to forget.

Linux keeps a high-water mark and can forget it, so a peak is exact however short it was. Other systems keep one for the
process's whole life: there a call is charged only with what it adds to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def process_peak() -> int:
    """The largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget() -> None:
    """Give back what earlier work left to the allocator, and begin a new high-water mark at what is held now."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def high_water() -> int:
    """The largest resident size since :func:`forget`, in bytes; since the process began where that cannot be forgotten."""
    return _of_status("VmHWM") or process_peak()


def resident() -> int:
    """Resident bytes now; the peak so far where the system does not say."""
    return _of_status("VmRSS") or process_peak()


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Bytes that one call adds at its peak: resident ones of the process, on a GPU those that torch allocates."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    forget()
    before = resident()
    call()
    return max(0, high_water() - before)


def _of_status(name: str) -> int:
    """A line of Linux's account of the process, in bytes; 0 elsewhere."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
    return 0
