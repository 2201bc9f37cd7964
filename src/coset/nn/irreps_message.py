"""Convolution over the edges of a graph with features of irreps: the message passing of interatomic potentials.

    x_i' = W_down [ 1 / sqrt(n) sum_(j -> i) sum_paths R_path(r_ij) (W_up x_j (x) Y(r_ij))_path ]  +  W_(z_i) x_i

with the channelwise product of :mod:`coset.ops.tensor_product`, a weight per path and channel from the invariants of the edge,
``n`` the mean number of neighbors, and a self-connection per species (left out without species). Gather, product and sum are
one operation; no tensor of edges times output rows times channels is made where a fused kernel runs. Batzner et al., arXiv
2101.03164; Batatia et al., arXiv 2206.07697.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, over
from coset.nn.irreps_linear import IrrepsLinear, SpeciesLinear
from coset.nn.radial import RadialMLP
from coset.nn.so2 import as_edges
from coset.ops.bspline import UniformBSpline
from coset.ops.index import Edges, Index
from coset.ops.product import product
from coset.ops.tabulated import INTERVAL, tabulated, windows
from coset.ops.tensor_product import TensorProduct, channelwise
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps

VANISH = 3  #: coefficients that are zero, so that a spline ends at r_max with two derivatives


class MLPWeights(nn.Module):
    """Weights ``(E, paths, C)`` of edge invariants ``(E, features)`` by a small network, and the product with them."""

    def __init__(self, tp: TensorProduct, features: int, hidden: int) -> None:
        super().__init__()
        self.tp, self.features = tp, features
        self.mlp = RadialMLP([features, hidden, hidden, len(tp.paths) * tp.channels])

    def forward(self, x: Tensor, sh: Tensor, edge_attr: Tensor, edges: Edges) -> Tensor:
        """``(N, rows out, C)``."""
        weights = self.mlp(edge_attr).unflatten(-1, (len(self.tp.paths), self.tp.channels))
        return self.tp(x, sh, weights, edges)


class SplineWeights(nn.Module):
    """Weights that are cubic splines of the edge's length ``(E, 1)``, read inside the product: nothing of size E x paths x C is
    made."""

    def __init__(self, tp: TensorProduct, spline: UniformBSpline) -> None:
        super().__init__()
        self.tp, self.spline, self.features = tp, spline, 1
        self.plan = tabulated(tp.plan, "w")
        self.table = nn.Parameter(torch.randn(spline.size - VANISH, len(tp.paths), tp.channels))

    def forward(self, x: Tensor, sh: Tensor, edge_attr: Tensor, edges: Edges) -> Tensor:
        """``(N, rows out, C)``."""
        place, basis = self.spline.locate(edge_attr.squeeze(-1))
        table = torch.cat([self.table, self.table.new_zeros(VANISH, *self.table.shape[1:])])
        return product(self.plan, [x, sh, basis, windows(table)], {**edges, INTERVAL: Index(place, self.spline.intervals)})


class IrrepsConvolution(nn.Module):
    """``x`` ``(N, irreps_in.dim)`` with harmonics of the edges ``sh`` ``(E, irreps_sh.dim)`` to ``(N, irreps_out.dim)``.

    ``radial`` is the number of invariants ``edge_attr`` of an edge, for a network with layers of ``hidden``, or a
    :class:`~coset.ops.bspline.UniformBSpline`, for splines of the length, ``edge_attr`` ``(E, 1)``. ``neighbors`` is the mean
    number of edges into a node. With ``species`` the layer takes ``z`` ``(N,)`` in ``0..species-1`` and adds the
    self-connection. Multiplicities may differ: the product runs over as many channels as divide them all.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_sh: IrrepsLike,
        irreps_out: IrrepsLike,
        radial: int | UniformBSpline,
        *,
        hidden: int = 64,
        neighbors: float = 1.0,
        species: int | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in = as_irreps(irreps_in).regroup()
        self.irreps_sh, self.irreps_out = (as_irreps(irreps, self.irreps_in.group) for irreps in (irreps_sh, irreps_out))
        if not neighbors > 0:
            raise InputError(f"IrrepsConvolution: neighbors is the mean number of edges into a node, got {neighbors}")
        tp = channelwise(self.irreps_in, self.irreps_sh, Irreps(self.irreps_out, self.irreps_out.group))
        self.up = IrrepsLinear(irreps_in, self.irreps_in)
        self.weights = MLPWeights(tp, radial, hidden) if isinstance(radial, int) else SplineWeights(tp, radial)
        self.down = IrrepsLinear(tp.irreps_out, self.irreps_out, zero=species is not None)
        self.neighbors = neighbors
        self.self_connection = None if species is None else SpeciesLinear(irreps_in, self.irreps_out, species, zero=True)
        inputs = {"x": over("N", self.up.irreps_in), "sh": over("E", self.irreps_sh), "edge_index": "2 x E -> N"}
        inputs["edge_attr"] = f"E x {self.weights.features} x scalar"
        if species is not None:
            inputs["z"] = "N x scalar"
        self.contracts = tuple(
            Contract(group, Fields(inputs), over("N", self.irreps_out)) for group in (self.irreps_in.group, S("N"))
        )

    def forward(self, x: Tensor, sh: Tensor, edge_attr: Tensor, edge_index: Tensor | Edges, z: Tensor | None = None) -> Tensor:
        """See the class; ``edge_index`` ``(2, E)`` or Edges shared by layers."""
        if (z is None) is not (self.self_connection is None):
            raise InputError(
                f"IrrepsConvolution: the species z are {'missing' if z is None else 'given'}, the layer was made otherwise"
            )
        edges = as_edges(edge_index, len(x))
        channels = self.irreps_in.channels()
        messages = self.weights(self.up(x).unflatten(-1, (-1, channels)), sh, edge_attr, edges)
        y = self.down(messages.flatten(-2)) / self.neighbors**0.5
        return y if self.self_connection is None or z is None else y + self.self_connection(x, z)
