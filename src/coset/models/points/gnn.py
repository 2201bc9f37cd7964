"""A plain graph network on moving particles: the unconstrained baseline that frames and augmentation are put around.

Every particle sees its position, velocity and charge as numbers, every pair its product of charges and its distance; four
rounds of messages; the output is the displacement. Permutation equivariant, blind to rotations: Puny et al. (2022) wrap
the same network. Contract: S("N") exact; nothing about E(3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.groups.permutation import S
from coset.nn.message import mlp
from coset.nn.particles import INPUTS, OUTPUTS, check_particles, check_sizes


class ParticleGNN(nn.Module):
    """``pos, vel (B, N, 3)``, ``charge (B, N)`` to positions ``(B, N, 3)`` at a later time.

    Raises InputError for sizes below 1 and for particles that do not fit together.
    """

    def __init__(self, hidden: int = 64, layers: int = 4) -> None:
        super().__init__()
        check_sizes("ParticleGNN", hidden=hidden, layers=layers)
        self.config: dict[str, Any] = {"hidden": hidden, "layers": layers}
        self.contracts = (Contract(S("N"), INPUTS, OUTPUTS),)
        self.embed = nn.Linear(7, hidden)
        self.messages = nn.ModuleList(mlp(2 * hidden + 2, hidden, hidden, last=False) for _ in range(layers))
        self.updates = nn.ModuleList(mlp(2 * hidden, hidden, hidden) for _ in range(layers))
        self.head = mlp(hidden, hidden, 3)

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions at the later time."""
        check_particles(pos, vel, charge)
        h = self.embed(torch.cat([pos, vel, charge.unsqueeze(-1)], -1))
        edge = pair_features(pos, charge)
        n = pos.shape[-2]
        others = 1 - torch.eye(n, dtype=pos.dtype, device=pos.device).unsqueeze(-1)
        for message, update in zip(self.messages, self.updates, strict=True):
            own, other = h.unsqueeze(-2).expand(*h.shape[:-1], n, -1), h.unsqueeze(-3).expand(*h.shape[:-2], n, n, -1)
            gathered = (message(torch.cat([own, other, edge], -1)) * others).sum(-2)
            h = h + update(torch.cat([h, gathered], -1))
        return pos + self.head(h)


def pair_features(pos: Tensor, charge: Tensor) -> Tensor:
    """Product of charges and squared distance of every pair, ``(..., N, N, 2)``."""
    square = (pos.unsqueeze(-2) - pos.unsqueeze(-3)).square().sum(-1)
    return torch.stack([charge.unsqueeze(-1) * charge.unsqueeze(-2), square], -1)
