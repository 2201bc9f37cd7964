"""The components that stand at every pixel of a feature map, and how the plane's rotations mix them.

``(g . f)(x) = rho(g) f(g^{-1} x)`` for maps ``(..., d, H, W)``: :class:`coset.reps.action.Fibre` of one of the two kinds here
over :class:`coset.reps.image.Image`. The regular representation of C(n) or D(n) (:class:`GroupAxis`, one component per
element) and circular harmonics of SO(2) (:class:`Harmonics`, components ``1, Re 1, Im 1, Re 2, Im 2, ...``). Both are moved
by any group of the plane that fits, a subgroup of the layer's own in particular: what the pixel grid keeps.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.finite import C, D
from coset.groups.group import FiniteGroup
from coset.ops.group_conv import plane_matrices
from coset.reps.action import Fibre, Kind, apply_matrix
from coset.reps.fields import Field
from coset.reps.image import Image


class _Components(Kind):
    """One axis, moved by a matrix that the turn of the plane decides."""

    axes = 1

    @abstractmethod
    def matrix(self, group: Any, g: Any) -> Tensor:
        """``rho(g)``, shape ``(*batch, d, d)``, float64."""

    def move(self, group, g, x, given):
        return apply_matrix(self.matrix(group, g).to(x.device), x, x.ndim - 1)


@dataclass(frozen=True)
class GroupAxis(_Components):
    """One component per element of ``group``: ``(k . f)(h) = f(k^{-1} h)``.

    Any group whose elements turn the plane as elements of ``group`` do can act (C(4) on an axis of C(8)); another raises
    ContractError, for the components have no place to go.
    """

    group: FiniteGroup

    def matrix(self, group, g):
        known = plane_matrices(self.group)
        given = group.linear(g).to(known)
        gap = (given.unsqueeze(-3) - known).abs().amax((-1, -2))
        if bool((gap.amin(-1) > 1e-6).any()):
            raise ContractError(f"{self}: {group} has elements outside {self.group}; restrict the contract to a subgroup of it")
        # component h afterwards is component k^{-1} h before
        source = self.group.compose(self.group.inverse(gap.argmin(-1))[..., None], self.group.elements())
        return torch.nn.functional.one_hot(source, int(self.group.order)).to(torch.float64)

    def shape(self, space: int) -> tuple[int, ...]:
        return (int(self.group.order),)

    def __str__(self) -> str:
        return f"regular({self.group})"


@dataclass(frozen=True)
class Harmonics(_Components):
    """Frequencies 0..``order`` of SO(2): ``1 + 2 order`` real components, ``z_m`` moving by ``e^{i m a}``."""

    order: int

    def __post_init__(self) -> None:
        if self.order < 0:
            raise InputError(f"Harmonics: order is >= 0, got {self.order}")

    def matrix(self, group, g):
        turn = group.linear(g).to(torch.float64)
        if turn.shape[-1] != 2 or bool((torch.linalg.det(turn) < 0).any()):
            raise ContractError(f"{self}: {group} is not a group of rotations of the plane; use SO(2) or C(n)")
        angle = torch.atan2(turn[..., 1, 0], turn[..., 0, 0])
        size = 2 * self.order + 1
        out = torch.zeros(*angle.shape, size, size, dtype=torch.float64, device=angle.device)
        out[..., 0, 0] = 1
        for m in range(1, self.order + 1):
            c, s, k = torch.cos(m * angle), torch.sin(m * angle), 2 * m - 1
            out[..., k, k], out[..., k, k + 1], out[..., k + 1, k], out[..., k + 1, k + 1] = c, -s, s, c
        return out

    def shape(self, space: int) -> tuple[int, ...]:
        return (2 * self.order + 1,)

    def __str__(self) -> str:
        return f"harmonics({self.order})"


def image_field(channels: int) -> Field:
    """Maps (B, channels, H, W)."""
    return Field(("B", str(channels)), Image())


def regular_field(channels: int, group: FiniteGroup) -> Field:
    """Maps (B, channels, group.order, H, W)."""
    return Field(("B", str(channels)), Fibre(GroupAxis(group), Image()))


def harmonic_field(channels: int, order: int) -> Field:
    """Maps (B, channels, 2 order + 1, H, W)."""
    return Field(("B", str(channels)), Fibre(Harmonics(order), Image()))


def grid_subgroup(group: FiniteGroup) -> FiniteGroup:
    """The largest C(n) or D(n) inside ``group`` that maps the square pixel grid to itself."""
    matrices = plane_matrices(group)
    on_grid = ((matrices - matrices.round()).abs() < 1e-9).flatten(1).all(1)
    turns = int((on_grid & (torch.linalg.det(matrices) > 0)).sum())
    flips = int((on_grid & (torch.linalg.det(matrices) < 0)).sum())
    return D(turns) if flips else C(turns)


def is_cyclic(group: FiniteGroup) -> bool:
    """Whether ``group`` is a C(n) of rotations listed in order, so that it shifts its own axis."""
    return isinstance(group, C)
