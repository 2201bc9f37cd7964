"""Digits at random angles, few of them: where a rotation-invariant network has to learn shapes, not angles.

scikit-learn's digits, enlarged bicubically to 20 px in a 24 px frame, each turned once by a random angle (one bilinear
resampling, soft disc mask): 600 for training and 597 for testing at the size ``cpu``. Angles and split are fixed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coset.data.digits import framed, scikit_scans, split_order
from coset.errors import unknown
from coset.recipe import Data, Request
from coset.reps.image import disc_mask, resample

SIZE = 24
INNER = 20
ANGLE_SEED = 77
#: training images, test images, test images whose orbit is evaluated
SIZES = {"smoke": (64, 40, 10), "cpu": (600, 597, 100), "full": (600, 1197, 597)}


def rotated_digits(request: Request) -> Data:
    """``train`` and ``test`` hold ``x`` (n, 1, 24, 24), each turned at random, and ``y``; ``audit`` unturned test images.

    The test split also holds ``source``, its images unturned, for orbits; ``info``: classes, size, orbit (how many).
    """
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    count, test, orbit = SIZES[request.size]
    x, y = scikit_scans()
    x, order = framed(x, INNER, SIZE), split_order(len(y))
    angles = 2 * math.pi * torch.rand(len(y), generator=torch.Generator().manual_seed(ANGLE_SEED), dtype=torch.float64)
    parts = []
    for index in (order[:count], order[len(y) - test :]):
        turned = turn_images(x[index], angles[index])
        parts.append({"x": turned, "source": x[index], "y": y[index]})
    info = {"classes": 10, "channels": 1, "size": SIZE, "orbit": orbit}
    return Data({k: parts[0][k] for k in ("x", "y")}, parts[1], audit=parts[1]["source"][:64], info=info)


def turn_images(x: Tensor, angle: Tensor) -> Tensor:
    """Images (n, 1, N, N) turned counter-clockwise, each by its own ``angle`` (n,), and masked to the disc."""
    c, s = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    return resample(x, matrix) * disc_mask(*x.shape[-2:], dtype=x.dtype)
