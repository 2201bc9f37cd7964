"""EGNN on moving particles: E(n)-equivariant messages that update positions through velocities.

Satorras, Hoogeboom & Welling, E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv 2102.09844. Features start from
the charge and the speed, edges carry the product of charges, and after four layers of :mod:`coset.nn.message` the
positions themselves are the prediction. Contracts: E(3) and S("N"), both exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.nn.message import MessagePassing
from coset.nn.particles import INPUTS, OUTPUTS, all_pairs, check_particles, check_sizes


class EGNN(nn.Module):
    """``pos, vel (B, N, 3)``, ``charge (B, N)`` to positions ``(B, N, 3)`` at a later time.

    Raises InputError for sizes below 1 and for particles that do not fit together.
    """

    def __init__(self, hidden: int = 64, layers: int = 4) -> None:
        super().__init__()
        check_sizes("EGNN", hidden=hidden, layers=layers)
        self.config: dict[str, Any] = {"hidden": hidden, "layers": layers}
        self.contracts = (Contract(E(3), INPUTS, OUTPUTS), Contract(S("N"), INPUTS, OUTPUTS))
        self.embed = nn.Linear(2, hidden)
        self.layers = nn.ModuleList(MessagePassing(hidden, 1, velocity=True) for _ in range(layers))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions at the later time."""
        check_particles(pos, vel, charge)
        shape, n = pos.shape, pos.shape[-2]
        speed = torch.sqrt(vel.square().sum(-1) + 1e-12)
        h = self.embed(torch.stack([charge, speed], -1)).flatten(0, -2)
        edge_index = all_pairs(h.shape[0] // n, n, device=pos.device)
        source, target = edge_index
        product = (charge.flatten()[source] * charge.flatten()[target]).unsqueeze(-1)
        x, v = pos.reshape(-1, shape[-1]), vel.reshape(-1, shape[-1])
        for layer in self.layers:
            out = layer(h, x, edge_index, v, product)
            h, x, v = out["h"], out["x"], out["v"]
        return x.view(shape)
