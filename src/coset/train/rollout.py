"""Episodes of a policy in several copies of an environment, side by side: one forward pass per step for all of them.

An environment is a ``gymnasium.Env`` whose observations are arrays by name; its attribute ``constants`` may hold further
inputs of the policy that never change (tree codes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.contract import evaluating, frozen
from coset.errors import InputError


@dataclass
class Episodes:
    """What came of E episodes: ``returns`` and ``lengths`` (E,), ``tracks`` (E, T + 1, 2) on the ground, NaN after the end."""

    returns: np.ndarray
    lengths: np.ndarray
    tracks: np.ndarray


def batched(
    observations: Sequence[Mapping[str, np.ndarray]], constants: Mapping[str, np.ndarray], like: Tensor
) -> dict[str, Tensor]:
    """Observations as one batch in dtype and on the device of ``like``, constants expanded beside them."""
    seen = {name: torch.from_numpy(np.stack([one[name] for one in observations])).to(like) for name in observations[0]}
    return seen | expanded(constants, len(observations), like)


def expanded(constants: Mapping[str, np.ndarray], size: int, like: Tensor) -> dict[str, Tensor]:
    """Constant inputs with a leading axis of ``size``, without copies."""
    return {name: torch.as_tensor(value).to(like).expand(size, *np.shape(value)) for name, value in constants.items()}


def bounds(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half width of an action space; InputError for one that is not bounded."""
    low, high = np.asarray(space.low), np.asarray(space.high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError("actions of this environment are not bounded; a policy in [-1, 1] needs finite low and high")
    return (high + low) / 2, (high - low) / 2


def episodes(policy: Any, make: Callable[[], Any], options: Sequence[Mapping[str, float]], *, seed: int = 0) -> Episodes:
    """One episode for each of ``options``, given to ``reset`` with the seeds ``seed, seed + 1, ...``."""
    copies = [make() for _ in options]
    constants = getattr(copies[0].unwrapped, "constants", {})
    middle, half = bounds(copies[0].action_space)
    seen = [
        copy.reset(seed=seed + i, options=dict(option))[0] for i, (copy, option) in enumerate(zip(copies, options, strict=True))
    ]
    returns, lengths, running = np.zeros(len(copies)), np.zeros(len(copies), dtype=int), list(range(len(copies)))
    tracks = [[_place(copy)] for copy in copies]
    like = next(policy.parameters())
    with evaluating(policy), frozen(policy), torch.no_grad():
        while running:
            action = policy(**batched([seen[i] for i in running], constants, like)).cpu().numpy()
            still = []
            for i, a in zip(running, action, strict=True):
                seen[i], reward, fallen, over, _ = copies[i].step((middle + half * a).astype(np.float32))
                returns[i] += reward
                lengths[i] += 1
                tracks[i].append(_place(copies[i]))
                if not (fallen or over):
                    still.append(i)
            running = still
    longest = max(map(len, tracks))
    padded = np.full((len(tracks), longest, 2), np.nan)
    for row, track in zip(padded, tracks, strict=True):
        row[: len(track)] = track
    return Episodes(returns, lengths, padded)


def _place(copy: Any) -> np.ndarray:
    where = getattr(copy.unwrapped, "place", None)
    return np.full(2, np.nan) if where is None else where()
