"""Gaunt products with a filter along an edge: in the frame of the edge the filter does not depend on the angle about it.

With the edge on the polar axis the filter has order 0 only, ``g(b) = sum_l f_l Y_l0(b)``, and the product leaves every order
m of the features alone:

    z_{l3 m} = 2 pi sum_b w_b N P_{l3 |m|}(b) g(b) sum_{l1} N P_{l1 |m|}(b) x_{l1 m}.

One polar grid, no angles about the axis; O(L^3) per channel with the frames' rotation included once per edge. Equal to
:class:`coset.ops.gaunt.GauntProduct` of x and the harmonics ``f_l Y_l(edge)`` (normalization "component": ``f_l`` is the
radial weight times 1, since ``Y_l0`` at the pole is ``sqrt(2l + 1)``, see :meth:`EdgeGaunt.along`). Section 3 of Luo, Chen &
Krishnapriyan, ICLR 2024, arXiv 2401.10216.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.rotation import Frames
from coset.ops.s2grid import TRUTH, S2Grid, constant, legendre, polar_rule


@dataclass(frozen=True)
class EdgeGaunt:
    """Features of degrees 0..``l1`` times filters of degrees 0..``l2``, projected onto 0..``l3`` <= l1 + l2; "component".

    In the frame: ``product(x (..., rows1, C), f (..., l2 + 1, C)) -> (..., rows3, C)``, rows in the order -l..l.
    """

    l1: int
    l2: int
    l3: int

    def __post_init__(self) -> None:
        if min(self.l1, self.l2, self.l3) < 0 or self.l3 > self.l1 + self.l2:
            raise InputError(f"EdgeGaunt: degrees {self.l1} and {self.l2} reach {self.l1 + self.l2}, asked for {self.l3}")
        object.__setattr__(self, "_tables", {})
        object.__setattr__(self, "_places", tuple(map(torch.tensor, self._find_places())))
        for name in ("up", "filters", "down"):
            self._table(name, TRUTH)

    def __call__(self, x: Tensor, f: Tensor) -> Tensor:
        """The product in the frame of the edge. InputError for rows or filters of the wrong number."""
        if x.shape[-2] != (self.l1 + 1) ** 2 or f.shape[-2] != self.l2 + 1:
            raise InputError(
                f"EdgeGaunt: expected {(self.l1 + 1) ** 2} rows and {self.l2 + 1} filter degrees, "
                f"got {tuple(x.shape)} and {tuple(f.shape)}"
            )
        up, filters, down = (self._table(name, x) for name in ("up", "filters", "down"))
        entry, leave = (t.to(x.device) for t in self._places)  # type: ignore[attr-defined]
        orders = x.index_select(-2, entry).unflatten(-2, up.shape[::2])  # (..., order, degree, C)
        values = (up @ orders) * (filters @ f).unsqueeze(-3)  # (..., order, beta, C)
        return (down @ values).flatten(-3, -2).index_select(-2, leave)

    def along(self, x: Tensor, radial: Tensor, frames: Frames) -> Tensor:
        """``x (edges, rows1, C)`` times the signals ``sum_l radial_l Y_l(edge)``, ``radial (edges, l2 + 1, C)``.

        ``frames`` of the edges reach max(l1, l3): ``Frames.of(vectors, lmax)``.
        """
        if frames.lmax < max(self.l1, self.l3):
            raise InputError(f"EdgeGaunt: frames reach degree {frames.lmax}, needed is {max(self.l1, self.l3)}")
        pole = torch.tensor([math.sqrt(2 * l + 1) for l in range(self.l2 + 1)], dtype=x.dtype, device=x.device)
        into, back = frames.blocks[: self.l1 + 1], frames.blocks[: self.l3 + 1]
        turned = [block @ part for block, part in zip(into, _split(x, self.l1), strict=True)]
        product = _split(self(torch.cat(turned, -2), radial * pole.unsqueeze(-1)), self.l3)
        return torch.cat([block.mT @ part for block, part in zip(back, product, strict=True)], -2)

    @property
    def mmax(self) -> int:
        """Orders that are multiplied: those that features bring and results keep, and one that is zero if results have more."""
        return max(min(self.l1, self.l3), min(self.l3, 1))

    def _table(self, name: str, like: Tensor) -> Tensor:
        return constant(self._tables, name, lambda: self._polar()[name], like)  # type: ignore[attr-defined]

    def _polar(self) -> dict[str, np.ndarray]:
        """``(orders, beta, l1 + 1)``, ``(beta, l2 + 1)`` and ``(orders, l3 + 1, beta)``; component normalization."""
        cosine, weight = polar_rule("gauss", S2Grid.least_beta(self.l1 + self.l2 + self.l3))
        p = legendre(max(self.l1, self.l2, self.l3), cosine) * math.sqrt(4 * math.pi)
        m = np.abs(np.arange(-self.mmax, self.mmax + 1))
        up = np.ascontiguousarray(p[:, : self.l1 + 1, m].transpose(2, 0, 1))
        down = np.ascontiguousarray((p[:, : self.l3 + 1, m] * weight[:, None, None] / 2).transpose(2, 1, 0))
        return {"up": up, "filters": np.ascontiguousarray(p[:, : self.l2 + 1, 0]), "down": down}

    def _find_places(self) -> tuple[list[int], list[int]]:
        """Where order-by-order entries stand among the rows of x (any row where P vanishes), and the way back.

        Orders of the result that the features lack are read from the entry (m = -mmax, l = 0), which is zero.
        """
        orders = range(-self.mmax, self.mmax + 1)
        entry = [l * l + l + m if abs(m) <= l else 0 for m in orders for l in range(self.l1 + 1)]
        width = self.l3 + 1
        leave = [(m + self.mmax) * width + l if abs(m) <= self.mmax else 0 for l in range(width) for m in range(-l, l + 1)]
        return entry, leave


def _split(x: Tensor, lmax: int) -> tuple[Tensor, ...]:
    """Rows by degree."""
    return x.split([2 * degree + 1 for degree in range(lmax + 1)], -2)
