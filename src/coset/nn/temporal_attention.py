"""Attention along time that moves positions: every node looks at all frames of its own trajectory.

With ``q, k, v`` networks of the features ``h_t`` and ``r_ts`` a linear map of the sines of ``t - s``,

    a_ts = softmax_s <q_t, k_s + r_ts>,
    h'_t = h_t + sum_s a_ts (v_s + r_ts),
    x'_t = x_t + sum_s a_ts g(v_s) (x_t - x_s).

Han et al., Geometric Trajectory Diffusion Models, NeurIPS 2024, arXiv 2410.13027. Only differences of positions enter, so the
layer is E(n)-equivariant; nodes do not see one another. As in the published program scores are not divided by sqrt(hidden);
unlike there ``g`` starts almost at zero, so that trajectories start almost at rest.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S
from coset.nn.message import mlp


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of ``t`` ``(...)`` at ``size / 2`` frequencies from 1 down to 1e-4, ``(..., size)``."""
    if size < 4 or size % 2:
        raise InputError(f"sinusoids: an even size of at least 4, got {size}")
    half = size // 2
    angle = t.unsqueeze(-1) * torch.exp(-math.log(1e4) / (half - 1) * torch.arange(half, dtype=t.dtype, device=t.device))
    return torch.cat([angle.sin(), angle.cos()], -1)


class TemporalAttention(nn.Module):
    """``h`` ``(N, T, hidden)`` and ``x`` ``(N, T, n)`` to the same shapes; any number of frames.

    ``move=False`` leaves positions where they are. Raises InputError for shapes that do not fit.
    """

    def __init__(self, hidden: int = 32, *, clock: int = 32, space: int = 3, move: bool = True) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"hidden": hidden, "clock": clock, "space": space, "move": move}
        fields = {"h": f"N x T x {hidden} x scalar", "x": "N x T x position"}
        self.contracts = (Contract(E(space), fields, fields), Contract(S("N"), fields, fields))
        self.query, self.key, self.value = (mlp(hidden, hidden, hidden) for _ in range(3))
        self.clock = nn.Linear(clock, hidden)
        self.gain = mlp(hidden, hidden, 1) if move else None
        if self.gain is not None:
            nn.init.xavier_uniform_(next(self.gain[-1].parameters()), gain=1e-3)

    def forward(self, h: Tensor, x: Tensor) -> dict[str, Tensor]:
        """``{"h", "x"}`` after one round of attention."""
        if h.ndim != 3 or x.ndim != 3 or h.shape[:2] != x.shape[:2]:
            raise InputError(f"TemporalAttention: h (N, T, hidden) and x (N, T, n), got {tuple(h.shape)}, {tuple(x.shape)}")
        time = torch.arange(h.shape[1], dtype=h.dtype, device=h.device)
        apart = self.clock(sinusoids(time.unsqueeze(1) - time, self.clock.in_features))  # r_ts: (T, T, hidden)
        query, key, value = self.query(h), self.key(h), self.value(h)
        # <q_t, r_ts> and sum_s a_ts r_ts as products batched over t: no tensor of shape (N, T, T, hidden) is made
        scores = query @ key.mT + (query.transpose(0, 1) @ apart.mT).transpose(0, 1)
        share = scores.softmax(-1)
        out = {"h": h + share @ value + (share.transpose(0, 1) @ apart).transpose(0, 1), "x": x}
        if self.gain is not None:
            weight = share * self.gain(value).mT
            local = x - x[:, -1:]  # rounding then does not see how far from the origin the trajectory is
            out["x"] = x + weight.sum(-1, keepdim=True) * local - weight @ local
        return out
