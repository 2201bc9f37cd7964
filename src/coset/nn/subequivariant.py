"""Gram-matrix scalarization with fixed directions: attention and feed-forward blocks equivariant about gravity.

Vectors ``z`` (..., 3, C) and directions ``d`` (..., 3, k), such as gravity and the way to a target, give

    S = [P z, d],    inv = MLP(vec(S^T S)),    F = |S^T S| + 1,

which no rotation of everything changes; whoever keeps ``d`` in place is left with the rotations about it. Scalars are
computed from ``inv``, vectors as combinations of vectors with such coefficients, both divided by F, without which powers of
the Gram matrix pile up from block to block. Paper: Chen, Han, Sun & Huang, Subequivariant Graph Reinforcement Learning in 3D
Environments, ICML 2023, arXiv 2305.18951. Contracts: SO(3) with the directions moving along, S("N"); exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.groups.permutation import S
from coset.reps.action import Kind, apply_matrix
from coset.reps.fields import Field


@dataclass(frozen=True)
class Columns(Kind):
    """``channels`` vectors as the columns of matrices (3, channels): channels last."""

    channels: int
    axes = 2

    def move(self, group, g, x, given):
        return apply_matrix(group.linear(g), x, x.ndim - 2)

    def shape(self, space: int) -> tuple[int, ...]:
        return (space, self.channels)

    def __str__(self) -> str:
        return f"columns({self.channels})"


def sides(width: int, directions: int) -> dict[str, Any]:
    """The inputs of a block: vectors, scalars and directions of every node; its outputs are the first two."""
    return {
        "z": Field(("B", "N"), Columns(width)),
        "h": f"B x N x {width} x scalar",
        "d": Field(("B", "N"), Columns(directions)),
    }


def _promises(width: int, directions: int) -> tuple[Contract, ...]:
    inputs = sides(width, directions)
    outputs = {name: inputs[name] for name in ("z", "h")}
    return Contract(SO(3), inputs, outputs), Contract(S("N"), inputs, outputs)


class Scalarize(nn.Module):
    """``z, d`` to ``inv`` (..., width), the columns ``S`` (..., 3, projected + directions) and ``F`` (..., 1)."""

    def __init__(self, width: int, projected: int = 30, *, hidden: int = 256, directions: int = 2) -> None:
        super().__init__()
        self.columns = projected + directions
        self.project = nn.Linear(width, projected, bias=False)
        self.mlp = nn.Sequential(nn.Linear(self.columns**2, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, z: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Invariants, columns and norm of the Gram matrix plus one."""
        s = torch.cat([self.project(z), d], -1)
        gram = (s.mT @ s).flatten(-2)
        return self.mlp(gram), s, torch.linalg.vector_norm(gram, dim=-1, keepdim=True) + 1


class SubequivariantAttention(nn.Module):
    """Every node looks at every other: weights and scalar values from invariants, vector values from ``z`` and ``d``.

    ``q, k, v = Linear([inv, h]) / F``; each head carries the directions beside its share of ``Linear(z)``; residuals on
    both, LayerNorm on scalars only. ``bias`` (B, heads, N, N) is added to the logits. Raises InputError for a hidden width
    that the heads do not share evenly, or that leaves no room beside the directions.
    """

    def __init__(
        self, width: int = 128, heads: int = 2, *, hidden: int = 256, projected: int = 30, directions: int = 2
    ) -> None:
        super().__init__()
        if min(width, heads, projected) < 1 or hidden % heads or hidden // heads <= directions:
            raise InputError(
                f"attention: hidden is a multiple of heads with more than {directions} numbers for each, "
                f"got width {width}, hidden {hidden}, heads {heads}, projected {projected}"
            )
        self.config: dict[str, Any] = {
            "width": width, "heads": heads, "hidden": hidden, "projected": projected, "directions": directions
        }  # fmt: skip
        self.contracts = _promises(width, directions)
        self.heads, self.hidden = heads, hidden
        self.scalarize = Scalarize(width, projected, hidden=hidden, directions=directions)
        self.qkv = nn.Linear(2 * width, 3 * hidden)
        self.values = nn.Linear(width, hidden - heads * directions, bias=False)
        self.to_z, self.to_h = nn.Linear(hidden, width, bias=False), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, h: Tensor, d: Tensor, bias: Tensor | None = None) -> dict[str, Tensor]:
        """Vectors and scalars after one look around."""
        inv, _, size = self.scalarize(z, d)
        q, k, v = (self.qkv(torch.cat([inv, h], -1)) / size).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.mT / (self.hidden // self.heads) ** 0.5
        weights = (logits if bias is None else logits + bias).softmax(-1)  # (B, heads, N, N)
        mine = self.values(z).unflatten(-1, (self.heads, -1))
        vectors = torch.cat([mine, d.unsqueeze(-2).expand(*mine.shape[:-1], -1)], -1).permute(
            0, 3, 1, 2, 4
        )  # (B, heads, N, 3, .)
        seen = (weights @ vectors.flatten(-2)).unflatten(-1, (3, -1)).permute(0, 2, 3, 1, 4).flatten(-2)
        heard = (weights @ v).transpose(1, 2).flatten(-2)
        return {"z": z + self.to_z(seen), "h": self.norm(h + self.to_h(heard))}


class SubequivariantFeedForward(nn.Module):
    """Every node by itself: ``z + Linear(S M)`` with the matrix ``M`` made from invariants, ``h + MLP([inv, h]) / F``."""

    def __init__(self, width: int = 128, *, hidden: int = 256, projected: int = 30, directions: int = 2) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width, "hidden": hidden, "projected": projected, "directions": directions}
        self.contracts = _promises(width, directions)
        self.mixed = MixedColumns(width, width, hidden=hidden, projected=projected, directions=directions)
        self.mlp = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, h: Tensor, d: Tensor) -> dict[str, Tensor]:
        """Vectors and scalars after the step."""
        step, known, size = self.mixed(z, h, d)
        return {"z": z + step, "h": self.norm(h + self.mlp(known) / size)}


class MixedColumns(nn.Module):
    """``Linear(S M)``, ``out`` vectors, where ``M = MLP([inv, h]) / F`` mixes the columns of ``S``."""

    def __init__(self, width: int, out: int, *, hidden: int = 256, projected: int = 30, directions: int = 2) -> None:
        super().__init__()
        self.scalarize = Scalarize(width, projected, hidden=hidden, directions=directions)
        self.columns = self.scalarize.columns
        self.matrix = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, self.columns**2))
        self.out = nn.Linear(self.columns, out, bias=False)

    def forward(self, z: Tensor, h: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors (..., 3, out), the invariants ``[inv, h]`` that they came from, and ``F``."""
        inv, s, size = self.scalarize(z, d)
        known = torch.cat([inv, h], -1)
        mix = (self.matrix(known) / size).unflatten(-1, (self.columns, self.columns))
        return self.out(s @ mix), known, size
