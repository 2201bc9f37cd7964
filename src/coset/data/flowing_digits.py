"""Flowing digits: sequences in which every digit moves at its own constant velocity round a torus, or turns about the center.

    x_t = sum_k roll(digit_k, p_k + t nu_k),         or         x_t = sum_k turn(digit_k, a_k + t nu_k),

with places ``p`` and velocities ``nu`` (whole pixels per frame, or degrees per frame) drawn uniformly. Keller, Flow
Equivariant Recurrent Neural Networks, NeurIPS 2025, arXiv 2507.14793: two MNIST digits on 28 x 28, velocities in [-2, 2]^2,
10 frames given, 10 to predict. Without a file these are scikit-learn's 8 x 8 scans on a 16 x 16 torus, 5 frames given.

Splits: ``train`` moves at speeds up to ``TRAINED`` and is as long as the model is trained for; ``test`` goes on for twice as
long; ``fast`` has the speeds of one more pixel per frame that training never showed.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from coset.data.digits import framed, read_mnist, scikit_scans, split_order
from coset.errors import InputError
from coset.recipe import Data, Request
from coset.reps.frames import turn_frames
from coset.reps.torus import roll_image

#: sequences for training, validation, test
SIZES = {"smoke": (32, 16, 16), "cpu": (4000, 500, 500), "full": (60000, 2000, 10000)}
DIGITS, TRAINED = 2, 1


def flow(digits: Tensor, places: Tensor, velocities: Tensor, frames: int) -> Tensor:
    """``digits (n, k, H, W)`` rolled from ``places (n, k, 2)`` at ``velocities (n, k, 2)``: ``(n, frames, 1, H, W)``."""
    times = torch.arange(frames).view(-1, 1)
    steps = places.unsqueeze(-2) + times * velocities.unsqueeze(-2)  # (n, k, frames, 2)
    moved = roll_image(digits.unsqueeze(2).expand(-1, -1, frames, -1, -1), steps)
    return moved.sum(1).unsqueeze(2)


def turn(digits: Tensor, angles: Tensor, velocities: Tensor, frames: int) -> Tensor:
    """``digits (n, k, H, H)`` turned from ``angles (n, k)``, ``velocities (n, k)`` degrees a frame; shaped as :func:`flow`."""
    degrees = angles.unsqueeze(-1) + torch.arange(frames) * velocities.unsqueeze(-1)
    moved = turn_frames(digits.unsqueeze(2).expand(-1, -1, frames, -1, -1), degrees.to(torch.float64), disc=True)
    return moved.sum(1).unsqueeze(2)


def sequences(
    canvases: Tensor, count: int, frames: int, *, reach: int, least: int = 0, digits: int = DIGITS, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``count`` flowing sequences ``(count, frames, 1, H, W)`` with the places of their digits in ``canvases``, ``(count, k)``.

    The larger component of every velocity lies between ``least`` and ``reach``.
    """
    side = canvases.shape[-1]
    which = torch.randint(len(canvases), (count, digits), generator=generator)
    places = torch.randint(side, (count, digits, 2), generator=generator)
    velocities = torch.randint(-reach, reach + 1, (count, digits, 2), generator=generator)
    slow = velocities.abs().amax(-1) < least
    while bool(slow.any()):
        again = torch.randint(-reach, reach + 1, velocities.shape, generator=generator)
        velocities = torch.where(slow.unsqueeze(-1), again, velocities)
        slow = velocities.abs().amax(-1) < least
    return flow(canvases[which, 0], places, velocities, frames), which


def flowing_digits(request: Request) -> Data:
    """Sequences for prediction: ``frames`` that are given and the ``future``; ``--data mnist=PATH`` for 28 x 28 digits.

    ``fast_frames`` and ``fast_future`` in ``test`` move at an unseen speed. ``info``: size (pixels), given and ahead (frames of
    training), trained (largest trained speed). InputError for another file.
    """
    (train, test), given = _canvases(_mnist(request))
    generator = torch.Generator().manual_seed(7000 + request.seed)
    counts = SIZES[request.size]

    def part(canvases: Tensor, count: int, ahead: int, *, reach: int = TRAINED, least: int = 0) -> tuple[Tensor, Tensor]:
        moving, _ = sequences(canvases, count, given + ahead, reach=reach, least=least, generator=generator)
        return moving[:, :given], moving[:, given:]

    names = ("frames", "future")
    fit = dict(zip(names, part(train, counts[0], given), strict=True))
    valid = dict(zip(names, part(train, counts[1], given), strict=True))
    judged = dict(zip(names, part(test, counts[2], 2 * given), strict=True))
    fast = part(test, counts[2], 2 * given, reach=TRAINED + 1, least=TRAINED + 1)
    judged |= {"fast_frames": fast[0], "fast_future": fast[1]}
    info = {"size": train.shape[-1], "given": given, "ahead": given, "trained": TRAINED, "scale": request.size}
    return Data(fit, judged, {"frames": judged["frames"][:8]}, valid, info)


def flowing_classes(request: Request) -> Data:
    """One flowing digit with its class: ``frames`` and ``y``; ``fast_frames`` and ``fast_y`` move at an unseen speed."""
    (train, test), given = _canvases(_mnist(request))
    classes = _classes(_mnist(request))
    generator = torch.Generator().manual_seed(9000 + request.seed)

    def part(canvases: Tensor, y: Tensor, count: int, *, reach: int = TRAINED, least: int = 0) -> tuple[Tensor, Tensor]:
        moving, which = sequences(canvases, count, given, reach=reach, least=least, digits=1, generator=generator)
        return moving, y[which[:, 0]]

    counts = SIZES[request.size]
    names = ("frames", "y")
    fit = dict(zip(names, part(train, classes[0], counts[0]), strict=True))
    valid = dict(zip(names, part(train, classes[0], counts[1]), strict=True))
    judged = dict(zip(names, part(test, classes[1], counts[2]), strict=True))
    fast = part(test, classes[1], counts[2], reach=TRAINED + 1, least=TRAINED + 1)
    judged |= {"fast_frames": fast[0], "fast_y": fast[1]}
    info = {"size": train.shape[-1], "given": given, "classes": 10, "trained": TRAINED, "scale": request.size}
    return Data(fit, judged, {"frames": judged["frames"][:8]}, valid, info)


def _mnist(request: Request) -> Path | None:
    """The user's digits; InputError for a file of another name."""
    files = dict(request.files)
    if unknown := set(files) - {"mnist"}:
        raise InputError(f"flowing digits: the data file is named mnist, got {sorted(unknown)[0]!r}")
    return Path(files["mnist"]) if files else None


def _canvases(mnist: Path | None) -> tuple[tuple[Tensor, Tensor], int]:
    """Digits in the middle of their torus, (training, test), each ``(n, 1, H, W)`` in [0, 1], and the frames given."""
    if mnist is not None:
        (x, _), (z, _) = read_mnist(mnist)
        return (x, z), 10
    x, _ = scikit_scans()
    x = framed(x, 8, 16)[split_order(len(x))]
    return (x[:1200], x[1200:]), 5


def _classes(mnist: Path | None) -> tuple[Tensor, Tensor]:
    if mnist is not None:
        (_, y), (_, z) = read_mnist(mnist)
        return y, z
    _, y = scikit_scans()
    y = y[split_order(len(y))]
    return y[:1200], y[1200:]
