"""TransIP's backbone: a plain transformer on coordinates, with a latent on which rotations are taught to act.

    t_i = e(z_i) + MLP(fourier(x_i - mean x)),   t_0 = MLP(charge, spin),   (t) <- pre-norm transformer, full attention
    h_i = t_i / rms(t_i),   E = sum_i [e0(z_i) + scale(z_i) MLP(h_i) + shift(z_i)],   F_i = scale(z_i) MLP(h_i)

No layer knows of rotations: distances and edges are not even seen. That ``h(R x) = T(h(x), R)`` is what
:class:`coset.objectives.latent_equivariance.LatentEquivariance` trains; the transform is kept with the model. Elhag et al.,
Learning Inter-Atomic Potentials without Explicit Equivariance, 2025, arXiv 2510.00027.

Contracts: translations (molecules are centered) and permutations, exact; SO(3) on energy and forces, and on the latent by T,
learned: measured, not promised. The paper's numbers of layers, widths and features are not known to us: these are a
reconstruction. Forces come from a head of their own, which is not conservative, or with ``conservative=True`` from the
gradient of the energy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.nn.atom_graph import AtomGraph
from coset.nn.interaction import SpeciesEmbedding
from coset.nn.latent_transform import Acting, LatentTransform
from coset.nn.map_attention import Attention
from coset.nn.message import mlp
from coset.nn.potential import Potential
from coset.ops.index import Edges
from coset.ops.scatter import scatter_mean, scatter_sum
from coset.reps.action import Labels, Learned
from coset.reps.fields import Field

SIZES: dict[str, dict[str, Any]] = {  #: constructor arguments; the sheet's default, and about 85 million parameters
    "small": {"width": 256, "layers": 6, "heads": 8},
    "large": {"width": 768, "layers": 12, "heads": 12},
}


class TransIP(Potential):
    """``layers`` layers of ``width`` features and ``heads`` heads; ``frequencies`` octaves of sines from 1/2 rad/A on.

    ``transform`` is a kind of :class:`~coset.nn.latent_transform.LatentTransform` (``irreps`` for ``"wigner"``), or None for
    a backbone that nothing is taught; ``conservative`` takes forces from the energy. Structures are molecules of up to
    ``max_atoms`` atoms. ``r_max`` is not used: it is for callers that search neighbors. Other arguments: :class:`Potential`.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, width: int = 64, layers: int = 3, heads: int = 4,
        frequencies: int = 4, transform: str | None = "mlp", irreps: str | None = None, conservative: bool = False,
        max_atoms: int = 512, references: Sequence[float] | None = None, scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        if min(layers, frequencies, max_atoms) < 1:
            raise InputError(
                f"TransIP: at least one layer, one frequency and one atom, got {layers}, {frequencies} and {max_atoms}"
            )
        self.config = self.settings() | {
            "width": width, "layers": layers, "heads": heads, "frequencies": frequencies, "transform": transform,
            "irreps": irreps, "conservative": conservative, "max_atoms": max_atoms,
        }  # fmt: skip
        self.conservative, self.max_atoms = conservative, max_atoms
        self.register_buffer("frequency", 0.5 * 2.0 ** torch.arange(frequencies), persistent=False)
        self.embed = SpeciesEmbedding(len(self.elements), width)
        self.place_of = mlp(3 + 6 * frequencies, width, width)
        self.molecule = mlp(2, width, width)
        self.layers = nn.ModuleList(TokenBlock(width, heads) for _ in range(layers))
        self.latent = nn.RMSNorm(width, elementwise_affine=False)  # commutes with orthogonal actions on the features
        self.energy, self.force = mlp(width, width, 1), None if conservative else mlp(width, width, 3)
        self.transform = None if transform is None else LatentTransform(width, transform, irreps=irreps)
        if self.transform is not None:
            latent = {"latent": Field(("N",), Learned(Acting(self.transform)))}
            self.contracts += (Contract(SO(3), self.contracts[0].inputs, latent, "learned", name="SO(3) on the latent"),)

    frequency: Tensor

    def promises(self) -> tuple[Contract, ...]:
        """Translations and permutations, exact; rotations, learned."""
        whole = Labels((-1, 0, 1))
        inputs = {"pos": "N x position", "z": Field(("N",), Labels(self.elements)), "batch": "N -> B",
                  "charge": Field(("B",), whole), "spin": Field(("B",), whole)}  # fmt: skip
        outputs = {"energy": "B x scalar", "forces": "N x vector"}
        exact = (Contract(T(3), inputs, outputs), Contract(S("N"), inputs, {**outputs, "latent": "N x D x scalar"}))
        return (*exact, Contract(SO(3), inputs, outputs, "learned"))

    def forward(
        self, pos: Tensor, z: Tensor, edge_index: Tensor | None = None, shift: Tensor | None = None,
        cell: Tensor | None = None, batch: Tensor | None = None, charge: Tensor | None = None, spin: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """``energy`` (B,), ``forces`` (N, 3), ``interaction`` (B,), ``energies`` (N,), the ``latent`` (N, width).

        With a wide cell also ``stress`` (B, 3, 3).

        ``pos`` ``(N, 3)``, atomic numbers ``z`` ``(N,)``, ``batch`` ``(N,)`` in any order, ``charge`` and ``spin`` ``(B,)``,
        zero where not given. ``edge_index`` is not looked at. InputError for a periodic structure (a cell, and no list of
        edges whose shifts say that none crosses it), positions that are not finite, and molecules of more than ``max_atoms``
        atoms.
        """
        if cell is not None and (shift is None or bool((shift != 0).any())):
            raise InputError("TransIP: takes molecules, not periodic structures; leave the cell out")
        species, batch, count = self.read(pos, z, cell, batch)
        if not bool(torch.isfinite(pos).all()):
            bad = int((~torch.isfinite(pos)).any(-1).sum())
            raise InputError(f"TransIP: {bad} of {len(pos)} atoms have positions that are NaN or infinite")
        told = self.told(charge, spin, count, pos)
        graph = AtomGraph(species, pos.new_zeros(0, 3), Edges(z.new_zeros(2, 0), len(z)), batch, count)
        if self.force is not None:
            h = self.represent(graph, pos, told)
            scale = torch.tensor(self.scale, dtype=pos.dtype, device=pos.device)[species].unsqueeze(-1)
            out = self.totals(self.energy(h).squeeze(-1), graph) | {"forces": scale * self.force(h), "latent": h}
            return out if cell is None else out | {"stress": self.stress(pos, out["forces"], cell, graph)}
        if torch.is_inference_mode_enabled():  # nothing could be differentiated in it
            given: tuple[Any, ...] = (pos, z, edge_index, shift, cell, batch, charge, spin)
            with torch.inference_mode(False), torch.no_grad():
                return self.forward(*(x if x is None else x.clone() for x in given))  # type: ignore[arg-type]
        training = torch.is_grad_enabled() and (self.training or pos.requires_grad)
        # the fused kernels have no second derivative, which training on forces takes
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH) if training else contextlib.nullcontext():
            live = pos if pos.requires_grad else pos.detach().requires_grad_()
            h = self.represent(graph, live, told)
            out = self.totals(self.energy(h).squeeze(-1), graph) | {"latent": h}
            (slope,) = torch.autograd.grad(out["interaction"].sum(), live, create_graph=training)
        out["forces"] = -slope
        if cell is not None:
            out["stress"] = self.stress(live, -slope, cell, graph)
        return out if training else {name: value.detach() for name, value in out.items()}

    def stress(self, pos: Tensor, forces: Tensor, cell: Tensor, graph: AtomGraph) -> Tensor:
        """Of molecules in a cell that none of them crosses, ``-(1/V) sum_i (x_i - mean x) F_i^T`` ``(B, 3, 3)``, symmetrized.

        What strain does to the energy where forces are its gradient; with forces of their own it is their virial.
        """
        each = self.centered(pos, graph.batch, graph.structures).unsqueeze(-1) * forces.unsqueeze(-2)
        total = scatter_sum(each, graph.batch, graph.structures)
        return -0.5 * (total + total.mT) / torch.linalg.det(cell).abs().view(-1, 1, 1)

    def told(self, charge: Tensor | None, spin: Tensor | None, count: int, like: Tensor) -> Tensor:
        """Charge and spin of every molecule, ``(B, 2)``."""
        given = [like.new_zeros(count) if value is None else value.to(like) for value in (charge, spin)]
        if any(value.shape != (count,) for value in given):
            raise InputError(
                f"TransIP: charge and spin are one number for each of {count} molecules, got {[tuple(v.shape) for v in given]}"
            )
        return torch.stack(given, -1)

    def represent(self, graph: AtomGraph, pos: Tensor, told: Tensor) -> Tensor:
        """The latent ``(N, width)``: atoms of a molecule as tokens, the molecule's own token before them."""
        x = self.centered(pos, graph.batch, graph.structures)
        angle = (x.unsqueeze(-1) * self.frequency.to(x)).flatten(-2)
        tokens = self.embed(graph.species) + self.place_of(torch.cat([x, angle.sin(), angle.cos()], -1))
        slot, sizes = slots(graph.batch, graph.structures)
        longest = int(sizes.max()) if len(sizes) else 0
        if longest > self.max_atoms:
            raise InputError(
                f"TransIP: a molecule has {longest} atoms, the most is max_atoms={self.max_atoms}; build it with more"
            )
        padded = tokens.new_zeros(graph.structures, longest, tokens.shape[-1]).index_put((graph.batch, slot), tokens)
        padded = torch.cat([self.molecule(told).unsqueeze(1), padded], 1)
        there = torch.arange(longest + 1, device=sizes.device) <= sizes.unsqueeze(1)
        for layer in self.layers:
            padded = layer(padded, there[:, None, None])
        return self.latent(padded[graph.batch, slot + 1])

    def centered(self, pos: Tensor, batch: Tensor, count: int) -> Tensor:
        """Positions relative to the centroid of their molecule; subtracted in float64, so that far is as good as near."""
        wide = pos.double()
        return (wide - scatter_mean(wide, batch, count).index_select(0, batch)).to(pos)


class TokenBlock(nn.Module):
    """``x + attention(norm x)``, then ``x + MLP(norm x)`` on tokens ``(B, n, width)``; ``there`` (B, 1, 1, n): which exist."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attend = Attention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """Tokens after one round of attention."""
        x = x + self.attend(self.norm1(x), bias=there)
        return x + self.mlp(self.norm2(x))


def slots(batch: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For every atom its place ``(N,)`` in its molecule, in order of appearance, and the sizes of molecules ``(B,)``."""
    sizes = torch.bincount(batch, minlength=count)
    order = batch.argsort(stable=True)
    slot = torch.empty_like(batch)
    slot[order] = torch.arange(len(batch), device=batch.device) - (sizes.cumsum(0) - sizes)[batch[order]]
    return slot, sizes
