"""Predictors written by a motion: ``W(z) e`` where a network without biases makes the matrix ``W`` from ``z``.

Garrido, Najman & LeCun, ICML 2023, arXiv 2302.10283. With the linear hypernetwork ``W(z) = sum_k z_k A_k``; then ``W`` cannot
be one constant matrix for all ``z``, which rules out the collapse to invariance. A bias anywhere would bring it back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.matrix import GL
from coset.reps.action import Action
from coset.reps.fields import Field


class Multiplied(Action):
    """GL(1) on numbers: ``g . x = g x``, entry by entry."""

    def act(self, g, x, given):
        factor = g[..., 0, 0].to(x)
        return factor.view(*factor.shape, *[1] * (x.ndim - factor.ndim)) * x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Multiplied)

    def __hash__(self) -> int:
        return hash(Multiplied)

    def __str__(self) -> str:
        return "multiplied"


class HyperPredictor(nn.Module):
    """``e`` (B, features) and ``z`` (B, motion) to ``W(z) e``.

    ``hidden`` are widths of ReLU layers between ``z`` and ``W`` (the "deep" hypernetwork: (4, 4)); () is the paper's linear
    one. Weights start so that ``W(z)`` keeps lengths for unit ``z``. Contracts under GL(1), exact: ``W`` is homogeneous in
    ``z`` (where it is linear) and the prediction in ``e``. Raises InputError for sizes below 1 and shapes that do not fit.
    """

    def __init__(self, motion: int = 4, features: int = 64, *, hidden: Sequence[int] = ()) -> None:
        super().__init__()
        if min(motion, features, *hidden, 1) < 1:
            raise InputError(f"HyperPredictor: sizes are at least 1, got motion {motion}, features {features}, hidden {hidden}")
        self.config: dict[str, Any] = {"motion": motion, "features": features, "hidden": list(hidden)}
        self.motion, self.features = motion, features
        sizes = (motion, *hidden)
        self.encode = nn.Sequential(
            *(layer for inputs, outputs in pairwise(sizes) for layer in (nn.Linear(inputs, outputs, bias=False), nn.ReLU()))
        )
        self.matrices = nn.Parameter(torch.randn(sizes[-1], features, features) / math.sqrt(features))
        e, z = Field.of(f"B x {features} x scalar"), Field.of(f"B x {motion} x scalar")
        times_e, times_z = (Field(field.index, Multiplied()) for field in (e, z))
        linear = Contract(GL(1), {"e": e, "z": times_z}, times_e, name="GL(1) on z")
        self.contracts = (Contract(GL(1), {"e": times_e, "z": z}, times_e, name="GL(1) on e"), *(() if hidden else (linear,)))

    def forward(self, e: Tensor, z: Tensor) -> Tensor:
        """``sum_k u_k A_k e`` with ``u`` the last layer before the matrices; no matrix of a sample is ever formed."""
        if e.shape[-1] != self.features or z.shape[-1] != self.motion:
            raise InputError(
                f"HyperPredictor: e is (B, {self.features}) and z (B, {self.motion}), got {tuple(e.shape)} and {tuple(z.shape)}"
            )
        images = e @ self.matrices.to(e).flatten(0, 1).mT  # (B, K * features)
        u = self.encode(z.to(self.matrices)).to(e)
        return (u.unsqueeze(-1) * images.unflatten(-1, (-1, self.features))).sum(-2)
