"""Flows: motions at constant velocity, acting on sequences by a group element that grows with time.

A flow with velocity ``nu`` moves frame ``t`` of a sequence by ``exp(t nu)``,

    (psi_nu . x)_t = exp(t nu) . x_t,        psi_nu psi_mu = psi_{nu + mu},

so the flows along commuting directions are the additive group of their velocities. Whole multiples of one unit, pixels per
frame for translations and degrees per frame for rotations, make it the lattice Z^d, which is what networks with a finite
list of velocities can follow. Keller, Flow Equivariant Recurrent Neural Networks, NeurIPS 2025, arXiv 2507.14793.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.euclidean import T
from coset.groups.group import Group, natural
from coset.groups.matrix import SO


@dataclass(frozen=True)
class Flow(Group):
    """Velocities ``unit * n``, ``n`` in Z^d, of translations (``T(2)``) or of rotations of the plane (``SO(2)``).

    Elements are the whole numbers ``n``, int64 ``(*batch, d)``: for translations (down, right) in pixels per frame, for
    rotations anticlockwise degrees per frame divided by ``unit``. Samples are uniform with ``|n_i| <= reach``. Raises
    InputError for other motions, whose flows do not commute, a reach below 1 and a unit that is not positive.
    """

    motion: Group
    reach: int = 1
    unit: float = 1.0

    compact = False

    def __post_init__(self) -> None:
        if self.motion not in (T(2), SO(2)):
            raise InputError(f"Flow: the motion is T(2) (pixels per frame) or SO(2) (degrees per frame), got {self.motion}")
        natural("Flow", self.reach)
        if not 0 < self.unit < math.inf:
            raise InputError(f"Flow: the unit of velocity is a positive number, got {self.unit}")

    def __str__(self) -> str:
        unit = f", {self.unit:g}" if self.unit != 1 else ""
        return f"Flow({self.motion}, {self.reach}{unit})"

    @property
    def rank(self) -> int:
        """Components of a velocity."""
        return 2 if self.translates else 1

    @property
    def translates(self) -> bool:
        """Whether frames are shifted rather than turned."""
        return isinstance(self.motion, T)

    @property
    def element_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.rank,)

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.zeros(self.rank, dtype=torch.int64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g + h

    def inverse(self, g: Tensor) -> Tensor:
        return -g

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """One unit along each axis."""
        return torch.eye(self.rank, dtype=torch.int64, device=device)

    def contains(self, g: Tensor, *, tolerance: float = 0.0) -> Tensor:
        return (g == g.round()).all(-1) if g.is_floating_point() else torch.ones(g.shape[:-1], dtype=torch.bool)

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        return torch.randint(-self.reach, self.reach + 1, (n, self.rank), generator=generator).to(device)

    def grid(self, n: int = 0, *, dtype=None, device=None) -> Tensor:
        """All velocities within ``reach``, the identity first, whatever ``n`` asks for."""
        steps = velocity_grid(self.reach, self.rank)
        middle = len(steps) // 2
        return torch.cat([steps[middle : middle + 1], steps[:middle], steps[middle + 1 :]]).to(device)

    def displacement(self, g: Tensor, times: Tensor) -> Tensor:
        """``t nu``: pixels ``(*batch, T, 2)`` (down, right) of a translation, degrees ``(*batch, T)`` of a rotation."""
        way = self.unit * g.to(torch.float64).unsqueeze(-2) * times.to(torch.float64).unsqueeze(-1)
        return way if self.translates else way.squeeze(-1)


def velocity_grid(reach: int, rank: int = 2) -> Tensor:
    """All whole vectors with entries from ``-reach`` to ``reach``, int64 ``((2 reach + 1)^rank, rank)``, first axis slowest.

    The order is symmetric: row ``i`` is the negative of row ``-1 - i``, and 0 stands in the middle.
    """
    if reach < 0 or rank < 1:
        raise InputError(f"velocity_grid: reach >= 0 and rank >= 1, got {reach} and {rank}")
    steps = torch.arange(-reach, reach + 1)
    return torch.cartesian_prod(*[steps] * rank).reshape(-1, rank)
