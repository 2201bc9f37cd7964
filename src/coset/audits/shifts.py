"""Shift consistency of image classifiers: how often a shifted image is given the class of the unshifted one.

Circular shifts, under which a network can be exactly symmetric, and shifts of a crop window, which bring new content in at the
border as a moving camera does. R. Zhang, Making Convolutional Networks Shift-Invariant Again, 2019, arXiv 1904.11486 (his
pairs of two random shifts); the map over all shifts is an orbit (:mod:`coset.audits.orbits`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coset.audits.grids import shifts
from coset.audits.orbit_result import OrbitResult
from coset.audits.orbits import orbits
from coset.contract import Contract, evaluating, frozen
from coset.errors import InputError
from coset.groups.torus import Torus
from coset.reps.torus import roll_image


def predicted(model: Callable[..., Any], x: Tensor, *, batch: int = 256) -> Tensor:
    """The class of every image, in eval mode: ``x`` (n, C, H, W) to (n,)."""
    with evaluating(model), frozen(model), torch.no_grad():
        return torch.cat([model(part).argmax(-1) for part in x.split(batch)])


def random_shifts(x: Tensor, *, seed: int = 0) -> Tensor:
    """Every image of ``x`` (n, C, H, W) rolled by a random whole number of pixels of its own, the same on every call."""
    generator = torch.Generator().manual_seed(seed)
    steps = [torch.randint(size, (len(x),), generator=generator) for size in x.shape[-2:]]
    return roll_image(x, torch.stack(steps, -1).to(x.device))


def circular_consistency(model: Callable[..., Any], x: Tensor, *, pairs: int = 2) -> float:
    """Percent of images given one class under two random circular shifts, over ``pairs`` pairs each."""
    _positive(pairs)
    same = [_agreement(model, random_shifts(x, seed=2 * i), random_shifts(x, seed=2 * i + 1)) for i in range(pairs)]
    return 100 * sum(same) / pairs


def crop_consistency(model: Callable[..., Any], x: Tensor, *, reach: int = 4, pairs: int = 2) -> float:
    """Percent of images given one class in two random windows of the image extended by ``reach`` mirrored pixels."""
    _positive(pairs)
    if not 0 < reach < min(x.shape[-2:]):
        raise InputError(f"crop_consistency: reach is between 1 and the image's size {tuple(x.shape[-2:])}, got {reach}")
    wide, generator = F.pad(x, (reach,) * 4, mode="reflect"), torch.Generator().manual_seed(0)

    def window() -> Tensor:
        corner = torch.randint(2 * reach + 1, (len(x), 2), generator=generator).to(x.device)
        return roll_image(wide, -corner)[..., : x.shape[-2], : x.shape[-1]]

    return 100 * sum(_agreement(model, window(), window()) for _ in range(pairs)) / pairs


def shift_map(
    model: Callable[..., Any], x: Tensor, contract: Contract, *, down: Sequence[int], right: Sequence[int], truth: Any = None
) -> OrbitResult:
    """Over a grid of circular shifts: the share of images given their most frequent class, or with ``truth`` the right one.

    ``contract`` is over Torus(H, W), with logits as outputs. Raises InputError for another group.
    """
    if not isinstance(contract.group, Torus):
        raise InputError(f"shift_map: a contract over Torus(H, W) is expected, got one over {contract.group}")
    grid = shifts(contract.group, down, right)
    return orbits(model, x, contract, elements=grid, metric="correct", truth=truth, keep=False)


def _agreement(model: Callable[..., Any], a: Tensor, b: Tensor) -> float:
    return float((predicted(model, a) == predicted(model, b)).double().mean())


def _positive(pairs: int) -> None:
    if pairs < 1:
        raise InputError(f"consistency is measured over at least one pair of shifts, got {pairs}")
