"""Vectors and matrices of a structure as sums over atoms: dipole moments and polarizabilities.

    mu = sum_i m d_i,        alpha = sum_i [ a(z_i) 1 + s (t0_i 1 + sum_k w_k t2_ik) ]

with ``d_i`` the vector (1o), ``t0_i`` the scalar and ``t2_i`` the traceless part (2e) that a network gives for each atom,
and ``w`` the coupling of two vectors to degree 2. The matrix is symmetric by construction. In a periodic structure a dipole is
that of the cell's content, defined up to the lattice; models learn whatever branch the labels are on. Units are those of the
labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.nn.atom_graph import AtomGraph, AtomModel, graph_inputs
from coset.ops.scatter import scatter_sum
from coset.reps.clebsch_gordan import wigner_3j

OUTPUTS = {"dipole": "B x vector", "polarizability": "B x tensor(2)"}
IRREPS = "1x0e+1x1o+1x2e"  #: what a network gives per atom: t0, d, t2


class Moments(AtomModel):
    """A model of dipoles and polarizabilities; subclasses give :meth:`parts`, ``(N, 9)`` of irreps ``0e+1o+2e``.

    ``dipole_scale``, ``polar_scale`` and ``polar_shift`` (per element, of the isotropic part) are statistics of the data.
    Contracts: E(3) and permutations, exact: a dipole is moved like a vector, a polarizability like a matrix.
    """

    def __init__(
        self, elements: Sequence[int], r_max: float, *, dipole_scale: float = 1.0, polar_scale: float = 1.0,
        polar_shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max)
        shifts = (float(polar_shift),) * len(self.elements) if isinstance(polar_shift, (int, float)) else tuple(polar_shift)
        if len(shifts) != len(self.elements) or not all(map(math.isfinite, (dipole_scale, polar_scale, *shifts))):
            raise InputError(f"{type(self).__name__}: scales are finite, polar_shift one number for each of {self.elements}")
        self.dipole_scale, self.polar_scale, self.polar_shift = float(dipole_scale), float(polar_scale), shifts
        inputs = graph_inputs(self.elements)
        self.contracts = (Contract(E(3), inputs, OUTPUTS), Contract(S("N"), inputs, OUTPUTS))

    def settings(self) -> dict[str, Any]:
        """The part of ``config`` that this class owns."""
        own = {"dipole_scale": self.dipole_scale, "polar_scale": self.polar_scale, "polar_shift": list(self.polar_shift)}
        return {"elements": list(self.elements), "r_max": self.r_max, **own}

    def parts(self, graph: AtomGraph) -> Tensor:
        """The network: ``(N, 9)``."""
        raise InputError(f"{type(self).__name__} is the frame of a model of moments; use one of coset.models.atoms")

    def forward(
        self,
        pos: Tensor,
        z: Tensor,
        edge_index: Tensor,
        shift: Tensor | None = None,
        cell: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``dipole`` ``(B, 3)`` and ``polarizability`` ``(B, 3, 3)``; inputs as of a potential."""
        graph = self.graph(pos, z, edge_index, shift, cell, batch)
        trace, vector, rest = self.parts(graph).split([1, 3, 5], -1)
        isotropic = torch.tensor(self.polar_shift, dtype=pos.dtype, device=pos.device)[graph.species]
        unit = torch.eye(3, dtype=pos.dtype, device=pos.device)
        sphere = (isotropic + self.polar_scale * trace.squeeze(-1)).view(-1, 1, 1) * unit
        matrices = sphere + self.polar_scale * torch.einsum("ijk,nk->nij", traceless().to(rest), rest)
        return {
            "dipole": self.dipole_scale * scatter_sum(vector, graph.batch, graph.structures),
            "polarizability": scatter_sum(matrices, graph.batch, graph.structures),
        }


@cache
def traceless() -> Tensor:
    """The coupling of two vectors to degree 2, ``(3, 3, 5)``: an orthonormal basis of symmetric traceless matrices."""
    return 5**0.5 * wigner_3j(1, 1, 2)
