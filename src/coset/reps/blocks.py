"""Matrices made of matrices, over leading batch axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    """``(*batch, d_i, d_i)`` blocks to ``(*batch, sum, sum)``."""
    lead = torch.broadcast_shapes(*(block.shape[:-2] for block in blocks))
    total = sum(block.shape[-1] for block in blocks)
    out, start = blocks[0].new_zeros(*lead, total, total), 0
    for block in blocks:
        stop = start + block.shape[-1]
        out[..., start:stop, start:stop] = block
        start = stop
    return out


def kron(a: Tensor, b: Tensor) -> Tensor:
    """Kronecker product over leading batch axes."""
    out = torch.einsum("...ij,...kl->...ikjl", a, b)
    return out.reshape(*out.shape[:-4], a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1])
