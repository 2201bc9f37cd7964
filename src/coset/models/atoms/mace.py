"""MACE: message passing whose messages are many-body, by powers of one sum over neighbors.

    A_i = W (1/n) sum_j R(r_ij) h_j (x) Y(v_ij),     h_i' = W_z B(A_i) + V_z h_i,     eps_i = sum_layers readout(h_i)

with ``B`` all invariant and equivariant polynomials of ``A`` up to degree ``correlation``
(:mod:`coset.ops.symmetric_contraction`), so that two layers see what pair messages need many for. Readouts are linear but the
last, a small network. Batatia et al., MACE, NeurIPS 2022, arXiv 2206.07697; the layout is that of ScaleShiftMACE with residual
interactions, and ``connect="message"`` is that of interactions without a residual, ``h_i' = W_z B(V_z A_i)``.

``product="gaunt"`` takes powers of ``A`` as a function on the sphere for ``B`` (:mod:`coset.nn.gaunt_many_body`): fewer
weights, no tables of couplings, and no paths through pseudo-tensors, so features are 0e, 1o, 2e, ... only. Luo, Chen &
Krishnapriyan, ICLR 2024, arXiv 2401.10216. Sums over edges are the same for both: between harmonics and such features couplings
of odd parity, which a Gaunt product lacks, do not occur.

Contracts: E(3) and permutations, exact. Differs from the paper: radial networks are read at the knots of a spline unless
``radial="network"`` (:mod:`coset.nn.edge_radial`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError, unknown
from coset.nn.edge_radial import INTERVALS
from coset.nn.gaunt_many_body import GauntManyBody
from coset.nn.interaction import Interaction, SpeciesEmbedding
from coset.nn.irreps_blocks import scalars
from coset.nn.irreps_linear import IrrepsLinear, SpeciesLinear
from coset.nn.irreps_product import ManyBody
from coset.nn.moments import IRREPS, Moments
from coset.nn.potential import AtomGraph, Potential
from coset.nn.readout import ScalarReadout
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps

PRODUCTS: dict[str, Any] = {"coupled": ManyBody, "gaunt": GauntManyBody}  #: how many-body messages are formed
CONNECTIONS = ("residual", "message")  #: where a layer's map of every species stands: beside the product, or before it


class MACELayers(nn.Module):
    """The layers of a MACE: :class:`AtomGraph` to the features after every layer, the last with the irreps ``last``."""

    def __init__(
        self, species: int, r_max: float, hidden: str, last: str, *, layers: int, lmax: int, correlation: int,
        neighbors: float, radial: str, basis: int, network: Sequence[int], product: str = "coupled", envelope: int = 6,
        connect: str | Sequence[str] = "residual", intervals: int = INTERVALS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.connect = (connect,) * layers if isinstance(connect, str) else tuple(connect)
        if wrong := set(self.connect) - set(CONNECTIONS):
            raise unknown("connection", wrong.pop(), CONNECTIONS)
        if len(self.connect) != layers:
            raise InputError(f"MACE: one connection, or one for each of {layers} layers, got {list(self.connect)}")
        if product not in PRODUCTS:
            raise unknown("product", product, PRODUCTS)
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
            Interaction(a, self.harmonics, between, r_max, neighbors=neighbors, form=radial, basis=basis, hidden=tuple(network),
                        envelope=envelope, intervals=intervals)
            for a in self.stations[:-1]
        )  # fmt: skip
        power = PRODUCTS[product]
        self.products = nn.ModuleList(power(between, b, species, correlation=correlation) for b in self.stations[1:])
        self.residuals = nn.ModuleList(
            SpeciesLinear(*((a, b) if kind == "residual" else (between, between)), species, zero=True)
            for kind, (a, b) in zip(self.connect, pairwise(self.stations), strict=True)
        )

    def forward(self, graph: AtomGraph) -> Iterator[Tensor]:
        """``(N, irreps.dim)`` of every layer."""
        sh, h = spherical_harmonics(self.harmonics, graph.vectors), self.embed(graph.species)
        parts = zip(self.interactions, self.products, self.residuals, self.connect, strict=True)
        for interaction, product, by_species, kind in parts:
            a = interaction(h, sh, graph.lengths, graph.edges)
            if kind == "residual":
                h = product(a, graph.species) + by_species(h, graph.species)
            else:
                h = product(by_species(a, graph.species), graph.species)
            yield h


class MACE(Potential):
    """A MACE of ``layers`` layers with ``hidden`` features, one multiplicity, such as ``"128x0e+128x1o"``.

    ``lmax`` is the degree of harmonics and of what is multiplied, ``correlation`` the power; ``neighbors`` the mean number of
    edges into an atom. ``radial`` is ``"knots"``, ``"network"`` or ``"spline"``; ``product`` ``"coupled"`` or ``"gaunt"``.
    ``readout`` neurons read the last layer, 0 for a linear map; ``envelope`` is the cutoff's exponent; ``connect`` is one of
    :data:`CONNECTIONS` for all layers or for each; ``intervals`` are those of radial splines. Other arguments:
    :class:`Potential`. InputError for features that a Gaunt product cannot reach.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, hidden: str = "32x0e+32x1o", layers: int = 2,
        lmax: int = 3, correlation: int = 3, neighbors: float = 12.0, radial: str = "knots", basis: int = 8,
        network: Sequence[int] = (64, 64, 64), readout: int = 16, product: str = "coupled", envelope: int = 6,
        connect: str | Sequence[str] = "residual", intervals: int = INTERVALS, references: Sequence[float] | None = None,
        scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        shape: dict[str, Any] = {
            "layers": layers, "lmax": lmax, "correlation": correlation, "neighbors": neighbors, "radial": radial,
            "basis": basis, "network": list(network), "product": product,
            "envelope": envelope, "connect": connect if isinstance(connect, str) else list(connect),
            "intervals": intervals,
        }  # fmt: skip
        self.config = self.settings() | {"hidden": hidden, "readout": readout} | shape
        self.layers = MACELayers(len(self.elements), r_max, hidden, "0e", **shape)
        one = Irreps("1x0e")
        *inner, last = self.layers.stations[1:]
        linear = [IrrepsLinear(station, one) for station in inner]
        self.readouts = nn.ModuleList([*linear, ScalarReadout(last.dim, readout) if readout else IrrepsLinear(last, one)])

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
        network: Sequence[int] = (64, 64), product: str = "coupled", dipole_scale: float = 1.0, polar_scale: float = 1.0,
        polar_shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, dipole_scale=dipole_scale, polar_scale=polar_scale, polar_shift=polar_shift)
        shape: dict[str, Any] = {
            "layers": layers, "lmax": lmax, "correlation": correlation, "neighbors": neighbors, "radial": radial,
            "basis": basis, "network": list(network), "product": product,
        }  # fmt: skip
        self.config = self.settings() | {"hidden": hidden} | shape
        self.layers = MACELayers(len(self.elements), r_max, hidden, "0e+1o+2e", **shape)
        self.readout = IrrepsLinear(self.layers.stations[-1], IRREPS)

    def parts(self, graph: AtomGraph) -> Tensor:
        """Of the last layer, ``(N, 9)``."""
        return self.readout(list(self.layers(graph))[-1])
