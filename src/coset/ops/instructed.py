"""Execution of :mod:`coset.ops.instructions`: paths that share channels are one plan, then one matrix product per irrep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.backends.select import AUTO
from coset.ops.instructions import Instruction, all_paths, amplitudes, read_instructions
from coset.ops.product import product
from coset.ops.stages import Segment, Stage, make_stages
from coset.reps.irreps import Irreps


@dataclass(frozen=True)
class InstructedProduct:
    """A product of irreps by instructions; call it on flat features ``(..., dim)`` and weights ``(weight_numel,)``."""

    irreps_1: Irreps
    irreps_2: Irreps
    irreps_out: Irreps
    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    @property
    def irreps(self) -> tuple[Irreps, Irreps, Irreps]:
        """Both operands and the output."""
        return self.irreps_1, self.irreps_2, self.irreps_out

    @property
    def weight_shapes(self) -> list[tuple[int, ...]]:
        """The weights of every path that has any, in their order."""
        return [path.weights(self.irreps) for path in self.instructions if path.has_weight]

    @property
    def weight_numel(self) -> int:
        """How many weights there are."""
        return sum(math.prod(shape) for shape in self.weight_shapes)

    def __call__(self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, backend: str = AUTO) -> Tensor:
        """``x`` ``(..., irreps_1.dim)`` and ``y`` ``(..., irreps_2.dim)`` to ``(..., irreps_out.dim)``, batch axes broadcast.

        ``weights`` is ``(weight_numel,)``, or has the batch axes too. InputError if a last axis does not fit.
        """
        given = (("x", x, self.irreps_1.dim, self.irreps_1), ("y", y, self.irreps_2.dim, self.irreps_2))
        for name, tensor, size, irreps in given:
            if tensor.shape[-1] != size:
                raise InputError(f"{name} is (..., {size}), flat features of {irreps}; got {tuple(tensor.shape)}")
        weights = x.new_zeros(0) if weights is None else weights
        if weights.shape[-1] != self.weight_numel:
            raise InputError(
                f"weights are (..., {self.weight_numel}) for paths {self.weight_shapes}; got {tuple(weights.shape)}"
            )
        shared = weights.ndim == 1
        lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], weights.shape[:-1])
        items = math.prod(lead)
        x, y = (t.expand(*lead, t.shape[-1]).reshape(items, t.shape[-1]) for t in (x, y))
        weights = weights if shared else weights.expand(*lead, weights.shape[-1]).reshape(items, -1)
        return self._sum(x, y, self._split(weights), shared, backend).reshape(*lead, self.irreps_out.dim)

    def _split(self, weights: Tensor) -> dict[int, Tensor]:
        """The weights of every path in their own shape."""
        pieces = weights.split([math.prod(shape) for shape in self.weight_shapes], -1)
        places = [place for place, path in enumerate(self.instructions) if path.has_weight]
        shapes = zip(places, pieces, self.weight_shapes, strict=True)
        return {place: piece.reshape(*weights.shape[:-1], *shape) for place, piece, shape in shapes}

    def _sum(self, x: Tensor, y: Tensor, weights: dict[int, Tensor], shared: bool, backend: str) -> Tensor:
        blocks: list[Tensor | None] = [None] * len(self.irreps_out)
        for stage in self.stages:
            rows = self._rows(stage, weights)
            operands = [_operand(x, self.irreps_1, stage, 0), _operand(y, self.irreps_2, stage, 1)]
            plan = stage.plans[1 if shared else 0]
            out = product(plan, operands if rows is None else [*operands, rows], items=len(x), backend=backend)
            for segment in stage.segments:
                piece = self._piece(out, stage, segment, weights)
                old = blocks[segment.iout]
                blocks[segment.iout] = piece if old is None else old + piece
        parts = [
            x.new_zeros(len(x), block.dim) if piece is None else piece
            for block, piece in zip(self.irreps_out, blocks, strict=True)
        ]
        return torch.cat(parts, -1) if len(parts) != 1 else parts[0]

    def _rows(self, stage: Stage, weights: dict[int, Tensor]) -> Tensor | None:
        """The weights that enter the plan, ``(..., rows, C)``."""
        if not stage.weighted:
            return None
        rows = []
        for place in stage.weighted:
            w, mode = weights[place], self.instructions[place].mode
            rows.append(w.unsqueeze(-2) if mode == "uuu" else w if mode == "uvv" else w.transpose(-1, -2))
        return torch.cat(rows, -2)

    def _piece(self, out: Tensor, stage: Stage, segment: Segment, weights: dict[int, Tensor]) -> Tensor:
        """What a segment adds to its block, flat."""
        dim, C = self.irreps_out[segment.iout].ir.dim, stage.channels
        piece = out[:, segment.start : segment.start + dim * segment.copies]
        if segment.kind == "direct":
            return piece.flatten(1)
        piece = piece.unflatten(1, (dim, segment.copies))
        if segment.kind == "uvuv":
            return piece.transpose(-1, -2).flatten(1)
        matrices = []
        for place in segment.paths:
            path = self.instructions[place]
            w = weights[place] if path.has_weight else out.new_ones(C, 1)
            matrices.append(w.transpose(-2, -3).flatten(-3, -2) if path.mode == "uvw" else w)
        return (piece.flatten(2) @ torch.cat(matrices, -2)).flatten(1)


def tensor_product(
    irreps_1: Any,
    irreps_2: Any,
    irreps_out: Any,
    instructions: Sequence[Any],
    *,
    irrep_normalization: str = "component",
    path_normalization: str = "element",
    variances: Sequence[Sequence[float] | None] = (None, None, None),
) -> InstructedProduct:
    """The product with these instructions, e3nn's tuples or :class:`~coset.ops.instructions.Instruction`; see there.

    Raises InputError or ContractError for a path whose blocks do not fit together, by its name.
    """
    one, two, out = (side if isinstance(side, Irreps) else Irreps(side) for side in (irreps_1, irreps_2, irreps_out))
    irreps = (one, two, out)
    paths = read_instructions(instructions, irreps)
    factors = amplitudes(paths, irreps, irrep_normalization, path_normalization, variances)
    return InstructedProduct(one, two, out, paths, make_stages(paths, factors, irreps))


def fully_connected(
    irreps_1: Any,
    irreps_2: Any,
    irreps_out: Any,
    *,
    irrep_normalization: str = "component",
    path_normalization: str = "element",
) -> InstructedProduct:
    """Every copy of the first with every copy of the second into every copy of the output, with a weight each (mode uvw)."""
    one, two, out = (side if isinstance(side, Irreps) else Irreps(side) for side in (irreps_1, irreps_2, irreps_out))
    return tensor_product(
        one,
        two,
        out,
        all_paths(one, two, out),
        irrep_normalization=irrep_normalization,
        path_normalization=path_normalization,
    )


def _operand(x: Tensor, irreps: Irreps, stage: Stage, side: int) -> Tensor:
    """A flat feature as the stage reads it: all of it without channels, or its blocks as ``(items, rows, C)``."""
    blocks = stage.blocks[side]
    if blocks is None:
        return x
    slices = irreps.slices()
    used = x if blocks == tuple(range(len(irreps))) else torch.cat([x[:, slices[block]] for block in blocks], -1)
    return used.unflatten(-1, (-1, stage.channels))


def full(irreps_1: Any, irreps_2: Any, keep: Any = None, *, irrep_normalization: str = "component") -> InstructedProduct:
    """Every copy of the first with every copy of the second, without weights; a block per path, sorted by irrep (mode uvuv)."""
    one, two = (side if isinstance(side, Irreps) else Irreps(side) for side in (irreps_1, irreps_2))
    kept = None if keep is None else {ir for _, ir in (keep if isinstance(keep, Irreps) else Irreps(keep, one.group))}
    pairs = [(i, j, x, y) for i, x in enumerate(one) for j, y in enumerate(two)]
    found = [(ir, i, j, x.mul * y.mul) for i, j, x, y in pairs for ir in x.ir * y.ir if kept is None or ir in kept]
    found.sort(key=lambda path: path[0])
    out = Irreps([(mul, ir) for ir, _, _, mul in found], one.group)
    paths = [Instruction(i, j, k, "uvuv", False) for k, (_, i, j, _) in enumerate(found)]
    return tensor_product(one, two, out, paths, irrep_normalization=irrep_normalization, path_normalization="none")
