"""The moving average of weights: what is judged and kept where a recipe asks for ``ema``.

    a <- d a + (1 - d) w,      d = min(decay, (1 + step) / (10 + step)),

after every step, so that the first steps are forgotten soon. Averages are kept in the weights' own dtype; buffers are not
averaged. Polyak and Juditsky, SIAM J. Control Optim. 30 (1992).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError


class MovingAverage:
    """The average of ``model``'s trained weights; ``exchange`` swaps both, twice is nothing.

    InputError for a decay outside (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(f"recipe: ema is between 0 and 1 (0 switches it off), got {decay}")
        self.model, self.decay, self.inside = model, decay, False
        self.values = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step ``step``, counted from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        weights = dict(self.model.named_parameters())
        values = [self._at(name, weights[name]) for name in self.values]
        torch._foreach_lerp_(values, [weights[name].detach() for name in self.values], share)

    @torch.no_grad()
    def exchange(self) -> None:
        """The model gets the average, and the average keeps the weights."""
        for name, p in self.model.named_parameters():
            mine = self._at(name, p).clone()
            self.values[name].copy_(p)
            p.copy_(mine)
        self.inside = not self.inside

    def _at(self, name: str, p: Tensor) -> Tensor:
        if self.values[name].device != p.device or self.values[name].dtype != p.dtype:
            self.values[name] = self.values[name].to(p)
        return self.values[name]

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(self.values)

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.values = {name: value.clone() for name, value in state.items()}
