"""Articulated figures: rigid boxes and ellipsoids joined at a torso, seen as points, every joint turned at random.

Torso, head, upper arm, forearm, thigh and shin, each of proportions of its own, are sampled on their surfaces by area; forearm
and shin may be missing. A joint turns about a random axis by a uniform angle. Trained in small joint angles and tested in large
ones, a network must know a part by its shape, not by where it stands. Lengths are such that figures are about 2 high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.data.body_scans import load_bodies
from coset.data.shapes import box
from coset.errors import InputError
from coset.groups.matrix import SO
from coset.recipe import Data, Request

SIZES = {"smoke": (24, 12, 96), "cpu": (200, 100, 512), "full": (4000, 500, 2048)}  #: train, test, points per figure
NARROW, WIDE = 15.0, 120.0  #: joint angles in training and in the test out of range, degrees either way
AUDITED = (2, 64)  #: figures of the audit, and points of each


@dataclass(frozen=True)
class Part:
    """A rigid part in its own frame: ``kind`` box or ellipsoid of half sides ``sides``, hung with ``own`` at ``joint``."""

    name: str
    kind: str
    sides: tuple[float, float, float]
    parent: int
    joint: tuple[float, float, float]  #: where it hangs, in half sides of the parent
    own: tuple[float, float, float]  #: which of its points hangs there, in half sides of its own
    rest: tuple[float, float]  #: at rest it is turned about x, then about y by these angles, degrees


PARTS = (
    Part("torso", "box", (0.28, 0.15, 0.42), -1, (0, 0, 0), (0, 0, 0), (0, 0)),
    Part("head", "ellipsoid", (0.15, 0.19, 0.24), 0, (0, 0, 1), (0, 0, -1), (0, 0)),
    Part("upper arm", "ellipsoid", (0.07, 0.10, 0.30), 0, (1, 0, 0.8), (0, 0, -1), (0, 110)),
    Part("forearm", "box", (0.05, 0.08, 0.26), 2, (0, 0, 1), (0, 0, -1), (0, 20)),
    Part("thigh", "ellipsoid", (0.12, 0.16, 0.40), 0, (0.5, 0, -1), (0, 0, -1), (180, 0)),
    Part("shin", "box", (0.07, 0.11, 0.38), 4, (0, 0, 1), (0, 0, -1), (15, 0)),
)
OPTIONAL = (3, 5)  #: parts that half of the figures lack


def turn(axis: Tensor, angle: Tensor) -> Tensor:
    """The rotation ``(3, 3)`` about ``axis`` ``(3,)`` by ``angle`` (radians)."""
    return torch.linalg.matrix_exp(
        angle * torch.linalg.cross((axis / axis.norm()).unsqueeze(0), torch.eye(3, dtype=axis.dtype)).mT
    )


def surface(kind: str, sides: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` points and unit normals ``(n, 3)``, uniform on the surface of a box or an ellipsoid."""
    if kind == "box":
        x = box(n, sides, generator)
        face = (x.abs() / sides).argmax(-1, keepdim=True)
        return x, torch.zeros_like(x).scatter(1, face, x.gather(1, face).sign())
    kept = torch.empty(0, 3, dtype=torch.float64)
    while len(kept) < n:
        u = torch.nn.functional.normalize(torch.randn(4 * n + 16, 3, generator=generator, dtype=torch.float64), dim=-1)
        stretch = (u / sides).norm(dim=-1)  # area that u's patch of the sphere becomes, over the product of the sides
        kept = torch.cat([kept, u[torch.rand(len(u), generator=generator) < stretch * sides.min()]])
    u = kept[:n]
    return u * sides, torch.nn.functional.normalize(u / sides, dim=-1)


def area(kind: str, sides: Tensor) -> float:
    """Of a box; of an ellipsoid by Thomsen's formula, good to 1 %."""
    a, b, c = sides.tolist()
    if kind == "box":
        return 8 * (a * b + b * c + c * a)
    p = 1.6075
    return 4 * math.pi * (((a * b) ** p + (b * c) ** p + (c * a) ** p) / 3) ** (1 / p)


