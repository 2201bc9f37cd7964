"""Gates for features of irreps: scalars pass an activation, every other channel is multiplied by an open or closed gate.

    y_s = f(s),      y_(k, u) = sigmoid(g_u) x_(k, u)

A number commutes with every matrix, so that this is exact for any group. Even functions would turn pseudoscalars (0o) into
scalars; they take an odd one. Weiler et al., NeurIPS 2018, arXiv 1807.02547. Activations are scaled such that a standard normal
input gives an output of mean square 1 (as e3nn's are).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, scalars, split_blocks

Activation = Callable[[Tensor], Tensor]


def second_moment(activation: Activation) -> float:
    """``E f(z)^2`` for standard normal ``z``, by Gauss-Hermite quadrature in float64."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    values = activation(torch.from_numpy(nodes)).detach().numpy()
    return float((weights * values**2).sum() / weights.sum())


class IrrepsGate(nn.Module):
    """``scalars + gates + gated`` to ``scalars + gated``; :attr:`irreps_in` is what the layer before must produce.

    ``scalar_irreps`` are one-dimensional (``"16x0e+4x0o"``), ``gated`` anything; there is one trivial gate for each of its
    copies. ``even`` acts on trivial scalars, ``odd``, an odd function, on the others. InputError where these do not hold.
    """

    def __init__(
        self,
        scalar_irreps: IrrepsLike,
        gated: IrrepsLike,
        *,
        even: Activation = F.silu,
        odd: Activation = torch.tanh,
        gate: Activation = torch.sigmoid,
        normalized: bool = True,
    ) -> None:
        super().__init__()
        self.scalars = as_irreps(scalar_irreps)
        self.gated = as_irreps(gated, self.scalars.group)
        if any(ir.dim != 1 for _, ir in self.scalars):
            raise InputError(f"IrrepsGate: scalars have one component, got {self.scalars}; put the others into gated")
        probe = torch.linspace(-3, 3, 25, dtype=torch.float64)
        if any(not ir.is_scalar() for _, ir in self.scalars) and not torch.allclose(odd(probe), -odd(-probe), atol=1e-12):
            raise InputError("IrrepsGate: pseudoscalars take an odd function, f(-x) = -f(x); tanh is one")
        self.functions = [even if ir.is_scalar() else odd for _, ir in self.scalars]
        self.gate = gate
        self.gains = [second_moment(f) ** -0.5 if normalized else 1.0 for f in (*self.functions, gate)]
        self.irreps_gates = scalars(self.gated.num_irreps, self.gated)
        self.irreps_in = self.scalars + self.irreps_gates + self.gated
        self.irreps_out = self.scalars + self.gated
        self.contracts = (Contract(self.scalars.group, self.irreps_in, self.irreps_out),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``."""
        if x.shape[-1] != self.irreps_in.dim:
            raise InputError(f"IrrepsGate: expected {self.irreps_in} (..., {self.irreps_in.dim}), got {tuple(x.shape)}")
        plain, gates, rest = x.split([self.scalars.dim, self.irreps_gates.dim, self.gated.dim], -1)
        pieces = plain.split([block.mul for block in self.scalars], -1) if len(self.scalars) else []
        out = [f(piece) * gain for f, piece, gain in zip(self.functions, pieces, self.gains[:-1], strict=True)]
        opened = (self.gate(gates) * self.gains[-1]).split([block.mul for block in self.gated], -1) if len(self.gated) else []
        out += [(part * g.unsqueeze(-2)).flatten(-2) for part, g in zip(split_blocks(rest, self.gated), opened, strict=True)]
        return torch.cat(out, -1)
