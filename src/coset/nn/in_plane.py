"""What turns of the image plane do to signals on the rotations: the kinds that single-view models state contracts with.

Seen by a camera that looks along -y, the image's right is z and its up is x. Turning the image by ``a`` counter-clockwise then
is the rotation ``r(a)`` about y by ``a``, and SO(2) is a subgroup of SO(3): features of SO(3) move by their restriction
(:func:`coset.reps.restricted.about_axis`), values on a grid of rotations by ``(g . f)(R) = f(r(a)^-1 R)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError
from coset.ops.healpix import RotationGrid
from coset.reps.action import Kind, take
from coset.reps.irreps import Irreps
from coset.reps.restricted import about_axis


def view_rotation(group: Any, g: Any) -> Tensor:
    """``r(g)``, ``(*batch, 3, 3)``: the rotation about the viewing axis y that turns the image as ``g`` does.

    ContractError for groups that do not turn the plane (flips included: a mirrored view is no view of the same object).
    """
    turn = group.linear(g)
    if turn.shape[-1] != 2 or bool((torch.linalg.det(turn) < 0).any()):
        raise ContractError(f"{group} is not a group of turns of the image; use SO(2) or C(n)")
    return about_axis()(turn)


@dataclass(frozen=True)
class InPlane(Kind):
    """Features of SO(3), ``irreps``, moved by turns of the image: ``D(r(g)) x`` on the last axis."""

    irreps: Irreps

    axes = 1

    def move(self, group, g, x, given):
        return self.irreps.transform(view_rotation(group, g).to(x.device), x)

    def shape(self, space: int) -> tuple[int, ...]:
        return (self.irreps.dim,)

    def __str__(self) -> str:
        return f"in_plane({self.irreps})"


@dataclass(frozen=True)
class GridValues(Kind):
    """Values at the rotations of a :class:`~coset.ops.healpix.RotationGrid` on the last axis; its size says which.

    Quarter turns permute the grid. Others take the value of the cell they come from, which is as coarse as the grid.
    """

    axes = 1

    def move(self, group, g, x, given):
        source = RotationGrid.of_size(x.shape[-1]).turned(view_rotation(group, g).to(x.device))
        return take(x, source, x.ndim - 1)

    def shape(self, space: int) -> tuple[int, ...]:
        return (len(RotationGrid(1)),)

    def __str__(self) -> str:
        return "rotation_grid"
