"""Wigner rotation of features, and the frames of edges in which a convolution falls apart into orders.

A feature ``(..., rows, C)`` with rows ``l^2 .. (l+1)^2 - 1`` for degree ``l`` turns by ``x_l -> D^l(R) x_l``. The frame of an
edge is a rotation with ``R r / |r| = y``, the polar axis of the basis: there, what is left of SO(3) are the turns about ``y``,
which mix only the orders ``m`` and ``-m`` of every degree. Which turn about ``y`` a frame has is a matter of choice and drops
out of any convolution that commutes with them (Passaro & Zitnick, eSCN, ICML 2023, arXiv 2302.03655).

The choice here needs no special case at the poles. With ``n = r/|r|``, ``s = 1`` in the upper half sphere and ``s = -1`` below,
take the least rotation of ``n`` onto the nearer pole ``s y`` and, below, a half turn about ``x`` after it:

    v = n x (s y),   R = F_s (I + [v] + [v]^2 / (1 + |n_y|)),   F_1 = I, F_-1 = diag(1, -1, -1)

The denominator is at least 1, so values and all derivatives are finite at both poles. Frames jump at the equator by a turn
about ``y`` alone, so that nothing that commutes with these turns jumps with them, in value or in derivative.

Frames keep the orders ``|m| <= mmax`` and list them order by order (:mod:`coset.ops.orders`), as :mod:`coset.ops.so2` takes
them. Gather, rotation and sum are plans: one fused kernel where there is one, else one matrix product per degree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends.select import choose
from coset.ops.index import Index
from coset.ops.orders import Orders, entries_before
from coset.ops.plan import ITEM, Plan
from coset.ops.product import product
from coset.reps.wigner import wigner_blocks


def edge_frames(vectors: Tensor) -> Tensor:
    """Rotations ``(..., 3, 3)`` that take ``vectors`` ``(..., 3)`` of any length to the polar axis y; differentiable
    everywhere.

    InputError for vectors of length zero, which have no direction.
    """
    if vectors.shape[-1:] != (3,):
        raise InputError(f"edge_frames: vectors are (..., 3), got {tuple(vectors.shape)}")
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not torch.compiler.is_compiling() and bool((length == 0).any()):
        raise InputError(
            f"edge_frames: {int((length == 0).sum())} of {length.numel()} vectors have length zero and no direction; "
            f"drop these edges (two atoms at one place, or an atom joined to itself)"
        )
    x, y, z = (vectors / length).unbind(-1)
    sign = torch.where(y >= 0, 1.0, -1.0).to(y)
    scale = 1 / (1 + sign * y)
    # v = n x (s y) = s (-z, 0, x), written out entry by entry; the rows below the first carry F_s
    rows = (
        (1 - x * x * scale, -sign * x, -x * z * scale),
        (x, y, z),
        (-sign * x * z * scale, -z, sign * (1 - z * z * scale)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@dataclass(frozen=True, eq=False)
class Frames:
    """The rotations of a set of items (edges) on degrees ``0..lmax``.

    ``entries`` ``(items, sum (2l+1)^2)`` holds one matrix ``(2l+1, 2l+1)`` per degree, flat, one after the other.
    """

    entries: Tensor
    lmax: int

    @staticmethod
    def of(vectors: Tensor, lmax: int) -> Frames:
        """The frames of edge vectors ``(items, 3)``."""
        return Frames.of_rotation(edge_frames(vectors), lmax)

    @staticmethod
    def of_rotation(rotation: Tensor, lmax: int) -> Frames:
        """Given rotations ``(items, 3, 3)``."""
        return Frames(torch.cat([block.flatten(-2) for block in wigner_blocks(lmax, rotation)], -1), lmax)

    @property
    def blocks(self) -> list[Tensor]:
        """The matrices of every degree, ``(items, 2l+1, 2l+1)``: views."""
        sizes = [2 * degree + 1 for degree in range(self.lmax + 1)]
        parts = self.entries.split([size * size for size in sizes], -1)
        return [part.unflatten(-1, (size, size)) for part, size in zip(parts, sizes, strict=True)]

    def detach(self) -> Frames:
        """The same frames without gradients, for models whose forces are not derivatives."""
        return Frames(self.entries.detach(), self.lmax)

    def part(self, start: int, stop: int) -> Frames:
        """The frames of some of the items."""
        return Frames(self.entries[start:stop], self.lmax)

    def turn(self, x: Tensor) -> Tensor:
        """``D x`` for features ``(items, rows, C)`` of all degrees; InputError if the rows are not ``(lmax+1)^2``."""
        return torch.cat([block @ part for block, part in zip(self.blocks, _degrees(x, self.lmax), strict=True)], -2)

    def turn_back(self, x: Tensor) -> Tensor:
        """``D^T x``, the inverse of :meth:`turn`."""
        return torch.cat([block.mT @ part for block, part in zip(self.blocks, _degrees(x, self.lmax), strict=True)], -2)

    def enter(self, x: Tensor, orders: Orders, index: Index | None = None) -> Tensor:
        """``x`` ``(items, rows, C)``, or ``(nodes, rows, C)`` read at ``index``, in the frames: ``(items, orders.rows, C)``.

        ``x`` holds degrees up to ``orders.lmax``. InputError where the frames do not reach that degree.
        """
        self._reach(orders)
        _degrees(x, orders.lmax)
        plan = orders.layout.enter[ITEM if index is None else "source"]
        indices = {} if index is None else {"source": index}
        if _fused(plan, given := [x, self._used(orders, x)], indices):
            return product(plan, given, indices)
        parts = _degrees(x if index is None else x.index_select(0, index.values), orders.lmax)
        turned = torch.cat([self._kept(degree, orders, x) @ part for degree, part in enumerate(parts)], -2)
        return turned.index_select(-2, torch.tensor(orders.layout.to_orders, device=x.device))

    def leave(self, z: Tensor, orders: Orders, index: Index | None = None) -> Tensor:
        """Back from the frames: ``z`` ``(items, orders.rows, C)`` to ``(items, rows, C)``, or summed by ``index``.

        A degree that has lost orders is scaled as :mod:`coset.ops.orders` says.
        """
        self._reach(orders)
        if z.ndim < 2 or z.shape[-2] != orders.rows:
            raise InputError(f"frames: expected {orders.rows} rows for {orders}, got {tuple(z.shape)}")
        plan = orders.layout.leave[ITEM if index is None else "target"]
        indices = {} if index is None else {"target": index}
        if _fused(plan, given := [z, self._used(orders, z)], indices):
            return product(plan, given, indices)
        sorted_rows = z.index_select(-2, torch.tensor(orders.layout.to_degrees, device=z.device))
        parts = enumerate(sorted_rows.split(orders.sizes, -2))
        out = torch.cat([(self._kept(l, orders, z) * orders.regain(l)).mT @ part for l, part in parts], -2)
        return out if index is None else out.new_zeros(index.size, *out.shape[1:]).index_add(0, index.values, out)

    def _kept(self, degree: int, orders: Orders, like: Tensor) -> Tensor:
        """The rows of the matrix of a degree with ``|m| <= mmax``."""
        cut = max(degree - orders.mmax, 0)
        return self.blocks[degree][..., cut : 2 * degree + 1 - cut, :].to(like)

    def _used(self, orders: Orders, like: Tensor) -> Tensor:
        """The entries of degrees up to ``orders.lmax``."""
        return self.entries[..., : entries_before(orders.lmax + 1)].to(like)

    def _reach(self, orders: Orders) -> None:
        if orders.lmax > self.lmax:
            raise InputError(f"frames: made for degrees up to {self.lmax}, asked for {orders.lmax}; build them with that lmax")


def _degrees(x: Tensor, lmax: int) -> tuple[Tensor, ...]:
    """The blocks of a feature ``(..., (lmax+1)^2, C)``."""
    if x.ndim < 2 or x.shape[-2] != (lmax + 1) ** 2:
        raise InputError(
            f"features of degrees 0..{lmax} are (..., {(lmax + 1) ** 2}, channels), got {tuple(x.shape)}; "
            f"fill in missing degrees with zeros"
        )
    return x.split([2 * degree + 1 for degree in range(lmax + 1)], -2)


def _fused(plan: Plan, inputs: list[Tensor], indices: Mapping[str, Index]) -> bool:
    """Whether a fused kernel runs the plan; the products per degree are the better plain code."""
    if any(x.ndim != operand.axes for x, operand in zip(inputs, plan.inputs, strict=True)):
        return False
    return torch.compiler.is_compiling() or choose(plan, inputs, indices).backend in ("cpu", "triton")


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """``x`` ``(..., (lmax+1)^2, C)`` turned by ``rotation`` ``(..., 3, 3)``, one for all or one for each leading entry."""
    return Frames.of_rotation(rotation, math.isqrt(x.shape[-2]) - 1).turn(x)
