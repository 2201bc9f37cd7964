"""Random draws of a training objective that a checkpoint restores: a seed and a counter, both buffers.

The n-th draw uses a generator seeded by ``(seed, n)``, so a resumed run continues the same stream, and two objectives with
equal seeds draw equal transformations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MIX = 0x9E3779B97F4A7C15  # the odd number nearest 2^64 / golden ratio: neighbouring counts get unrelated seeds


class Draws(nn.Module):
    """A stream of CPU generators; without a ``seed`` it takes torch's global seed at the first draw."""

    seed: Tensor
    count: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.register_buffer("seed", torch.tensor(-1 if seed is None else seed, dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def next(self, *, advance: bool = True) -> torch.Generator:
        """The generator of the next draw; ``advance=False`` looks at it without using it up (validation)."""
        if int(self.seed) < 0:
            self.seed.fill_(torch.initial_seed() % 2**62)
        mixed = (int(self.seed) * _MIX + (int(self.count) + 1) * (_MIX ^ 0x5555555555555555)) % 2**63
        if advance:
            self.count.add_(1)
        return torch.Generator().manual_seed(mixed)
