"""HEALPix: pixels of equal area on the sphere and, times a circle of turns, cells of equal volume on the rotations.

The sphere is cut into ``12 n^2`` pixels whose centers stand on ``4 n - 1`` rings about the polar axis, here y. Ring ``i``
counted from the pole holds ``4 min(i, n)`` of them, at height

    1 - i^2 / (3 n^2)  (caps, i < n),        4/3 - 2 i / (3 n)  (belt),

so that every quarter turn about the axis only exchanges centers: Gorski et al., ApJ 622 (2005), arXiv astro-ph/0409513. The
rotations ``Ry(alpha) Rx(beta) Ry(gamma)`` with ``(beta, alpha)`` at the centers for ``n = 2^k`` and ``6 n`` equal angles
gamma are the ``72 * 8^k`` points of level k (Yershova et al., IJRR 29, 2010). A cell has the volume ``pi^2 / N``, half the
unit sphere of R^4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.reps.wigner import rotation_from_euler

VOLUME = math.pi**2  #: of all rotations, as the literature on pose measures them
MEMORY = 2**23  #: entries of a table of distances at a time
#: corner of the twelve faces: ring in units of n, and longitude in units of pi / 4
FACE_RING = (2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4)
FACE_TURN = (1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7)

# ---------------------------------------------------------------------- the sphere


def healpix_angles(nside: int, order: str = "ring") -> tuple[Tensor, Tensor]:
    """Polar angles and angles about the axis, both ``(12 nside^2,)`` float64, of pixel centers.

    ``order`` is ``"ring"`` (ring by ring from the north pole) or ``"nested"`` (four children stand side by side; nside is then
    a power of two). InputError otherwise.
    """
    if isinstance(nside, bool) or not isinstance(nside, int) or nside < 1:
        raise InputError(f"healpix: nside is a whole number of at least 1, got {nside!r}")
    if order == "ring":
        return _ring_order(nside)
    if order == "nested":
        return _nested_order(nside)
    raise unknown("order of pixels", order, ["ring", "nested"])


def healpix_centers(nside: int, order: str = "ring") -> Tensor:
    """Unit vectors ``(12 nside^2, 3)`` float64: ``(sin b sin a, cos b, sin b cos a)``, the polar axis is y."""
    beta, alpha = healpix_angles(nside, order)
    return torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], -1)


def _ring_order(n: int) -> tuple[Tensor, Tensor]:
    ring = torch.arange(1, 4 * n)
    per = 4 * torch.minimum(torch.minimum(ring, 4 * n - ring), torch.tensor(n))
    offset = torch.where((per < 4 * n) | ((ring - n) % 2 == 0), 0.5, 0.0).double()
    first = per.cumsum(0) - per
    place = torch.arange(12 * n * n) - first.repeat_interleave(per)
    alpha = (place + offset.repeat_interleave(per)) * (2 * math.pi) / per.repeat_interleave(per)
    return _height(ring, n).arccos().repeat_interleave(per), alpha


def _height(ring: Tensor, n: int) -> Tensor:
    """The cosine of the polar angle of rings 1, ..., 4 n - 1."""
    near = torch.minimum(ring, 4 * n - ring).double()
    cap, belt = 1 - near**2 / (3 * n * n), 4 / 3 - 2 * near / (3 * n)
    return torch.where(near < n, cap, belt) * torch.where(ring <= 2 * n, 1.0, -1.0).double()


def _nested_order(n: int) -> tuple[Tensor, Tensor]:
    levels = n.bit_length() - 1
    if n != 2**levels:
        raise InputError(f"healpix: nested pixels need a power of two, got nside {n}; use order='ring'")
    pixel = torch.arange(12 * n * n)
    face, inside = pixel // (n * n), pixel % (n * n)
    x = sum(((inside >> 2 * bit) & 1) << bit for bit in range(levels)) + torch.zeros_like(pixel)
    y = sum(((inside >> 2 * bit + 1) & 1) << bit for bit in range(levels)) + torch.zeros_like(pixel)
    ring = torch.tensor(FACE_RING)[face] * n - x - y - 1
    per = torch.minimum(torch.minimum(ring, 4 * n - ring), torch.tensor(n))
    alpha = (torch.tensor(FACE_TURN)[face] * per + x - y).double() * (math.pi / 4) / per
    return _height(ring, n).arccos(), alpha % (2 * math.pi)


def healpix_pixel(nside: int, points: Tensor) -> Tensor:
    """The pixel, in ring order, that each of the unit vectors ``points`` ``(..., 3)`` lies in: int64 ``(...)``."""
    n, z = nside, points[..., 1].double()
    quarter = torch.atan2(points[..., 0].double(), points[..., 2].double()) % (2 * math.pi) * (2 / math.pi)
    # belt: between which ascending and which descending edge lines
    down, up = (n * (0.5 + quarter) - 0.75 * n * z).floor().long(), (n * (0.5 + quarter) + 0.75 * n * z).floor().long()
    ring = n + 1 + down - up
    belt = 2 * n * (n - 1) + (ring - 1) * 4 * n + ((down + up - n + 1 + (ring + 1) % 2) // 2) % (4 * n)
    # caps: the same, counted from the nearer pole
    part, reach = quarter % 1, n * (3 * (1 - z.abs())).clamp(min=0).sqrt()
    near = (part * reach).floor().long() + ((1 - part) * reach).floor().long() + 1
    place = (quarter * near).floor().long() % (4 * near)
    cap = torch.where(z > 0, 2 * near * (near - 1) + place, 12 * n * n - 2 * near * (near + 1) + place)
    return torch.where(z.abs() <= 2 / 3, belt, cap)


# ---------------------------------------------------------------------- the rotations


@dataclass(frozen=True)
class RotationGrid:
    """The grid of ``level`` k >= 0 on SO(3); entry ``pixel * 6 * 2^k + j`` turns by the j-th angle first."""

    level: int

    def __post_init__(self) -> None:
        if isinstance(self.level, bool) or not isinstance(self.level, int) or not 0 <= self.level <= 6:
            raise InputError(
                f"RotationGrid: level is a whole number from 0 (72 rotations) to 6 (19 million), got {self.level!r}"
            )

    @staticmethod
    def of_size(count: int) -> RotationGrid:
        """The grid that has this many rotations; InputError where there is none."""
        for level in range(7):
            if 72 * 8**level == count:
                return RotationGrid(level)
        raise InputError(f"grids of rotations have 72, 576, 4608, 36864 ... points, got {count} values: another grid's logits?")

    def __len__(self) -> int:
        return 72 * 8**self.level

    @property
    def cell(self) -> float:
        """The volume of a cell, ``pi^2 / N``."""
        return VOLUME / len(self)

    @property
    def turns(self) -> int:
        """How many turns gamma there are at each pixel."""
        return 6 * 2**self.level

    @property
    def rotations(self) -> Tensor:
        """All rotations ``(N, 3, 3)``, float64."""
        return _rotations(self.level)

    def part(self, start: int, stop: int) -> Tensor:
        """Rotations ``start`` to ``stop`` without making the others: what a fine grid is walked through with."""
        index = torch.arange(start, min(stop, len(self)))
        beta, alpha = (angle[index // self.turns] for angle in self._angles)
        gamma = (index % self.turns).double() * (2 * math.pi / self.turns)
        return rotation_from_euler(alpha, beta, gamma)

    @cached_property
    def _angles(self) -> tuple[Tensor, Tensor]:
        return healpix_angles(2**self.level)

    def nearest(self, rotation: Tensor) -> Tensor:
        """The index of the nearest rotation of the grid, int64 ``(...)``, for ``(..., 3, 3)``.

        InputError for what is no rotation: see :func:`check_rotations`.
        """
        check_rotations(rotation, "nearest")
        flat = rotation.detach().reshape(-1, 9).double()
        best = flat.new_full((len(flat),), -math.inf)
        index = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
        step = max(MEMORY // max(len(flat), 1), self.turns)
        for start in range(0, len(self), step):
            value, place = (flat @ self.part(start, start + step).to(flat).flatten(1).mT).max(-1)
            index = torch.where(value > best, place + start, index)
            best = torch.maximum(value, best)
        return index.view(rotation.shape[:-2])

    def turned(self, turn: Tensor) -> Tensor:
        """``(..., N)``: in whose cell ``turn^-1 R`` lies, for turns ``(..., 3, 3)`` about the polar axis y.

        Of quarter turns this is a permutation of the grid; ``logits.gather(-1, index)`` are the logits of the turned scene.
        """
        centers = healpix_centers(2**self.level).to(turn.device)
        pixel = healpix_pixel(2**self.level, centers @ turn.double())
        return (pixel.unsqueeze(-1) * self.turns + torch.arange(self.turns, device=turn.device)).flatten(-2)

    def log_likelihood(self, logits: Tensor, rotation: Tensor) -> Tensor:
        """``log p`` of rotations ``(B, 3, 3)`` under logits ``(B, N)``: a density, constant on cells; uniform is -2.29 nats.

        InputError for logits of another grid and for what is no rotation.
        """
        index = self.nearest(rotation).unsqueeze(-1)
        return self.check(logits).log_softmax(-1).gather(-1, index).squeeze(-1) - math.log(self.cell)

    def mode(self, logits: Tensor) -> Tensor:
        """The most probable rotation ``(B, 3, 3)`` under logits ``(B, N)``, in their dtype."""
        return self.rotations.to(logits)[self.check(logits).argmax(-1)]

    def check(self, logits: Tensor) -> Tensor:
        """The logits; InputError unless there is one for each rotation of this grid."""
        if logits.shape[-1:] != (len(self),):
            raise InputError(f"{self} has {len(self)} rotations, got logits {tuple(logits.shape)}; evaluate both on one grid")
        return logits


@lru_cache(maxsize=4)
def _rotations(level: int) -> Tensor:
    return RotationGrid(level).part(0, 72 * 8**level)


def check_rotations(rotation: Tensor, where: str, *, tolerance: float = 1e-3) -> None:
    """InputError unless ``rotation`` ``(..., 3, 3)`` is orthonormal with determinant 1 (within ``tolerance``)."""
    if rotation.shape[-2:] != (3, 3) or not rotation.is_floating_point():
        raise InputError(f"{where}: expected rotations (..., 3, 3), got {rotation.dtype} {tuple(rotation.shape)}")
    given = rotation.detach().double()
    gap = (given @ given.mT - torch.eye(3).to(given)).abs().amax((-1, -2))
    if bool((~(gap <= tolerance)).any()):
        raise InputError(
            f"{where}: {int((~(gap <= tolerance)).sum())} matrices are not orthonormal (by {float(gap.max()):.1e})"
        )
    if bool((torch.linalg.det(given) < 0).any()):
        raise InputError(
            f"{where}: {int((torch.linalg.det(given) < 0).sum())} matrices mirror (determinant -1); swap two axes back"
        )


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """The angle in radians of ``a^T b`` for rotations ``(..., 3, 3)``; accurate near 0, where an arc cosine is not."""
    return 2 * ((a - b).square().sum((-1, -2)) / 8).clamp(0, 1).sqrt().asin()
