"""One operand of a plan as the plain backend sees it: read, or summed into, for some items at a time and block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coset.ops.backends.scratch import scratch
from coset.ops.index import Index
from coset.ops.plan import ITEM, SHARED, Operand

Selection = slice | Tensor  #: some rows of axis 1, as a slice where they are evenly spaced
Items = slice | Tensor  #: some items


def selection(rows: np.ndarray, device: torch.device) -> Selection:
    """A slice if the rows are evenly spaced."""
    steps = np.unique(np.diff(rows))
    if len(rows) and (len(rows) == 1 or (len(steps) == 1 and steps[0] > 0)):
        step = int(steps[0]) if len(steps) else 1
        return slice(int(rows[0]), int(rows[-1]) + 1, step)
    return torch.tensor(rows.copy(), device=device)


def select(x: Tensor, rows: Selection) -> Tensor:
    """Those rows of axis 1."""
    return x[:, rows] if isinstance(rows, slice) else x.index_select(1, rows)


def deposit(total: Tensor, rows: Selection, value: Tensor, *, once: bool = False) -> None:
    """Add to those rows of axis 1, which may repeat; ``once`` if nothing else is added to them."""
    if isinstance(rows, slice) and once:
        total[:, rows] = value
    elif isinstance(rows, slice):
        total[:, rows] += value
    else:
        total.index_add_(1, rows, value)


@dataclass
class Port:
    """An operand as ``x`` ``(size, rows, C)``, C = 1 without channels, size = 1 if shared; ``values`` of its index, if any."""

    x: Tensor
    item: bool
    values: Tensor | None

    @classmethod
    def of(cls, operand: Operand, x: Tensor, indices: Mapping[str, Index]) -> Port:
        """The operand in this form."""
        x = x if operand.channels else x.unsqueeze(-1)
        x = x.unsqueeze(0) if operand.index == SHARED else x
        indexed = operand.index not in (ITEM, SHARED)
        return cls(x, operand.index == ITEM, indices[operand.index].values if indexed else None)

    def read(self, name: str, items: Items) -> Tensor:
        """What these items see, ``(n or 1, rows, C)``, in scratch memory of this name where it is gathered."""
        if self.values is not None:
            rows = self.values[items]
        elif not self.item:
            return self.x
        elif isinstance(items, slice):
            return self.x[items]
        else:
            rows = items
        return torch.index_select(self.x, 0, rows, out=scratch(name, (len(rows), *self.x.shape[1:]), self.x))

    def buffer(self, name: str, items: Items, n: int) -> Tensor:
        """Zeros ``(n, rows, C)`` to sum into what these items contribute; the operand's own memory where that is the same."""
        if self.item and isinstance(items, slice):
            return self.x[items]
        return scratch(name, (n, *self.x.shape[1:]), self.x).zero_()

    def add(self, items: Items, value: Tensor) -> None:
        """Add a :meth:`buffer` that was filled."""
        if self.item:
            if not isinstance(items, slice):
                self.x.index_add_(0, items, value)
        elif self.values is None:
            self.x += value.sum(0, keepdim=True)
        else:
            self.x.index_add_(0, self.values[items], value)
