"""The frame of every interatomic potential: atoms and edges in, energy, forces and stress out.

    E = sum_i [ e0(z_i) + scale(z_i) eps_i + shift(z_i) ],      F_i = -dE/dx_i,      stress = (1/V) dE/d(strain)

A network says what ``eps_i`` are (:meth:`Potential.energies`); the rest is written here once. Networks see positions through
the vectors ``v_e`` of edges only, so one derivative ``g_e = dE/dv_e`` gives everything: ``dE/dx`` gathers it at both ends, and
strain takes every vector to ``v_e (1 + s)``, whence ``dE/ds = sum_e v_e g_e^T``, symmetrized: the true virial, with the cell
strained along, and not the derivative with respect to the cell at fixed positions.

Units: whatever the data have; eV and angstrom where not said otherwise, stress in energy per volume, positive under tension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.nn.atom_graph import AtomGraph, AtomModel, graph_inputs
from coset.ops.scatter import scatter_sum

TENSORS = ("pos", "z", "edge_index", "shift", "cell", "batch")  #: what a potential takes, by name
OUTPUTS = {"energy": "B x scalar", "forces": "N x vector", "stress": "B x tensor(2)"}


class Potential(AtomModel):
    """A potential for ``elements`` (atomic numbers) with cutoff ``r_max``; subclasses give :meth:`energies`.

    ``references`` are energies of isolated atoms, one per element (zeros if left out); ``scale`` and ``shift`` take the
    network's numbers to energies per atom, one for all or one per element. They are buffers: statistics of data, not trained.
    Energies are summed in float64 inside and rounded once: a total of 1e4 eV in float32 would otherwise hide what a meV is;
    ``interaction`` in the output is the energy without references, for training.

    Contracts: E(3), permutations; both exact. Raises InputError for an element that the potential does not know.
    """

    conservative = True  #: forces are the gradient of the energy
    group: Any = E(3)  #: what acts exactly; networks without parity say SE(3)

    def __init__(
        self,
        elements: Sequence[int],
        r_max: float,
        *,
        references: Sequence[float] | None = None,
        scale: float | Sequence[float] = 1.0,
        shift: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(elements, r_max)
        name = type(self).__name__
        count = len(self.elements)
        # numbers, not buffers: a reference of 1e4 eV must not be rounded when the weights become float32
        self.references = _per_element(name, "references", 0.0 if references is None else references, count)
        self.scale, self.shift = _per_element(name, "scale", scale, count), _per_element(name, "shift", shift, count)
        self.contracts: tuple[Contract, ...] = self.promises()

    def promises(self) -> tuple[Contract, ...]:
        """Exact contracts of a potential: its group on every structure by itself, and permutations of atoms."""
        inputs = {**graph_inputs(self.elements)}
        return (Contract(self.group, inputs, OUTPUTS), Contract(S("N"), inputs, OUTPUTS))

    def settings(self) -> dict[str, Any]:
        """The part of ``config`` that this class owns."""
        kept = {name: list(getattr(self, name)) for name in ("references", "scale", "shift")}
        return {"elements": list(self.elements), "r_max": self.r_max, **kept}

    def energies(self, graph: AtomGraph) -> Tensor:
        """The network: one number per atom, ``(N,)``, of order one."""
        raise InputError(f"{type(self).__name__} is the frame of a potential; use one of coset.models.atoms")

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        shift: Tensor | None = None,
        cell: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``energy`` (B,), ``forces`` (N, 3), with a cell ``stress`` (B, 3, 3); ``interaction`` (B,) and ``energies`` (N,).

        ``pos`` ``(N, 3)``, atomic numbers ``z`` ``(N,)``, ``edge_index`` ``(2, E)`` and ``shift`` ``(E, 3)`` as
        :func:`coset.ops.periodic.neighbor_list` gives them, ``cell`` ``(B, 3, 3)``, ``batch`` ``(N,)``. Outputs can be
        differentiated in training mode, and wherever positions or cells ask for gradients.
        """
        if torch.is_inference_mode_enabled():  # nothing could be differentiated in it
            with torch.inference_mode(False), torch.no_grad():
                given: Any = [x if x is None else x.clone() for x in (pos, z, edge_index, shift, cell, batch)]
                return Potential.forward(self, *given)
        asked = pos.requires_grad or (cell is not None and cell.requires_grad)
        training = torch.is_grad_enabled() and (self.training or asked)
        with torch.enable_grad():
            graph = self.graph(pos, z, edge_index, shift, cell, batch, live=True)
            live = graph.vectors
            out = self.totals(self.energies(graph), graph)
            (slope,) = torch.autograd.grad(out["interaction"].sum(), live, create_graph=training, allow_unused=True)
        slope = torch.zeros_like(live) if slope is None else slope
        out["forces"] = edge_forces(slope, graph)
        if cell is not None:
            out["stress"] = virial(slope, graph) / torch.linalg.det(cell).abs().view(-1, 1, 1)
        return out if training else {name: value.detach() for name, value in out.items()}

    def reference_energy(self, z: Tensor, batch: Tensor | None = None) -> Tensor:
        """What isolated atoms have, ``(B,)`` float64."""
        species, batch, count = self.read(z.new_zeros(len(z), 3, dtype=torch.float64), z, None, batch)
        each = torch.tensor(self.references, dtype=torch.float64, device=z.device)[species]
        return scatter_sum(each, batch, count)

    def totals(self, energies: Tensor, graph: AtomGraph) -> dict[str, Tensor]:
        """``energy``, ``interaction`` and ``energies`` (per atom, without references) of the network's numbers."""
        scale, shift, isolated = (
            torch.tensor(values, dtype=torch.float64, device=energies.device)[graph.species]
            for values in (self.scale, self.shift, self.references)
        )
        own = energies * scale.to(energies) + shift.to(energies)
        interaction = scatter_sum(own.double(), graph.batch, graph.structures)
        return {
            "energy": (interaction + scatter_sum(isolated, graph.batch, graph.structures)).to(energies),
            "interaction": interaction.to(energies),
            "energies": own,
        }


def edge_forces(slope: Tensor, graph: AtomGraph) -> Tensor:
    """``-dE/dx`` ``(N, 3)`` of ``dE/dv`` ``(E, 3)``."""
    source, target = (graph.edges[end].values for end in ("source", "target"))
    return scatter_sum(slope, source, len(graph.species)) - scatter_sum(slope, target, len(graph.species))


def virial(slope: Tensor, graph: AtomGraph) -> Tensor:
    """``dE/d(strain)`` ``(B, 3, 3)``, symmetric, of ``dE/dv`` ``(E, 3)``."""
    each = graph.vectors.unsqueeze(-1) * slope.unsqueeze(-2)
    total = scatter_sum(each, graph.batch[graph.edges["source"].values], graph.structures)
    return 0.5 * (total + total.mT)


def _per_element(name: str, label: str, given: float | Sequence[float], count: int) -> tuple[float, ...]:
    values = (float(given),) * count if isinstance(given, (int, float)) else tuple(map(float, given))
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{name}: {label} is a finite number or one for each of {count} elements, got {given}")
    return values