def figure(n: int, degrees: float, *, generator: torch.Generator) -> dict[str, Tensor]:
    """One figure in float64: ``pos, normal (n, 3)`` and ``body (n,)``, the number of the part in ``PARTS``."""
    present = [k for k in range(len(PARTS)) if k not in OPTIONAL or float(torch.rand((), generator=generator)) < 0.5]
    stretch = 1 + 0.15 * (2 * torch.rand(len(PARTS), 3, generator=generator, dtype=torch.float64) - 1)
    sides = torch.tensor([part.sides for part in PARTS], dtype=torch.float64) * stretch
    areas = torch.tensor([area(PARTS[k].kind, sides[k]) for k in present])
    counts = torch.multinomial(areas, n, replacement=True, generator=generator).bincount(minlength=len(present)).tolist()
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    frames: dict[int, tuple[Tensor, Tensor]] = {}
    columns = []
    for k, count in zip(present, counts, strict=True):
        part = PARTS[k]
        axis = torch.randn(3, generator=generator, dtype=torch.float64)
        angle = math.radians(degrees) * (2 * torch.rand((), generator=generator, dtype=torch.float64) - 1)
        rest_x, rest_y = (torch.tensor(math.radians(a), dtype=torch.float64) for a in part.rest)
        linear, shift = turn(axis, angle) @ turn(y, rest_y) @ turn(x, rest_x), torch.zeros(3, dtype=torch.float64)
        if part.parent >= 0:
            above, place = frames[part.parent]
            linear = above @ linear
            shift = place + above @ (torch.tensor(part.joint) * sides[part.parent])
        else:
            linear = torch.eye(3, dtype=torch.float64)
        shift = shift - linear @ (torch.tensor(part.own) * sides[k])
        frames[k] = linear, shift
        points, normals = surface(part.kind, sides[k], count, generator)
        columns.append((points @ linear.mT + shift, normals @ linear.mT, torch.full((count,), k)))
    pos, normal, body = (torch.cat(column) for column in zip(*columns, strict=True))
    return {"pos": pos, "normal": normal, "body": body}


def figures(count: int, n: int, degrees: float, *, generator: torch.Generator) -> dict[str, Tensor]:
    """``count`` figures: ``pos, normal (count, n, 3)`` float32, centered, ``body (count, n)``, labels ``y`` equal to it.

    Raises InputError for fewer than 24 points (a part would often have none) and angles outside 0..180 degrees.
    """
    if count < 1 or n < 24 or not 0 <= degrees <= 180:
        raise InputError(f"figures: count >= 1, n >= 24 and degrees in 0..180, got {count}, {n} and {degrees}")
    drawn = [figure(n, degrees, generator=generator) for _ in range(count)]
    pos, normal, body = (torch.stack([one[name] for one in drawn]) for name in ("pos", "normal", "body"))
    return {"pos": (pos - pos.mean(1, keepdim=True)).float(), "normal": normal.float(), "body": body, "y": body}


def turned(sample: dict[str, Tensor], *, generator: torch.Generator) -> dict[str, Tensor]:
    """Every figure turned as a whole by a random rotation about 0."""
    turns = SO(3).sample(len(sample["pos"]), generator=generator).to(sample["pos"])
    return {**sample, **{name: sample[name] @ turns.mT for name in ("pos", "normal")}}


def audited(sample: dict[str, Tensor], count: int, points: int | None = None) -> dict[str, Tensor]:
    """The first ``count`` clouds (evenly thinned to ``points``) as fields: ``pos, normal (N, 3)``, ``body (N,)`` pointing to
    parts, ``cloud (K,)`` to figures."""
    n, kinds = sample["pos"].shape[1], 1 + int(sample["body"].max())
    kept = torch.arange(n) if points is None or points >= n else torch.arange(points) * n // points
    part = sample["body"][:count, kept]
    names, body = torch.unique(part + kinds * torch.arange(len(part))[:, None], return_inverse=True)
    points_of = {name: sample[name][:count, kept].flatten(0, 1) for name in ("pos", "normal")}
    return {**points_of, "body": body.flatten(), "cloud": names // kinds}


def articulated(request: Request) -> Data:
    """Figures in narrow joint angles to train and validate on; the test in ``narrow``, ``wide``, and ``turned`` wide poses.

    With a file ``bodies`` (a folder, see :mod:`coset.data.body_scans`) these are scans: ``narrow`` is its ``test``, ``wide``
    its ``unseen`` where there is one. Raises InputError for other file names.
    """
    train, test, n = SIZES[request.size]
    generator = torch.Generator().manual_seed(3000 + request.seed)
    if request.files:
        files = dict(request.files)
        if set(files) != {"bodies"}:
            raise InputError(f"articulated figures take one data file, bodies=FOLDER; got {', '.join(files)}")
        known, narrow, wide = load_bodies(files["bodies"], n, generator=generator)
        fit_on, valid = _halves(known)
    else:
        fit_on, valid, narrow = (figures(count, n, NARROW, generator=generator) for count in (train, test // 2, test))
        wide = figures(test, n, WIDE, generator=generator)
    held = {"narrow": narrow, "wide": wide, "turned": turned(wide, generator=generator)}
    classes = 1 + max(int(part["y"].max()) for part in (fit_on, valid, narrow, wide))
    return Data(fit_on, held, audited(wide, *AUDITED), valid, {"classes": classes, "points": n})


def _halves(sample: dict[str, Tensor], share: float = 0.9) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The first and the last of a sample; both hold something."""
    cut = min(max(1, int(share * len(sample["pos"]))), max(1, len(sample["pos"]) - 1))
    return {k: v[:cut] for k, v in sample.items()}, {k: v[cut if cut < len(v) else 0 :] for k, v in sample.items()}
