"""The product block of mace-torch: symmetric contraction, linear map and skip connection on channels-last features.

    h_i = W B(A_i; w_(z_i)) + s_i

with ``B`` the many-body contraction of :mod:`coset.ops.symmetric_contraction`, its coupling tensors read from the module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.nn.foreign_layers import LinearBlocks
from coset.nn.foreign_messages import Graph
from coset.nn.foreign_reading import Layout, Unsupported, joined, read_irreps, wants
from coset.nn.foreign_swap import Swap, normal
from coset.ops.symmetric_contraction import from_mace


class ContractionSwap(Swap):
    """``EquivariantProductBasisBlock``."""

    inside = ("symmetric_contractions", "linear")

    def __init__(self, module: Any, graph: Graph) -> None:
        super().__init__(module)
        wants(module, *self.inside, "use_sc")
        if getattr(getattr(module, "cueq_config", None), "enabled", False):
            raise Unsupported("its contraction was replaced by another package already")
        self.graph = graph
        self.linear = LinearBlocks(module.linear)
        try:
            self.contraction, weights = from_mace(module.symmetric_contractions)
        except InputError as error:
            raise Unsupported(str(error)) from error
        self.elements, _, self.channels = weights[0].shape
        irreps = (self.contraction.irreps_in, self.contraction.irreps_out, self.linear.irreps_in)
        if any(mul != self.channels for mul, _ in (*irreps[0], *irreps[1])):
            raise Unsupported(f"{irreps[0]} -> {irreps[1]} has other multiplicities than {self.channels}")
        if irreps[1] != irreps[2]:
            raise Unsupported(f"its contraction gives {irreps[1]}, its linear map takes {irreps[2]}")
        self.rows_out = Layout.of(irreps[1], self.channels)

    def weights(self) -> Tensor:
        """One per element, coupling and channel, in the order of the contraction: ``(elements, paths, C)``."""
        parts: Any = self.module.symmetric_contractions.contractions
        found = []
        for _, part in sorted(parts.named_children(), key=lambda child: int(child[0])):
            named = dict(part.named_parameters())
            lower = len(named) - 1  # the highest order stands apart, the others are listed from high to low
            found += [*(named[f"weights.{n}"] for n in reversed(range(lower))), named["weights_max"]]
        return torch.cat(found, dim=1)

    def __call__(self, node_feats: Tensor, sc: Tensor | None, node_attrs: Tensor) -> Tensor:
        """``(nodes, C, rows)``, skip connection ``(nodes, dim)`` or None, species ``(nodes, elements)`` to ``(nodes, dim)``."""
        module: Any = self.module
        if getattr(module, "use_agnostic_product", False):
            node_attrs = node_attrs.new_ones(len(node_attrs), 1)
        weights, species = self.weights(), self.graph.species(node_attrs)
        if species is None:  # attributes that are not one-hot: every node mixes weights of its own
            weights = torch.einsum("ne,epc->npc", node_attrs, weights)
            species = torch.arange(len(node_attrs), device=node_attrs.device)
        features = self.contraction(node_feats.transpose(1, 2).contiguous(), weights, species)
        out = joined(self.linear(self.rows_out.blocks(features), module.linear.weight, module.linear.bias))
        return out + sc if module.use_sc and sc is not None else out

    def random_input(self, generator: torch.Generator) -> tuple[Any, ...]:
        nodes = 4
        elements = self.elements if not getattr(self.module, "use_agnostic_product", False) else 1
        attributes = torch.eye(elements, dtype=torch.float64)[torch.arange(nodes) % elements]
        skip = normal(generator, nodes, read_irreps(self.module.linear.irreps_out).dim)
        return normal(generator, nodes, self.channels, self.contraction.rows), skip, attributes
