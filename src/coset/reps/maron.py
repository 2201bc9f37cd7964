"""Linear maps between tensor powers of the permutation representation: one for every set partition of the indices.

On tensors ``x`` with ``k`` indices that all run over the same ``n`` letters, the maps to tensors with ``l`` indices that
commute with S(n) are spanned by one map for each partition of the ``k + l`` indices into blocks,

    (W x)_{b_1 .. b_l} = n^{-s} sum_{a_1 .. a_k} [indices of one block are equal] x_{a_1 .. a_k},

with ``s`` the number of blocks that hold input indices only (the sums). There are Bell(k + l) of them: 15 for 2 -> 2, 5 for
2 -> 1 and 1 -> 2, 2 for 1 -> 1 and 2 -> 0, 1 for 1 -> 0; a bias is a map from order 0. They are independent as long as
``n >= k + l``; fewer letters leave one for each partition into at most ``n`` blocks. Maron, Ben-Hamu, Shamir & Lipman,
Invariant and Equivariant Graph Networks, ICLR 2019, arXiv 1812.09902. Differs from the paper: indices that are not in one
block may still be equal (this spans the same space and needs no masks), and sums are means.

>>> [len(map_partitions(*orders)) for orders in [(2, 2), (2, 1), (1, 2), (1, 1), (2, 0), (1, 0)]]
[15, 5, 5, 2, 2, 1]
>>> map_partitions(1, 1)
((0, 0), (0, 1))
"""

from __future__ import annotations

import string
from functools import lru_cache

import torch
from torch import Tensor

from coset.errors import InputError

Partition = tuple[int, ...]  #: the block of every index, blocks numbered as they appear: (0, 1, 0) joins first and last


@lru_cache(maxsize=64)
def set_partitions(size: int) -> tuple[Partition, ...]:
    """All partitions of ``size`` indices in lexicographic order; InputError for a negative size."""
    if size < 0:
        raise InputError(f"set_partitions: the number of indices is at least 0, got {size}")
    if size == 0:
        return ((),)
    return tuple((*head, block) for head in set_partitions(size - 1) for block in range(max(head, default=-1) + 2))


def map_partitions(k_in: int, k_out: int) -> tuple[Partition, ...]:
    """The partitions that name the maps from order ``k_in`` to order ``k_out``: input indices first, then output indices."""
    if k_in < 0 or k_out < 0:
        raise InputError(f"orders are at least 0, got {k_in} -> {k_out}")
    return set_partitions(k_in + k_out)


def partition_of(indices: str) -> Partition:
    """The partition of letters written in a row: ``"abba"`` is ``(0, 1, 1, 0)``."""
    seen = {letter: block for block, letter in enumerate(dict.fromkeys(indices))}
    return tuple(seen[letter] for letter in indices)


def summed_blocks(partition: Partition, k_in: int) -> int:
    """How many blocks hold input indices only, ``s`` of the formula."""
    return len(set(partition[:k_in]) - set(partition[k_in:]))


def dimension(k_in: int, k_out: int, n: int) -> int:
    """The dimension of the space of maps on ``n`` letters: partitions into at most ``n`` blocks."""
    return sum(max(partition, default=-1) < n for partition in map_partitions(k_in, k_out))


def maron_basis(k_in: int, k_out: int, n: int) -> Tensor:
    """The maps as matrices ``(Bell(k_in + k_out), n ** k_out, n ** k_in)``, float64, indices flattened as ``flatten`` does.

    A basis for ``n >= k_in + k_out``; below that it still spans. Raises InputError for ``n < 1`` or negative orders.
    """
    if n < 1:
        raise InputError(f"maron_basis: letters are at least 1, got {n}")
    partitions = map_partitions(k_in, k_out)
    digits = n ** torch.arange(k_in + k_out - 1, -1, -1)
    indices = torch.arange(n ** (k_in + k_out)).unsqueeze(-1) // digits % n
    found = []
    for partition in partitions:
        first = torch.tensor([partition.index(block) for block in partition], dtype=torch.int64)
        entries = (indices == indices[:, first]).all(-1).double()
        found.append(entries.view(n**k_in, n**k_out).T / n ** summed_blocks(partition, k_in))
    return torch.stack(found)


def apply_partition(partition: Partition, x: Tensor, k_in: int, *, n: int | None = None) -> Tensor:
    """One of the maps on ``x`` ``(B, n, .., n, c)`` with ``k_in`` axes of length ``n``; the result has as many as it names.

    ``n`` is asked for where ``k_in`` is 0. One einsum with an identity matrix for every output index: slow, for any order,
    the oracle of :mod:`coset.nn.perm_linear`.
    """
    size = x.shape[1] if k_in else n
    if x.ndim != k_in + 2 or size is None or any(length != size for length in x.shape[1:-1]):
        raise InputError(f"expected x (B, n, .., n, c) with {k_in} axes n (and n itself for none), got {tuple(x.shape)}")
    letters, places = string.ascii_lowercase, string.ascii_uppercase[2:]
    inner = "".join(letters[block] for block in partition[:k_in])
    outer = [letters[block] for block in partition[k_in:]]
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    operands = [f"A{inner}B", *(letter + place for letter, place in zip(outer, places, strict=False))]
    out = torch.einsum(f"{','.join(operands)}->A{places[: len(outer)]}B", x, *[unit] * len(outer))
    return out / size ** summed_blocks(partition, k_in)
