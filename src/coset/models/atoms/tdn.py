"""Tensor decomposition network: graph attention whose products are sums of R outer products instead of Clebsch-Gordan paths.

    x_i = e(z_i) + (1 / n) sum_j c(r_ij) R(r_ij) Y(v_ij),
    x += attention(norm x),    x += W_2 gate(W_1 norm x)    (in every layer),        eps_i = MLP(degree 0 of norm x_i)

All paths of degrees up to ``lmax`` share one weight per channel, so that they are one tensor, which a decomposition of rank R
stands for at a cost of ``O(R d)`` per channel (:mod:`coset.nn.tdn_attention`, :mod:`coset.ops.decomposed`). ``rank`` is a dial
between cost and symmetry: factors, path scales and their error are part of the model. Lin et al., Tensor Decomposition Networks
for Fast Machine Learning Interatomic Potential Computations, NeurIPS 2025, arXiv 2507.01131.

Contracts: translations and permutations exactly; SE(3) exactly at ``rank=None`` (all paths) and where the factors are exact
(lmax 1, rank 7), else approximately, with the bound :data:`LAYERED` times the layers times ``2 e``, ``e`` the measured error of
the factors. Features carry no parity: a reflection is no symmetry. Forces are the gradient of the energy, or with
``forces="direct"`` a vector from a head of their own: cheaper, and not conservative.

Differs from the paper: attention is cut off smoothly (forces of the published code jump where an edge enters); factors come
from alternating least squares, which is exact where gradient descent is not; energies are scaled by the frame's statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError, unknown
from coset.groups.euclidean import SE, T
from coset.groups.permutation import S
from coset.nn.interaction import SpeciesEmbedding
from coset.nn.irreps_norm import DegreeLayerNorm
from coset.nn.potential import OUTPUTS, AtomGraph, Potential, graph_inputs
from coset.nn.radial import GaussianBasis, RadialMLP
from coset.nn.tdn_attention import DegreeGate, ProductAttention, SharedLinear, factors_of, features
from coset.ops.radial import polynomial_envelope
from coset.ops.s2grid import degree_of_rows
from coset.ops.scatter import scatter_sum
from coset.ops.spherical_harmonics import spherical_harmonics

LAYERED = 4.0  #: how much of the bound of one product every layer adds for energies, forces and stress; calibrated
FORCES = ("gradient", "direct")


class TDNLayer(nn.Module):
    """Attention and a gated feed-forward, each on normalized features and added: ``(N, d, C)`` to the same."""

    def __init__(self, channels: int, lmax: int, attention: ProductAttention, feedforward: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(DegreeLayerNorm(features(channels, lmax)) for _ in range(2))
        self.attention = attention
        self.forward_net = nn.Sequential(
            SharedLinear(channels, feedforward), DegreeGate(feedforward), SharedLinear(feedforward, channels)
        )

    def forward(self, x: Tensor, *edges: Any) -> Tensor:
        """``edges`` as :class:`ProductAttention` takes them."""
        first, second = self.norms
        x = x + self.attention(_rows(first, x), *edges)
        return x + self.forward_net(_rows(second, x))


class TDN(Potential):
    """``layers`` layers of ``channels`` of every degree ``0..lmax``; other arguments as of :class:`Potential`.

    ``rank`` of the factors (None: all paths, exact), ``gauge`` their path scales (``"unit"`` for lmax 1 and ``"fitted"`` above,
    unless given). ``basis`` Gaussians of the distance, centers and widths learned; ``radial`` hidden sizes of radial networks;
    ``heads`` of ``alpha`` numbers; ``feedforward`` channels between attentions; ``neighbors`` the mean number of edges into an
    atom. ``forces`` is ``"gradient"`` or ``"direct"``. ``claim="exact"`` refuses factors that are not.

    InputError for a rank outside ``1..(lmax + 1)^4`` and unknown names, ContractError for a claim that does not hold.
    """

    group = SE(3)

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 4.5, *, channels: int = 16, lmax: int = 1, layers: int = 2,
        rank: int | None = 7, gauge: str | None = None, claim: str = "approximate", heads: int = 4, alpha: int = 8,
        basis: int = 32, radial: int = 32, feedforward: int = 32, dropout: float = 0.0, neighbors: float = 12.0,
        forces: str = "gradient", references: Sequence[float] | None = None, scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        if layers < 1 or lmax < 1 or not neighbors > 0:
            raise InputError(f"TDN: at least one layer, lmax >= 1 and neighbors > 0, got {layers}, {lmax} and {neighbors}")
        for what, name, known in (("forces", forces, FORCES), ("claim", claim, ("approximate", "exact"))):
            if name not in known:
                raise unknown(what, name, known)
        self.config = self.settings() | {
            "channels": channels, "lmax": lmax, "layers": layers, "rank": rank, "gauge": gauge, "claim": claim, "heads": heads,
            "alpha": alpha, "basis": basis, "radial": radial, "feedforward": feedforward, "dropout": dropout,
            "neighbors": neighbors, "forces": forces,
        }  # fmt: skip
        self.lmax, self.channels, self.neighbors = lmax, channels, float(neighbors)
        self.conservative = forces == "gradient"
        factors = factors_of(lmax, rank, gauge)
        self.error = 0.0 if factors is None or factors.exact else factors.error  #: of one product, relative

        def attention(outputs: int) -> ProductAttention:
            sizes = {"heads": heads, "alpha": alpha, "hidden": radial, "outputs": outputs}
            return ProductAttention(channels, lmax, basis, factors, dropout=dropout, **sizes)

        self.embed = SpeciesEmbedding(len(self.elements), channels)
        self.basis = GaussianBasis(r_max, basis, learn=True)
        self.degree = RadialMLP([basis, radial, radial, (lmax + 1) * channels])
        self.layers = nn.ModuleList(TDNLayer(channels, lmax, attention(channels), feedforward) for _ in range(layers))
        self.norm = DegreeLayerNorm(features(channels, lmax))
        self.energy = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))
        if forces == "direct":
            self.forces = attention(1)
        self.contracts = self._promised(claim)

    def _promised(self, claim: str) -> tuple[Contract, ...]:
        """SE(3) as far as the factors go, what is exact whatever they are, and no stress from a head of forces."""
        outputs = OUTPUTS if self.conservative else {name: OUTPUTS[name] for name in ("energy", "forces")}
        sides = {**graph_inputs(self.elements)}, outputs
        exact = tuple(Contract(group, *sides) for group in (T(3), S("N")))
        if not self.error:
            return (Contract(SE(3), *sides), *exact)
        if claim == "exact":
            raise ContractError(
                f"TDN: factors of rank {self.config['rank']} for lmax {self.lmax} have error {self.error:.1e}, so that SE(3) "
                "holds approximately; exact are rank=None, lmax 1 with rank 7, and the full rank (lmax + 1)^4"
            )
        bound = 2 * self.error * LAYERED * len(self.layers)
        return (Contract(SE(3), *sides, "approximate", bound), *exact)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        shift: Tensor | None = None,
        cell: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """See :class:`Potential`; with ``forces="direct"`` without ``stress``, and nothing is differentiated."""
        if self.conservative:
            return super().forward(pos, z, edge_index, shift, cell, batch)
        graph = self.graph(pos, z, edge_index, shift, cell, batch)
        x, edges = self._features(graph)
        # degree 1 is the vector itself; forces have the size of energies over a length
        heads = self.forces(x, *edges)[:, 1:4, 0]
        scale = torch.tensor(self.scale, dtype=torch.float64, device=pos.device)[graph.species].to(heads)
        out = self.totals(self._energy(x), graph) | {"forces": heads * scale.unsqueeze(-1)}
        return out if self.training or pos.requires_grad else {name: value.detach() for name, value in out.items()}

    def energies(self, graph: AtomGraph) -> Tensor:
        """``(N,)``."""
        return self._energy(self._features(graph)[0])

    def _energy(self, x: Tensor) -> Tensor:
        return self.energy(x[:, 0]).squeeze(-1)

    def _features(self, graph: AtomGraph) -> tuple[Tensor, tuple[Any, ...]]:
        """Normalized features ``(N, d, C)`` of the last layer, and the edges as attention takes them."""
        sh = spherical_harmonics(range(self.lmax + 1), graph.vectors)
        edge_attr, inside = self.basis(graph.lengths), polynomial_envelope(graph.lengths, self.r_max, 5)
        degree = torch.tensor(degree_of_rows(range(self.lmax + 1)), device=sh.device)
        shares = self.degree(edge_attr).unflatten(-1, (self.lmax + 1, self.channels)).index_select(1, degree)
        x = scatter_sum(shares * (sh * inside.unsqueeze(-1)).unsqueeze(-1), graph.edges["target"].values, len(graph.species))
        own = self.embed(graph.species).unsqueeze(-2)
        x = torch.cat([x[:, :1] / self.neighbors + own, x[:, 1:] / self.neighbors], -2)
        edges = (sh, edge_attr, inside, graph.edges)
        for layer in self.layers:
            x = layer(x, *edges)
        return _rows(self.norm, x), edges


def _rows(norm: nn.Module, x: Tensor) -> Tensor:
    """A norm of flat features on rows ``(N, d, C)``."""
    return norm(x.flatten(-2)).unflatten(-1, x.shape[-2:])
