"""Procedural solids: asymmetric unions of boxes and surfaces of revolution, as point samples with normals.

Ten classes, each a layout of three to five parts in which no rotation but the identity maps the solid to itself; an object
of a class is its layout with jittered sizes, places and tilts, centered and scaled to the unit ball. Every surface is
covered by a regular lattice of a chosen spacing ``s``, so that no point of a surface lies further than ``s / sqrt(2)`` from
a sample: what a renderer needs to leave no holes. Our own design; the place of ShapeNet's meshes in 3DIEBench.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from coset.errors import InputError, unknown
from coset.groups.rotations import rotation_from_vector

Shape = Literal["box", "cylinder", "cone", "sphere"]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One primitive: its box (edge lengths along x, y, z), place, tilt (a rotation vector) and grey shade in (0, 1].

    Round parts stand on z: a cylinder or cone of diameter ``size[0]`` and height ``size[2]``, a sphere of diameter ``size[0]``.
    """

    shape: Shape
    size: Vector
    place: Vector = (0.0, 0.0, 0.0)
    tilt: Vector = (0.0, 0.0, 0.0)
    shade: float = 0.8


@dataclass(frozen=True)
class Surface:
    """Samples of a surface: ``points`` and outward ``normals`` ``(M, 3)``, grey ``shade`` ``(M,)``; float32."""

    points: Tensor
    normals: Tensor
    shade: Tensor


@dataclass(frozen=True)
class Solid:
    """Parts, and the class they were laid out for; hashable, so surfaces are computed once."""

    kind: int
    parts: tuple[Part, ...]

    def surface(self, spacing: float) -> Surface:
        """Samples no further than ``spacing`` apart along the surface of every part."""
        if not 0.002 <= spacing <= 1:
            raise InputError(f"surface: the spacing is between 0.002 and 1 (solids fill the unit ball), got {spacing}")
        return _surface(self, float(spacing))


#: the layouts; lengths are relative, objects are scaled to the unit ball afterwards
LAYOUTS: dict[str, tuple[Part, ...]] = {
    "chair": (
        Part("box", (0.9, 0.9, 0.16), shade=0.7),
        Part("box", (0.9, 0.14, 0.9), (0.0, 0.4, 0.5), shade=1.0),
        Part("box", (0.16, 0.6, 0.4), (0.42, 0.0, 0.25), shade=0.45),
        Part("cylinder", (0.25, 0.25, 0.6), (-0.1, -0.1, -0.35), shade=0.85),
    ),
    "truck": (
        Part("box", (0.6, 1.1, 0.55), (0.0, 0.15, 0.1), shade=0.9),
        Part("box", (0.6, 0.4, 0.4), (0.0, -0.6, 0.0), shade=0.55),
        Part("cylinder", (0.35, 0.35, 0.75), (0.0, -0.5, -0.25), (0.0, 1.57, 0.0), 0.35),
        Part("cylinder", (0.35, 0.35, 0.75), (0.0, 0.4, -0.25), (0.0, 1.57, 0.0), 0.35),
        Part("cylinder", (0.12, 0.12, 0.6), (0.26, -0.42, 0.4), shade=1.0),
    ),
    "lamp": (
        Part("cylinder", (0.7, 0.7, 0.12), (0.0, 0.0, -0.7), shade=0.5),
        Part("cylinder", (0.12, 0.12, 1.1), (-0.15, 0.0, -0.15), shade=0.8),
        Part("cone", (0.75, 0.75, 0.55), (0.2, 0.05, 0.5), (0.2, 0.7, 0.0), 1.0),
        Part("box", (0.2, 0.4, 0.2), (-0.2, 0.25, -0.3), shade=0.4),
    ),
    "teapot": (
        Part("sphere", (0.9, 0.9, 0.9), shade=0.8),
        Part("cone", (0.3, 0.3, 0.7), (0.6, 0.0, 0.15), (0.0, 1.0, 0.0), 1.0),
        Part("box", (0.35, 0.12, 0.5), (-0.55, 0.05, 0.05), shade=0.5),
        Part("sphere", (0.25, 0.25, 0.25), (0.0, -0.05, 0.5), shade=0.4),
    ),
    "hammer": (
        Part("cylinder", (0.18, 0.18, 1.3), (0.0, 0.0, -0.2), shade=0.6),
        Part("box", (0.75, 0.28, 0.28), (0.12, 0.0, 0.5), shade=1.0),
        Part("cone", (0.26, 0.26, 0.5), (-0.45, 0.06, 0.5), (0.0, -1.57, 0.3), 0.8),
        Part("box", (0.26, 0.1, 0.35), (0.0, -0.12, -0.55), shade=0.35),
    ),
    "house": (
        Part("box", (0.9, 0.7, 0.6), (0.0, 0.0, -0.2), shade=0.9),
        Part("cone", (1.1, 1.1, 0.5), (0.0, 0.0, 0.35), shade=0.5),
        Part("box", (0.16, 0.16, 0.55), (0.28, 0.18, 0.5), shade=0.75),
        Part("box", (0.4, 0.4, 0.35), (-0.2, -0.5, -0.32), shade=1.0),
    ),
    "snail": (
        Part("box", (0.35, 1.3, 0.22), (0.0, -0.1, -0.35), shade=0.65),
        Part("sphere", (0.75, 0.75, 0.75), (0.05, 0.15, 0.05), shade=0.95),
        Part("sphere", (0.34, 0.34, 0.34), (0.0, -0.75, -0.1), shade=0.5),
        Part("cylinder", (0.09, 0.09, 0.5), (0.12, -0.8, 0.2), (0.3, 0.3, 0.0), 1.0),
    ),
    "drill": (
        Part("cylinder", (0.42, 0.42, 0.9), (0.0, 0.1, 0.3), (1.57, 0.0, 0.0), 0.7),
        Part("cone", (0.22, 0.22, 0.6), (0.0, -0.6, 0.3), (1.57, 0.0, 0.0), 1.0),
        Part("box", (0.25, 0.3, 0.8), (0.0, 0.3, -0.2), (-0.25, 0.0, 0.0), 0.5),
        Part("box", (0.4, 0.55, 0.2), (0.08, 0.25, -0.65), shade=0.85),
    ),
    "rocket": (
        Part("cylinder", (0.42, 0.42, 1.0), (0.0, 0.0, -0.1), shade=0.95),
        Part("cone", (0.42, 0.42, 0.5), (0.0, 0.0, 0.65), shade=0.5),
        Part("box", (0.55, 0.08, 0.45), (0.4, 0.0, -0.45), shade=0.7),
        Part("box", (0.08, 0.35, 0.3), (0.0, 0.3, -0.5), shade=0.4),
        Part("cylinder", (0.2, 0.2, 0.6), (-0.28, -0.12, -0.35), shade=0.75),
    ),
    "bird": (
        Part("sphere", (0.7, 0.7, 0.7), shade=0.75),
        Part("sphere", (0.42, 0.42, 0.42), (0.0, -0.45, 0.3), shade=1.0),
        Part("cone", (0.16, 0.16, 0.35), (0.0, -0.75, 0.3), (1.57, 0.0, 0.0), 0.5),
        Part("box", (0.75, 0.45, 0.08), (0.5, 0.05, 0.1), (0.0, -0.4, 0.0), 0.6),
        Part("box", (0.3, 0.6, 0.1), (-0.05, 0.5, 0.1), (0.4, 0.0, 0.0), 0.4),
    ),
}
CLASSES = tuple(LAYOUTS)

