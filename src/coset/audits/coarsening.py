"""How charge order grows after a quench: by a learned force beside the exact one, from the same start with the same noise.

    deviation = max_t | order(t) - order_exact(t) | / order_exact(t)

over the steps of the run, with the order parameter and domain size of :mod:`coset.ops.langevin`. Trajectories part soon, since
dynamics is chaotic; the curves of order are what a force field for mesoscale patterns has to reproduce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from coset.errors import InputError
from coset.figures.style import INK, SIGNED, color, figure
from coset.records import Finding


@dataclass
class Coarsening(Finding):
    """Order parameter and domain size over time, exact and learned, and the local order at the end; InputError if unlike."""

    time: np.ndarray  #: (steps + 1,)
    order: np.ndarray  #: (2, steps + 1), exact and learned
    domain: np.ndarray  #: (2, steps + 1), in sites
    phi: np.ndarray  #: (H, W) local order at the end, by the learned force, or (2, H, W) with the exact one first
    title: str = ""

    def __post_init__(self) -> None:
        shape = (2, *np.shape(self.time))
        if np.shape(self.order) != shape or np.shape(self.domain) != shape:
            raise InputError(
                f"Coarsening: exact and learned curves have shape {shape}, got {np.shape(self.order)}, {np.shape(self.domain)}"
            )

    @property
    def deviation(self) -> float:
        """The largest relative difference of the order parameters; inf where the learned run was lost."""
        return growth_deviation(self.order[1], self.order[0])

    def plot(self) -> Any:
        """Curves of order and of domain size, and the local order at the end."""
        maps = self.phi if self.phi.ndim == 3 else self.phi[None]
        names = ("exact", "learned")[-len(maps) :]
        made, axes = figure(1, 2 + len(maps), size=(4.2, 3.6))
        for panel, curves, label in zip(
            axes.flat, (self.order, self.domain), ("order parameter", "domain size, sites"), strict=False
        ):
            for i, name in enumerate(("exact", "learned")):
                panel.plot(self.time, curves[i], color=color(i), lw=2.4 - i, ls=("-", "--")[i], label=name)
            panel.set_xlabel("time")
            panel.set_ylabel(label)
        axes[0, 0].legend(fontsize=9, frameon=False)
        for panel, name, phi in zip(axes.flat[2:], names, maps, strict=True):
            panel.imshow(phi, cmap=SIGNED, vmin=-0.5, vmax=0.5, interpolation="nearest")
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_title(f"local order, {name}", fontsize=11, color=INK)
        if self.title:
            made.suptitle(f"{self.title}: growth within {100 * self.deviation:.1f} %", fontsize=12, color=INK)
        return made


def growth_deviation(order: Any, exact: Any) -> float:
    """``max_t |order - exact| / exact`` of two curves (steps + 1,); inf where not finite. InputError if unlike."""
    order, exact = np.asarray(order, dtype=float), np.asarray(exact, dtype=float)
    if order.shape != exact.shape or order.ndim != 1 or not len(order):
        raise InputError(f"growth_deviation: expected two curves (steps + 1,), got {order.shape} and {exact.shape}")
    return float(np.max(np.abs(order - exact) / np.abs(exact))) if np.isfinite(order).all() else float("inf")


def coarsening(learned: Mapping[str, Tensor], exact: Mapping[str, Tensor], dt: float, *, title: str = "") -> Coarsening:
    """The finding of two runs: tensors ``order`` and ``domain`` (steps + 1,), ``phi`` (H, W), which the exact one may lack."""
    curves = {
        name: np.stack([run[name].detach().double().cpu().numpy() for run in (exact, learned)]) for name in ("order", "domain")
    }
    maps = [run["phi"].detach().double().cpu().numpy() for run in (exact, learned) if "phi" in run]
    time = dt * np.arange(curves["order"].shape[1])
    return Coarsening(time, phi=maps[0] if len(maps) == 1 else np.stack(maps), title=title, **curves)
