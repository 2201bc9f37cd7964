"""Large result tensors from recycled memory: a fresh buffer costs more in page faults than the kernel that fills it.

A buffer is lent as an ordinary tensor. Its memory comes back only when the tensor's storage dies, that is when no view, no
graph and no other holder is left: the storage owns the loan, and the loan's end returns the memory.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 1 << 18  # bytes; below this torch's own allocator does not page
LIMIT = 1 << 30  # bytes kept idle at most
_ALIGN = 64


class _Loan(np.ndarray):
    """Memory in use: torch holds this object as long as the storage lives."""

    lent: tuple[Pool, np.ndarray] | None = None

    def __del__(self) -> None:
        if self.lent is not None:
            pool, memory = self.lent
            pool._take_back(memory)


class Pool:
    """Idle memory by size, at most ``limit`` bytes of it. Safe from any thread."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.idle = 0
        self._free: dict[int, list[np.ndarray]] = {}
        self._lock = threading.RLock()  # a loan may end, in the same thread, while another begins

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialized contiguous tensor on the CPU."""
        count = 1
        for size in shape:
            count *= size
        size = count * dtype.itemsize
        if size < SMALL:
            return torch.empty(shape, dtype=dtype)
        memory = self._lend(_rounded(size))
        loan: Any = memory.view(_Loan)
        loan.lent = (self, memory)
        # shaped in place: a view would keep its base, and autograd adds in place only to tensors that own their storage alone
        return torch.frombuffer(loan, dtype=dtype, count=count).resize_(shape)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The same, all zero (without torch's threads, which are worth waking for more than this)."""
        made = self.empty(shape, dtype)
        ctypes.memset(made.data_ptr(), 0, made.nbytes)
        return made

    def clear(self) -> None:
        """Give all idle memory back to the system."""
        with self._lock:
            self._free.clear()
            self.idle = 0

    def _lend(self, size: int) -> np.ndarray:
        with self._lock:
            kept = self._free.get(size)
            if kept:
                self.idle -= size
                return kept.pop()
        memory = np.empty(size + _ALIGN, dtype=np.uint8)
        skip = -memory.ctypes.data % _ALIGN
        return memory[skip : skip + size]

    def _take_back(self, memory: np.ndarray) -> None:
        size = len(memory)
        with self._lock:
            if self.idle + size <= self.limit:
                self.idle += size
                self._free.setdefault(size, []).append(memory)


def _rounded(size: int) -> int:
    """Up to an eighth more, so that graphs of similar size share buffers."""
    step = 1 << max(size.bit_length() - 4, 12)
    return -(-size // step) * step


pool = Pool()
