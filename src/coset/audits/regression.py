"""A smooth guess of labels from inputs: Gaussian-process regression with width and noise chosen by leave-one-out error.

What the data scan needs of it: predictions at transformed points, and the posterior variance there, which says whether a
point still lies where data are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WIDTHS = (0.3, 0.6, 1.0, 2.0, 4.0)  #: of the kernel, in median distances
NOISES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)  #: variance of the labels' noise, in units of the kernel's
MOST = 750  #: points it is fitted to


@dataclass
class Regression:
    """``predict`` after :func:`fit`."""

    x: Tensor
    center: Tensor
    spread: Tensor
    width: float
    inverse: Tensor
    weights: Tensor
    offset: Tensor

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Labels ``(n, q)`` and posterior variance ``(n,)`` (1 far from all data) at ``x`` ``(n, d)``."""
        near = _kernel((x - self.center) / self.spread, self.x, self.width)
        return self.offset + near @ self.weights, 1 - ((near @ self.inverse) * near).sum(1)


def fit(x: Tensor, y: Tensor) -> Regression:
    """Fit to ``x`` ``(n, d)`` and ``y`` ``(n, q)`` in float64 (the first 750 rows)."""
    x, y = x[:MOST].double(), y[:MOST].double()
    center, spread = x.mean(0), x.std(0)
    spread = torch.where(spread > 1e-9 * spread.max().clamp(min=1e-300), spread, torch.ones_like(spread))
    x, offset = (x - center) / spread, y.mean(0)
    distances = torch.cdist(x, x)
    positive = distances[distances > 0]
    middle = float(positive.median()) if positive.numel() else 1.0
    best: tuple[float, float, Tensor, Tensor] | None = None
    for factor in WIDTHS:
        values, vectors = torch.linalg.eigh(torch.exp(-0.5 * (distances / (factor * middle)) ** 2))
        rotated, squares = vectors.T @ (y - offset), vectors.square()
        for noise in NOISES:
            shrunk = 1 / (values.clamp(min=0) + noise)
            # left-out error of ridge regression: (K + noise)^-1 y over the diagonal of (K + noise)^-1
            left_out = (vectors @ (shrunk.unsqueeze(1) * rotated)) / (squares @ shrunk).unsqueeze(1)
            error = float(left_out.square().mean())
            if best is None or error < best[0]:
                best = (error, factor * middle, vectors, shrunk)
    _, width, vectors, shrunk = best  # type: ignore[misc]
    inverse = (vectors * shrunk) @ vectors.T
    return Regression(x, center, spread, width, inverse, inverse @ (y - offset), offset)


def _kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    return torch.exp(-0.5 * (torch.cdist(a, b) / width) ** 2)
