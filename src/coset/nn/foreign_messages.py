"""Message passing blocks of mace-torch as one fused operation per layer, on weights that stay where they are.

A block of mace-torch forms messages edge by edge, sums them per receiver and mixes the result,

    A_i = W sum_(j -> i) R(r_ij) * (V h)_j x Y(r_ij) / n,

with ``*`` a product channel by channel. Here the product, with its gather and its sum, is one plan, so that no message is ever
stored, and the paths into one irrep come out side by side, so that W is one matrix product per irrep.

Between this block and the contraction after it features are ``(nodes, channels, rows)``; this block returns a view of its
channels-last result, which :mod:`coset.nn.foreign_contraction` reads without a copy and anything else reads as it always did.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.nn.foreign_graph import Graph, Pairs
from coset.nn.foreign_layers import AttributeBlocks, LinearBlocks, coupling_terms
from coset.nn.foreign_radial import TabulatedWeights
from coset.nn.foreign_reading import Layout, Unsupported, blocks_of, joined, mixed, read_couplings, read_irreps, wants
from coset.nn.foreign_swap import Swap, normal
from coset.ops.index import Edges
from coset.ops.plan import Operand, Plan, make_plan
from coset.ops.product import product
from coset.ops.radial_table import table_convolution

#: blocks that are known, with what they divide by; ``Residual``: species enter a skip connection instead of the message
KNOWN = {
    "RealAgnosticInteractionBlock": "average",
    "RealAgnosticResidualInteractionBlock": "average",
    "RealAgnosticDensityInteractionBlock": "density",
    "RealAgnosticDensityResidualInteractionBlock": "density",
}


class Convolution:
    """Gather, ``o3.TensorProduct`` with weights per edge, sum per receiver and ``o3.Linear``, from two modules."""

    def __init__(self, tensor_product: Any, linear: Any) -> None:
        self.couplings = read_couplings(tensor_product)
        names = ("irreps_in1", "irreps_in2", "irreps_out")
        self.irreps_in, self.irreps_filter, self.irreps_out = (read_irreps(getattr(tensor_product, name)) for name in names)
        if any(c.mode != "uvu" or not c.weighted for c in self.couplings) or tensor_product.shared_weights:
            raise Unsupported("conv_tp is not a channelwise product (uvu) with weights per edge")
        if any(mul != 1 for mul, _ in self.irreps_filter):
            raise Unsupported(f"conv_tp has a second operand {self.irreps_filter} with several channels")
        self.channels = math.gcd(*(mul for mul, _ in self.irreps_in))
        self.rows_in = Layout.of(self.irreps_in, self.channels)
        self.rows_out = Layout.of(self.irreps_out.simplify(), self.channels)
        self.paths = tensor_product.weight_numel // self.channels
        self.plan = self._plan()
        self.paired = replace(self.plan, inputs=(*self.plan.inputs[:2], replace(self.plan.inputs[2], index="pair")))
        self.direction = next(
            (part for part, (_, ir) in zip(self.irreps_filter.slices(), self.irreps_filter, strict=True) if ir.l == 1), None
        )
        self.linear = LinearBlocks(linear)
        if self.linear.irreps_in.simplify() != self.rows_out.irreps:
            raise Unsupported(f"its linear map takes {self.linear.irreps_in}, conv_tp gives {self.irreps_out}")
        self.joins = [self._join(place) for place in range(len(self.linear.irreps_out))]

    def _plan(self) -> Plan:
        places = self._places()
        table, values = [], []
        for c in self.couplings:
            block, before = places[c.out]
            for copy in range(self.rows_in.copies[c.first]):
                terms = coupling_terms(self, c, (block, before + copy), copy, c.start // self.channels + copy)
                table.append(terms[0])
                values.append(terms[1])
        inputs = [
            Operand("x", self.rows_in.total, index="source"),
            Operand("s", self.irreps_filter.dim, channels=False),
            Operand("w", self.paths),
        ]
        label = f"messages({self.irreps_in} x {self.irreps_filter})"
        output = Operand("out", self.rows_out.total, index="target")
        return make_plan(inputs, output, np.concatenate(table), np.concatenate(values), label)

    def _places(self) -> list[tuple[int, int]]:
        """For each block of conv_tp's output its irrep's block in ``rows_out`` and the copies before it."""
        found, block, copies = [], -1, 0
        for n, (mul, ir) in enumerate(self.irreps_out):
            if n == 0 or ir != self.irreps_out[n - 1].ir:
                block, copies = block + 1, 0
            found.append((block, copies))
            copies += mul // self.channels
        return found

    def _join(self, place: int) -> tuple[int, tuple]:
        """The block of ``rows_out`` that a linear output reads, and its matrices: one below the other for all its channels."""
        matrices = self.linear.into[place]
        ir = self.linear.irreps_out[place].ir
        found = [n for n, block in enumerate(self.rows_out.irreps) if block.ir == ir]
        inputs = [n for n, block in enumerate(self.linear.irreps_in) if block.ir == ir]
        if len(found) != 1 or [m.first for m in matrices] != inputs or len({m.factor for m in matrices}) > 1:
            raise Unsupported(f"its linear map does not join all paths into {ir}")
        return found[0], matrices

    def sum(self, x: Tensor, harmonics: Tensor, weights: Tensor, edges: Edges, pairs: Pairs | None) -> Tensor:
        """Summed messages ``(N, rows, C)`` of ``x`` ``(N, rows, C)``; ``weights`` ``(E or pairs, paths * C)``."""
        weights = weights.view(-1, self.paths, self.channels)
        if pairs is None:
            return product(self.plan, [x, harmonics, weights], edges)
        return product(self.paired, [x, harmonics, weights], {**edges, "pair": pairs.index})

    def mix(self, summed: Tensor, matrix: Tensor, scale: Any) -> list[Tensor]:
        """The linear map on summed messages ``(N, rows, C)``, times ``scale``."""
        blocks = self.rows_out.blocks(summed)
        return [mixed(blocks[n], self.linear.matrix(matrix, matrices, scale)) for n, matrices in self.joins]


class MessageSwap(Swap):
    """``RealAgnostic[Density][Residual]InteractionBlock`` of mace-torch."""

    inside = ("linear_up", "conv_tp", "linear", "skip_tp", "reshape")

    def __init__(self, module: Any, graph: Graph) -> None:
        super().__init__(module)
        wants(module, *self.inside, "conv_tp_weights", "edge_feats_irreps", "handle_lammps", "truncate_ghosts")
        if hasattr(module, "conv_fusion"):
            raise Unsupported("its convolution was fused by another package already")
        self.graph = graph
        self.residual = "Residual" in type(module).__name__
        self.divides = KNOWN[type(module).__name__]
        wants(module, "density_fn" if self.divides == "density" else "avg_num_neighbors")
        self.up = LinearBlocks(module.linear_up)
        self.convolution = Convolution(module.conv_tp, module.linear)
        self.skip = AttributeBlocks(module.skip_tp, graph)
        self.tabulated: TabulatedWeights | None = None
        out = self.convolution.linear.irreps_out
        if len({mul for mul, _ in out}) > 1:
            raise Unsupported(f"its output {out} has irreps of different multiplicities")

    def __call__(
        self,
        node_attrs: Tensor,
        node_feats: Tensor,
        edge_attrs: Tensor,
        edge_feats: Tensor,
        edge_index: Tensor,
        cutoff: Tensor | None = None,
        *,
        lammps_class: Any = None,
        lammps_natoms: tuple[int, int] = (0, 0),
        first_layer: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Messages ``(nodes, channels, rows)`` and the skip connection ``(nodes, dim)``, None if it is not residual."""
        module: Any = self.module
        real = None if lammps_class is None else lammps_natoms[0]
        blocks = blocks_of(node_feats, self.up.irreps_in)
        x = self.convolution.rows_in.stack(self.up(blocks, module.linear_up.weight, module.linear_up.bias))
        if lammps_class is not None:
            x = module.handle_lammps(x.flatten(1), lammps_class, lammps_natoms, first_layer).view(-1, *x.shape[1:])
        edges = self.graph.edges(edge_index, len(x))
        summed = self._tabulated_sum(x, edge_attrs, edge_feats, edges)
        if summed is None:
            share = lammps_class is None
            summed = self._sum(x, edge_attrs, edge_feats, cutoff, edges, edge_index if share else None)
        scale = 1.0 if self.divides == "density" else 1.0 / module.avg_num_neighbors
        messages = self.convolution.mix(self._local(real, summed), module.linear.weight, scale)
        if self.divides == "density":
            density = self._local(real, self._density(edge_feats, edge_index[1], cutoff, len(x))).unsqueeze(-1)
            messages = [m / (density + 1) for m in messages]
        if self.residual:
            skipped = self._local(real, joined(self.skip(blocks, node_attrs, module.skip_tp.weight)))
            return torch.cat(messages, dim=1).transpose(1, 2), skipped
        messages = self.skip(messages, self._local(real, node_attrs), module.skip_tp.weight)
        return torch.cat(messages, dim=1).transpose(1, 2), None

    def _sum(
        self, x: Tensor, harmonics: Tensor, features: Tensor, cutoff: Tensor | None, edges: Edges, edge_index: Tensor | None
    ) -> Tensor:
        """Summed messages with the weights of the radial network, shared by the edges of a pair if ``edge_index`` is given."""
        direction, pairs = self.convolution.direction, None
        if edge_index is not None and direction is not None:
            pairs = self.graph.pairs(edge_index, harmonics[:, direction], features)
        if pairs is not None:
            features, cutoff = pairs.mean(features), None if cutoff is None else pairs.mean(cutoff)
        weights = self.module.conv_tp_weights(features)
        return self.convolution.sum(x, harmonics, weights if cutoff is None else weights * cutoff, edges, pairs)

    def tabulate(self, embedding: nn.Module | None) -> None:
        """Read the radial network after this embedding from a table from now on. Unsupported if it cannot be."""
        self.tabulated = TabulatedWeights(self.module.conv_tp_weights, embedding, self.convolution.paths)

    def note(self, path: str) -> str:
        return "" if self.tabulated is None else f"table: {path}.conv_tp_weights: {self.tabulated}"

    def _tabulated_sum(self, x: Tensor, harmonics: Tensor, features: Tensor, edges: Edges) -> Tensor | None:
        """The same with weights from the table; None if there is no table for these features and weights."""
        lengths = None if self.tabulated is None else self.graph.lengths(features)
        if self.tabulated is None or lengths is None:
            return None
        table = self.tabulated.table(self.module.conv_tp_weights, self.graph.embedding)
        return None if table is None else table_convolution(self.convolution.plan, table, lengths, x, harmonics, edges)

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        module: Any = self.module
        nodes, edges = 4, 9
        edge_index = torch.randint(nodes, (2, edges), generator=generator)
        return (
            normal(generator, nodes, self.skip.attributes.dim),
            normal(generator, nodes, self.up.irreps_in.dim),
            normal(generator, edges, self.convolution.irreps_filter.dim),
            normal(generator, edges, read_irreps(module.edge_feats_irreps).dim),
            edge_index,
            normal(generator, edges, 1),
        )

    def _local(self, real: int | None, x: Tensor) -> Tensor:
        """The atoms of this process, without copies of its neighbours' atoms."""
        return self.module.truncate_ghosts(x, real)

    def _density(self, edge_feats: Tensor, target: Tensor, cutoff: Tensor | None, nodes: int) -> Tensor:
        """How densely each node is surrounded, ``(nodes, 1)``."""
        each = torch.tanh(self.module.density_fn(edge_feats) ** 2)
        each = each if cutoff is None else each * cutoff
        return each.new_zeros(nodes, 1).index_add(0, target, each)
