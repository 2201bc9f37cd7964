"""What a network takes for parts, and what that costs: groups of one body, and the error of many against their purity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.figures.clouds import clouds
from coset.figures.style import INK, color, plain
from coset.records import Finding


@dataclass
class Partition(Finding):
    """One cloud ``pos (n, 3)`` with its rigid parts, first and last groups ``(n,)``; of many clouds ``(S,)`` the measured
    error under independent motions of the parts, the share of points that are of their group's largest part, and the bound.

    InputError where shapes do not fit.
    """

    pos: np.ndarray
    body: np.ndarray
    first: np.ndarray
    last: np.ndarray
    error: np.ndarray
    purity: np.ndarray
    bound: np.ndarray
    title: str = ""

    def __post_init__(self) -> None:
        if self.pos.shape[1:] != (3,) or any(np.shape(x) != self.pos.shape[:1] for x in (self.body, self.first, self.last)):
            raise InputError(f"Partition: points (n, 3) and labels (n,), got {self.pos.shape} and {np.shape(self.body)}")
        if not np.shape(self.error) == np.shape(self.purity) == np.shape(self.bound):
            raise InputError(f"Partition: one error, purity and bound for every cloud, got {np.shape(self.error)}")

    def plot(self) -> Any:
        """True parts, first and last groups; error over the bound of every cloud."""
        labels = {"rigid parts": self.body, "first groups": self.first, "last groups": self.last}
        made = clouds(self.pos, labels, title=self.title, beside=1)
        panel = made.axes[0]
        plain(panel)
        panel.scatter(self.bound, self.error, s=14, color=color(0), linewidths=0)
        panel.set_xlabel("certificate: uncertainty + straddling", color=INK)
        panel.set_ylabel("measured error", color=INK)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        return made


__all__ = ["Partition"]
