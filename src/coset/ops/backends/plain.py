"""The ``torch`` backend: any plan in plain PyTorch on any device.

With the parts of :mod:`coset.ops.backends.roles`, a plan and its gradients are batched products of small matrices,
``a = M^T V`` and its relatives. If ``a`` is summed through an index, the items of one row are taken together, so that one
matrix product is both the contraction and the sum over them. Items are taken in chunks: what lies between stays in the cache,
and no tensor of items x output rows x channels exists. Plans with more than three wide operands are left to
:mod:`coset.ops.backends.terms`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from coset.ops.backends import terms
from coset.ops.backends.ports import Items, Port, Selection, deposit, select, selection
from coset.ops.backends.roles import Roles, roles_of
from coset.ops.backends.scratch import matmul, scratch, times
from coset.ops.index import Index
from coset.ops.plan import Plan

#: numbers of one intermediate of a chunk on a processor: small enough for the cache, large enough to hide the calls
CHUNK = 1 << 19
#: items of one row that are summed in one matrix product, at most
GROUP = 16


def supports(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index]) -> str | None:
    """Every plan on every tensor."""
    return None


def forward(plan: Plan, inputs: Sequence[Tensor], indices: Mapping[str, Index], items: int) -> Tensor:
    """The plan's sum; shapes as :class:`coset.ops.plan.Operand` says."""
    table = _table(plan, inputs[0].dtype, inputs[0].device)
    if table is None:
        return terms.forward(plan, inputs, indices, items)
    out = inputs[0].new_zeros(plan.output_shape(inputs, indices, items))
    _run(table, dict(enumerate(inputs)), {len(inputs): out}, indices, items)
    return out


