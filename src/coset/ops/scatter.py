"""Sums and means of rows that point into an index set: nodes into graphs, edges into nodes, members into subgraphs."""

from __future__ import annotations

import torch
from torch import Tensor

from coset.errors import InputError


def scatter_sum(x: Tensor, index: Tensor, count: int) -> Tensor:
    """``out[i] = sum of x[r] over rows r with index[r] = i``: ``(R, ...)`` to ``(count, ...)``, 0 where no row points.

    Raises InputError where ``index`` does not hold one entry per row.
    """
    if index.shape != x.shape[:1]:
        raise InputError(f"scatter: expected one index per row, got rows {tuple(x.shape)} and index {tuple(index.shape)}")
    return x.new_zeros(count, *x.shape[1:]).index_add(0, index, x)


def scatter_mean(x: Tensor, index: Tensor, count: int) -> Tensor:
    """The same divided by how many rows point at each place; 0 where none does."""
    size = torch.bincount(index, minlength=count).clamp(min=1).to(x)
    return scatter_sum(x, index, count) / size.view(-1, *[1] * (x.ndim - 1))
