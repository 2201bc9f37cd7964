"""Dynamic signal distribution: a known pattern in one of k noisy patches; the label is its sign.

    y uniform in {-1, 1}, t uniform in 1..k,   x^(t) = y w* + sigma n,   other patches sigma n,   |w*| = 1

The task is invariant under all permutations of patches, so what weight sharing saves in samples can be measured.
Lahoti, Karp, Winston, Singh & Li, ICLR 2024, arXiv 2403.15707 (the theory's regime is sigma of order 1 / sqrt(k)).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coset.errors import InputError


@dataclass(frozen=True)
class Signal:
    """``patches`` of ``size`` numbers, noise ``sigma``; the pattern w* is a fixed random direction.

    Along a coordinate axis Adam, which is not rotation equivariant, would do much worse. ``noiseless`` allows sigma = 0.
    Raises InputError for fewer than two patches or sigma that is not positive.
    """

    patches: int = 10
    size: int = 20
    sigma: float = 0.25
    noiseless: bool = False

    def __post_init__(self) -> None:
        if self.patches < 2:
            raise InputError(f"Signal: at least 2 patches, got {self.patches}; with one there is nothing to share")
        if self.size < 1:
            raise InputError(f"Signal: size >= 1, got {self.size}")
        if self.sigma < 0 or (self.sigma == 0 and not self.noiseless):
            raise InputError(f"Signal: sigma > 0, got {self.sigma}; noiseless=True allows 0")

    @property
    def pattern(self) -> Tensor:
        """w*, ``(size,)``."""
        way = torch.randn(self.size, generator=torch.Generator().manual_seed(self.size), dtype=torch.float64)
        return (way / way.norm()).float()

    def draw(self, n: int, *, generator: torch.Generator) -> dict[str, Tensor]:
        """``n`` samples: ``x`` (n, patches, size) and ``y`` (n,) in {-1, 1}."""
        if n < 1:
            raise InputError(f"Signal: n >= 1 samples, got {n}")
        y = torch.randint(2, (n,), generator=generator) * 2.0 - 1
        place = torch.randint(self.patches, (n,), generator=generator)
        x = self.sigma * torch.randn(n, self.patches, self.size, generator=generator)
        x[torch.arange(n), place] += y[:, None] * self.pattern
        return {"x": x, "y": y}

    def detector(self, x: Tensor) -> Tensor:
        """Log odds of y = 1 for the optimal detector, which knows w*: ``(n, k, d) -> (n,)``."""
        if self.sigma == 0:
            return (x @ self.pattern.to(x)).sum(-1)
        score = x @ self.pattern.to(x) / self.sigma**2
        return score.logsumexp(-1) - (-score).logsumexp(-1)

    def floor(self, *, samples: int = 100_000, seed: int = 0) -> float:
        """Error of the optimal detector, estimated: no network gets below it."""
        test = self.draw(samples, generator=torch.Generator().manual_seed(seed))
        return float((self.detector(test["x"]).sign() != test["y"]).float().mean())
