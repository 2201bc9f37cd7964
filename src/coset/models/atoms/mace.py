"""MACE: message passing whose messages are many-body, by powers of one sum over neighbors.

    A_i = W (1/n) sum_j R(r_ij) h_j (x) Y(v_ij),     h_i' = W_z B(A_i) + V_z h_i,     eps_i = sum_layers readout(h_i)

with ``B`` all invariant and equivariant polynomials of ``A`` up to degree ``correlation``
(:mod:`coset.ops.symmetric_contraction`), so that two layers see what pair messages need many for. Readouts are linear but the
last, a small network. Batatia et al., MACE, NeurIPS 2022, arXiv 2206.07697; the layout is that of ScaleShiftMACE with residual
interactions.
Contracts: E(3) and permutations, exact. Differs from the paper: radial networks are read at the knots of a spline unless
``radial="network"`` (:mod:`coset.nn.edge_radial`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError
from coset.nn.interaction import Interaction, SpeciesEmbedding
from coset.nn.irreps_blocks import scalars
from coset.nn.irreps_linear import IrrepsLinear, SpeciesLinear
from coset.nn.irreps_product import ManyBody
from coset.nn.moments import IRREPS, Moments
from coset.nn.potential import AtomGraph, Potential
from coset.nn.readout import ScalarReadout
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps


class MACELayers(nn.Module):
    """The layers of a MACE: :class:`AtomGraph` to the features after every layer, the last with the irreps ``last``."""

    def __init__(
        self, species: int, r_max: float, hidden: str, last: str, *, layers: int, lmax: int, correlation: int,
        neighbors: float, radial: str, basis: int, network: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        if layers < 1 or lmax < 0:
            raise InputError(f"MACE: at least one layer and lmax >= 0, got {layers} and {lmax}")
        irreps = Irreps(hidden)
        channels = irreps.channels()
        self.harmonics = Irreps([(1, (degree, (-1) ** degree)) for degree in range(lmax + 1)])
        between = Irreps([(channels, ir) for _, ir in self.harmonics])
        self.stations = [
            scalars(channels, irreps),
            *[irreps] * (layers - 1),
            Irreps([(channels, ir) for _, ir in Irreps(last)]),
        ]
        self.embed = SpeciesEmbedding(species, channels)
        self.interactions = nn.ModuleList(
            Interaction(a, self.harmonics, between, r_max, neighbors=neighbors, form=radial, basis=basis, hidden=tuple(network))
            for a in self.stations[:-1]
        )
        self.products = nn.ModuleList(ManyBody(between, b, species, correlation=correlation) for b in self.stations[1:])
        self.residuals = nn.ModuleList(SpeciesLinear(a, b, species, zero=True) for a, b in pairwise(self.stations))

    def forward(self, graph: AtomGraph) -> Iterator[Tensor]:
        """``(N, irreps.dim)`` of every layer."""
        sh, h = spherical_harmonics(self.harmonics, graph.vectors), self.embed(graph.species)
        for interaction, product, residual in zip(self.interactions, self.products, self.residuals, strict=True):
            a = interaction(h, sh, graph.lengths, graph.edges)
            h = product(a, graph.species) + residual(h, graph.species)
            yield h


class MACE(Potential):
    """A MACE of ``layers`` layers with ``hidden`` features, one multiplicity, such as ``"128x0e+128x1o"``.

    ``lmax`` is the degree of harmonics and of what is multiplied, ``correlation`` the power; ``neighbors`` the mean number of
    edges into an atom. ``radial`` is ``"knots"``, ``"network"`` or ``"spline"``. Other arguments: :class:`Potential`.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, hidden: str = "32x0e+32x1o", layers: int = 2,
        lmax: int = 3, correlation: int = 3, neighbors: float = 12.0, radial: str = "knots", basis: int = 8,
        network: Sequence[int] = (64, 64, 64), readout: int = 16, references: Sequence[float] | None = None,
        scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        shape: dict[str, Any] = {
            "layers": layers, "lmax": lmax, "correlation": correlation, "neighbors": neighbors, "radial": radial,
            "basis": basis, "network": list(network),
        }  # fmt: skip
        self.config = self.settings() | {"hidden": hidden, "readout": readout} | shape
        self.layers = MACELayers(len(self.elements), r_max, hidden, "0e", **shape)
        one = Irreps("1x0e")
        linear = [IrrepsLinear(station, one) for station in self.layers.stations[1:-1]]
        self.readouts = nn.ModuleList([*linear, ScalarReadout(self.layers.stations[-1].dim, readout)])

    def energies(self, graph: AtomGraph) -> Tensor:
        """The sum of all readouts, ``(N,)``."""
        read = [readout(h).squeeze(-1) for h, readout in zip(self.layers(graph), self.readouts, strict=True)]
        return torch.stack(read).sum(0)


class MomentMACE(Moments):
    """Dipoles and polarizabilities by the layers of a MACE, whose last features keep vectors and degree 2.

    Arguments as of :class:`MACE` and :class:`Moments`.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 8), r_max: float = 5.0, *, hidden: str = "16x0e+16x1o", layers: int = 2,
        lmax: int = 2, correlation: int = 2, neighbors: float = 12.0, radial: str = "knots", basis: int = 8,
        network: Sequence[int] = (64, 64), dipole_scale: float = 1.0, polar_scale: float = 1.0,
        polar_shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, dipole_scale=dipole_scale, polar_scale=polar_scale, polar_shift=polar_shift)
        shape: dict[str, Any] = {
            "layers": layers, "lmax": lmax, "correlation": correlation, "neighbors": neighbors, "radial": radial,
            "basis": basis, "network": list(network),
        }  # fmt: skip
        self.config = self.settings() | {"hidden": hidden} | shape
        self.layers = MACELayers(len(self.elements), r_max, hidden, "0e+1o+2e", **shape)
        self.readout = IrrepsLinear(self.layers.stations[-1], IRREPS)

    def parts(self, graph: AtomGraph) -> Tensor:
        """Of the last layer, ``(N, 9)``."""
        return self.readout(list(self.layers(graph))[-1])
