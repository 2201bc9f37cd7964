"""The matrix product of spherical features: coefficients become operators, operators are multiplied, and read off again.

Let V hold one copy of every degree up to ``lt = ceil((L1 + L2) / 2)``, so dim V = (lt + 1)^2. With Clebsch-Gordan blocks,

    X_{(li mi), (lj mj)} = sum_{l m} B^{li lj l}_{mi mj m} x_lm,        z_l = (1 / n_l) sum_{li lj} B^{li lj l} : (X Y),

    B^{li lj l} = sqrt(2l + 1) ((2li + 1)(2lj + 1))^{1/4} w3j(li, lj, l),

where ``n_l = sum_{li lj} |B^{li lj l}|^2 / (2l + 1)`` makes reading off the inverse of writing down: the scalar 1 is the
identity matrix, and 1 times x is x. Operators do not commute, so paths with odd l1 + l2 + l3 are there, too (the commutator
has them alone). Equivariant under SO(3); parity cannot be kept, since V mixes it. Three dense matrix steps of O(L^6) and less
constant work than a product path by path. After Xie et al., The Price of Freedom, ICML 2025 (the fused matrix product).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.gaunt import dense_of, scaled, unit_variance
from coset.ops.s2grid import TRUTH, Degrees, constant, degree_list, degree_of_rows, rows_product
from coset.reps.clebsch_gordan import wigner_3j


@dataclass(frozen=True)
class MatrixProduct:
    """``product(x1 (..., rows1, C), x2 (..., rows2, C)) -> (..., rows3, C)`` through matrices on degrees up to ``lt``.

    Degrees are largest ones or lists; the third reaches ``L1 + L2`` at most and that if left out. InputError otherwise.
    """

    degrees_1: Degrees
    degrees_2: Degrees
    degrees_3: Degrees | None = None

    def __post_init__(self) -> None:
        first, second = degree_list(self.degrees_1), degree_list(self.degrees_2)
        top = first[-1] + second[-1]
        third = degree_list(top if self.degrees_3 is None else self.degrees_3)
        if third[-1] > top:
            raise InputError(f"MatrixProduct: degrees {first[-1]} and {second[-1]} reach {top}, asked for {third[-1]}")
        for name, value in (("degrees_1", first), ("degrees_2", second), ("degrees_3", third)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_tables", {})
        for way, degrees in (("write", first), ("write", second), ("read", third)):
            self._table(way, degrees, TRUTH)

    @property
    def _degrees(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return self.degrees_1, self.degrees_2, self.degrees_3  # type: ignore[return-value]

    @property
    def space(self) -> int:
        """``lt``, the largest degree of the space on which the operators act."""
        return math.ceil((self._degrees[0][-1] + self._degrees[1][-1]) / 2)

    def __call__(
        self, x1: Tensor, x2: Tensor, w1: Tensor | None = None, w2: Tensor | None = None, w3: Tensor | None = None
    ) -> Tensor:
        """Weights per degree, ``(degrees,)`` or ``(..., degrees, C)``."""
        first, second, third = self._degrees
        a = self.operator(scaled(x1, w1, first, "w1"), first)
        b = self.operator(scaled(x2, w2, second, "w2"), second)
        return scaled(self.symbol(_multiply(a, b), third), w3, third, "w3")

    def output_weights(self) -> Tensor:
        """One factor per output degree with which independent inputs of variance 1 give outputs of variance 1; float64."""
        first, second, third = self._degrees
        return unit_variance(dense_of(self, len(degree_of_rows(first)), len(degree_of_rows(second))), third)

    def operator(self, x: Tensor, degrees: Degrees) -> Tensor:
        """The matrices ``(..., dim V, dim V, C)`` of coefficients ``(..., rows, C)``."""
        degrees = degree_list(degrees)
        if x.ndim < 2 or x.shape[-2] != sum(2 * l + 1 for l in degrees):
            raise InputError(
                f"MatrixProduct: degrees {degrees} have {sum(2 * l + 1 for l in degrees)} rows, got {tuple(x.shape)}"
            )
        size = (self.space + 1) ** 2
        return rows_product(self._table("write", degrees, x), x).unflatten(-2, (size, size))

    def symbol(self, operator: Tensor, degrees: Degrees) -> Tensor:
        """The coefficients ``(..., rows, C)`` of matrices ``(..., dim V, dim V, C)``."""
        return rows_product(self._table("read", degree_list(degrees), operator), operator.flatten(-3, -2))

    def _table(self, way: str, degrees: tuple[int, ...], like: Tensor) -> Tensor:
        def make() -> Tensor:
            blocks = torch.cat([operator_basis(self.space, l) for l in degrees], -1).flatten(0, 1)
            return blocks if way == "write" else (blocks / blocks.square().sum(0)).T.contiguous()

        return constant(self._tables, (way, degrees), make, like)  # type: ignore[attr-defined]


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products channel by channel, ``(..., n, n, C)``."""
    return (a.movedim(-1, -3) @ b.movedim(-1, -3)).movedim(-3, -1)


def operator_basis(top: int, l: int) -> Tensor:
    """``B``: the operators on degrees 0..top that turn like degree ``l``, ``(dim V, dim V, 2l + 1)`` float64."""
    rows = []
    for i in range(top + 1):
        line = []
        for j in range(top + 1):
            if abs(i - j) <= l <= i + j:
                scale = math.sqrt(2 * l + 1) * ((2 * i + 1) * (2 * j + 1)) ** 0.25
                line.append(scale * wigner_3j(i, j, l))
            else:
                line.append(torch.zeros(2 * i + 1, 2 * j + 1, 2 * l + 1, dtype=torch.float64))
        rows.append(torch.cat(line, 1))
    return torch.cat(rows, 0)
