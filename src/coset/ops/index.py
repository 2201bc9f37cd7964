"""Index sets: which row of an operand each item of a plan reads or adds to, with the transpose computed once.

>>> edges = Edges(torch.tensor([[0, 2, 1], [1, 1, 0]]), 3)     # edge_index is (source, target)
>>> edges["target"].pointer.tolist(), edges["target"].order.tolist()
([0, 1, 3, 3], [2, 0, 1])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from coset.errors import InputError


class Index:
    """A map from items to rows: ``values`` ``(items,)`` int64 in ``0..size-1``.

    ``order`` and ``pointer`` list the items of each row, ``order[pointer[r]:pointer[r + 1]]``, in their own order: sums over
    them are deterministic and need no atomic additions. They are found on first use, unless they are known and given.
    """

    def __init__(self, values: Tensor, size: int, order: Tensor | None = None, pointer: Tensor | None = None) -> None:
        if values.ndim != 1 or values.is_floating_point():
            raise InputError(f"an index is a list of integers, got {values.dtype} {tuple(values.shape)}")
        self.values, self.size = values, size
        self._order, self._pointer = order, pointer
        self._groups: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def order(self) -> Tensor:
        """The items sorted by row, stable, ``(items,)``."""
        if self._order is None:
            self._order = torch.argsort(self.values, stable=True)
        return self._order

    @property
    def pointer(self) -> Tensor:
        """Where each row's items begin in ``order``, ``(size + 1,)``."""
        if self._pointer is None:
            rows = torch.arange(self.size + 1, device=self.values.device, dtype=self.values.dtype)
            self._pointer = torch.searchsorted(self.values[self.order], rows)
        return self._pointer

    def groups(self, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """The items of every row in groups of ``length``: the row of each group ``(groups,)``, its items ``(groups, length)``,
        and which of them are items; the last group of a row is filled up with item 0."""
        if length not in self._groups:
            counts = self.pointer.diff()
            rows = torch.repeat_interleave(torch.arange(self.size, device=counts.device), (counts + length - 1) // length)
            place = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
            slots = (self.pointer[rows] + place * length).unsqueeze(1) + torch.arange(length, device=rows.device)
            filled = slots < self.pointer[rows + 1].unsqueeze(1)
            self._groups[length] = rows, torch.where(filled, self.order[slots.clamp(max=len(self.order) - 1)], 0), filled
        return self._groups[length]

    def __repr__(self) -> str:
        return f"Index({len(self.values)} items -> {self.size} rows)"

    def check(self) -> None:
        """InputError if an entry points outside; costs a synchronization on an accelerator."""
        if self.values.numel() and not 0 <= int(self.values.min()) <= int(self.values.max()) < self.size:
            raise InputError(f"an index points outside 0..{self.size - 1}: {int(self.values.min())}..{int(self.values.max())}")


class Edges(Mapping[str, Index]):
    """The two indices of a graph, ``source`` and ``target``, made once and used by all layers.

    ``edge_index`` is ``(2, edges)``, ``nodes`` the number of nodes at both ends.
    """

    def __init__(self, edge_index: Tensor, nodes: int) -> None:
        if edge_index.ndim != 2 or len(edge_index) != 2:
            raise InputError(f"edge_index is (2, edges), (source, target); got {tuple(edge_index.shape)}")
        self._indices = {"source": Index(edge_index[0], nodes), "target": Index(edge_index[1], nodes)}

    def __getitem__(self, name: str) -> Index:
        return self._indices[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)
