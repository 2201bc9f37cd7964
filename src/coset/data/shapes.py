"""Eight generated solids as noisy point clouds: what a network learns when every training cloud stands upright.

Box, cone, cylinder, ellipsoid, helix, L-shape, pyramid and torus, sampled uniformly on their surface (the helix along its
wire), with random proportions and Gaussian noise. Classes do not depend on orientation, so the task is invariant under
SO(3) (E(3) even: no class is the mirror image of another). After the protocol z/SO(3) of the point-cloud literature:
train upright, test turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.matrix import SO
from coset.recipe import Data, Request

SIZES = {"smoke": (80, 80, 64), "cpu": (800, 400, 256), "full": (8000, 2000, 1024)}  #: train, test, points per cloud
NOISE = 0.02


def _uniform(n: int, low: float, high: float, g: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=g, dtype=torch.float64)


def box(n: int, sides: Tensor, g: torch.Generator) -> Tensor:
    """Surface of a box with half sides ``(3,)``."""
    areas = torch.stack([sides[1] * sides[2], sides[0] * sides[2], sides[0] * sides[1]])
    axis = torch.multinomial(areas, n, replacement=True, generator=g)
    x = (2 * torch.rand(n, 3, generator=g, dtype=torch.float64) - 1) * sides
    face = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0).double()
    return x.scatter(1, axis[:, None], (face * sides[axis])[:, None])


def turned(n: int, radius: Callable[[Tensor], Tensor], height: float, g: torch.Generator) -> Tensor:
    """A surface of revolution about z with ``radius(u)``, u in 0..1 from bottom to top, closed by its end discs."""
    u = torch.linspace(0, 1, 257, dtype=torch.float64)
    r = radius(u)
    band = (r[1:] + r[:-1]) / 2 * torch.sqrt((r[1:] - r[:-1]) ** 2 + (height / 256) ** 2) * 2 * math.pi
    areas = torch.cat([band, math.pi * r[:1] ** 2, math.pi * r[-1:] ** 2])
    cell = torch.multinomial(areas, n, replacement=True, generator=g)
    within = torch.rand(n, generator=g, dtype=torch.float64)
    inside = cell.clamp(max=255)
    rho = torch.lerp(r[inside], r[inside + 1], within)
    z = height * ((inside + within) / 256 - 0.5)
    for disc, edge, level in ((256, r[0], -0.5), (257, r[-1], 0.5)):
        rho = torch.where(cell == disc, edge * within.sqrt(), rho)
        z = torch.where(cell == disc, torch.full_like(z, level * height), z)
    phi = _uniform(n, 0, 2 * math.pi, g)
    return torch.stack([rho * phi.cos(), rho * phi.sin(), z], -1)


def torus(n: int, thickness: float, g: torch.Generator) -> Tensor:
    """A ring of radius 1 about z; tube angles are drawn by rejection so that the surface is covered evenly."""
    tube = torch.empty(0, dtype=torch.float64)
    while len(tube) < n:
        drawn = _uniform(2 * n, 0, 2 * math.pi, g)
        keep = torch.rand(2 * n, generator=g) < (1 + thickness * drawn.cos()) / (1 + thickness)
        tube = torch.cat([tube, drawn[keep]])
    tube, phi = tube[:n], _uniform(n, 0, 2 * math.pi, g)
    rho = 1 + thickness * tube.cos()
    return torch.stack([rho * phi.cos(), rho * phi.sin(), thickness * tube.sin()], -1)


def helix(n: int, turns: float, pitch: float, g: torch.Generator) -> Tensor:
    """A wire wound about z."""
    u = torch.rand(n, generator=g, dtype=torch.float64)
    phi = 2 * math.pi * turns * u
    return torch.stack([0.6 * phi.cos(), 0.6 * phi.sin(), pitch * turns * (u - 0.5)], -1)


def bent(n: int, arms: Tensor, g: torch.Generator) -> Tensor:
    """Two boxes that meet at a right angle: an L of arm lengths ``(2,)``."""
    tall, wide = arms.tolist()
    long = box(n, torch.tensor([0.2, 0.2, tall], dtype=torch.float64), g)
    side = box(n, torch.tensor([wide, 0.2, 0.2], dtype=torch.float64), g)
    side = side + torch.tensor([wide, 0.0, 0.2 - tall], dtype=torch.float64)
    first = torch.rand(n, generator=g) < arms[0] / arms.sum()
    return torch.where(first[:, None], long, side)


def pyramid(n: int, base: float, height: float, g: torch.Generator) -> Tensor:
    """A square pyramid: four triangles and its base."""
    slant = math.hypot(base, height)
    face = torch.multinomial(torch.tensor([base * slant] * 4 + [4 * base * base]), n, replacement=True, generator=g)
    a, b = torch.rand(2, n, generator=g, dtype=torch.float64)
    up = 1 - (1 - a).sqrt()  # uniform on a triangle: the width falls linearly with height
    side = torch.stack([(1 - up) * base, (2 * b - 1) * (1 - up) * base, height * (up - 0.5)], -1)
    quarter = face.clamp(max=3).double() * (math.pi / 2)
    c, s = quarter.cos().round(), quarter.sin().round()
    wall = torch.stack([c * side[:, 0] - s * side[:, 1], s * side[:, 0] + c * side[:, 1], side[:, 2]], -1)
    floor = torch.stack([(2 * a - 1) * base, (2 * b - 1) * base, torch.full_like(a, -0.5 * height)], -1)
    return torch.where((face == 4)[:, None], floor, wall)


def _solid(label: int, n: int, g: torch.Generator) -> Tensor:
    a, b, c = _uniform(3, 0.6, 1.4, g).tolist()
    match label:
        case 0:
            return box(n, torch.tensor([0.5 * a, 0.7 * b, 0.9 * c], dtype=torch.float64), g)
        case 1:
            return turned(n, lambda u: 0.7 * a * (1 - u), 1.6 * b, g)
        case 2:
            return turned(n, lambda u: 0.5 * a + 0 * u, 1.6 * b, g)
        case 3:
            return turned(n, lambda u: 0.6 * a * (1 - (2 * u - 1) ** 2).clamp(min=0).sqrt(), 2.0 * b, g)
        case 4:
            return helix(n, 2 + a, 0.6 * b, g)
        case 5:
            return bent(n, torch.tensor([0.8 * a, 0.6 * b], dtype=torch.float64), g)
        case 6:
            return pyramid(n, 0.7 * a, 1.3 * b, g)
        case _:
            return torus(n, 0.2 + 0.15 * a, g)


CLASSES = ("box", "cone", "cylinder", "ellipsoid", "helix", "bent", "pyramid", "torus")


def clouds(count: int, points: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Upright clouds ``(count, points, 3)`` float32, centered, rms radius 1, and labels ``(count,)``, balanced."""
    labels = torch.arange(count) % len(CLASSES)
    out = torch.stack([_solid(int(label), points, generator) for label in labels])
    out = out + NOISE * torch.randn(out.shape, generator=generator, dtype=torch.float64)
    out = out - out.mean(1, keepdim=True)
    out = out / out.square().sum(-1).mean(1).sqrt()[:, None, None]
    return out.float(), labels


def shapes(request: Request) -> Data:
    """Upright training clouds; the test both upright (``x``) and turned at random (``turned``). InputError for a data file."""
    if request.files:
        raise InputError(f"shapes are generated; they take no data file, got {request.files[0][0]!r}")
    train, test, points = SIZES[request.size]
    generator = torch.Generator().manual_seed(2000 + request.seed)
    x, y = clouds(train, points, generator=generator)
    xt, yt = clouds(test, points, generator=generator)
    turns = SO(3).sample(test, generator=generator).float()
    held = {"x": xt, "y": yt, "turned": xt @ turns.mT}
    return Data({"x": x, "y": y}, held, xt[:24], None, {"classes": len(CLASSES), "points": points})