#: jitter of an object within its class: relative size, place in units of the layout, tilt in radians, relative shade
SIZE, PLACE, TILT, SHADE = 0.2, 0.05, 0.12, 0.1


def make_solid(kind: int | str, generator: torch.Generator) -> Solid:
    """An object of class ``kind`` (its number or its name in ``CLASSES``), the jitter drawn from ``generator``.

    Centered at the middle of its bounding box, scaled so that its furthest point has distance 1. Raises InputError for a
    class that does not exist.
    """
    if isinstance(kind, str):
        if kind not in CLASSES:
            raise unknown("class of solids", kind, CLASSES)
        kind = CLASSES.index(kind)
    if not 0 <= kind < len(CLASSES):
        raise InputError(f"make_solid: classes are 0..{len(CLASSES) - 1} ({', '.join(CLASSES)}), got {kind}")
    layout = LAYOUTS[CLASSES[kind]]
    drawn = 2 * torch.rand(len(layout), 10, generator=generator, dtype=torch.float64) - 1
    parts = tuple(_jitter(part, noise) for part, noise in zip(layout, drawn.tolist(), strict=True))
    points = _surface(Solid(kind, parts), 0.05).points.double()
    middle = (points.amax(0) + points.amin(0)) / 2
    scale = 1 / float((points - middle).norm(dim=-1).max())
    return Solid(kind, tuple(_normalized(part, middle.tolist(), scale) for part in parts))


def _jitter(part: Part, noise: list[float]) -> Part:
    def shaken(values: Vector, noise: list[float], amount: float) -> Vector:
        x, y, z = (value + amount * n for value, n in zip(values, noise, strict=True))
        return (x, y, z)

    sx, sy, sz = (s * math.exp(SIZE * n) for s, n in zip(part.size, noise[:3], strict=True))
    return replace(
        part,
        size=(sx, sy, sz),
        place=shaken(part.place, noise[3:6], PLACE),
        tilt=shaken(part.tilt, noise[6:9], TILT),
        shade=min(1.0, part.shade * (1 + SHADE * noise[9])),
    )


