"""Linear maps on patches with a degree of weight sharing: one filter for all, one for each place, or none at all.

    shared  z_i = <w, x^(i)>        d weights        permuting patches permutes z
    local   z_i = <w_i, x^(i)>      k d weights      no symmetry among patches
    dense   z_i = <v_i, x>          k^2 d weights    no locality either

and the local signal adaptive activation ``phi_b(z) = relu(z - b) - relu(-z - b)``, a soft threshold.
Lahoti, Karp, Winston, Singh & Li, Role of Locality and Weight Sharing in Image-Based Tasks, ICLR 2024, arXiv 2403.15707.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.permutation import S

#: weights' shape and the map for each degree of sharing; k patches of size d, weights w, inputs x (B, k, d)
SHARING: dict[str, tuple[Callable[[int, int], tuple[int, ...]], Callable[[Tensor, Tensor], Tensor]]] = {
    "shared": (lambda k, d: (d,), lambda w, x: x @ w),
    "local": (lambda k, d: (k, d), lambda w, x: (x * w).sum(-1)),
    "dense": (lambda k, d: (k, k * d), lambda w, x: x.flatten(-2) @ w.mT),
}


class PatchLinear(nn.Module):
    """``(..., k, d) -> (..., k)``: one number for every patch; ``sharing`` is ``shared``, ``local`` or ``dense``.

    Weights start Gaussian with standard deviation ``scale`` (small: ``0.1 / sqrt(size)``), a law that every orthogonal map
    preserves. Much smaller ones would be overtaken by a learned threshold and never leave its dead zone. Raises InputError
    for an unknown sharing, fewer than two patches, or a scale that is not positive.
    """

    def __init__(self, patches: int, size: int, *, sharing: str = "shared", scale: float | None = None) -> None:
        super().__init__()
        if sharing not in SHARING:
            raise unknown("sharing", sharing, SHARING)
        if patches < 2 or size < 1:
            raise InputError(f"PatchLinear: expected at least 2 patches of size at least 1, got {patches} of size {size}")
        scale = 0.1 / size**0.5 if scale is None else scale
        if not scale > 0:
            raise InputError(f"PatchLinear: scale is the standard deviation at the start and > 0, got {scale}")
        shape = SHARING[sharing][0]
        self.patches, self.size, self.sharing = patches, size, sharing
        self.weight = nn.Parameter(torch.randn(shape(patches, size)) * scale)
        self.contracts: tuple[Contract, ...] = ()
        if sharing == "shared":
            self.contracts = (Contract(S("K"), f"... x K x {size} x scalar", "... x K x scalar"),)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (..., k, d) to (..., k)."""
        return SHARING[self.sharing][1](self.weight, x)


class SoftThreshold(nn.Module):
    """``phi_b(z) = relu(z - b) - relu(-z - b)`` with a learned ``b >= 0``: odd, and zero between -b and b."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        if start < 0:
            raise InputError(f"SoftThreshold: b >= 0, got {start}")
        self.b = nn.Parameter(torch.tensor(float(start)))

    def forward(self, z: Tensor) -> Tensor:
        """Elementwise."""
        b = self.b.clamp(min=0)
        return torch.relu(z - b) - torch.relu(-z - b)
