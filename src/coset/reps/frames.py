"""Sequences of images: moved frame by frame by a group of the plane, and along time by its flows.

``frames`` are ``(T, C, H, W)``. A flow (:class:`coset.groups.flows.Flow`) moves frame ``t`` by ``t`` times its velocity: by
whole pixels round the torus, or by an angle about the center. A ``velocity_state`` is what a flow-equivariant recurrence
keeps, ``(V, channels, H, W)``: one map per velocity, moved in place and exchanged between velocities,

    (psi_nu . h)[mu] = exp(t nu) . h[mu - nu].

Where ``mu - nu`` lies outside the finite list of velocities nothing is promised: the kind is ``partial``.
Keller, NeurIPS 2025, arXiv 2507.14793, theorem 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.flows import Flow, velocity_grid
from coset.groups.torus import Torus
from coset.reps.action import Kind
from coset.reps.image import Image
from coset.reps.sequence import shift_sequence
from coset.reps.torus import PeriodicImage, roll_image


def turn_frames(x: Tensor, degrees: Tensor, *, disc: bool = False) -> Tensor:
    """``x`` ``(*batch, ..., H, W)`` turned anticlockwise by ``degrees`` ``(*batch,)``; exact for quarter turns."""
    angle = torch.deg2rad(degrees.to(torch.float64))
    cos, sin = angle.cos(), angle.sin()
    quarter = (degrees.to(torch.float64) / 90).round()
    exact = (degrees - 90 * quarter).abs() < 1e-9
    cos, sin = (torch.where(exact, value.round(), value) for value in (cos, sin))
    matrix = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
    return Image(disc=disc).move(_Turn(), matrix, x, {})


class _Turn:
    """The geometry of a bare rotation matrix, as :class:`Image` asks for it."""

    def linear(self, g: Tensor) -> Tensor:
        return g

    def shift(self, g: Tensor) -> Tensor:
        return g.new_zeros(g.shape[:-1])


def displace(group: Flow, way: Tensor, x: Tensor, *, disc: bool = False) -> Tensor:
    """Images ``x`` ``(*batch, ..., H, W)`` moved by a flow's displacement: pixels ``(*batch, 2)`` or degrees ``(*batch,)``."""
    return roll_image(x, way) if group.translates else turn_frames(x, way, disc=disc)


def _still(group: Any, disc: bool = False) -> Kind:
    """How one frame is moved by a group that does not know time: round the torus, or in the plane."""
    return PeriodicImage() if isinstance(group, Torus) else Image(disc=disc)


@dataclass(frozen=True)
class Frames(Kind):
    """Square images in time, ``(T, C, H, W)``, from time 0 on, or continuing where the input named ``after`` ends."""

    after: str = ""
    size: int | None = None  #: pixels along a side where they are known; others are refused
    disc: bool = False  #: see :class:`coset.reps.image.Image`; for turns that are no quarter turns

    axes = 4

    def __post_init__(self) -> None:
        if self.size is not None and (isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1):
            raise InputError(f"frames: size is a number of pixels, got {self.size!r}")

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if self.size is not None and tuple(x.shape[-2:]) != (self.size, self.size):
            raise InputError(f"{self}: expected {self.size} x {self.size} pixels, got shape {tuple(x.shape)}")
        if not isinstance(group, Flow):
            return _still(group, self.disc).move(group, g, x, given)
        outer = g.ndim - 1
        start = given[self.after].shape[-4] if self.after else 0
        times = torch.arange(start, start + x.shape[-4], device=x.device)
        # time stands right behind the batch of g, so that every frame meets its own displacement
        moved = displace(group, group.displacement(g, times), x.movedim(-4, outer), disc=self.disc)
        return moved.movedim(outer, -4)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """Translations by whole pixels are exact; a turning sequence costs what its images cost on average."""
        if isinstance(group, Flow) and not group.translates:
            plain = Frames(disc=self.disc)
            there = plain.move(group, g, x, {})
            gap = plain.move(group, group.inverse(g), there, {}) - x
            lead = g.ndim - 1
            return gap.double().flatten(lead).norm(dim=-1) / x.double().flatten(lead).norm(dim=-1).clamp_min(1e-30)
        return super().floor(group, g, x) if isinstance(group, Flow) else _still(group, self.disc).floor(group, g, x)

    def shape(self, space: int) -> tuple[int, ...]:
        """4 frames of one channel, 8 x 8 or of the declared size."""
        return (4, 1, self.size or 8, self.size or 8)

    def __str__(self) -> str:
        words = [
            f"after={self.after}" if self.after else "",
            f"size={self.size}" if self.size else "",
            "disc=true" if self.disc else "",
        ]
        inside = ", ".join(filter(None, words))
        return f"frames({inside})" if inside else "frames"


