"""Products of vector fields on the sphere: the paths with odd l1 + l2 + l3 that products of functions lack.

A vector spherical harmonic couples degree l with the vector itself to total degree j in {l - 1, l, l + 1},

    Y_{j l m}(p) = sum_{m' a} sqrt(2j + 1) w3j(l m', 1 a, j m) Y_{l m'}(p) e_a .

Features of degree j become the fields ``sum_s w[j, s] sum_m x_jm Y_{j, j+s, m}``, s = +-1; two fields are multiplied point by
point (``cross`` or ``dot``) and projected back, onto the fields Y_{j, j+s} after a cross and onto functions after a dot
product.

Parity: features of parity p (-1)^j make polar fields (p = 1) or axial ones (p = -1). A cross product of such fields gives p3
= -p1 p2 and exists for odd j1 + j2 + j3 only; a dot product gives p3 = p1 p2, even sums only, as a Gaunt product does. So
both are equivariant under O(3), and together with Gaunt products they reach all paths. With s = 0 among ``sides`` fields of
both parities mix and SO(3) is left.

All of it is exact on a grid for degree L1 + L2 + L3 + 3. Definition of the fields: Varshalovich et al., Quantum Theory of
Angular Momentum, 7.3; the product: Xie et al., The Price of Freedom, ICML 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.gaunt import dense_of, natural, unit_variance
from coset.ops.s2grid import TRUTH, Degrees, S2Grid, constant, degree_list, degree_of_rows, rows_product
from coset.reps.clebsch_gordan import wigner_3j

Kind = Literal["cross", "dot"]


@dataclass(frozen=True)
class VectorProduct:
    """``product(x1 (..., rows1, C), x2 (..., rows2, C)) -> (..., rows3, C)``, channel by channel.

    Degrees are largest ones or lists, the third ``L1 + L2`` if left out and at most that. ``sides`` are the s of the fields.
    """

    degrees_1: Degrees
    degrees_2: Degrees
    degrees_3: Degrees | None = None
    kind: Kind = "cross"
    sides: tuple[int, ...] = field(default=(-1, 1), kw_only=True)
    #: the least exact grid: every field has a degree one above its features
    grid: S2Grid = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("cross", "dot"):
            raise unknown("vector product", self.kind, ["cross", "dot"])
        if not self.sides or not set(self.sides) <= {-1, 0, 1} or len(set(self.sides)) < len(self.sides):
            raise InputError(f"VectorProduct: sides are of -1, 0, 1 (degree l = j + side), got {self.sides}")
        first, second = degree_list(self.degrees_1), degree_list(self.degrees_2)
        top = first[-1] + second[-1]
        third = degree_list(top if self.degrees_3 is None else self.degrees_3)
        if third[-1] > top:
            raise InputError(f"VectorProduct: degrees {first[-1]} and {second[-1]} reach {top}, asked for {third[-1]}")
        for name, value in (("degrees_1", first), ("degrees_2", second), ("degrees_3", third)):
            object.__setattr__(self, name, value)
        grid = S2Grid.for_product(*(degrees[-1] + 1 for degrees in (first, second, third)))
        grid.prepare(third)
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "_tables", {})
        for way, degrees in (("to", first), ("to", second), ("from", third)):
            self._table(way, degrees, TRUTH)

    @classmethod
    def from_irreps(
        cls, irreps_1: Any, irreps_2: Any, irreps_3: Any, kind: Kind = "cross", *, pad: bool = False
    ) -> VectorProduct:
        """The product of features with these irreps, as :meth:`coset.ops.gaunt.GauntProduct.from_irreps`; parity is checked."""
        (l1, p1), (l2, p2), (l3, p3) = natural(irreps_1, pad=pad), natural(irreps_2, pad=pad), natural(irreps_3, pad=True)
        if p3 != (-p1 * p2 if kind == "cross" else p1 * p2):
            raise InputError(f"VectorProduct: the {kind} product of {irreps_1} and {irreps_2} has not the parity of {irreps_3}")
        return cls(l1, l2, l3, kind)

    @property
    def _degrees(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return self.degrees_1, self.degrees_2, self.degrees_3  # type: ignore[return-value]

    def __call__(
        self, x1: Tensor, x2: Tensor, w1: Tensor | None = None, w2: Tensor | None = None, w3: Tensor | None = None
    ) -> Tensor:
        """Weights are ``(degrees, sides)`` or ``(..., degrees, sides, C)``; ``w3`` after a dot product ``(degrees, 1)``."""
        a, b = self.fields(x1, w1, self._degrees[0], "w1"), self.fields(x2, w2, self._degrees[1], "w2")
        third = self._degrees[2]
        if self.kind == "dot":
            y = self.grid.from_grid((a * b).sum(-4), third).unsqueeze(-3)
        else:
            values = cross(a, b).flatten(-4, -2)
            y = rows_product(self._table("from", third, values), values).unflatten(-2, (len(self.sides), -1))
        weights = spread(w3, third, y.shape[-3], "w3", y)
        return (y if weights is None else y * weights).sum(-3)

    def fields(self, x: Tensor, weights: Tensor | None, degrees: Degrees, name: str = "weights") -> Tensor:
        """Values ``(..., 3, beta, alpha, C)`` of the vector fields of ``x (..., rows, C)``."""
        degrees = degree_list(degrees)
        if x.ndim < 2 or x.shape[-2] != len(degree_of_rows(degrees)):
            raise InputError(f"VectorProduct: degrees {degrees} have {len(degree_of_rows(degrees))} rows, got {tuple(x.shape)}")
        given = spread(weights, degrees, len(self.sides), name, x)
        x = x.unsqueeze(-3)
        x = x.expand(*x.shape[:-3], len(self.sides), *x.shape[-2:]) if given is None else x * given
        values = rows_product(self._table("to", degrees, x), x.flatten(-3, -2))
        return values.unflatten(-2, (3, self.grid.beta, self.grid.alpha))

    def output_weights(self) -> Tensor:
        """One factor per output degree with which independent inputs of variance 1 give outputs of variance 1; float64."""
        first, second, third = self._degrees
        return unit_variance(dense_of(self, len(degree_of_rows(first)), len(degree_of_rows(second))), third)

    def _table(self, way: str, degrees: tuple[int, ...], like: Tensor) -> Tensor:
        def make() -> Tensor:
            fields = torch.stack([vector_harmonics(self.grid, degrees, side) for side in self.sides], -2)
            fields = fields.movedim(1, 0).flatten(0, 1)  # (3 points, sides, rows)
            if way == "to":
                return fields.flatten(1)
            weight = self.grid.weights.flatten().repeat(3) / (4 * torch.pi)
            return (fields * weight[:, None, None]).flatten(1).T.contiguous()

        return constant(self._tables, (way, degrees), make, like)  # type: ignore[attr-defined]


def cross(a: Tensor, b: Tensor) -> Tensor:
    """The cross product along axis -4; written out, since torch's strided one is a hundred times slower than its arithmetic."""
    (ax, ay, az), (bx, by, bz) = a.unbind(-4), b.unbind(-4)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -4)


