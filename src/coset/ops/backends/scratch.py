"""Memory for what one chunk of items needs, kept from call to call.

On a processor, paging in fresh memory for the intermediates of a product costs as much as the arithmetic.
"""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

LIMIT = 1 << 22  #: numbers kept per name at most; what is larger is allocated anew


class _Kept(threading.local):
    """Flat memory by name and dtype, each thread its own."""

    def __init__(self) -> None:
        self.memory: dict[tuple[str, torch.dtype], Tensor] = {}


_kept = _Kept()


def scratch(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An uninitialized tensor with the dtype and device of ``like``, valid until the next one of this name in this thread."""
    count = math.prod(shape)
    if count > LIMIT or not like.is_cpu:
        return like.new_empty(shape)
    memory = _kept.memory.get((name, like.dtype))
    if memory is None or memory.shape[0] < count:
        memory = _kept.memory[name, like.dtype] = torch.empty(count, dtype=like.dtype)
    return memory[:count].view(shape)


def times(name: str, x: Tensor, y: Tensor) -> Tensor:
    """``x y`` ``(n, rows, C)``, in scratch memory; the first and last axes of one are broadcast."""
    rows = x.shape[1] if y.shape[1] == 1 else y.shape[1]
    n, wide = (a if b == 1 else b for a, b in ((x.shape[0], y.shape[0]), (x.shape[2], y.shape[2])))
    return torch.mul(x, y, out=scratch(name, (n, rows, wide), x))


def matmul(name: str, x: Tensor, y: Tensor) -> Tensor:
    """``x @ y`` for stacks of matrices, in scratch memory; a stack of one is broadcast."""
    n = x.shape[0] if y.shape[0] == 1 else y.shape[0]
    x, y = (t if t.shape[0] == n else t.expand(n, -1, -1) for t in (x, y))
    return torch.bmm(x, y, out=scratch(name, (n, x.shape[1], y.shape[2]), x))
