"""Forwards for single modules of e3nn: spherical harmonics, linear maps and tensor products, weights and layout as they are.

Features come and go in e3nn's order ``(mul, 2l + 1)``; inside, channels are last. A linear map is, for every irrep,

    y_(k, w) = sum_u x_(k, u) a W_(u, w),

and a product "uvu" or "uvw" whose second operand has one channel is the plan of :mod:`coset.ops.plan` with the paths and
factors that the module itself has, followed, for "uvw", by the linear map.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from coset.nn.foreign_graph import Graph
from coset.nn.foreign_reading import (
    Coupling,
    Layout,
    Unsupported,
    blocks_of,
    joined,
    mixed,
    read_couplings,
    read_irreps,
    wants,
)
from coset.nn.foreign_swap import Swap, normal
from coset.ops.plan import ITEM, Operand, Plan, make_plan
from coset.ops.product import product
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps

ITEMS = 5  #: rows of random input


class HarmonicsSwap(Swap):
    """``o3.SphericalHarmonics``: degrees in the module's order, its normalization."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        wants(module, "normalize", "normalization", "_ls_list")
        self.degrees = tuple(int(l) for l in module._ls_list)
        self.normalize, self.normalization = bool(module.normalize), str(module.normalization)

    def __call__(self, x: Tensor) -> Tensor:
        """``(..., 3)`` to ``(..., sum(2l + 1))``."""
        return spherical_harmonics(self.degrees, x, normalize=self.normalize, normalization=self.normalization)

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        return (normal(generator, ITEMS, 3),)


class Matrix(NamedTuple):
    """One block of a linear map: ``weight[start:start + rows * columns]`` times a factor, from block to block."""

    first: int
    out: int
    start: int
    rows: int
    columns: int
    factor: float


class LinearBlocks:
    """The matrices of ``o3.Linear``, applied to blocks with channels last."""

    def __init__(self, module: Any) -> None:
        wants(module, "irreps_in", "irreps_out", "instructions", "weight", "weight_numel", "internal_weights", "shared_weights")
        self.irreps_in, self.irreps_out = read_irreps(module.irreps_in), read_irreps(module.irreps_out)
        if not module.shared_weights:
            raise Unsupported("its weights differ from item to item")
        matrices: list[Matrix] = []
        biases: list[tuple[int, int, int]] = []
        start = bias = 0
        for ins in module.instructions:
            if ins.i_in < 0:
                biases.append((ins.i_out, bias, self.irreps_out[ins.i_out].dim))
                bias += biases[-1][2]
                continue
            rows, columns = (int(n) for n in ins.path_shape)
            matrices.append(Matrix(ins.i_in, ins.i_out, start, rows, columns, float(ins.path_weight)))
            start += rows * columns
        if start != module.weight_numel:
            raise Unsupported("it maps several features at once (f_in, f_out)")
        self.biases = tuple(biases)
        self.into = [tuple(m for m in matrices if m.out == out) for out in range(len(self.irreps_out))]

    def __call__(self, blocks: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None) -> list[Tensor]:
        """Blocks ``(..., 2l + 1, mul)`` of ``irreps_in`` to those of ``irreps_out``."""
        out = []
        for place, matrices in enumerate(self.into):
            mul, ir = self.irreps_out[place]
            if not matrices:
                out.append(blocks[0].new_zeros(*blocks[0].shape[:-2], ir.dim, mul))
                continue
            terms = [mixed(blocks[m.first], self.matrix(weight, [m])) for m in matrices]
            out.append(torch.stack(terms).sum(0) if len(terms) > 1 else terms[0])
        for place, start, size in self.biases:
            if bias is not None:
                out[place] = out[place] + bias[start : start + size]
        return out

    def matrix(self, weight: Tensor, matrices: Sequence[Matrix], factor: float = 1.0) -> Tensor:
        """Matrices into one block, one below the other, ``(sum of rows, columns)``; a view if they lie side by side."""
        stops = [m.start + m.rows * m.columns for m in matrices]
        if all(m.start == stop for m, stop in zip(matrices[1:], stops[:-1], strict=True)):
            whole = weight[matrices[0].start : stops[-1]].view(-1, matrices[0].columns)
        else:
            whole = torch.cat([weight[m.start : stop].view(-1, m.columns) for m, stop in zip(matrices, stops, strict=True)])
        return whole * (matrices[0].factor * factor)


