"""Facet: a crystal potential with splines for radial weights and an MLP on the sphere for its nodes.

    x_i = W h_i + (1 / n^0.7) sum_j R(r_ij) h_j (x) c(r_ij) Y(v_ij),     h_i' = h_i + norm(update(x_i)),     eps_i = w . h_i

``R`` are cubic splines learned directly (a look-up and four products), ``c`` an envelope, ``update`` an MLP over channels at
every point of a spherical grid (:mod:`coset.nn.grid_mlp`); ``norm`` has gains that start at zero, so that every block is the
identity at first. The energy of an atom is scaled by a positive number and shifted, both per species and learned, on top of
the statistics ``scale`` and ``shift``. Miklaucic et al., Facet: highly efficient E(3)-equivariant networks for interatomic
potentials, 2025, arXiv 2509.08418.

Contracts: translations, permutations and what the grid keeps of the cube's group (with an even number of angles inversion and
three mirrors) exactly; E(3) approximately, with a bound measured on the grid, which falls with its size. ``update="gate"`` is
exact.

Differs from the paper: features have the parities of harmonics where the published code counts none; the grid has
Gauss-Legendre nodes and an even number of angles, 10 x 18 with the error of the paper's 18 x 17; stress is the true virial;
``r_max`` is not trained, as edges come from a list. The paper's spline has no published form: ours has 16 knots.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.euclidean import E, T
from coset.groups.permutation import S
from coset.nn.grid_mlp import GRID, GateUpdate, GridMLP, natural, refit, symmetries
from coset.nn.interaction import Interaction, SpeciesEmbedding
from coset.nn.irreps_blocks import scalars
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.irreps_norm import SplitLayerNorm
from coset.nn.potential import OUTPUTS, AtomGraph, Potential, graph_inputs
from coset.ops.index import Edges
from coset.ops.radial import exponential_envelope, polynomial_envelope, smooth_envelope
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps

RADIAL: dict[str, dict[str, Any]] = {  #: how the weights of a convolution come from the length of an edge
    "spline": {"form": "spline"},
    "network": {"form": "network"},
    "knots": {"form": "knots"},
    "bessel-linear": {"form": "network", "hidden": ()},  # the published code: a linear map of Bessel functions
}
ENVELOPES = {"exponential": exponential_envelope, "polynomial": polynomial_envelope, "smooth": smooth_envelope}
UPDATES = ("grid", "gate")
SKIN = 0.1  #: by how much, relative to r_max, an edge may be too long: lists of dynamics hold some that weigh nothing
FORCES = 20.0  #: errors of forces over those of the grid's layers: derivatives weigh high degrees more; calibrated
SIZES: dict[str, dict[str, Any]] = {"small": {"hidden": "128x0e+64x1o+32x2e", "last": 64}}


class FacetBlock(nn.Module):
    """Convolution, update and norm, added to the features: ``(N, irreps_in.dim)`` to ``(N, irreps_out.dim)``."""

    def __init__(self, irreps_in: Irreps, harmonics: Irreps, irreps_out: Irreps, r_max: float, *, update: str,
                 grid: Sequence[int], heads: int, width: int, **convolution: Any) -> None:  # fmt: skip
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.convolve = Interaction(irreps_in, harmonics, irreps_out, r_max, **convolution)
        self.residual = IrrepsLinear(irreps_in, irreps_out, zero=True)
        self.update: Any = (
            GateUpdate(irreps_out, irreps_out)
            if update == "gate"
            else GridMLP(irreps_out, irreps_out, grid=grid, heads=heads, hidden=width)
        )
        self.norm = SplitLayerNorm(irreps_out, gain=0.0)

    def forward(self, h: Tensor, sh: Tensor, r: Tensor, edges: Edges) -> Tensor:
        """``sh`` ``(E, harmonics.dim)`` times the envelope, lengths ``r`` ``(E,)``."""
        x = (self.convolve(h, sh, r, edges) + self.residual(h)) * 0.5**0.5
        return self.norm(self.update(x)) + refit(h, self.irreps_in, self.irreps_out)


class Facet(Potential):
    """``layers`` blocks of ``hidden`` features, then one to ``last`` scalars. Other arguments as of :class:`Potential`.

    ``hidden`` are irreps with the parities of harmonics, ``"32x0e+16x1o+16x2e"``; harmonics go up to their largest degree.
    ``radial`` is ``"spline"`` (with ``knots``), ``"network"``, ``"knots"`` or ``"bessel-linear"``; ``basis`` and ``network``
    are the Bessel functions and hidden sizes of the last three. ``envelope`` is ``"exponential"`` (the official one),
    ``"polynomial"`` or ``"smooth"``; Bessel forms have the polynomial one in their basis besides. ``update`` is ``"grid"``,
    with ``grid`` (beta, alpha), ``heads`` and ``width`` hidden channels per head, or ``"gate"``. ``neighbors`` is the mean
    number of edges into an atom within ``r_max``.

    InputError for irreps of other parities or repeated ones, a grid below ``2 lmax + 2``, edges clearly longer than ``r_max``,
    atoms on top of one another, a cell without volume, and the stress of a single atom without images.
    """

    def __init__(
        self, elements: Sequence[int] = (14, 32), r_max: float = 6.0, *, hidden: str = "32x0e+16x1o+16x2e", layers: int = 2,
        last: int = 32, radial: str = "spline", knots: int = 16, basis: int = 8, network: Sequence[int] = (64, 64),
        envelope: str = "exponential", update: str = "grid", grid: Sequence[int] = GRID, heads: int = 2, width: int = 16,
        neighbors: float = 16.0, dropout: float = 0.0, references: Sequence[float] | None = None,
        scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        features = Irreps(hidden)
        _consistent(features, layers, knots, radial, envelope, update)
        self.config = self.settings() | {
            "hidden": hidden, "layers": layers, "last": last, "radial": radial, "knots": knots, "basis": basis,
            "network": list(network), "envelope": envelope, "update": update, "grid": list(grid), "heads": heads,
            "width": width, "neighbors": neighbors, "dropout": dropout,
        }  # fmt: skip
        self.envelope = ENVELOPES[envelope]
        self.harmonics = Irreps([(1, (degree, (-1) ** degree)) for degree in range(features.lmax + 1)])
        count = next(mul for mul, ir in features if ir.is_scalar())
        form = {"hidden": tuple(network), **RADIAL[radial]}
        shape = {"update": update, "grid": tuple(grid), "heads": heads, "width": width, "neighbors": neighbors**0.7}
        if radial == "spline":
            shape["intervals"] = knots - 1
        stations = [scalars(count, features), *[features] * layers, scalars(last, features)]
        self.embed = SpeciesEmbedding(len(self.elements), count)
        self.blocks = nn.ModuleList(
            FacetBlock(a, self.harmonics, b, r_max, basis=basis, **form, **shape) for a, b in pairwise(stations)
        )
        self.drop = nn.Dropout(dropout)
        self.head = IrrepsLinear(stations[-1], scalars(1, features))
        # softplus(log(e - 1)) = 1: the statistics themselves at first
        self.stretch = nn.Parameter(torch.full((len(self.elements),), 1.0).expm1().log())
        self.offset = nn.Parameter(torch.zeros(len(self.elements)))
        self.contracts = self._promised()

    def _promised(self) -> tuple[Contract, ...]:
        """What holds to rounding, and the whole group as far as the grids go."""
        layers = [layer for layer in self.modules() if isinstance(layer, GridMLP) and layer.error]
        if not layers:
            return self.promises()
        sides, error = ({**graph_inputs(self.elements)}, OUTPUTS), sum(layer.error for layer in layers)
        kept = symmetries(layers[0].grid)
        exact = tuple(Contract(group, *sides) for group in (T(3), kept, S("N")))
        return (Contract(E(3), *sides, "approximate", FORCES * error), *exact)

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        shift: Tensor | None = None,
        cell: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """See :class:`Potential`; crystals are looked at first."""
        if cell is not None:
            _crystals(pos, edge_index, cell, batch)
        return super().forward(pos, z, edge_index, shift, cell, batch)

    def energies(self, graph: AtomGraph) -> Tensor:
        """``(N,)``."""
        inside = self._weigh(graph)
        sh = spherical_harmonics(self.harmonics, graph.vectors) * inside.unsqueeze(-1)
        h = self.embed(graph.species)
        for block in self.blocks:
            h = block(h, sh, graph.lengths, graph.edges)
        own = self.head(self.drop(h)).squeeze(-1)
        return F.softplus(self.stretch)[graph.species] * own + self.offset[graph.species]

    def _weigh(self, graph: AtomGraph) -> Tensor:
        """Envelopes ``(E,)``; an edge of length zero from an atom to itself is padding and weighs nothing."""
        r = graph.lengths
        if bool((r > (1 + SKIN) * self.r_max).any()):
            raise InputError(
                f"Facet: an edge is {float(r.detach().max()):.3f} long, the cutoff r_max is {self.r_max}; make the list "
                f"with the model's cutoff (trained cutoffs of the published code are frozen here)"
            )
        touching = r == 0
        if bool((touching & (graph.edges["source"].values != graph.edges["target"].values)).any()):
            raise InputError("Facet: an edge of length zero joins two atoms; they stand on top of each other")
        return torch.where(touching, torch.zeros_like(r), self.envelope(r, self.r_max))


def _consistent(features: Irreps, layers: int, knots: int, radial: str, envelope: str, update: str) -> None:
    """InputError for settings that do not fit."""
    natural(features, "Facet")
    for what, name, known in (("radial form", radial, RADIAL), ("envelope", envelope, ENVELOPES), ("update", update, UPDATES)):
        if name not in known:
            raise unknown(what, name, known)
    if [ir.l for _, ir in features] != list(range(len(features))) or layers < 0 or knots < 5:
        raise InputError(
            f"Facet: degrees 0, 1, ..., lmax in order, at least 0 hidden layers and 5 knots; got {features}, {layers}, {knots}"
        )


def _crystals(pos: Tensor, edge_index: Tensor, cell: Tensor, batch: Tensor | None) -> None:
    """InputError for cells without volume, and for a lone atom whose images are missing."""
    volume = torch.linalg.det(cell.detach()).abs()
    flat = volume <= 1e-6 * cell.detach().norm(dim=-1).prod(-1)
    if bool(flat.any()):
        raise InputError(
            f"Facet: cell {int(flat.nonzero()[0])} has volume {float(volume[flat][0]):.1e}; its rows must be independent"
        )
    counts = torch.bincount(batch, minlength=len(cell)) if batch is not None else torch.tensor([len(pos)])
    if not edge_index.shape[1] and bool((counts == 1).any()):
        raise InputError(
            "Facet: one atom in a cell without images within r_max has no stress; search neighbors with periodic=True and a "
            "cutoff beyond the cell, or leave the cell of an isolated atom out"
        )
