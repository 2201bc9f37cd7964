"""A replay buffer of frames: what was seen is kept once, a transition is a frame and the one after it.

A ring of ``capacity`` frames. A frame becomes usable when its successor is written; the last frame of an episode never
does, nor does the newest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError


class Replay:
    """Observations by name, actions, rewards and ends; ``shapes`` are those of one frame."""

    def __init__(self, capacity: int, shapes: Mapping[str, tuple[int, ...]], action: tuple[int, ...]) -> None:
        if capacity < 2:
            raise InputError(f"Replay: a transition takes two frames, got a capacity of {capacity}")
        self.seen = {name: torch.zeros(capacity, *shape) for name, shape in shapes.items()}
        self.action = torch.zeros(capacity, *action)
        self.reward, self.fallen = torch.zeros(capacity), torch.zeros(capacity)
        self.usable = torch.zeros(capacity, dtype=torch.bool)
        self.capacity, self.at, self.size = capacity, -1, 0

    def begin(self, seen: Mapping[str, np.ndarray]) -> None:
        """The first frame of an episode."""
        self.at = (self.at + 1) % self.capacity
        self.size = max(self.size, self.at + 1)
        self.usable[self.at] = False
        for name, store in self.seen.items():
            store[self.at] = torch.from_numpy(seen[name])

    def step(self, action: np.ndarray, reward: float, fallen: bool, seen: Mapping[str, np.ndarray]) -> None:
        """What was done in the newest frame, and the frame it led to; ``fallen`` ends without a future."""
        self.action[self.at] = torch.from_numpy(action)
        self.reward[self.at], self.fallen[self.at] = reward, float(fallen)
        before = self.at
        self.begin(seen)
        self.usable[before] = True

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Any]:
        """``count`` usable transitions, uniformly with replacement: seen, action, reward, fallen, then."""
        if not bool(self.usable.any()):
            raise InputError("Replay: no transition to draw yet")
        found = torch.empty(0, dtype=torch.int64)
        while len(found) < count:
            tried = torch.randint(self.size, (2 * count,), generator=generator)
            found = torch.cat([found, tried[self.usable[tried]]])
        here = found[:count]
        there = (here + 1) % self.capacity
        return {
            "seen": {name: store[here] for name, store in self.seen.items()},
            "then": {name: store[there] for name, store in self.seen.items()},
            "action": self.action[here], "reward": self.reward[here], "fallen": self.fallen[here],
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """What has been written so far."""
        return {"at": self.at, "size": self.size, **{name: store[: self.size] for name, store in self._stores().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; InputError for a buffer of other frames or too small."""
        stores, size = self._stores(), int(state["size"])
        if size > self.capacity or any(name not in state or state[name].shape[1:] != s.shape[1:] for name, s in stores.items()):
            raise InputError("the checkpoint's replay buffer does not fit: another body or capacity; use another --out folder")
        self.at, self.size = int(state["at"]), size
        for name, store in stores.items():
            store[:size] = state[name]

    def _stores(self) -> dict[str, Tensor]:
        own = {"action": self.action, "reward": self.reward, "fallen": self.fallen, "usable": self.usable}
        return {f"seen.{name}": store for name, store in self.seen.items()} | own
