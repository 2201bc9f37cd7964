"""Kinds of the tasks that NERO shows: boxes of a detector, crops that move an object in its frame, pairs of flow frames.

Time reversal of a flow swaps the frames and negates the field; with the symmetries of the square it gives the 16 elements of
``D(4) * Reversal()``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup
from coset.reps.action import Fibre, Kind, Tensorial
from coset.reps.image import Image


@dataclass(frozen=True)
class Crop(Kind):
    """A window of ``size`` pixels in a larger image ``(..., H, W)``: a shift by t re-crops, so that the object moves by t.

    Nothing is padded: an object is moved within the frame by taking another part of the scene. Only shifts by whole pixels
    (``2 / size`` in the coordinates of :mod:`coset.reps`) that stay inside the scene; InputError for others.
    """

    size: int

    axes = 2

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        matrix, shift = group.linear(g), group.shift(g)
        if matrix.shape[-1] != 2 or not torch.allclose(matrix, torch.eye(2).to(matrix).expand_as(matrix), atol=1e-9):
            raise ContractError(f"a crop is moved by translations of the plane, T(2); {group} turns or scales it")
        pixels = shift * self.size / 2
        whole = pixels.round()
        if bool((pixels - whole).abs().max() > 1e-6):
            raise InputError(
                f"a crop moves by whole pixels (shifts of {2 / self.size:g}); got {pixels.flatten().tolist()[:4]} pixels"
            )
        height, width = x.shape[-2:]
        top = (height - self.size) // 2 + whole[..., 1].long()  # the object moves up: the window moves down
        left = (width - self.size) // 2 - whole[..., 0].long()
        if (
            int(top.min()) < 0
            or int(left.min()) < 0
            or int(top.max()) + self.size > height
            or int(left.max()) + self.size > width
        ):
            raise InputError(
                f"a shift leaves the scene: a {self.size} pixel window in {height} x {width}; take smaller shifts or more scene"
            )
        batch = shift.ndim - 1
        rows, columns = (start.reshape(-1, 1) + torch.arange(self.size) for start in (top, left))
        flat = x.expand(*shift.shape[:-1], *x.shape[batch:]).reshape(len(rows), -1, height, width)
        out = torch.stack([image[:, r][:, :, c] for image, r, c in zip(flat, rows, columns, strict=True)])
        return out.reshape(*shift.shape[:-1], *x.shape[batch:-2], self.size, self.size)

    def shape(self, space: int) -> tuple[int, ...]:
        return (2 * self.size, 2 * self.size)

    def __str__(self) -> str:
        return f"crop({self.size})"


@dataclass(frozen=True)
class Box(Kind):
    """Boxes ``(..., 4)``: x1, y1, x2, y2 with x1 < x2 and y1 < y2, in the coordinates of :mod:`coset.reps` (y up).

    Moved to the bounding box of the moved corners: exact for shifts, scales and quarter turns, lossy (larger) for other
    rotations, which :meth:`floor` tells.
    """

    axes = 1

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        matrix, shift = group.linear(g).to(x), group.shift(g).to(x)
        corners = x[..., [0, 1, 2, 1, 2, 3, 0, 3]].unflatten(-1, (4, 2))
        room = corners.ndim - matrix.ndim
        matrix = matrix.reshape(*matrix.shape[:-2], *[1] * max(room, 0), 2, 2)
        shift = shift.reshape(*shift.shape[:-1], *[1] * (corners.ndim - shift.ndim), 2)
        moved = corners @ matrix.mT + shift
        return torch.cat([moved.amin(-2), moved.amax(-2)], -1)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """``|g^-1 . (g . x) - x| / |x|``; 0 where boxes stay boxes."""
        back = self.move(group, group.inverse(g), self.move(group, g, x, {}), {})
        outer = len(group.batch_shape(g))
        gap = (back - x).double().flatten(outer).norm(dim=-1)
        return torch.where(gap < 1e-9, torch.zeros_like(gap), gap / x.double().flatten(outer).norm(dim=-1))

    def shape(self, space: int) -> tuple[int, ...]:
        return (4,)

    def __str__(self) -> str:
        return "box"


@dataclass(frozen=True)
class Frames(Kind):
    """Consecutive images ``(..., T, H, W)``: a group of the plane moves each, time reversal their order."""

    axes = 3

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        return Image().move(group, g, x, given)

    def shape(self, space: int) -> tuple[int, ...]:
        return (2, 16, 16)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        return Image().floor(group, g, x)

    def __str__(self) -> str:
        return "frames"


@dataclass(frozen=True)
class Reversal(FiniteGroup):
    """Time reversal: element 1 reads :class:`Frames` backwards and negates a flow (``vector_image``); scalars stay."""

    order = 2

    names = ("forward", "reversed")

    @property
    def table(self) -> Tensor:
        return torch.tensor([[0, 1], [1, 0]])

    def generators(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones(1, dtype=torch.int64, device=device)

    def move(self, g: Tensor, field: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        x = x.expand(*g.shape, *x.shape[g.ndim :])
        back = (g == 1).view(*g.shape, *[1] * (x.ndim - g.ndim)).to(x.device)
        if isinstance(field.kind, Frames):
            return torch.where(back, x.flip(-3), x)
        if isinstance(field.kind, Fibre) and field.kind.fibre == Tensorial(1):
            return torch.where(back, -x, x)
        if field.still:
            return x
        raise ContractError(f"time reversal acts on frames and flows; a field over {field} has no such rule")

    def __str__(self) -> str:
        return "time reversal"
