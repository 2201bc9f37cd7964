"""Fixed tables of a layer (bases, masks): kept in float64, met in the caller's dtype and on its device."""

from __future__ import annotations

import torch
from torch import Tensor


class Constant:
    """A float64 table outside the module's state.

    As a buffer it would be rounded by ``model.float()`` and stay rounded after ``model.double()``; then a float64 audit
    would measure the rounding and not the model.
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value.detach().to(torch.float64)
        self._cast: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """The table in the dtype and on the device of ``x``."""
        key = (x.dtype, x.device)
        if key not in self._cast:
            self._cast[key] = self.value.to(x)
        return self._cast[key]
