"""What a potential's layer does with neighbors: gather, product with harmonics, radial weights, sum; then one linear map.

    m_i = W_down [ (1 / n) sum_(j -> i) sum_paths R_path(r_ij) (W_up h_j (x) Y(v_ij))_path ]

for features with one multiplicity. ``n`` is the mean number of neighbors, so that sums are of order one. NequIP, MACE and Facet
differ in what comes after. Batzner et al., arXiv 2101.03164; Batatia et al., arXiv 2206.07697.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.edge_radial import EdgeRadial
from coset.nn.irreps_blocks import IrrepsLike, as_irreps
from coset.nn.irreps_linear import IrrepsLinear
from coset.ops.index import Edges
from coset.ops.tensor_product import channelwise
from coset.reps.irreps import Irreps


class Interaction(nn.Module):
    """``h`` ``(N, irreps_in.dim)`` to ``(N, irreps_out.dim)``; what the product cannot reach stays zero.

    ``neighbors`` divides the sum. Further arguments as :class:`~coset.nn.edge_radial.EdgeRadial`.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_sh: IrrepsLike, irreps_out: IrrepsLike, r_max: float, *,
                 neighbors: float = 1.0, **radial: Any) -> None:  # fmt: skip
        super().__init__()
        self.irreps_in = as_irreps(irreps_in).regroup()
        group = self.irreps_in.group
        self.irreps_out = as_irreps(irreps_out, group)
        if not neighbors > 0:
            raise InputError(f"Interaction: neighbors is the mean number of edges into an atom, got {neighbors}")
        kept = Irreps([(1, ir) for ir in dict.fromkeys(ir for _, ir in self.irreps_out)], group)
        tp = channelwise(self.irreps_in, as_irreps(irreps_sh, group), kept)
        self.channels, self.neighbors = self.irreps_in.channels(), float(neighbors)
        self.up = IrrepsLinear(irreps_in, self.irreps_in)
        self.radial = EdgeRadial(tp, r_max, **radial)
        self.down = IrrepsLinear(tp.irreps_out, self.irreps_out, zero=True)

    def forward(self, h: Tensor, sh: Tensor, r: Tensor, edges: Edges) -> Tensor:
        """Harmonics ``sh`` ``(E, irreps_sh.dim)`` and lengths ``r`` ``(E,)`` of the edges."""
        x = self.up(h).unflatten(-1, (-1, self.channels))
        return self.down(self.radial(x, sh, r, edges).flatten(-2)) / self.neighbors


class SpeciesEmbedding(nn.Module):
    """Invariant features ``(N, channels)`` of species ``(N,)``."""

    def __init__(self, species: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(species, channels))

    def forward(self, species: Tensor) -> Tensor:
        """One row per atom."""
        return self.weight.index_select(0, species)
