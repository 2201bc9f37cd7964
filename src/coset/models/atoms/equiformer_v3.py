"""EquiformerV3: graph attention in the frames of edges, with products on the sphere as its nonlinearity.

    x_i = (e(z_i), 0, ..., 0) + edge degree,
    x += attention(norm x),    x += feed-forward(norm x)    (in every layer),        eps_i = MLP(degree 0 of norm x_i)

Attention weighs edges by a softmax with the envelope twice (:mod:`coset.nn.graph_attention`), so that the energy has two
continuous derivatives where an edge is cut off; SwiGLU-S2 only multiplies signals (:mod:`coset.nn.sphere_feed_forward`), so
that the network is exactly equivariant. Liao et al., 2026, arXiv 2604.09130.

Contracts: SE(3) and permutations; exact, but for ``activation="silu"`` and grids below the bound, which say so. Features carry
no parity and imaginary weights tell left from right: a reflection is no symmetry, it changes energies. Forces are the gradient
of the energy, or with ``forces="direct"`` come from a head of their own: cheaper, and not conservative.

Differs from the paper: frames need neither a random roll nor a stop at the poles, their derivatives are finite everywhere
(:mod:`coset.ops.rotation`); grids are Gauss-Legendre, exact with half the polar angles. :data:`SIZES` holds the paper's
configurations, ``EquiformerV3(elements, **SIZES["mptrj"])``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import SE
from coset.groups.orthogonal import SO
from coset.nn.edge_degree import EdgeDegree, EdgeInvariants
from coset.nn.graph_attention import GraphAttention
from coset.nn.interaction import SpeciesEmbedding
from coset.nn.irreps_dropout import DropPath, IrrepsDropout
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.irreps_norm import MergedLayerNorm
from coset.nn.potential import AtomGraph, Potential
from coset.nn.separable_s2 import FrameSeparable
from coset.nn.sphere_feed_forward import MERGED, SphereFeedForward
from coset.ops.orders import Orders
from coset.ops.rotation import Frames
from coset.ops.s2grid import S2Grid
from coset.ops.scatter import scatter_mean
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.clebsch_gordan import wigner_3j
from coset.reps.irreps import Irreps

SIZES: dict[str, dict[str, Any]] = {  #: constructor arguments of the paper's models, direct stage
    "oc20-2m": {
        "r_max": 12.0, "layers": 8, "lmax": 6, "mmax": 2, "channels": 128, "heads": 8, "hidden": 64, "value": 16, "alpha": 64,
        "feedforward": 512, "basis": 128, "radial": 128, "neighbors": 23.395, "scale": 1 / 77.8, "forces": "direct",
        "attention_drop": 0.1, "drop_path": 0.05,
    },
    "mptrj": {
        "r_max": 6.0, "layers": 7, "lmax": 4, "mmax": 2, "channels": 128, "heads": 8, "hidden": 32, "value": 16, "alpha": 64,
        "feedforward": 512, "basis": 10, "radial": 128, "neighbors": 60.0, "forces": "direct", "denoise": True,
        "attention_drop": 0.1, "drop_path": 0.05,
    },
}  # fmt: skip

BOUND = 0.1  #: relative error promised by models that are not exact


class EquiformerV3(Potential):
    """``layers`` layers of features with ``channels`` of every degree ``0..lmax``, mixed in frames with orders up to ``mmax``.

    ``heads`` heads score with ``alpha`` numbers and carry ``value`` channels; ``hidden`` and ``feedforward`` are the channels
    inside attention and between attentions; ``basis`` the Gaussians of an edge's length, ``radial`` the width of radial
    networks and of the tables of species beside them; ``neighbors`` the mean number of edges into an atom.

    ``activation`` is ``"swiglu"``, ``"gate"`` or, with ``exact=False``, ``"silu"`` on the grid. ``grid`` (beta, alpha) are
    polar nodes and angles of the atoms' grid, the least exact ones if left out. ``forces`` is ``"gradient"`` or ``"direct"``,
    which also gives the stress by a head; ``conservative=True`` insists on a gradient. ``denoise`` adds to a direct model what
    :class:`coset.objectives.denoise_atoms.DenoiseAtoms` needs. ``envelope`` is the exponent, None leaves it out (then energies
    jump at the cutoff). ``attention_drop`` drops weights of edges (the paper's alpha dropout), ``feature_drop`` channels of
    what a branch adds, ``drop_path`` whole branches of a structure. Other arguments: :class:`Potential`.

    InputError for ``mmax > lmax``, a grid below the bound with ``exact=True``, claims that contradict one another, and a direct
    model without degree 2, which a stress has.
    """

    group = SE(3)

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, layers: int = 2, lmax: int = 2, mmax: int = 2,
        channels: int = 16, heads: int = 4, hidden: int = 16, value: int = 8, alpha: int = 8, feedforward: int = 32,
        basis: int = 16, radial: int = 32, neighbors: float = 12.0, activation: str = "swiglu", forces: str = "gradient",
        conservative: bool | None = None, denoise: bool = False, exact: bool = True, grid: Sequence[int] | None = None,
        envelope: int | None = 5, attention_drop: float = 0.0, feature_drop: float = 0.0, drop_path: float = 0.0,
        references: Sequence[float] | None = None, scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        _consistent(layers, lmax, activation, exact, forces, conservative, denoise)
        self.config = self.settings() | {
            "layers": layers, "lmax": lmax, "mmax": mmax, "channels": channels, "heads": heads, "hidden": hidden,
            "value": value, "alpha": alpha, "feedforward": feedforward, "basis": basis, "radial": radial,
            "neighbors": neighbors, "activation": activation, "forces": forces, "denoise": denoise, "exact": exact,
            "grid": grid and list(grid), "envelope": envelope, "attention_drop": attention_drop, "feature_drop": feature_drop,
            "drop_path": drop_path,
        }  # fmt: skip
        self.conservative, self.lmax, self.channels = forces == "gradient", lmax, channels
        if not exact:
            self.contracts = loosened(self.contracts, BOUND)
        irreps = Irreps([(channels, degree) for degree in range(lmax + 1)], SO(3))
        inner = S2Grid(lmax, beta=grid[0] if grid else 0, alpha=grid[1] if grid else 0, exact=exact)
        self.embed = SpeciesEmbedding(len(self.elements), channels)
        self.invariants = EdgeInvariants(len(self.elements), r_max, basis=basis, channels=radial)
        edge: dict[str, Any] = {"radial": (radial, radial), "p": envelope}
        self.degree = EdgeDegree(irreps, self.invariants.features, r_max, neighbors=neighbors, **edge)

        def attention(out: Irreps, kind: str, drop: float = 0.0) -> GraphAttention:
            acting: Any = FrameSeparable(Orders(lmax, mmax), hidden) if kind == "silu" else kind
            sizes: dict[str, Any] = {"heads": heads, "hidden": hidden, "value": value, "alpha": alpha, "dropout": drop}
            made = GraphAttention(irreps, out, self.invariants.features, r_max, mmax=mmax, activation=acting, **sizes, **edge)
            if kind == "silu":
                made.contracts = loosened(made.contracts)
            if kind == "swiglu":  # the second mix reads a sum of two terms in degree 0
                with torch.no_grad():
                    made.second.weights[0][..., :hidden] *= MERGED
            return made

        self.layers = nn.ModuleList(
            Layer(
                attention(irreps, activation, attention_drop),
                SphereFeedForward(irreps, feedforward, activation=activation, grid=inner),
                irreps,
                drop_path=drop_path,
                feature_drop=feature_drop,
            )
            for _ in range(layers)
        )
        self.norm = MergedLayerNorm(irreps)
        self.energy = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))
        if forces == "direct":
            self.forces, self.stress = attention(Irreps("1x1", SO(3)), "gate"), attention(Irreps("1x0+1x2", SO(3)), "gate")
        if denoise:
            self.noise = attention(Irreps("1x1", SO(3)), "gate")
            self.hints = IrrepsLinear(Irreps([(1, degree) for degree in range(lmax + 1)], SO(3)), irreps)

    def energies(self, graph: AtomGraph) -> Tensor:
        """``(N,)`` of the last layer's scalars."""
        return self._energies(self.features(graph)[0])

    def _energies(self, x: Tensor) -> Tensor:
        return self.energy(x[:, : self.channels]).squeeze(-1)

    def features(self, graph: AtomGraph, known: Tensor | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        """Normalized features ``(N, dim)`` of the last layer, and the edges as every attention takes them.

        ``known`` forces ``(N, 3)`` in units of ``scale`` (0 where unknown) may be told to a model made with ``denoise``.
        """
        attr = self.invariants(graph.lengths, graph.species, graph.edges)
        edges = (graph.vectors, attr, graph.edges, Frames.of(graph.vectors, self.lmax))
        x = self.embed(graph.species)
        x = self.degree(F.pad(x, (0, x.shape[1] * ((self.lmax + 1) ** 2 - 1))), *edges)
        if known is not None:
            x = x + self.hints(hint(known, self.lmax))
        for layer in self.layers:
            x = layer(x, edges, graph.batch)
        return self.norm(x), edges

    def forward(
        self, pos: Tensor, z: Tensor, edge_index: Tensor, shift: Tensor | None = None, cell: Tensor | None = None,
        batch: Tensor | None = None, known: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """As :meth:`Potential.forward`; a direct model gives ``forces`` and ``stress`` by its heads.

        With ``known`` forces ``(N, 3)`` (0 where unknown), of a model made with ``denoise``, also ``noise`` ``(N, 3)``.
        """
        if known is not None and not self.config["denoise"]:
            raise InputError("EquiformerV3: known forces are an input of models made with denoise=True")
        if self.conservative:
            return super().forward(pos, z, edge_index, shift, cell, batch)
        graph = self.graph(pos, z, edge_index, shift, cell, batch)
        unit = torch.tensor(self.scale, dtype=pos.dtype, device=pos.device)
        each = unit[graph.species].unsqueeze(-1)
        x, edges = self.features(graph, None if known is None else known / each)
        out = self.totals(self._energies(x), graph)
        out["forces"] = self.forces(x, *edges) * each
        if cell is not None:
            out["stress"] = scatter_mean(symmetric(self.stress(x, *edges)), graph.batch, graph.structures) * unit.mean()
        if known is not None:
            out["noise"] = self.noise(x, *edges)
        return out

    def undecayed(self) -> list[str]:
        """Names of parameters that weight decay leaves alone: biases, gains of norms, tables of species."""
        spared = (nn.LayerNorm, MergedLayerNorm, SpeciesEmbedding, EdgeInvariants)
        return [
            f"{path}.{name}"
            for path, part in self.named_modules()
            for name, _ in part.named_parameters(recurse=False)
            if isinstance(part, spared) or "bias" in name
        ]


class Layer(nn.Module):
    """``x += attention(norm x)``, ``x += feed-forward(norm x)``, both dropped at times in training."""

    def __init__(
        self, attention: GraphAttention, feedforward: nn.Module, irreps: Irreps, *, drop_path: float, feature_drop: float
    ) -> None:
        super().__init__()
        self.attention, self.feedforward = attention, feedforward
        self.before, self.between = MergedLayerNorm(irreps), MergedLayerNorm(irreps)
        self.path, self.drop = DropPath(irreps, drop_path), IrrepsDropout(irreps, feature_drop)

    def forward(self, x: Tensor, edges: tuple[Any, ...], batch: Tensor) -> Tensor:
        """Features ``(N, dim)`` to the same; ``edges`` are vectors, invariants, indices and frames."""
        x = x + self.path(self.drop(self.attention(self.before(x), *edges)), batch)
        return x + self.path(self.drop(self.feedforward(self.between(x))), batch)


def loosened(contracts: Sequence[Contract], bound: float | None = None) -> tuple[Contract, ...]:
    """The same contracts, the first, about motions, approximate."""
    return (replace(contracts[0], claim="approximate", bound=bound), *contracts[1:])


def symmetric(x: Tensor) -> Tensor:
    """A trace and a degree 2, ``(..., 6)``, as symmetric matrices ``(..., 3, 3)``."""
    table = wigner_3j(1, 1, 2).to(x)
    return torch.eye(3).to(x) * x[..., :1, None] + torch.einsum("ijm,...m->...ij", table, x[..., 1:])


def hint(vectors: Tensor, lmax: int) -> Tensor:
    """``|F| Y(F)`` of degrees ``0..lmax``, ``(N, (lmax+1)^2)``: smooth enough at zero, where it vanishes."""
    return vectors.norm(dim=-1, keepdim=True) * spherical_harmonics(lmax, vectors)


def conservative_copy(model: EquiformerV3, *, keep_energy: bool = False) -> EquiformerV3:
    """The second stage of training: a direct model's body under an energy whose gradient is the forces, without dropout.

    Heads for forces and stress are gone; the head for energies starts anew unless kept.
    """
    plain = {"forces": "gradient", "denoise": False, "attention_drop": 0.0, "feature_drop": 0.0, "drop_path": 0.0}
    made = EquiformerV3(**model.config | plain).to(next(model.parameters()))
    fresh = made.state_dict()
    kept: Mapping[str, Tensor] = {
        name: value
        for name, value in model.state_dict().items()
        if name in fresh and (keep_energy or not name.startswith("energy."))
    }
    made.load_state_dict(fresh | dict(kept))
    return made


def _consistent(
    layers: int, lmax: int, activation: str, exact: bool, forces: str, conservative: bool | None, denoise: bool
) -> None:
    if layers < 1 or lmax < 0:
        raise InputError(f"EquiformerV3: at least one layer and lmax >= 0, got {layers} and {lmax}")
    if forces == "direct" and lmax < 2:
        raise InputError(f"EquiformerV3: heads for forces and stress read degrees 1 and 2, got lmax {lmax}; raise it to 2")
    if forces not in ("gradient", "direct"):
        raise InputError(f"EquiformerV3: forces are 'gradient' or 'direct', got {forces!r}")
    if conservative is not None and conservative is not (forces == "gradient"):
        raise InputError(
            f"EquiformerV3: forces={forces!r} with conservative={conservative}: only gradients of an energy are conservative; "
            f"leave conservative out, or change forces"
        )
    if denoise and forces != "direct":
        raise InputError("EquiformerV3: denoise trains direct forces; with forces='gradient' there is no noise head")
    if activation == "silu" and exact:
        raise InputError("EquiformerV3: SiLU on the grid is exact on no grid; pass exact=False, or activation='swiglu'")
