"""Mini-3DIE: our renderer of colored solids with known pose, light and floor, and the data set it draws.

Ten classes of :mod:`coset.data.solids` under the camera and lights of 3DIEBench (Garrido, Najman & LeCun, Self-supervised
learning of Split Invariant Equivariant representations, ICML 2023, arXiv 2302.10283): camera at distance 2.5 and polar
angle pi/4, a colored spot light at distance 4, a white sun without shadows, a colored floor. A pixel's color is

    shade (ambient + sun max(0, n.s) + spot max(0, n.l) color),

at the nearest sample of the surface (a z-buffer over all samples at once, shading deferred to the winners). Latents have
3DIEBench's order, then a translation:

    0..2 angles (radians), 3 floor hue, 4 light theta, 5 light phi, 6 light hue, 7..9 translation,

with the pose ``Rz(a2) Ry(a1) Rx(a0)`` (turns about fixed axes, x first). Ours: the solids, no shadows, no textures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.data.solids import CLASSES, Solid, make_solid
from coset.errors import InputError
from coset.groups.poses import angle_quaternion
from coset.groups.rotations import rotation_from_quaternion

DISTANCE, POLAR = 2.5, math.pi / 4  #: of the camera
LIGHT_DISTANCE = 4.0
HALF_WIDTH = 0.75  #: of what the camera sees at the distance of the origin
RADIUS = 0.75  #: to which the unit ball of a solid is scaled
FLOOR = -0.7  #: height of the floor
AMBIENT, SUN, SPOT = 0.2, 0.35, 0.75
SUN_WAY = (0.25, -0.35, 0.9)
SPLAT_FROM = 48  #: image side from which a sample covers 2 x 2 pixels
BITS = 24  #: of a sample's number within a key of the z-buffer; what is left holds the depth
UP = torch.tensor([0.0, 0.0, 1.0])
#: rows are what the camera calls right, up and backwards (from the origin to the camera)
CAMERA = torch.tensor([[1.0, 0.0, 0.0], [0.0, math.cos(POLAR), math.sin(POLAR)], [0.0, -math.sin(POLAR), math.cos(POLAR)]])
LATENTS = ("x", "y", "z", "floor_hue", "light_theta", "light_phi", "light_hue", "t_x", "t_y", "t_z")


def hue(h: Tensor, saturation: float, value: float) -> Tensor:
    """Colors ``(..., 3)`` of the HSV circle at ``h`` in turns."""
    ramp = 6 * (h[..., None] + h.new_tensor([0.0, 2 / 3, 1 / 3])) % 6
    return value * (1 - saturation * (1 - (torch.abs(ramp - 3) - 1).clamp(0, 1)))


def render(solid: Solid, latents: Tensor, size: int = 32) -> Tensor:
    """Views ``(K, 3, size, size)`` in [0, 1], float32, of one solid under latents ``(K, 7)`` or ``(K, 10)``.

    There are no holes: samples lie closer than pixels. Raises InputError for latents of another length or that are not
    finite, for translations that reach the camera, and for sizes out of 8..512.
    """
    angles, rest, shift = _split(latents)
    return render_pose(solid, rotation_from_quaternion(angle_quaternion(angles)), rest, shift, size)


def render_pose(solid: Solid, pose: Tensor, lights: Tensor, shift: Tensor, size: int = 32) -> Tensor:
    """As :func:`render`, from rotations ``pose`` (K, 3, 3), ``lights`` (latents 3..6) and translations ``shift`` (K, 3)."""
    pose, lights, shift = pose.float(), lights.float(), shift.float()
    surface = solid.surface(_spacing(size, shift))
    sample, hit, floor = _nearest(surface.points, pose, shift, size)
    pick = sample[..., None].expand(-1, -1, 3)
    place = torch.where(hit, (RADIUS * surface.points[sample]) @ pose.mT + shift[:, None], floor)
    normal = torch.where(hit, surface.normals.expand(len(pose), -1, -1).gather(1, pick) @ pose.mT, UP.expand_as(place))
    albedo = torch.where(hit, surface.shade[sample][..., None], hue(lights[:, 0], 0.6, 0.6)[:, None])
    spot = _cosine(normal, _lamp(lights[:, 1], lights[:, 2])[:, None] - place)
    radiance = AMBIENT + SUN * _cosine(normal, torch.tensor(SUN_WAY)) + SPOT * spot * hue(lights[:, 3], 1.0, 0.8)[:, None]
    return (albedo * radiance).clamp(0, 1).mT.unflatten(-1, (size, size)).contiguous()


def mask(solid: Solid, latents: Tensor, size: int = 32) -> Tensor:
    """Where the solid is seen, bool ``(K, size, size)``."""
    angles, _, shift = _split(latents)
    pose = rotation_from_quaternion(angle_quaternion(angles)).float()
    hit = _nearest(solid.surface(_spacing(size, shift)).points, pose, shift.float(), size)[1]
    return hit.view(-1, size, size)


def _split(latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Angles, lights and translation, in float64."""
    if latents.ndim != 2 or latents.shape[-1] not in (7, 10):
        raise InputError(f"render: latents are (K, 7), or (K, 10) with a translation; got {tuple(latents.shape)}")
    if not bool(torch.isfinite(latents).all()):
        raise InputError("render: latents hold NaN or infinite values")
    wide = latents.double()
    return wide[:, :3], wide[:, 3:7], wide[:, 7:] if latents.shape[-1] == 10 else torch.zeros_like(wide[:, :3])


