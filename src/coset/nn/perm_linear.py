"""The linear layer between tensor powers of the permutation representation, in few contractions.

    y = sum_gamma W_gamma x w_gamma + sum_beta W_beta 1 b_beta,

over the maps of :mod:`coset.reps.maron`: 15 weights per pair of channels from order 2 to 2, 5 from 2 to 1 and 1 to 2, and so
on; sums are means over the letters, so that the size of the set does not scale the output. Every map of orders up to 2 first
pools the input to order 0, 1 or 2 (total, trace; rows, columns, diagonal; itself, transpose) and then spreads the result, so
that channels are mixed once per order, before anything is spread. Maron, Ben-Hamu, Shamir & Lipman, Invariant and Equivariant
Graph Networks, ICLR 2019, arXiv 1812.09902. Contract: S("M"), exact, for every size of M with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.reps.maron import apply_partition, map_partitions, partition_of

#: by order of the input, then of what it is pooled to: letters a, b go through, x, y are averaged away
POOLS: Mapping[int, Mapping[int, tuple[str, ...]]] = {
    0: {0: ("",)},
    1: {0: ("x",), 1: ("a",)},
    2: {0: ("xy", "xx"), 1: ("ax", "xa", "aa"), 2: ("ab", "ba")},
}
#: by order of the output, then of what is spread: letters a, b come through, u, v are new
SPREADS: Mapping[int, Mapping[int, tuple[str, ...]]] = {
    0: {0: ("",)},
    1: {0: ("u",), 1: ("a",)},
    2: {0: ("uv", "uu"), 1: ("au", "ua", "aa"), 2: ("ab",)},
}


class PermLinear(nn.Module):
    """``x (B, m, .., m, c_in)`` with ``k_in`` axes m to ``(B, m, .., m, c_out)`` with ``k_out``; any m, one set of weights.

    ``weight`` is ``(c_in, c_out, maps)`` in the order of :func:`~coset.reps.maron.map_partitions`, normal with standard
    deviation ``sqrt(2 / (c_in + c_out))``; ``bias`` ``(c_out, maps from order 0)`` starts at zero. From order 0 the size
    m is asked for. Raises InputError for channels below 1, negative orders and input that does not fit.
    """

    def __init__(self, c_in: int, c_out: int, k_in: int, k_out: int, *, bias: bool = True) -> None:
        super().__init__()
        if c_in < 1 or c_out < 1:
            raise InputError(f"PermLinear: channels are at least 1, got {c_in} -> {c_out}")
        self.config: dict[str, Any] = {"c_in": c_in, "c_out": c_out, "k_in": k_in, "k_out": k_out, "bias": bias}
        self.c_in, self.c_out, self.k_in, self.k_out = c_in, c_out, k_in, k_out
        partitions = map_partitions(k_in, k_out)
        self.weight = nn.Parameter(torch.randn(c_in, c_out, len(partitions)) * math.sqrt(2 / (c_in + c_out)))
        self.bias = nn.Parameter(torch.zeros(c_out, len(map_partitions(0, k_out)))) if bias else None
        self.orders = _meeting(k_in, k_out)
        for order in self.orders:
            pairs = product(POOLS[k_in][order], SPREADS[k_out][order])
            places = [partitions.index(partition_of(pool + spread)) for pool, spread in pairs]
            self.register_buffer(f"places{order}", torch.tensor(places), persistent=False)
        if self.orders:
            order_of_bias = [map_partitions(0, k_out).index(partition_of(spread)) for spread in SPREADS[k_out][0]]
            self.register_buffer("bias_places", torch.tensor(order_of_bias), persistent=False)
        source, target = (f"B{' x M' * k} x {c} x scalar" for k, c in ((k_in, c_in), (k_out, c_out)))
        self.contracts = (Contract(S("M"), source, target),) if k_in else ()

    def extra_repr(self) -> str:
        return f"{self.c_in} -> {self.c_out} channels, order {self.k_in} -> {self.k_out}, {self.weight.shape[-1]} maps"

    def forward(self, x: Tensor, size: int | None = None) -> Tensor:
        """The layer; ``size`` is m where the input has no such axis."""
        m = self._check(x, size)
        if not self.orders:
            return self.reference(x, size)
        parts: dict[str, Tensor] = {}
        for order in self.orders:
            pooled = torch.cat([_pool(pattern, x) for pattern in POOLS[self.k_in][order]], -1)
            mixed = pooled @ self._matrix(order)
            if order == 0 and self.bias is not None:
                mixed = mixed + self.bias[:, self.get_buffer("bias_places")].T.flatten()
            patterns = SPREADS[self.k_out][order]
            parts |= zip(patterns, mixed.split(self.c_out, -1), strict=True)
        return _spread(parts, self.k_out, m)

    def reference(self, x: Tensor, size: int | None = None) -> Tensor:
        """The same by one einsum per map, for any order."""
        m = self._check(x, size)
        maps = enumerate(map_partitions(self.k_in, self.k_out))
        terms = [apply_partition(p, x, self.k_in, n=m) @ self.weight[..., i] for i, p in maps]
        if self.bias is not None:
            one = x.new_ones(1, 1)
            constants = enumerate(map_partitions(0, self.k_out))
            terms += [apply_partition(p, one, 0, n=m) * self.bias[:, i] for i, p in constants]
        return torch.stack(torch.broadcast_tensors(*terms)).sum(0)

    def _matrix(self, order: int) -> Tensor:
        """The weights between pooled channels and channels to spread, ``(pools c_in, spreads c_out)``."""
        pools, spreads = len(POOLS[self.k_in][order]), len(SPREADS[self.k_out][order])
        chosen = self.weight[..., self.get_buffer(f"places{order}")].unflatten(-1, (pools, spreads))
        return chosen.permute(2, 0, 3, 1).reshape(pools * self.c_in, spreads * self.c_out)

    def _check(self, x: Tensor, size: int | None) -> int:
        axes = set(x.shape[1:-1])
        if x.ndim != self.k_in + 2 or x.shape[-1] != self.c_in or len(axes) > 1:
            expected = f"(B{', m' * self.k_in}, {self.c_in})"
            raise InputError(f"PermLinear: expected {expected}, channels last, got {tuple(x.shape)}")
        if self.k_in == 0 and self.k_out and size is None:
            raise InputError("PermLinear: from order 0 the size of the set is not in the input; give size=m")
        return axes.pop() if axes else size or 1


def _meeting(k_in: int, k_out: int) -> tuple[int, ...]:
    """The orders over which maps factor, for the orders that have a table."""
    return tuple(POOLS[k_in].keys() & SPREADS[k_out].keys()) if k_in in POOLS and k_out in SPREADS else ()


def _pool(pattern: str, x: Tensor) -> Tensor:
    """What goes through, ``(B, .., c)``; the other indices are averaged."""
    if pattern in ("", "a", "ab"):
        return x
    if pattern == "ba":
        return x.transpose(1, 2)
    if pattern in ("aa", "xx"):
        diagonal = x.diagonal(dim1=1, dim2=2).mT
        return diagonal if pattern == "aa" else diagonal.mean(1)
    return x.mean([axis for axis, letter in enumerate(pattern, start=1) if letter in "xy"])


def _spread(parts: Mapping[str, Tensor], k_out: int, m: int) -> Tensor:
    """The sum of all parts, each at the places that its letters name."""
    if k_out == 0:
        return parts[""]
    if k_out == 1:
        constant = parts["u"].unsqueeze(1).expand(-1, m, -1)
        return constant + parts["a"] if "a" in parts else constant
    rows, diagonal = parts["uv"].unsqueeze(1), parts["uu"].unsqueeze(1)
    if "au" in parts:
        rows, diagonal = rows + parts["au"], diagonal + parts["aa"]
    out = rows.unsqueeze(2) + parts["ua"].unsqueeze(1) if "ua" in parts else rows.unsqueeze(2).expand(-1, m, m, -1)
    out = out + parts["ab"] if "ab" in parts else out.clone()
    out.diagonal(dim1=1, dim2=2).add_(diagonal.mT)
    return out
