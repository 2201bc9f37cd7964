"""NequIP: convolutions of irreps with gates, the first potential to show what equivariant features save in data.

    h_i' = gate( W_z h_i + W (1/n) sum_j R(r_ij) h_j (x) Y(v_ij) ),     eps_i = w . W h_i (scalars)

Messages see pairs; many-body terms come from layers. Batzner et al., E(3)-equivariant graph neural networks for data-efficient
and accurate interatomic potentials, Nature Communications 13 (2022), arXiv 2101.03164. Contracts: E(3) and permutations, exact.
Differs from the paper: radial networks are read at the knots of a spline unless ``radial="network"``
(:mod:`coset.nn.edge_radial`); a layer of equal input and output irreps adds its input.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.interaction import Interaction, SpeciesEmbedding
from coset.nn.irreps_blocks import scalars
from coset.nn.irreps_gate import IrrepsGate
from coset.nn.irreps_linear import IrrepsLinear, SpeciesLinear
from coset.nn.potential import AtomGraph, Potential
from coset.ops.index import Edges
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps


class GatedLayer(nn.Module):
    """One convolution with self-connection and gate: ``irreps_in`` to :attr:`irreps_out`, what of ``hidden`` can be reached."""

    def __init__(self, irreps_in: Irreps, harmonics: Irreps, hidden: Irreps, species: int, r_max: float, neighbors: float,
                 radial: str, basis: int, network: Sequence[int]) -> None:  # fmt: skip
        super().__init__()
        reached = {ir for _, a in irreps_in for _, b in harmonics for ir in a * b}
        kept = Irreps([(mul, ir) for mul, ir in hidden if ir in reached], hidden.group)
        plain = Irreps([(mul, ir) for mul, ir in kept if ir.dim == 1], hidden.group)
        self.gate = IrrepsGate(plain, Irreps([(mul, ir) for mul, ir in kept if ir.dim > 1], hidden.group))
        before = self.gate.irreps_in
        self.convolve = Interaction(
            irreps_in, harmonics, before, r_max, neighbors=neighbors, form=radial, basis=basis, hidden=tuple(network)
        )
        self.connect = SpeciesLinear(irreps_in, before, species, zero=True)
        self.irreps_out = self.gate.irreps_out
        self.residual = self.irreps_out == irreps_in

    def forward(self, h: Tensor, sh: Tensor, r: Tensor, edges: Edges, species: Tensor) -> Tensor:
        """``(N, irreps_in.dim)`` to ``(N, irreps_out.dim)``."""
        y = self.gate(self.convolve(h, sh, r, edges) + self.connect(h, species))
        return h + y if self.residual else y


class NequIP(Potential):
    """``layers`` layers of ``hidden`` features with harmonics up to ``lmax``; other arguments as of :class:`Potential`.

    ``neighbors`` is the mean number of edges into an atom; ``radial`` ``"knots"``, ``"network"`` or ``"spline"``.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, hidden: str = "32x0e+32x1o+32x2e+32x1e",
        layers: int = 3, lmax: int = 2, neighbors: float = 12.0, radial: str = "knots", basis: int = 8,
        network: Sequence[int] = (64, 64), references: Sequence[float] | None = None,
        scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        if layers < 1 or lmax < 0:
            raise InputError(f"NequIP: at least one layer and lmax >= 0, got {layers} and {lmax}")
        self.config = self.settings() | {
            "hidden": hidden, "layers": layers, "lmax": lmax, "neighbors": neighbors, "radial": radial, "basis": basis,
            "network": list(network),
        }  # fmt: skip
        features = Irreps(hidden)
        self.harmonics = Irreps([(1, (degree, (-1) ** degree)) for degree in range(lmax + 1)])
        count = max((mul for mul, ir in features if ir.is_scalar()), default=0)
        if not count:
            raise InputError(
                f"NequIP: hidden features need scalars, such as 32x0e, from which energies are read; got {hidden!r}"
            )
        self.embed = SpeciesEmbedding(len(self.elements), count)
        stations, self.layers = scalars(count, features), nn.ModuleList()
        for _ in range(layers):
            layer = GatedLayer(stations, self.harmonics, features, len(self.elements), r_max, neighbors, radial, basis, network)
            self.layers.append(layer)
            stations = layer.irreps_out
        inner = scalars(max(count // 2, 1), features)
        self.readout = nn.Sequential(IrrepsLinear(stations, inner), IrrepsLinear(inner, scalars(1, features)))

    def energies(self, graph: AtomGraph) -> Tensor:
        """``(N,)``."""
        sh, h = spherical_harmonics(self.harmonics, graph.vectors), self.embed(graph.species)
        for layer in self.layers:
            h = layer(h, sh, graph.lengths, graph.edges, graph.species)
        return self.readout(h).squeeze(-1)