def _spacing(size: int, shift: Tensor) -> float:
    """Between samples of the unit ball, so that every pixel that sees the solid holds one, wherever it stands.

    A square of side ``p`` holds a point of every lattice of spacing ``p / sqrt(2)``; a pixel is narrowest in front.
    """
    if not 8 <= size <= 512:
        raise InputError(f"render: the size is between 8 and 512 pixels, got {size}")
    near = float(shift.norm(dim=-1).max()) if len(shift) else 0.0
    depth = DISTANCE - RADIUS - math.ceil(4 * near) / 4  # few values, so that few surfaces are kept
    if depth < 0.1:
        raise InputError(f"render: translations up to {near:.3g} reach the camera; keep them below 1.5")
    pixel = 2 * HALF_WIDTH / size * depth / DISTANCE * (2 if size >= SPLAT_FROM else 1)
    return pixel / math.sqrt(2) / RADIUS


def _nearest(points: Tensor, pose: Tensor, shift: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """By pixel: the sample in front ``(K, P)``, whether there is one ``(K, P, 1)``, the floor behind ``(P, 3)``."""
    focal, pixels = size / 2 * DISTANCE / HALF_WIDTH, size * size
    eye = RADIUS * points @ (CAMERA @ pose).mT + (shift @ CAMERA.T)[:, None]  # right, up, towards the camera
    depth = DISTANCE - eye[..., 2]
    column, row = size / 2 + focal * eye[..., 0] / depth, size / 2 - focal * eye[..., 1] / depth
    order = torch.arange(len(points))
    key = (depth.double() * 2**24).long() << BITS | order
    nothing = torch.iinfo(torch.int64).max
    buffer = torch.full((len(pose), pixels + 1), nothing, dtype=torch.int64)
    corners = [(0.0, 0.0)] if size < SPLAT_FROM else [(i, j) for i in (-0.5, 0.5) for j in (-0.5, 0.5)]
    for down, right in corners:
        i, j = (row + down).floor().long(), (column + right).floor().long()
        inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        buffer.scatter_reduce_(1, torch.where(inside, i * size + j, pixels), key, "amin")
    front = buffer[:, :pixels]
    hit = front != nothing
    return torch.where(hit, front & (2**BITS - 1), 0), hit[..., None], _floor(size, focal)


def _floor(size: int, focal: float) -> Tensor:
    """Where the ray of every pixel meets the floor, ``(size * size, 3)``."""
    center = torch.arange(size) + 0.5 - size / 2
    row, column = torch.meshgrid(center, center, indexing="ij")
    way = torch.stack([column / focal, -row / focal, -torch.ones_like(row)], -1).flatten(0, 1) @ CAMERA
    start = DISTANCE * CAMERA[2]
    return start + way * ((FLOOR - start[2]) / way[:, 2])[:, None]


def _cosine(normal: Tensor, way: Tensor) -> Tensor:
    """``max(0, n . l)`` for a direction ``way`` of any length, ``(..., 1)``."""
    return ((normal * way).sum(-1, keepdim=True) / way.norm(dim=-1, keepdim=True)).clamp(min=0)


def _lamp(theta: Tensor, phi: Tensor) -> Tensor:
    """The spot light at its polar and azimuthal angle."""
    return LIGHT_DISTANCE * torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)


# ---------------------------------------------------------------------------------------------------- the data set


@dataclass(frozen=True, eq=False)
class Views:
    """``images`` uint8 ``(objects, views, 3, size, size)``, ``latents`` float64 ``(objects, views, 10)``, ``labels``."""

    images: Tensor
    latents: Tensor
    labels: Tensor
    solids: tuple[Solid, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | Tensor) -> Views:
        """Some of the objects."""
        which = torch.arange(len(self))[rows].tolist()
        return Views(self.images[which], self.latents[which], self.labels[which], tuple(self.solids[i] for i in which))

    @property
    def quaternions(self) -> Tensor:
        """Poses ``(objects, views, 4)``, float64."""
        return angle_quaternion(self.latents[..., :3])


def draw_latents(count: int, generator: torch.Generator, *, angle: float = math.pi / 2, shift: float = 0.0) -> Tensor:
    """Latents ``(count, 10)``, float64: angles within ``+-angle``, translations within ``+-shift``, lights as in 3DIEBench."""
    u = torch.rand(count, 10, generator=generator, dtype=torch.float64)
    low = torch.tensor([-angle] * 3 + [0.0] * 4 + [-shift] * 3, dtype=torch.float64)
    high = torch.tensor([angle] * 3 + [1.0, math.pi / 4, 2 * math.pi, 1.0] + [shift] * 3, dtype=torch.float64)
    return low + (high - low) * u


def mini3die(
    objects: int = 64, views: int = 20, size: int = 32, *, classes: int = 10, angle: float = math.pi / 2, shift: float = 0.0,
    seed: int = 0,
) -> Views:  # fmt: skip
    """``objects`` of each of the first ``classes`` classes, ``views`` each; objects of all classes take turns.

    A seed gives the same bytes whenever it is used, and the first objects of a larger set are those of a smaller one. Raises
    InputError for counts below 1.
    """
    if min(objects, views) < 1 or not 1 <= classes <= len(CLASSES):
        raise InputError(
            f"mini3die: at least one object and view, 1..{len(CLASSES)} classes; "
            f"got {objects} objects, {views} views, {classes} classes"
        )
    generator = torch.Generator().manual_seed(seed)
    solids, latents, images = [], [], []
    for number in range(objects * classes):
        solids.append(make_solid(number % classes, generator))
        latents.append(draw_latents(views, generator, angle=angle, shift=shift))
        images.append((255 * render(solids[-1], latents[-1], size)).round().to(torch.uint8))
    labels = torch.tensor([solid.kind for solid in solids])
    return Views(torch.stack(images), torch.stack(latents), labels, tuple(solids))
