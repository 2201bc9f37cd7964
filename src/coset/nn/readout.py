"""From features of atoms to numbers: energies, dipoles, polarizabilities."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from coset.nn.irreps_blocks import scalars
from coset.nn.irreps_gate import second_moment
from coset.nn.irreps_linear import IrrepsLinear
from coset.reps.irreps import Irreps


class ScalarReadout(nn.Module):
    """``channels`` invariants to one number by a hidden layer: ``(N, channels)`` to ``(N, 1)``."""

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        inner = scalars(hidden, Irreps("0e"))
        self.first, self.last = IrrepsLinear(scalars(channels, inner), inner), IrrepsLinear(inner, scalars(1, inner))
        self.gain = second_moment(F.silu) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """``w silu(W x)``."""
        return self.last(self.gain * F.silu(self.first(x)))
