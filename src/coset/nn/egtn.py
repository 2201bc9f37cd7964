"""EGTN, a network on trajectories: messages between nodes within a frame, attention between frames within a node, in turn.

    h, x -> [spatial layer of coset.nn.message, temporal layer of coset.nn.temporal_attention] x layers -> h, x

Han et al., Geometric Trajectory Diffusion Models, NeurIPS 2024, arXiv 2410.13027. Exact for E(n) and permutations of nodes.
``move=False`` makes its unconstrained copy: coordinates enter as further features, and the displacement is read linearly from
features and coordinates. Spatial layers have no residual connection, as in the published program; unlike there they
see ``log(1 + |d|^2)``: with ``|d|^2`` a step outgrows the distance, and of samplers of 50 steps a few paths in a thousand ran
away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.nn.message import MessagePassing
from coset.nn.temporal_attention import TemporalAttention


class EGTN(nn.Module):
    """``h`` ``(N, T, features)``, ``x`` ``(N, T, n)`` on a graph to ``{"h": (N, T, hidden), "x": (N, T, n)}``.

    Raises InputError for sizes below 1.
    """

    def __init__(
        self,
        features: int = 1,
        hidden: int = 128,
        layers: int = 6,
        *,
        edge_features: int = 0,
        space: int = 3,
        move: bool = True,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "features": features, "hidden": hidden, "layers": layers,
            "edge_features": edge_features, "space": space, "move": move,
        }  # fmt: skip
        if min(features, hidden, layers, space) < 1:
            raise InputError(f"EGTN: sizes are at least 1, got {self.config}")
        self.embed = nn.Linear(features + (0 if move else space), hidden)
        self.spatial = nn.ModuleList(
            MessagePassing(hidden, edge_features, space=space, move=move, residual=False, damped=True) for _ in range(layers)
        )
        self.temporal = nn.ModuleList(TemporalAttention(hidden, space=space, move=move) for _ in range(layers))
        self.read = None if move else nn.Linear(hidden + space, space)
        if self.read is not None:  # at rest at first, like layers that move positions
            nn.init.xavier_uniform_(self.read.weight, gain=1e-3)
        inputs = {"h": f"N x T x {features} x scalar", "x": "N x T x position", "edge_index": "2 x E -> N"}
        if edge_features:
            inputs["edge_attr"] = f"E x {edge_features} x scalar"
        outputs = {"h": f"N x T x {hidden} x scalar", "x": "N x T x position"}
        exact = (Contract(E(space), inputs, outputs),) if move else ()
        self.contracts = (*exact, Contract(S("N"), inputs, outputs))

    def forward(self, h: Tensor, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> dict[str, Tensor]:
        """Features and positions after all layers; ``edge_attr`` ``(E, edge_features)`` is the same in all frames."""
        if h.ndim != 3 or x.ndim != 3 or h.shape[:2] != x.shape[:2]:
            raise InputError(f"EGTN: h (N, T, features) and x (N, T, n), got {tuple(h.shape)} and {tuple(x.shape)}")
        if edge_attr is not None:
            edge_attr = edge_attr.unsqueeze(1).expand(-1, x.shape[1], -1)
        h = self.embed(h if self.read is None else torch.cat([h, x], -1))
        for spatial, temporal in zip(self.spatial, self.temporal, strict=True):
            out = spatial(h, x, edge_index, edge_attr=edge_attr)
            out = temporal(out["h"], out["x"])
            h, x = out["h"], out["x"]
        return {"h": h, "x": x if self.read is None else x + self.read(torch.cat([h, x], -1))}
