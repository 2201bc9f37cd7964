"""Index sets: which row of an operand each item of a plan reads or adds to, with the transpose computed once.

>>> edges = Edges(torch.tensor([[0, 2, 1], [1, 1, 0]]), 3)     # edge_index is (source, target)
>>> edges["target"].pointer.tolist(), edges["target"].order.tolist()
([0, 1, 3, 3], [2, 0, 1])
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from coset.errors import InputError


@dataclass(frozen=True, eq=False)
class Index:
    """A map from items to rows: ``values`` ``(items,)`` int64 in ``0..size-1``.

    ``order`` and ``pointer`` list the items of each row, ``order[pointer[r]:pointer[r + 1]]``, in their own order: sums over
    them are deterministic and need no atomic additions.
    """

    values: Tensor
    size: int

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.is_floating_point():
            raise InputError(f"an index is a list of integers, got {self.values.dtype} {tuple(self.values.shape)}")

    @cached_property
    def order(self) -> Tensor:
        """The items sorted by row, stable, ``(items,)``."""
        return torch.argsort(self.values, stable=True)

    @cached_property
    def pointer(self) -> Tensor:
        """Where each row's items begin in ``order``, ``(size + 1,)``."""
        rows = torch.arange(self.size + 1, device=self.values.device, dtype=self.values.dtype)
        return torch.searchsorted(self.values[self.order], rows)

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