def _normalized(part: Part, middle: list[float], scale: float) -> Part:
    x, y, z = (scale * (p - m) for p, m in zip(part.place, middle, strict=True))
    a, b, c = (scale * s for s in part.size)
    return replace(part, place=(x, y, z), size=(a, b, c))


# ---------------------------------------------------------------------------------------------------- lattices


@lru_cache(maxsize=64)
def _surface(solid: Solid, spacing: float) -> Surface:
    points, normals, shades = [], [], []
    for part in solid.parts:
        p, n = PRIMITIVES[part.shape](part.size, spacing)
        turn = rotation_from_vector(torch.tensor(part.tilt, dtype=torch.float64))
        points.append(p @ turn.T + torch.tensor(part.place, dtype=torch.float64))
        normals.append(n @ turn.T)
        shades.append(torch.full((len(p),), part.shade, dtype=torch.float64))
    return Surface(torch.cat(points).float(), torch.cat(normals).float(), torch.cat(shades).float())


def _steps(low: float, high: float, spacing: float) -> Tensor:
    """Equal steps of at most ``spacing``, both ends included: what lies between two faces is covered by both."""
    return torch.linspace(low, high, math.ceil((high - low) / spacing - 1e-9) + 1, dtype=torch.float64)


def _box(size: Vector, spacing: float) -> tuple[Tensor, Tensor]:
    """Six faces, a lattice on each."""
    points, normals = [], []
    for axis in range(3):
        others = [i for i in range(3) if i != axis]
        u, v = (_steps(-size[i] / 2, size[i] / 2, spacing) for i in others)
        for side in (-1.0, 1.0):
            face = torch.empty(len(u) * len(v), 3, dtype=torch.float64)
            face[:, others] = torch.cartesian_prod(u, v)
            face[:, axis] = side * size[axis] / 2
            points.append(face)
            normals.append(torch.eye(3, dtype=torch.float64)[axis].mul(side).expand_as(face))
    return torch.cat(points), torch.cat(normals)


def _rings(radius: Tensor, height: Tensor, outward: Tensor, upward: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Rings about z of given radii and heights, whose normals have components ``outward`` and ``upward``."""
    counts = (2 * math.pi * radius / spacing).ceil().long().clamp(min=3)
    ring = torch.repeat_interleave(torch.arange(len(radius)), counts)
    place = torch.arange(len(ring)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    angle = 2 * math.pi * (place + 0.5) / counts[ring]
    around = torch.stack([angle.cos(), angle.sin()], -1)
    points = torch.cat([radius[ring, None] * around, height[ring, None]], -1)
    return points, torch.cat([outward[ring, None] * around, upward[ring, None]], -1)


def _side(bottom: float, top: float, height: float, spacing: float) -> tuple[Tensor, Tensor]:
    """The side of a frustum about z."""
    slant = math.hypot(bottom - top, height)
    t = _steps(0, slant, spacing) / slant
    out, up = (torch.full_like(t, value) for value in (height / slant, (bottom - top) / slant))
    return _rings(bottom + (top - bottom) * t, height * (t - 0.5), out, up, spacing)


def _disc(radius: float, height: float, way: float, spacing: float) -> tuple[Tensor, Tensor]:
    """A disc facing up (``way`` 1) or down (-1)."""
    r = _steps(0, radius, spacing)
    return _rings(r, torch.full_like(r, height), torch.zeros_like(r), torch.full_like(r, way), spacing)


def _join(*pieces: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    points, normals = zip(*pieces, strict=True)
    return torch.cat(points), torch.cat(normals)


def _cylinder(size: Vector, spacing: float) -> tuple[Tensor, Tensor]:
    r, h = size[0] / 2, size[2]
    return _join(_side(r, r, h, spacing), _disc(r, h / 2, 1, spacing), _disc(r, -h / 2, -1, spacing))


def _cone(size: Vector, spacing: float) -> tuple[Tensor, Tensor]:
    r, h = size[0] / 2, size[2]
    return _join(_side(r, 0, h, spacing), _disc(r, -h / 2, -1, spacing))


def _sphere(size: Vector, spacing: float) -> tuple[Tensor, Tensor]:
    r = size[0] / 2
    polar = _steps(0, math.pi * r, spacing) / r
    return _rings(r * polar.sin(), r * polar.cos(), polar.sin(), polar.cos(), spacing)


PRIMITIVES: dict[str, Callable[[Vector, float], tuple[Tensor, Tensor]]] = {
    "box": _box,
    "cylinder": _cylinder,
    "cone": _cone,
    "sphere": _sphere,
}
