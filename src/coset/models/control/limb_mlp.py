"""A monolithic MLP over all limbs of one body: the unconstrained baseline for policies.

It reads the same observation as :class:`coset.models.control.subequivariant.SET`, flattened; codes and relations are
constant for one body and are not read. Contract: the symmetry about gravity is broken, every heading has to be learned.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.limbs import ACTIONS, DOWN, INPUTS, SCALARS, VECTORS, check_limbs


class LimbMLP(nn.Module):
    """The actor for a body of ``limbs``: an observation to torques (B, N, 3) in [-1, 1].

    Raises InputError for sizes below 1, another number of limbs, and observations that do not fit.
    """

    def __init__(self, limbs: int = 3, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"limbs": limbs, "hidden": hidden, "layers": layers}
        self.contracts = _broken(INPUTS, ACTIONS)
        self.net = dense(_inputs(limbs), 3 * limbs, hidden=hidden, layers=layers)

    def forward(self, gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor,
                relations: Tensor) -> Tensor:  # fmt: skip
        """``tanh`` of the network."""
        b, n = check_limbs(gravity, target, vectors, scalars, codes, relations)
        _same(n, self.config["limbs"])
        parts = [gravity, target, vectors.flatten(1), scalars.flatten(1)]
        return torch.tanh(self.net(torch.cat(parts, -1))).view(b, n, 3)

    def critic(self) -> LimbMLPCritic:
        """A fresh critic of the same sizes."""
        return LimbMLPCritic(**self.config)


class LimbMLPCritic(nn.Module):
    """The critic: an observation and an action to one value for the whole body, (B, 1)."""

    def __init__(self, limbs: int = 3, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"limbs": limbs, "hidden": hidden, "layers": layers}
        self.contracts = _broken({**INPUTS, "action": ACTIONS}, "B x 1 x scalar")
        self.net = dense(_inputs(limbs) + 3 * limbs, 1, hidden=hidden, layers=layers)

    def forward(self, gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor,
                relations: Tensor, action: Tensor) -> Tensor:  # fmt: skip
        """The value."""
        _, n = check_limbs(gravity, target, vectors, scalars, codes, relations)
        _same(n, self.config["limbs"])
        return self.net(torch.cat([gravity, target, vectors.flatten(1), scalars.flatten(1), action.flatten(1)], -1))


def dense(inputs: int, outputs: int, *, hidden: int, layers: int) -> nn.Sequential:
    """``layers`` hidden layers of width ``hidden`` with ReLU; InputError for sizes below 1."""
    if min(inputs, outputs, hidden, layers) < 1:
        raise InputError(f"MLP: sizes are at least 1, got {inputs} inputs, {outputs} outputs, hidden {hidden}, layers {layers}")
    widths = [inputs, *[hidden] * layers]
    inner = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*inner, nn.Linear(hidden, outputs))


def _inputs(limbs: int) -> int:
    return 6 + limbs * (3 * VECTORS + SCALARS)


def _same(found: int, limbs: int) -> None:
    if found != limbs:
        raise InputError(f"this MLP was built for a body of {limbs} limbs, got {found}; only SET serves several bodies")


def _broken(inputs: dict[str, str], outputs: str) -> tuple[Contract, ...]:
    return (Contract(SO(3).stabilizer(DOWN), inputs, outputs, "broken"),)
