"""Sequences: translations, cyclic shifts and time reversal of the last axis.

On a line (groups of R^1: ``T(1)``, ``E(1)``, ``O(1)``) one unit of shift is one step and the origin is the middle of the
window; on a circle (groups of the plane: ``C(n)``, ``D(n)``, ``SO(2)``, ``O(2)``) a full turn is the whole period and sample
0 stands at angle 0, so that ``C(n)`` shifts by ``T / n`` steps. Whole steps only move entries; a periodic sequence is moved
by a fraction of a step through its Fourier series (exact but for the highest frequency of an even length), any other by
linear interpolation with zeros outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.reps.action import Kind


def shift_sequence(x: Tensor, steps: Tensor, *, periodic: bool = True) -> Tensor:
    """``x`` ``(*batch, ..., T)`` moved towards later times by ``steps`` ``(*batch,)``: ``y[i] = x[i - steps]``.

    The batch axes of ``steps`` broadcast against the leading axes of ``x``. Differentiable in both; steps that carry a
    gradient are always interpolated. Raises InputError where ``x`` has fewer axes than ``steps`` needs.
    """
    outer = steps.ndim
    if x.ndim < outer + 1:
        raise InputError(f"shift_sequence: expected x (*batch, ..., T) for steps {tuple(steps.shape)}, got {tuple(x.shape)}")
    steps = steps.view(*steps.shape, *[1] * (x.ndim - outer))
    whole = steps.detach().round()
    exact = ((steps - whole).abs() <= 1e-9) & (not steps.requires_grad)
    if bool(exact.all()):
        return _take(x, whole.to(torch.int64), periodic)
    if periodic:
        frequency = torch.arange(x.shape[-1] // 2 + 1, dtype=torch.float64, device=x.device)
        phase = torch.exp(-2j * math.pi / x.shape[-1] * frequency * steps)
        spectrum = torch.fft.rfft(x.to(torch.float64)) * phase
        return torch.where(exact, _take(x, whole.to(torch.int64), True), torch.fft.irfft(spectrum, n=x.shape[-1]).to(x))
    low = steps.detach().floor()
    share = (steps - low).to(x)
    low = low.to(torch.int64)
    return (1 - share) * _take(x, low, periodic) + share * _take(x, low + 1, periodic)


def _take(x: Tensor, steps: Tensor, periodic: bool) -> Tensor:
    """``x[i - steps]`` for whole steps, wrapped or with zeros from outside."""
    length = x.shape[-1]
    source = torch.arange(length, device=x.device) - steps.to(x.device)
    lead = torch.broadcast_shapes(x.shape[:-1], source.shape[:-1])
    taken = x.expand(*lead, length).gather(-1, (source % length).expand(*lead, length))
    return taken if periodic else taken * ((source >= 0) & (source < length)).to(x)


@dataclass(frozen=True)
class Sequence(Kind):
    """Samples of a signal along the last axis, moved by the groups of the line and of the circle (see the module)."""

    periodic: bool = True

    axes = 1

    def __post_init__(self) -> None:
        if not isinstance(self.periodic, bool):
            raise InputError(f"sequence: periodic is true or false, got {self.periodic!r}")

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        steps, back = self._steps(group, g, x.shape[-1])
        outer = steps.ndim
        if bool(back.any()):
            x = torch.where(back.view(*back.shape, *[1] * (x.ndim - outer)), x.flip(-1), x)
        return shift_sequence(x, steps, periodic=self.periodic)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """``|g^-1 . (g . x) - x| / |x|``: 0 for whole steps."""
        steps, _ = self._steps(group, g, x.shape[-1])
        outer = steps.ndim
        moved = shift_sequence(shift_sequence(x, steps, periodic=self.periodic), -steps, periodic=self.periodic)
        gap, norm = ((v).to(torch.float64).flatten(outer).norm(dim=-1) for v in (moved - x, x))
        return torch.where(gap == 0, gap, gap / norm)

    def _steps(self, group: Any, g: Any, length: int) -> tuple[Tensor, Tensor]:
        """Steps towards later times after a possible reversal of the array, and whether it is reversed."""
        matrix = group.linear(g)
        space = matrix.shape[-1]
        if space not in (1, 2):
            raise ContractError(
                f"{group} acts on R^{space}, a sequence needs a group of the line such as T(1) or of the circle such as C(8)"
            )
        orthogonal = (matrix @ matrix.mT - torch.eye(space).to(matrix)).abs().amax() <= 1e-6
        if not bool(orthogonal):
            raise ContractError(f"{group} stretches time; a sequence of fixed steps has only shifts and reversal")
        if space == 1:
            return group.shift(g)[..., 0], matrix[..., 0, 0] < 0
        if not self.periodic:
            raise ContractError(f"{group} turns a circle, so the sequence must be periodic")
        if bool((group.shift(g).abs() > 1e-9).any()):
            raise ContractError(f"{group} shifts the plane; a sequence is moved by rotations and reflections about its center")
        turn = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0]) * length / (2 * math.pi)
        back = matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0] < 0
        near = turn.detach().round()  # angles of cyclic groups are whole steps up to rounding
        turn = torch.where((turn - near).abs() <= 1e-9 * length, near, turn) if not turn.requires_grad else turn
        return turn + back, back  # reversing the array sends sample 0 to the last place: one step more brings it back

    def shape(self, space: int) -> tuple[int, ...]:
        """16 steps."""
        return (16,)

    def __str__(self) -> str:
        return "sequence" if self.periodic else "sequence(periodic=false)"
