"""Radial weights of messages: the model's own network, evaluated once per pair of edges, or a table of it.

With a table (:mod:`coset.ops.radial_table`) the weights are read inside the kernel and no tensor of edges x channels exists. A
table stands for weights that no longer change: it is made again when they did, and not used where they ask for gradients.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from coset.nn.foreign_graph import Graph
from coset.nn.foreign_reading import Unsupported, float_dtype, wants
from coset.nn.foreign_swap import Swap
from coset.ops.radial_table import RadialTable, tabulate


class RadialSwap(Swap):
    """``RadialEmbeddingBlock`` as it is; it tells the layers after it how long the edges are."""

    own = False

    def __init__(self, module: Any, graph: Graph) -> None:
        super().__init__(module)
        self.graph = graph

    def __call__(self, edge_lengths: Tensor, *others: Any) -> tuple[Tensor, Tensor | None]:
        """Features ``(E, n)`` and, if it is not in them, the cutoff ``(E, 1)``."""
        features, cutoff = type(self.module).forward(self.module, edge_lengths, *others)
        self.graph.remember(self.module, features, edge_lengths)
        return features, cutoff


class PotentialSwap(Swap):
    """The whole model as it is; where forces are asked for edge by edge, no two edges share anything."""

    own = False

    def __init__(self, module: Any, graph: Graph) -> None:
        super().__init__(module)
        self.graph, self.paired = graph, graph.paired
        self.signature = inspect.signature(type(module).forward)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """What the model returns."""
        given = self.signature.bind(self.module, *args, **options).arguments
        self.graph.paired = self.paired and not (given.get("compute_edge_forces") or given.get("lammps_mliap"))
        return type(self.module).forward(self.module, *args, **options)


class TabulatedWeights:
    """A radial network after its embedding as splines of the distance, remade when a number in either changed."""

    def __init__(self, network: nn.Module, embedding: Any, paths: int) -> None:
        if embedding is None:
            raise Unsupported("the module that embeds its distances was not found, so they cannot be tabulated")
        wants(embedding, "cutoff_fn", "bessel_fn")
        if hasattr(embedding, "distance_transform"):
            raise Unsupported("its distances are transformed by species, which one table cannot hold")
        if any(p.requires_grad for p in (*network.parameters(), *embedding.parameters())):
            raise Unsupported("a table holds weights that no longer change: freeze them with requires_grad_(False) first")
        self.paths = paths
        self._made: tuple[tuple, RadialTable] | None = None

    def __str__(self) -> str:
        return "made at the first call" if self._made is None else str(self._made[1])

    def table(self, network: nn.Module, embedding: nn.Module) -> RadialTable | None:
        """The present weights, ``(paths, C)`` per distance; None if they ask for gradients again."""
        numbers = [x for module in (network, embedding) for x in (*module.parameters(), *module.buffers())]
        if any(x.requires_grad for x in numbers):
            return None
        state = tuple((id(x), x._version, x.data_ptr(), x.dtype) for x in numbers)
        if self._made is None or self._made[0] != state:
            self._made = (state, tabulated_weights(network, embedding).view(self.paths, -1))
        return self._made[1]


def tabulated_weights(network: nn.Module, embedding: Any) -> RadialTable:
    """The network after the embedding, to 1e-5 in value and slope (1e-7 in float64) of the largest."""
    dtype = float_dtype(network)
    tolerance = 1e-7 if dtype == torch.float64 else 1e-5
    table = tabulate(_Reader(network, embedding).cpu(), float(embedding.cutoff_fn.r_max), tolerance=tolerance, dtype=dtype)
    return table.to(next(network.parameters()).device)


class _Reader(nn.Module):
    """The weights ``(n, paths * C)`` at distances ``(n,)``."""

    def __init__(self, network: nn.Module, embedding: nn.Module) -> None:
        super().__init__()
        self.network, self.embedding = network, embedding

    def forward(self, r: Tensor) -> Tensor:
        r = r.clamp(min=1e-6).unsqueeze(-1)  # sin(k r) / r is written so that it fails at 0
        features, cutoff = type(self.embedding).forward(self.embedding, r, None, None, None)
        weights = self.network(features)
        return weights if cutoff is None else weights * cutoff
