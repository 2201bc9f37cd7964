"""What atoms know of their edges before any layer: invariants of each edge, and the first features of every atom.

    invariants:   q_e = (Gaussians of |v_e|, a(z_source), b(z_target))
    edge degree:  x_i = (1 / n) sum_(j -> i) c(|v_e|) D_e^T R(q_e)

``R`` gives the entries ``m = 0`` of every degree in the frame of the edge: turned back, these are radial functions times the
harmonics of its direction. ``c`` is an envelope that vanishes at the cutoff, ``n`` the mean number of neighbors. Liao et al.,
EquiformerV2, arXiv 2306.12059, and V3, arXiv 2604.09130.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete, over
from coset.nn.radial import GaussianBasis, RadialMLP
from coset.nn.so2 import as_edges
from coset.ops.index import Edges
from coset.ops.orders import Orders
from coset.ops.radial import polynomial_envelope
from coset.ops.rotation import Frames
from coset.reps.fields import Fields

SPREAD = 1e-3  #: tables of species start within this: at first an edge is its length


class EdgeInvariants(nn.Module):
    """``(E, basis + 2 channels)``: ``basis`` Gaussians of lengths ``(E,)``, then a row for each end's species.

    ``species`` is their number. The size of what comes out is :attr:`features`.
    """

    def __init__(self, species: int, r_max: float, *, basis: int = 64, channels: int = 64) -> None:
        super().__init__()
        self.gaussians = GaussianBasis(r_max, basis)
        self.source, self.target = (nn.Parameter(torch.empty(species, channels).uniform_(-SPREAD, SPREAD)) for _ in range(2))
        self.features = basis + 2 * channels

    def forward(self, lengths: Tensor, species: Tensor, edges: Edges) -> Tensor:
        """``species`` ``(N,)`` from 0 on."""
        ends = [
            table.index_select(0, species.index_select(0, edges[end].values))
            for end, table in (("source", self.source), ("target", self.target))
        ]
        return torch.cat([self.gaussians(lengths), *ends], -1)


class EdgeDegree(nn.Module):
    """``x`` ``(N, irreps.dim)`` with what vectors ``(E, 3)`` and invariants ``(E, features)`` of edges say added to it.

    ``irreps`` has all degrees ``0..lmax`` once each, of SO(3) or of O(3) with the parities of harmonics; ``radial`` are hidden
    sizes, ``neighbors`` the mean number of edges into an atom, ``p`` the envelope's exponent (None: no envelope).
    """

    def __init__(self, irreps: IrrepsLike, features: int, cutoff: float, *, radial: Sequence[int] = (64,),
                 neighbors: float = 1.0, p: int | None = 5) -> None:  # fmt: skip
        super().__init__()
        irreps = as_irreps(irreps)
        self.lmax, self.channels = complete(irreps, "EdgeDegree")
        if not (cutoff > 0 and neighbors > 0):
            raise InputError(f"EdgeDegree: cutoff and mean number of neighbors are positive, got {cutoff} and {neighbors}")
        self.cutoff, self.neighbors, self.p = cutoff, float(neighbors), p
        self.radial = RadialMLP([features, *radial, (self.lmax + 1) * self.channels])
        edges = {"vectors": "E x vector", "edge_attr": f"E x {features} x scalar", "edge_index": "2 x E -> N"}
        fields = Fields({"x": over("N", irreps), **edges})
        self.contracts = tuple(Contract(group, fields, over("N", irreps)) for group in (irreps.group, S("N")))

    def forward(
        self, x: Tensor, vectors: Tensor, edge_attr: Tensor, edge_index: Tensor | Edges, frames: Frames | None = None
    ) -> Tensor:
        """``(N, irreps.dim)``; ``frames`` of the vectors may be shared. InputError for vectors of length zero."""
        edges = as_edges(edge_index, len(x))
        frames = frames or Frames.of(vectors, self.lmax)
        rows = self.radial(edge_attr).unflatten(-1, (self.lmax + 1, self.channels))
        if self.p is not None:
            envelope = polynomial_envelope(torch.linalg.vector_norm(vectors, dim=-1), self.cutoff, self.p)
            rows = rows * envelope.view(-1, 1, 1)
        return x + frames.leave(rows, Orders(self.lmax, 0), edges["target"]).flatten(-2) / self.neighbors
