"""Colored points in space seen by one camera: images with the pose of the object.

An object is eight points with colors of their own; a pose R takes it into the camera's frame, where z is the image's right, x
its up and y points at the camera. A point is drawn as a Gaussian blob that grows and brightens towards the camera, so that
``render(r(a) R)`` is ``render(R)`` turned by ``a``: exactly at quarter turns. With ``twofold`` the object is two copies of
four points, half a turn about its own y axis apart, and two poses have one image. Public sets in place of it:
:mod:`coset.data.pose_sets`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from coset.data.pose_sets import public_set
from coset.groups.orthogonal import SO
from coset.ops.circular import pixel_centers
from coset.ops.healpix import RotationGrid
from coset.recipe import Data, Request

SIZES = {"smoke": (48, 32, 32), "cpu": (2000, 500, 500), "full": (20000, 2000, 2000)}  #: train, valid, test
SIDE = {"smoke": 16, "cpu": 32, "full": 64}
LEVEL = {"smoke": 1, "cpu": 2, "full": 3}  #: of the grid of rotations
LMAX = {"smoke": 2, "cpu": 4, "full": 6}
HALF_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))


def solid(*, twofold: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points ``(8, 3)`` at radius 0.45 to 0.75, apart from each other, and their colors ``(8, 3)`` in [0, 1]; float64."""
    generator = torch.Generator().manual_seed(seed)
    copies = torch.stack([torch.eye(3, dtype=torch.float64), HALF_TURN] if twofold else [torch.eye(3, dtype=torch.float64)])
    chosen = torch.zeros(0, 3, dtype=torch.float64)
    while len(chosen) < 8:
        point = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
        radius = 0.45 + 0.3 * torch.rand((), generator=generator, dtype=torch.float64)
        more = torch.cat([chosen, copies @ (radius * point)])
        if bool((torch.pdist(more) > 0.4).all()):
            chosen = more
    hue = torch.arange(8 // len(copies), dtype=torch.float64).repeat_interleave(len(copies)) * (2 * math.pi * len(copies) / 8)
    shades = torch.stack([(hue + shift).cos() for shift in (0, 2 * math.pi / 3, 4 * math.pi / 3)], -1)
    return chosen, 0.5 + 0.5 * shades


def render(points: Tensor, colors: Tensor, size: int) -> Tensor:
    """Images ``(B, 3, size, size)`` of points ``(B, K, 3)`` in the camera's frame, with colors ``(K, 3)``."""
    right, up = (axis.to(points) for axis in pixel_centers(size))
    x, y, z = (points[..., i, None, None] for i in range(3))
    width = 0.11 * (1 + 0.5 * y)
    blobs = (0.65 + 0.45 * y) * torch.exp(-((right - z) ** 2 + (up - x) ** 2) / (2 * width**2))
    return torch.einsum("bkhw,kc->bchw", blobs, colors.to(points))


def views(count: int, *, size: int = 32, twofold: bool = False, generator: torch.Generator) -> dict[str, Tensor]:
    """``count`` images of one object at uniform poses: ``img``, ``rotation`` and ``equivalent`` (B, symmetries, 3, 3)."""
    points, colors = solid(twofold=twofold)
    rotation = SO(3).sample(count, generator=generator, dtype=torch.float64)
    img = render(points @ rotation.mT, colors, size)
    same = torch.stack([rotation, rotation @ HALF_TURN] if twofold else [rotation], 1)
    return {"img": img.float(), "rotation": rotation.float(), "equivalent": same.float()}


def labeled(part: Mapping[str, Tensor], grid: RotationGrid) -> dict[str, Tensor]:
    """``part`` and beside it ``y``, the grid's nearest rotation: what cross-entropy is taken with."""
    return {**part, "y": grid.nearest(part["rotation"])}


def rendered_points(request: Request, *, twofold: bool = False) -> Data:
    """Train, valid and test views at random poses, or the public set that ``request.files`` names.

    ``test["equivalent"]`` lists all poses with the same image. ``info``: size, colors, level (of the grid), lmax, classes.
    """
    info = {"colors": 3, "level": LEVEL[request.size], "lmax": LMAX[request.size], "classes": 0}
    grid = RotationGrid(info["level"])
    if request.files:
        images, test_images, held = public_set(request.files, grid)
        audit = torch.stack([test_images[i]["img"] for i in range(min(len(test_images), 8))])
        return Data(images, test_images, {"img": audit}, held, info | {"size": images.size})
    generator = torch.Generator().manual_seed(3000 + request.seed)
    side = SIDE[request.size]
    train, valid, test = (
        labeled(views(count, size=side, twofold=twofold, generator=generator), grid) for count in SIZES[request.size]
    )
    return Data(train, test, {"img": test["img"][:8]}, valid, info | {"size": side})
