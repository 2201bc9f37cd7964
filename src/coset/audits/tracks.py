"""Where a policy goes for each heading asked for, seen from above."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coset.records import Finding


@dataclass
class Tracks(Finding):
    """``paths`` (E, T, 2) in meters, NaN after an episode's end; ``headings`` (E,) and the training ``sector`` in radians."""

    paths: np.ndarray
    headings: np.ndarray
    sector: np.ndarray  #: (2,) low and high
    title: str = field(default="tracks for each heading")

    def progress(self) -> np.ndarray:
        """Meters gone towards each heading at the end of the track, (E,)."""
        gone = np.stack([path[~np.isnan(path[:, 0])][-1] - path[0] for path in self.paths])
        return (gone * np.stack([np.cos(self.headings), np.sin(self.headings)], -1)).sum(-1)

    def plot(self) -> Any:
        """The tracks in the plane (matplotlib)."""
        from coset.figures.tracks import tracks

        return tracks({self.title: self.paths}, self.headings, sector=(float(self.sector[0]), float(self.sector[1])))
