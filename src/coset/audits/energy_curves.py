"""Two curves that say whether dynamics can trust a potential: total energy over time, energy across a cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coset.errors import InputError
from coset.records import Finding


@dataclass
class EnergyCurves(Finding):
    """Total energies of free trajectories, and energies while one bond passes the cutoff; InputError for unlike lengths."""

    time: np.ndarray  #: (steps,) in ps
    total: np.ndarray  #: (steps, systems), eV per atom
    length: np.ndarray  #: (points,) of the bond, angstrom
    energy: np.ndarray  #: (points,) eV
    cutoff: float

    def __post_init__(self) -> None:
        if np.ndim(self.total) != 2 or len(self.total) != len(self.time) or np.shape(self.energy) != np.shape(self.length):
            raise InputError(
                f"EnergyCurves: total is (steps, systems) and energy (points,), got {np.shape(self.total)} over "
                f"{np.shape(self.time)} and {np.shape(self.energy)} over {np.shape(self.length)}"
            )

    @property
    def change(self) -> float:
        """The largest distance of a total energy from its first value, meV per atom."""
        return float(np.abs(self.total - self.total[0]).max()) * 1e3

    @property
    def jump(self) -> float:
        """The largest change of the energy from one length to the next, meV."""
        return float(np.abs(np.diff(self.energy)).max()) * 1e3

    def plot(self) -> Any:
        """Both, the first in meV per atom from its start, the second in meV from beyond the cutoff."""
        from coset.figures.style import FAINT, INK, color, figure

        made, axes = figure(1, 2, size=(4.6, 3.2))
        left, right = axes[0]
        for i, curve in enumerate(np.transpose(self.total - self.total[0]) * 1e3):
            left.plot(self.time, curve, color=color(i), lw=1.2)
        left.set_xlabel("time, ps")
        left.set_ylabel("total energy, meV per atom")
        left.set_title(f"no thermostat: within {self.change:.2g} meV per atom", fontsize=11, color=INK)
        right.axvline(self.cutoff, color=FAINT, lw=1.2, ls="--")
        right.plot(self.length, (self.energy - self.energy[-1]) * 1e3, color=color(0), lw=1.4)
        right.set_xlabel("length of the bond, angstrom")
        right.set_ylabel("energy, meV")
        right.set_title(f"across the cutoff: within {self.jump:.2g} meV per step", fontsize=11, color=INK)
        for panel in (left, right):
            panel.grid(color=FAINT, lw=0.6)
        return made
