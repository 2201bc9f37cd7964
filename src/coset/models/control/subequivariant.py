"""SET, the subequivariant transformer: one policy for many bodies, equivariant under rotations about gravity.

Limbs are nodes with vectors (positions, velocities, joint axes) and scalars (angles, ranges, kind, height), gravity and the
target's direction are fixed directions of every block (:mod:`coset.nn.subequivariant`); a torque is the projection of a
vector on the limb's own joint axis, so actions are invariant. Chen, Han, Sun & Huang, Subequivariant Graph Reinforcement
Learning in 3D Environments, ICML 2023, arXiv 2305.18951. Contracts, all on one limb tree: exact under the stabilizer of
gravity, under SO(3) where gravity turns along, and under S("N") with the tree codes; broken under SO(3) where gravity is
left behind. Reflections are not promised: angular velocities and joint axes are axial. Codes that are no integers are
interpolated between the embeddings of their neighbors, which the paper has no need for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.nn.limbs import ACTIONS, AXES, CODES, DOWN, INPUTS, LEFT_BEHIND, RELATIONS, SCALARS, VECTORS, check_limbs
from coset.nn.subequivariant import MixedColumns, Scalarize, SubequivariantAttention, SubequivariantFeedForward

DIRECTIONS = 2  #: gravity and the target


class TreeCode(nn.Module):
    """Places in the tree ``(..., 3)`` to ``(..., width)``: one embedding each for pre-, in- and post-order, side by side.

    Raises InputError for a place beyond the table.
    """

    def __init__(self, width: int, places: int = 32) -> None:
        super().__init__()
        share = [width // CODES + (i < width % CODES) for i in range(CODES)]
        self.places = places
        self.tables = nn.ParameterList(nn.Parameter(torch.randn(places, part)) for part in share)

    def forward(self, codes: Tensor) -> Tensor:
        """The table's rows; between integers their linear interpolation."""
        if bool((codes > self.places - 1).any()):
            raise InputError(f"tree code {float(codes.max()):g}: this model was built for up to {self.places} limbs")
        near = codes.clamp(min=0).unsqueeze(-1) - torch.arange(self.places, dtype=codes.dtype, device=codes.device)
        rows = (1 - near.abs()).clamp(min=0)  # one-hot at integers
        return torch.cat([rows[..., i, :] @ table for i, table in enumerate(self.tables)], -1)


class Trunk(nn.Module):
    """Embedding and ``layers`` of attention and feed-forward: vectors, scalars and directions of every limb."""

    def __init__(self, scalars: int, *, width: int, layers: int, heads: int, hidden: int, projected: int, places: int) -> None:
        super().__init__()
        sizes = {"hidden": hidden, "projected": projected, "directions": DIRECTIONS}
        self.scale = math.sqrt(width)
        self.embed_z = nn.Linear(VECTORS + DIRECTIONS, width, bias=False)
        self.embed_h = nn.Linear(scalars, width)
        self.code = TreeCode(width, places)
        self.relate = nn.Linear(RELATIONS, heads)
        self.looks = nn.ModuleList(SubequivariantAttention(width, heads, **sizes) for _ in range(layers))
        self.steps = nn.ModuleList(SubequivariantFeedForward(width, **sizes) for _ in range(layers))

    def forward(self, gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor,
                relations: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """``z`` (B, N, 3, width), ``h`` (B, N, width), ``d`` (B, N, 3, 2)."""
        d = torch.stack([gravity, target], -1).unsqueeze(1).expand(-1, vectors.shape[1], -1, -1)
        z = self.embed_z(torch.cat([vectors.mT, d], -1)) * self.scale
        h = self.embed_h(scalars) * self.scale + self.code(codes)
        bias: Tensor | None = self.relate(relations).permute(0, 3, 1, 2)
        for look, step in zip(self.looks, self.steps, strict=True):
            z, h = look(z, h, d, bias).values()
            z, h = step(z, h, d).values()
            bias = None  # relations are told to the first layer only
        return z, h, d


class SET(nn.Module):
    """The actor: an observation of :data:`coset.nn.limbs.INPUTS` to torques (B, N, 3) in [-1, 1] about the joint axes.

    A limb without joints (axes zero) gets no torque. Raises InputError for sizes below 1 and observations that do not fit.
    """

    def __init__(self, width: int = 128, layers: int = 3, *, heads: int = 2, hidden: int = 256, projected: int = 30,
                 places: int = 32) -> None:  # fmt: skip
        super().__init__()
        self.config = _sizes(width=width, layers=layers, heads=heads, hidden=hidden, projected=projected, places=places)
        self.contracts = promises(INPUTS, ACTIONS)
        self.trunk = Trunk(SCALARS, **self.config)
        self.head = MixedColumns(width, 1, hidden=hidden, projected=projected, directions=DIRECTIONS)

    def forward(self, gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor,
                relations: Tensor) -> Tensor:  # fmt: skip
        """``tanh(axis_i . v)`` for the three joint axes of every limb."""
        check_limbs(gravity, target, vectors, scalars, codes, relations)
        v, _, _ = self.head(*self.trunk(gravity, target, vectors, scalars, codes, relations))
        return torch.tanh(vectors[:, :, AXES] @ v).squeeze(-1)

    def critic(self) -> SETCritic:
        """A fresh critic of the same sizes."""
        return SETCritic(**self.config)


class SETCritic(nn.Module):
    """The critic: an observation and an action (B, N, 3) to one invariant value for every limb, (B, N)."""

    def __init__(self, width: int = 128, layers: int = 3, *, heads: int = 2, hidden: int = 256, projected: int = 30,
                 places: int = 32) -> None:  # fmt: skip
        super().__init__()
        self.config = _sizes(width=width, layers=layers, heads=heads, hidden=hidden, projected=projected, places=places)
        self.contracts = promises({**INPUTS, "action": ACTIONS}, "B x N x scalar")
        self.trunk = Trunk(SCALARS + 3, **self.config)
        self.scalarize = Scalarize(width, projected, hidden=hidden, directions=DIRECTIONS)
        self.head = nn.Linear(2 * width, 1)

    def forward(self, gravity: Tensor, target: Tensor, vectors: Tensor, scalars: Tensor, codes: Tensor,
                relations: Tensor, action: Tensor) -> Tensor:  # fmt: skip
        """``Linear([inv, h]) / F``."""
        check_limbs(gravity, target, vectors, scalars, codes, relations)
        if action.shape != (*scalars.shape[:2], 3):
            raise InputError(f"critic: expected an action {(*scalars.shape[:2], 3)}, got shape {tuple(action.shape)}")
        z, h, d = self.trunk(gravity, target, vectors, torch.cat([scalars, action], -1), codes, relations)
        inv, _, size = self.scalarize(z, d)
        return (self.head(torch.cat([inv, h], -1)) / size).squeeze(-1)


def promises(inputs: dict[str, str], outputs: str) -> tuple[Contract, ...]:
    """What holds about gravity, with gravity, for limbs, and what does not hold when gravity is left behind."""
    left = {**inputs, "gravity": LEFT_BEHIND["gravity"]}
    return (
        Contract(SO(3).stabilizer(DOWN), inputs, outputs),
        Contract(SO(3), inputs, outputs),
        Contract(S("N"), inputs, outputs),
        Contract(SO(3), left, outputs, "broken", name="SO(3), gravity left behind"),
    )


def _sizes(**sizes: int) -> dict[str, int]:
    if bad := {name: size for name, size in sizes.items() if size < 1}:
        raise InputError(f"SET: sizes are at least 1, got {', '.join(f'{name} {size}' for name, size in bad.items())}")
    return sizes
