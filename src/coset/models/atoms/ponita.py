"""PONITA as a potential: convolutions on positions x orientations, energies summed over atoms, forces their gradient.

    x[i, o] = W e(z_i),     x <- x + MLP(LayerNorm(conv(x)))  in every layer l,     eps_i = mean over l and o of w_l . x_l[i, o]

with kernels of the invariants ``r.o, |r - (r.o) o|`` of an edge and ``o.o'`` of two orientations, in units of half the cutoff,
ending there by an envelope with two continuous derivatives (:mod:`coset.nn.position_orientation`). Bekkers et al., ICLR 2024,
arXiv 2310.02970 (its rMD17 experiments).

Contracts: translations, permutations and the finite group of the grid exactly (the icosahedron's for 12 and 20 orientations);
E(3) approximately, with a bound that falls with the grid, for weights as they are drawn; with ``orientations="edges"`` or 0
(PNITA) E(3) exactly. Differs from the paper: a cutoff, where the paper joins all atoms; Platonic grids; no rotations are drawn
in training nor averaged at test time (an objective and a symmetrizer away: :mod:`coset.symmetrizers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.contract import Contract
from coset.nn.particles import check_sizes
from coset.nn.position_orientation import Places, PositionOrientation, promises
from coset.nn.potential import OUTPUTS, AtomGraph, Potential, graph_inputs

FORCES = 2.0  #: bounds of derivatives over those of outputs; calibrated: at least 1.7 times the largest of six networks


class PONITA(Potential):
    """``layers`` layers of ``hidden`` channels on ``orientations`` per atom: a number of points, ``"edges"`` or 0 (none).

    ``kernels`` is the size of the kernel basis, of monomials up to ``degree``; ``widening`` the hidden layer of the networks
    between; ``layer_scale`` where what a layer adds starts (None: no scale). Other arguments: :class:`Potential`. InputError
    for sizes below 1; for ``"edges"`` also where two atoms stand on top of each other.
    """

    def __init__(
        self, elements: Sequence[int] = (1, 6, 8), r_max: float = 5.0, *, hidden: int = 32, layers: int = 3,
        orientations: Places = 12, kernels: int = 32, degree: int = 3, widening: int = 4, layer_scale: float | None = None,
        references: Sequence[float] | None = None, scale: float | Sequence[float] = 1.0, shift: float | Sequence[float] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(elements, r_max, references=references, scale=scale, shift=shift)
        check_sizes("PONITA", hidden=hidden, layers=layers, kernels=kernels, widening=widening)
        shape: dict[str, Any] = {
            "hidden": hidden, "layers": layers, "orientations": orientations, "kernels": kernels, "degree": degree,
            "widening": widening, "layer_scale": layer_scale,
        }  # fmt: skip
        self.config = self.settings() | shape
        self.net = PositionOrientation(len(self.elements), 0, out_scalars=1, out_vectors=0, radius=2.0, **shape)
        found = promises(orientations, 3, graph_inputs(self.elements), OUTPUTS)
        self.contracts = tuple(looser(one) for one in found)

    def energies(self, graph: AtomGraph) -> Tensor:
        """The mean of all readouts over orientations, ``(N,)``; an edge of length zero from an atom to itself is padding."""
        edge_index = torch.stack([graph.edges[end].values for end in ("source", "target")])
        real = (edge_index[0] != edge_index[1]) | (graph.lengths > 0)
        r = graph.vectors[real] * (-2 / self.r_max)
        kind = F.one_hot(graph.species, len(self.elements)).to(r)
        return self.net.nodes(r, edge_index[:, real], kind)["scalars"].squeeze(-1)


def looser(contract: Contract) -> Contract:
    """Where a contract is approximate, the bound of derivatives."""
    if contract.bound is None:
        return contract
    return replace(contract, bound=min(2.0, FORCES * contract.bound))
