"""Digits under small turns and shifts: the smallest data on which two views of one thing can be drawn.

scikit-learn's 8 x 8 digits at 16 x 16 pixels (bicubic). A view turns by at most 30 degrees and shifts by at most 2 pixels,
one bilinear resampling with zeros outside. ``train`` and ``valid`` hold upright digits, which the objective moves;
``test`` holds several views of every test digit with the angles and shifts they were taken at, for probes; so does
``info["probe"]``, drawn from training digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.data.digits import framed, read_mnist, scikit_scans, split_order
from coset.errors import InputError, unknown
from coset.recipe import Data, Request
from coset.reps.image import resample

SIDE = 16
#: training digits, test digits, views of each in the probes
SIZES = {"smoke": (60, 30, 4), "cpu": (1200, 597, 10), "full": (1200, 597, 20)}


@dataclass(frozen=True)
class TurnShift:
    """Random turns within ``degrees`` and shifts within ``pixels`` along each axis: ``move(x, generator)``."""

    degrees: float = 30.0
    pixels: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.degrees <= 180 and 0 <= self.pixels < math.inf):
            raise InputError(f"TurnShift: degrees in [0, 180], pixels >= 0; got {self.degrees} and {self.pixels}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Every image of ``x`` (n, 1, S, S) moved by a draw of its own."""
        return self.move(x, self.draw(len(x), generator))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``(count, 3)``: angle in radians, counter-clockwise, and shifts to the right and up in pixels."""
        most = torch.tensor([math.radians(self.degrees), self.pixels, self.pixels], dtype=torch.float64)
        return most * (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1)

    def move(self, x: Tensor, motion: Tensor) -> Tensor:
        """Images (n, 1, S, S) moved by ``motion`` (n, 3)."""
        c, s = motion[:, 0].cos(), motion[:, 0].sin()
        turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        return resample(x, turn, 2 / x.shape[-1] * motion[:, 1:])


def digit_views(request: Request) -> Data:
    """``train``: ``x`` (n, 1, 16, 16) and ``y``; ``test`` and ``info["probe"]``: ``x`` (things, views, 1, 16, 16), ``motion``
    (things, views, 3), ``y`` (things,); ``valid`` an eighth of the digits, set aside from training. The file ``mnist`` (as in
    :mod:`coset.data.digits`) takes MNIST instead, reduced to 16 pixels. InputError for another file or size.
    """
    if wrong := sorted({name for name, _ in request.files} - {"mnist"}):
        raise unknown("data file", wrong[0], ["mnist"])
    if request.size not in SIZES:
        raise unknown("size", request.size, SIZES)
    count, tested, views = SIZES[request.size]
    if request.files:
        train, test = read_mnist(request.files[0][1])
        x = F.interpolate(torch.cat([train[0], test[0]]), size=SIDE, mode="area")
        y, order = torch.cat([train[1], test[1]]), torch.arange(len(train[1]) + len(test[1]))
        if request.size == "full":
            count, tested = len(train[1]), len(test[1])
    else:
        x, y = scikit_scans()
        x, order = framed(x, SIDE, SIDE), split_order(len(y))
    kept, held = order[:count], order[len(order) - tested :]
    stop = count * 7 // 8
    parts = [{"x": x[index], "y": y[index]} for index in (kept[:stop], kept[stop:])]
    info = {"classes": 10, "probe": taken(x[kept], y[kept], views, seed=1)}
    return Data(parts[0], taken(x[held], y[held], views, seed=2), audit=x[held][:16], valid=parts[1], info=info)


def taken(x: Tensor, y: Tensor, views: int, *, seed: int) -> dict[str, Tensor]:
    """``views`` of every digit, fixed by ``seed``, with the motions they were taken at."""
    family = TurnShift()
    motion = family.draw(views * len(x), torch.Generator().manual_seed(seed))
    moved = family.move(x.repeat_interleave(views, 0), motion)
    return {"x": moved.unflatten(0, (-1, views)), "motion": motion.float().unflatten(0, (-1, views)), "y": y}