class LinearSwap(Swap):
    """``o3.Linear``, with biases."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.map = LinearBlocks(module)

    def __call__(self, features: Tensor, weight: Any = None, bias: Any = None) -> Tensor:
        """``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``."""
        weight = self.module.weight if weight is None else weight
        bias = self.module.bias if bias is None else bias
        lead = features.shape[:-1]
        out = self.map(blocks_of(features.reshape(-1, features.shape[-1]), self.map.irreps_in), weight, bias)
        return joined(out).reshape(*lead, -1)

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        weights = () if self.module.internal_weights else (normal(generator, self.module.weight_numel),)
        return (normal(generator, ITEMS, self.map.irreps_in.dim), *weights)


class AttributeBlocks:
    """``o3.FullyConnectedTensorProduct`` with attributes ``V x 0e``, usually one-hot species: a linear map for each of them.

        y_(k, w) = sum_v n_v sum_u x_(k, u) a W_(u, v, w)

    Attributes that no node has cost nothing.
    """

    def __init__(self, module: Any, graph: Graph) -> None:
        self.graph = graph
        self.couplings = read_couplings(module)
        names = ("irreps_in1", "irreps_in2", "irreps_out")
        self.irreps_in, self.attributes, self.irreps_out = (read_irreps(getattr(module, name)) for name in names)
        if len(self.attributes) != 1 or not self.attributes[0].ir.is_scalar():
            raise Unsupported(f"its second operand {self.attributes} is not one block of scalars")
        if not module.shared_weights or any(c.mode != "uvw" or not c.weighted for c in self.couplings):
            raise Unsupported("it is not fully connected with shared weights")

    def __call__(self, blocks: Sequence[Tensor], attributes: Tensor, weight: Tensor) -> list[Tensor]:
        """Blocks ``(N, 2l + 1, mul)`` and attributes ``(N, V)`` to the blocks of ``irreps_out``."""
        present = self.graph.present(attributes)
        attributes = attributes if present is None else attributes[:, present]
        out: list[Tensor | None] = [None] * len(self.irreps_out)
        for c in self.couplings:
            matrix = weight[c.start : c.start + c.size].view(c.shape)
            matrix = matrix if present is None else matrix.index_select(1, present)
            each = blocks[c.first].unsqueeze(-1) * attributes[:, None, None, :]
            part = mixed(each.flatten(-2), matrix.flatten(0, 1) * c.values[0])  # its 3j symbol is a multiple of the identity
            before = out[c.out]
            out[c.out] = part if before is None else before + part
        lead = blocks[0].shape[:-2]
        return [
            blocks[0].new_zeros(*lead, ir.dim, mul) if part is None else part
            for part, (mul, ir) in zip(out, self.irreps_out, strict=True)
        ]


class AttributeSwap(Swap):
    """A fully connected product with scalar attributes."""

    def __init__(self, module: Any, graph: Graph) -> None:
        super().__init__(module)
        self.map = AttributeBlocks(module, graph)

    def __call__(self, x: Tensor, y: Tensor, weight: Any = None) -> Tensor:
        """``(..., irreps_in1.dim)`` and ``(..., V)`` to ``(..., irreps_out.dim)``."""
        weight = self.module.weight if weight is None else weight
        lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        x, y = x.expand(*lead, -1).reshape(-1, x.shape[-1]), y.expand(*lead, -1).reshape(-1, y.shape[-1])
        return joined(self.map(blocks_of(x, self.map.irreps_in), y, weight)).reshape(*lead, -1)

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        return _operands(self.module, self.map.irreps_in.dim, self.map.attributes.dim, generator)


class ProductSwap(Swap):
    """``o3.TensorProduct`` with one channel in the second operand, "uvu" or "uvw", weights given or its own."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.couplings = read_couplings(module)
        irreps = [read_irreps(getattr(module, name)) for name in ("irreps_in1", "irreps_in2", "irreps_out")]
        self.irreps_in, self.irreps_filter, self.irreps_out = irreps
        modes = {c.mode for c in self.couplings}
        if not modes or modes - {"uvu", "uvw"} or len(modes) > 1:
            raise Unsupported(f"its connections are {', '.join(sorted(modes)) or 'none'}; only uvu and uvw are known")
        if any(mul != 1 for mul, _ in self.irreps_filter):
            raise Unsupported(f"its second operand {self.irreps_filter} has several channels")
        self.mixes = modes == {"uvw"}
        self.shared = bool(module.shared_weights)
        if self.mixes and not (self.shared and all(c.weighted for c in self.couplings)):
            raise Unsupported("a fully connected product needs shared weights on every path")
        if len({c.weighted for c in self.couplings}) > 1:
            raise Unsupported("only some of its paths have weights")
        self.weighted = self.couplings[0].weighted and not self.mixes
        self.channels = math.gcd(*(mul for mul, _ in self.irreps_in))
        self.rows_in = Layout.of(self.irreps_in, self.channels)
        self.rows_out = Layout.of(self.middle(), self.channels)
        self.plan = self.channelwise()

    def middle(self) -> Irreps:
        """What the channelwise part gives: the output, or for "uvw" one block per path."""
        if not self.mixes:
            return self.irreps_out
        return Irreps([(self.irreps_in[c.first].mul, self.irreps_out[c.out].ir) for c in self.couplings])

    def channelwise(self) -> Plan:
        """The plan of all paths, item by item; weights, if any, are one row per path and group of channels."""
        weights = [c.size // self.channels for c in self.couplings]
        starts = np.cumsum([0, *weights])
        table, values = [], []
        for number, c in enumerate(self.couplings):
            out = number if self.mixes else c.out
            for copy in range(self.rows_in.copies[c.first]):
                rows, columns = coupling_terms(
                    self, c, (out, copy), copy, int(starts[number]) + copy if self.weighted else None
                )
                table.append(rows)
                values.append(columns)
        inputs = [Operand("x", self.rows_in.total), Operand("s", self.irreps_filter.dim, channels=False)]
        if self.weighted:
            inputs.append(Operand("w", int(starts[-1]), index="shared" if self.shared else ITEM))
        label = f"{type(self.module).__name__}({self.irreps_in} x {self.irreps_filter})"
        return make_plan(inputs, Operand("out", self.rows_out.total), np.concatenate(table), np.concatenate(values), label)

    def __call__(self, x: Tensor, y: Tensor, weight: Any = None) -> Tensor:
        """``(..., irreps_in1.dim)`` and ``(..., irreps_in2.dim)`` to ``(..., irreps_out.dim)``."""
        weight = self.module.weight if weight is None else weight
        weight = torch.cat([part.flatten(-2) for part in weight], dim=-1) if isinstance(weight, list) else weight
        wide = weight.shape[:-1] if self.weighted and not self.shared else ()
        lead = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], wide)
        x, y = x.expand(*lead, -1).reshape(-1, x.shape[-1]), y.expand(*lead, -1).reshape(-1, y.shape[-1])
        operands = [self.rows_in.gather(x), y]
        if self.weighted:
            rows = (self.plan.inputs[2].rows, self.channels)
            operands.append(weight.view(rows) if self.shared else weight.expand(*lead, -1).reshape(-1, *rows))
        blocks = self.rows_out.blocks(product(self.plan, operands, items=len(x)))
        return joined(self.mix(blocks, weight) if self.mixes else blocks).reshape(*lead, -1)

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        return _operands(self.module, self.irreps_in.dim, self.irreps_filter.dim, generator)

    def mix(self, blocks: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        """ "uvw": for every output block the sum over its paths of ``blocks @ weight``."""
        into: dict[int, list[Tensor]] = defaultdict(list)
        for block, c in zip(blocks, self.couplings, strict=True):
            matrix = weight[c.start : c.start + c.size].view(c.shape[0], c.shape[2])
            into[c.out].append(mixed(block, matrix))
        lead = blocks[0].shape[:-2]
        return [
            torch.stack(into[place]).sum(0) if place in into else blocks[0].new_zeros(*lead, ir.dim, mul)
            for place, (mul, ir) in enumerate(self.irreps_out)
        ]


def _operands(module: Any, first: int, second: int, generator: torch.Generator) -> tuple[Any, ...]:
    """Random features, and weights where the module has none of its own."""
    lead = () if module.shared_weights else (ITEMS,)
    weights = () if module.internal_weights or not module.weight_numel else (normal(generator, *lead, module.weight_numel),)
    return (normal(generator, ITEMS, first), normal(generator, ITEMS, second), *weights)


def coupling_terms(
    swap: Any, c: Coupling, out: tuple[int, int], copy: int, weight: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Terms (rows of x, s, w if any, out) and coefficients of one path on one group of channels; ``out`` is (block, copy)."""
    i, j, k = c.entries.T
    rows = [swap.rows_in.rows(c.first, copy)[i], swap.irreps_filter.slices()[c.second].start + j]
    rows += [] if weight is None else [np.full(len(i), weight)]
    rows.append(swap.rows_out.rows(*out)[k])
    return np.stack(rows, axis=1), c.values