def vector_harmonics(grid: S2Grid, degrees: Degrees, side: int) -> Tensor:
    """``Y_{j, j + side}`` on a grid, ``(points, 3, rows)`` float64, mean square 1 as vectors; zero where l < 0."""
    parts = []
    for j in degree_list(degrees):
        l = j + side
        if l < 0 or (j == 0 and l == 0):  # no coupling of degree 0 with a vector to j = 0
            parts.append(torch.zeros(len(grid), 3, 2 * j + 1, dtype=torch.float64))
            continue
        values = grid.to_grid(torch.eye(2 * l + 1, dtype=torch.float64), (l,)).flatten(0, 1)  # (points, 2l + 1)
        parts.append(torch.einsum("pm,mak->pak", values, wigner_3j(l, 1, j)) * (2 * j + 1) ** 0.5)
    return torch.cat(parts, -1)


def spread(weights: Tensor | None, degrees: tuple[int, ...], sides: int, name: str, like: Tensor) -> Tensor | None:
    """Weights per degree and side as factors ``(..., sides, rows, C or 1)``."""
    if weights is None:
        return None
    weights = weights.unsqueeze(-1) if weights.ndim == 2 else weights
    if weights.shape[-3:-1] != (len(degrees), sides):
        raise InputError(f"{name}: expected (..., {len(degrees)} degrees, {sides} sides, C), got {tuple(weights.shape)}")
    rows = torch.tensor([i for i, l in enumerate(degrees) for _ in range(2 * l + 1)], device=like.device)
    return weights.to(like.dtype).index_select(-3, rows).transpose(-3, -2)
