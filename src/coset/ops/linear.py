"""Equivariant linear maps: by Schur's lemma, one matrix for every pair of blocks with the same irrep.

    out[b, k, w] = a_b  sum_(a: same irrep as b) sum_u  x[a, k, u] W_ab[u, w]

with ``a_b = 1 / sqrt(copies summed)`` ("element", unit variance in and out), ``1 / sqrt(copies of a * blocks summed)`` ("path")
or 1 ("none"), as in e3nn. Features are flat, channels last, so every pair is one matrix product without a copy; the output of
a :class:`~coset.ops.tensor_product.TensorProduct` is one after ``flatten(-2)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.ops.instructions import PATH_NORMALIZATIONS
from coset.reps.irreps import Irreps


@dataclass(frozen=True)
class Linear:
    """A linear map between irreps; ``paths`` are the pairs (block in, block out) that have a matrix, in e3nn's order."""

    irreps_in: Irreps
    irreps_out: Irreps
    paths: tuple[tuple[int, int], ...]
    factors: tuple[float, ...]

    @property
    def weight_shapes(self) -> list[tuple[int, int]]:
        """The matrices, (copies in, copies out)."""
        return [(self.irreps_in[a].mul, self.irreps_out[b].mul) for a, b in self.paths]

    @property
    def weight_numel(self) -> int:
        """How many weights there are."""
        return sum(math.prod(shape) for shape in self.weight_shapes)

    def __call__(self, x: Tensor, weights: Tensor, species: Tensor | None = None) -> Tensor:
        """``x`` ``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``.

        ``weights`` ``(weight_numel,)`` are shared; ``(kinds, weight_numel)`` with ``species`` ``(...)`` integers, the batch
        axes of ``x``, gives every item the map of its species. InputError if a shape does not fit.
        """
        if x.shape[-1:] != (self.irreps_in.dim,):
            raise InputError(f"x is (..., {self.irreps_in.dim}), flat features of {self.irreps_in}; got {tuple(x.shape)}")
        if weights.shape[-1] != self.weight_numel or weights.ndim != 1 + (species is not None):
            lead = "(" if species is None else "(kinds, "
            raise InputError(
                f"weights are {lead}{self.weight_numel}) for matrices {self.weight_shapes}; got {tuple(weights.shape)}"
            )
        if species is None:
            return self._apply(x, weights)
        if species.shape != x.shape[:-1]:
            raise InputError(f"species has the batch axes of x, {tuple(x.shape[:-1])}; got {tuple(species.shape)}")
        return self._by_species(x.reshape(-1, x.shape[-1]), weights, species.reshape(-1)).reshape(
            *species.shape, self.irreps_out.dim
        )

    def _apply(self, x: Tensor, weights: Tensor) -> Tensor:
        """One map for all items."""
        given = x.split([block.dim for block in self.irreps_in], -1)
        parts: list[Tensor | None] = [None] * len(self.irreps_out)
        matrices = weights.split([math.prod(shape) for shape in self.weight_shapes])
        for (a, b), factor, shape, matrix in zip(self.paths, self.factors, self.weight_shapes, matrices, strict=True):
            piece = given[a].unflatten(-1, (self.irreps_in[a].ir.dim, shape[0])) @ (factor * matrix.view(shape))
            old = parts[b]
            parts[b] = piece if old is None else old + piece
        found = [
            x.new_zeros(*x.shape[:-1], block.dim) if part is None else part.flatten(-2)
            for block, part in zip(self.irreps_out, parts, strict=True)
        ]
        return torch.cat(found, -1) if len(found) != 1 else found[0]

    def _by_species(self, x: Tensor, weights: Tensor, species: Tensor) -> Tensor:
        """Items of a species together; under ``torch.compile``, where their numbers are unknown, every map with a mask."""
        if torch.compiler.is_compiling():
            masked = [self._apply(x * (species == kind).to(x.dtype).unsqueeze(-1), w) for kind, w in enumerate(weights)]
            return torch.stack(masked).sum(0)
        if species.numel() and not 0 <= int(species.min()) <= int(species.max()) < len(weights):
            raise InputError(f"species are 0..{len(weights) - 1}, got {int(species.min())}..{int(species.max())}")
        order = torch.argsort(species, stable=True)
        counts = torch.bincount(species, minlength=len(weights)).tolist()
        pieces = [self._apply(part, w) for part, w in zip(x[order].split(counts), weights, strict=True)]
        return torch.cat(pieces)[torch.argsort(order)]


def linear(irreps_in: Any, irreps_out: Any, *, path_normalization: str = "element") -> Linear:
    """The linear maps from ``irreps_in`` to ``irreps_out``; output irreps that the input lacks are zero."""
    if path_normalization not in PATH_NORMALIZATIONS:
        raise unknown("path_normalization", path_normalization, PATH_NORMALIZATIONS)
    one, two = (side if isinstance(side, Irreps) else Irreps(side) for side in (irreps_in, irreps_out))
    if one.group != two.group:
        raise InputError(f"a linear map needs irreps of one group, got {one!r} and {two!r}")
    paths = tuple((a, b) for a, (n, x) in enumerate(one) for b, (m, y) in enumerate(two) if x == y and n and m)
    factors = []
    for a, b in paths:
        summed = [one[c].mul for c, d in paths if d == b]
        total = {"element": sum(summed), "path": one[a].mul * len(summed), "none": 1}[path_normalization]
        factors.append(total**-0.5)
    return Linear(one, two, paths, tuple(factors))