def gradients(
    plan: Plan,
    inputs: Sequence[Tensor],
    grad: Tensor,
    indices: Mapping[str, Index],
    items: int,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The cotangents asked for, all in one pass over the items."""
    table = _table(plan, grad.dtype, grad.device)
    if table is None:
        return terms.gradients(plan, inputs, grad, indices, items, needs)
    wanted = {place: x.new_zeros(x.shape) for place, (x, needed) in enumerate(zip(inputs, needs, strict=True)) if needed}
    _run(table, dict(enumerate((*inputs, grad))), wanted, indices, items)
    return [wanted.get(place) for place in range(len(inputs))]


@dataclass(frozen=True, eq=False)
class _Table:
    """The roles of a plan with, for every block, the rows of a, b and c and the matrix that makes M."""

    roles: Roles
    a: list[Selection]
    b: list[Selection]
    c: list[Selection]
    matrices: list[Tensor]
    narrow: dict[int, Selection]
    once: bool  #: every row of b belongs to one block


@lru_cache(maxsize=512)
def _table(plan: Plan, dtype: torch.dtype, device: torch.device) -> _Table | None:
    roles = roles_of(plan)
    if roles is None:
        return None
    a, b, c = ([selection(getattr(block, name), device) for block in roles.blocks] for name in "abc")
    matrices = [torch.tensor(block.matrix, dtype=dtype, device=device) for block in roles.blocks]
    narrow = {place: selection(row, device) for place, row in zip(roles.narrow, roles.tuples.T, strict=True)}
    rows = [row for block in roles.blocks for row in block.b.tolist()]
    return _Table(roles, a, b, c, matrices, narrow, len(set(rows)) == len(rows))


def _run(table: _Table, given: dict[int, Tensor], wanted: dict[int, Tensor], indices: Mapping[str, Index], items: int) -> None:
    """Add to the wanted operands, which hold zeros; operands are named by their place, the output is the last."""
    operands, roles = table.roles.operands, table.roles
    wide = max((x.shape[-1] for place, x in (given | wanted).items() if operands[place].channels), default=1)
    sweep = _Sweep(
        table,
        {place: Port.of(operands[place], x, indices) for place, x in given.items()},
        {place: Port.of(operands[place], x, indices) for place, x in wanted.items()},
        next(iter(given.values())).new_ones(1, 1, wide),
    )
    on_processor = sweep.ones.device.type == "cpu"
    step = max(GROUP, (CHUNK if on_processor else CHUNK << 8) // (roles.widest * wide))
    index = None if roles.a is None else indices.get(operands[roles.a].index)
    length = 1 if index is None else min(GROUP, items // (2 * max(index.size, 1)))
    if index is None or length < 2:
        for begin in range(0, items, step):
            chunk = slice(begin, min(begin + step, items))
            sweep.add(chunk, chunk, None, (chunk.stop - begin, 1))
        return
    for ports in (sweep.given, sweep.wanted):
        if roles.a in ports:  # a group sees its row, not the items'
            ports[roles.a] = replace(ports[roles.a], item=True, values=None)
    rows, members, filled = index.groups(length)
    for part in zip(*(t.split(max(1, step // length)) for t in (rows, members, filled)), strict=True):
        sweep.add(part[1].flatten(), part[0], part[2].flatten(), (len(part[0]), length))


@dataclass(frozen=True, eq=False)
class _Sweep:
    """The sum over some items."""

    table: _Table
    given: dict[int, Port]
    wanted: dict[int, Port]
    ones: Tensor

    def add(self, items: Items, rows: Items, filled: Tensor | None, shape: tuple[int, int]) -> None:
        """Add what the items contribute to everything that is wanted.

        There are ``shape`` = (groups, items of each); a group is one row of ``a``'s index, one of ``rows``, or one item where
        ``a`` has none. Items that are not ``filled`` contribute nothing.
        """
        table, roles = self.table, self.table.roles
        n = shape[0] * shape[1]
        mask = self.ones[0, :, :1] if filled is None else filled.to(self.ones.dtype).unsqueeze(1)
        a, b, c = self._read(roles.a, rows, table.a), self._read(roles.b, items, table.b), self._read(roles.c, items, table.c)
        sums = {
            place: port.buffer(f"sum {place}", *((rows, shape[0]) if place == roles.a else (items, n)))
            for place, port in self.wanted.items()
        }
        wide = [place for place in sums if place not in roles.narrow]
        products = self._products(items, mask) if wide else mask
        narrow = len(wide) < len(sums)
        slope = self.ones.new_zeros(n, len(roles.tuples)) if narrow else mask
        for number, block in enumerate(roles.blocks):
            pairs, matrix = len(block.c), table.matrices[number]
            if wide:
                m = torch.mm(products, matrix, out=scratch("m", (products.shape[0], matrix.shape[1]), matrix))
                m = m.expand(n, -1).reshape(shape[0], shape[1] * pairs, len(block.a))
            if roles.a in sums or narrow:
                v = scaled(c[number], b[number], block.runs).expand(n, -1, self.ones.shape[-1])
                v = v.reshape(shape[0], shape[1] * pairs, -1)
                if roles.a in sums:
                    deposit(sums[roles.a], table.a[number], matmul("a", m.mT, v), once=True)
                if narrow:
                    slope.addmm_(matmul("dm", v, a[number].mT).view(n, -1), matrix.mT)
            if roles.b in sums or roles.c in sums:
                u = matmul("u", m, a[number]).view(n, pairs, -1)
                if roles.b in sums:
                    deposit(sums[roles.b], table.b[number], collected(u, c[number], block.runs), once=table.once)
                if roles.c in sums:
                    deposit_product(sums[roles.c], table.c[number], u, b[number], block.runs)
        for place in sums.keys() & set(roles.narrow):
            deposit(sums[place], table.narrow[place], (slope * self._products(items, mask, place)).unsqueeze(-1))
        for place, value in sums.items():
            self.wanted[place].add(rows if place == roles.a else items, value)

    def _read(self, place: int | None, items: Items, blocks: list[Selection]) -> list[Tensor]:
        """What the items see of a wide operand, block by block: ones if the plan has none, nothing if it is not given."""
        if place is None:
            return [self.ones] * len(blocks)
        if place not in self.given:
            return []
        x = self.given[place].read(f"read {place}", items)
        return [select(x, chosen) for chosen in blocks]

    def _products(self, items: Items, mask: Tensor, without: int | None = None) -> Tensor:
        """The products of the narrow operands, ``(n or 1, combinations)``."""
        for place, chosen in self.table.narrow.items():
            if place != without:
                mask = mask * select(self.given[place].read(f"read {place}", items), chosen).squeeze(-1)
        return mask


def scaled(x: Tensor, b: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
    """``x`` ``(n, pairs, C)`` times rows of ``b`` ``(n, rows, C)``, each taken by as many pairs as ``runs`` says."""
    if b.shape[1] == 1 or runs[0][1] == 1 == len(runs):
        return times("scaled", x, b)
    n, wide = (max(x.shape[axis], b.shape[axis]) for axis in (0, 2))
    out = scratch("scaled", (n, x.shape[1], wide), x)
    for part, rows in _stretches(runs):
        torch.mul(_fold(x, part, rows), b[:, rows].unsqueeze(2), out=_fold(out, part, rows))
    return out


def collected(u: Tensor, c: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
    """The pairs of ``u c`` ``(n, pairs, C)`` summed for each row of ``b``."""
    if runs[0][0] == 1 == len(runs):  # without the product in memory
        total = times("collected", u[:, :1], c[:, :1])
        for pair in range(1, runs[0][1]):
            total.addcmul_(u[:, pair : pair + 1], c[:, pair : pair + 1])
        return total
    x = times("collected", u, c)
    if runs[0][1] == 1 == len(runs):
        return x
    return torch.cat([_fold(x, part, rows).sum(2) for part, rows in _stretches(runs)], 1)


def deposit_product(total: Tensor, rows: Selection, u: Tensor, b: Tensor, runs: tuple[tuple[int, int], ...]) -> None:
    """Add :func:`scaled` ``u`` to those rows."""
    if b.shape[1] == 1 and isinstance(rows, slice):
        total[:, rows].addcmul_(u, b)
    else:
        deposit(total, rows, scaled(u, b, runs))


def _stretches(runs: tuple[tuple[int, int], ...]) -> Iterator[tuple[slice, slice]]:
    """The pairs and the rows of b of every stretch."""
    pair = row = 0
    for rows, length in runs:
        yield slice(pair, pair + rows * length), slice(row, row + rows)
        pair, row = pair + rows * length, row + rows


def _fold(x: Tensor, part: slice, rows: slice) -> Tensor:
    """These pairs of ``x`` as ``(n, rows, pairs of each, C)``."""
    return x[:, part].unflatten(1, (rows.stop - rows.start, -1))