@dataclass(frozen=True)
class VelocityState(Kind):
    """One map per velocity within ``reach`` of a flow, ``(V, channels, [order,] H, W)``, after the last frame of ``of``.

    ``order`` is the length of a regular axis of C(order), which turns along. ``cyclic`` closes the list: on a torus of
    ``2 reach + 1`` pixels (or with ``(2 reach + 1) unit = 360`` degrees) velocities are counted modulo its length, nothing
    lies outside, and the action is defined everywhere.
    """

    reach: int
    of: str = ""  #: the input whose frames were seen
    order: int = 0
    cyclic: bool = False

    @property
    def axes(self) -> int:  # type: ignore[override]
        return 5 if self.order else 4

    @property
    def partial(self) -> bool:  # type: ignore[override]
        return not self.cyclic

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if not isinstance(group, Flow):
            if self.order and not isinstance(group, Torus):
                raise ContractError(f"{self}: {group} does not move this state; audit the layers for a group of the plane")
            return _still(group).move(group, g, x, given)
        if x.shape[-self.axes] != (2 * self.reach + 1) ** group.rank:
            raise ContractError(f"{self}: expected {(2 * self.reach + 1) ** group.rank} velocities, got {x.shape[-self.axes]}")
        last = torch.tensor([given[self.of].shape[-4] - 1], device=x.device)
        way = group.displacement(g, last).squeeze(g.ndim - 1)
        moved = displace(group, way, x)
        if self.order and not group.translates:
            moved = shift_sequence(moved.movedim(-3, -1), way * self.order / 360).movedim(-1, -3)
        return self._exchange(g, moved)

    def _exchange(self, g: Tensor, x: Tensor) -> Tensor:
        """``out[mu] = x[mu - nu]``, NaN where ``mu - nu`` is not in the list."""
        grid = velocity_grid(self.reach, g.shape[-1]).to(g.device)
        source = grid - g.unsqueeze(-2)
        side = 2 * self.reach + 1
        inside = (source.abs() <= self.reach).all(-1)
        digits = (source + self.reach) % side
        weight = side ** torch.arange(g.shape[-1] - 1, -1, -1, device=g.device)
        index = (digits * weight).sum(-1)  # (*batch, V)
        outer = g.ndim - 1
        shape = (*index.shape[:-1], *[1] * (x.ndim - outer - self.axes), index.shape[-1], *[1] * (self.axes - 1))
        moved = torch.take_along_dim(x, index.view(shape), dim=x.ndim - self.axes)
        if self.cyclic:
            return moved
        return torch.where(inside.view(shape), moved, torch.full((), torch.nan, dtype=x.dtype, device=x.device))

    def shape(self, space: int) -> tuple[int, ...]:
        """Two channels, 8 x 8, for a flow of the plane."""
        return ((2 * self.reach + 1) ** 2, 2, *([self.order] if self.order else []), 8, 8)

    def __str__(self) -> str:
        words = [str(self.reach), f"of={self.of}" if self.of else "", f"order={self.order}" if self.order else ""]
        return f"velocity_state({', '.join(filter(None, [*words, 'cyclic=true' if self.cyclic else '']))})"
