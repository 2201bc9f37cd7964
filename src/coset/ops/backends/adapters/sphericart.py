"""Real spherical harmonics from sphericart; call it in a process of its own, it crashes at exit beside torch."""

from __future__ import annotations

import importlib.util

from torch import Tensor

from coset.errors import require


def available() -> str | None:
    """None, or why it cannot be used."""
    return None if importlib.util.find_spec("sphericart") else "sphericart-torch is not installed (extra 'peers')"


class Harmonics:
    """All degrees up to ``lmax`` of vectors ``(n, 3)``; sphericart normalizes over the sphere, its m = -1, 0, 1 are y, z, x."""

    def __init__(self, lmax: int) -> None:
        self.module = require("sphericart.torch", extra="peers").SphericalHarmonics(lmax)

    def __call__(self, vectors: Tensor) -> Tensor:
        """``(n, (lmax + 1)^2)`` as sphericart gives them; the conversion is :mod:`coset.reps.conventions`'s."""
        return self.module.compute(vectors)
