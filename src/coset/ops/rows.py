"""Where the components of a feature stand when it is read as ``(..., rows, C)``.

A feature of :class:`~coset.reps.irreps.Irreps` is flat, each block ``(2l + 1, mul)`` with the copies fastest. Read with ``C``
channels, ``C`` dividing every multiplicity, it is ``(..., rows, C)`` in the same memory: a block of multiplicity ``q C`` has
``(2l + 1) q`` rows, and component ``m`` of its copies ``j C .. j C + C - 1`` is row ``offset + m q + j``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from coset.errors import InputError
from coset.reps.irreps import Irreps


@dataclass(frozen=True)
class Rows:
    """The rows of ``irreps`` seen with ``channels`` channels (0: one number per row, no channel axis)."""

    irreps: Irreps
    channels: int

    def __post_init__(self) -> None:
        for mul, ir in self.irreps:
            if mul % max(self.channels, 1):
                raise InputError(f"{mul}x{ir} in {self.irreps} cannot be split into {self.channels} channels")

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(ir.dim * copies for (_, ir), copies in zip(self.irreps, self.copies, strict=True))

    @property
    def copies(self) -> list[int]:
        """For each block how many times the channels fit into its multiplicity."""
        return [mul // max(self.channels, 1) for mul, _ in self.irreps]

    def of(self, block: int, copy: int) -> np.ndarray:
        """The rows ``(2l + 1,)`` of one copy of one block, by component."""
        before = sum(ir.dim * n for (_, ir), n in zip(self.irreps[:block], self.copies[:block], strict=True))
        return before + np.arange(self.irreps[block].ir.dim) * self.copies[block] + copy

    def check(self, name: str, x: Tensor, what: str) -> None:
        """InputError, block by block, if ``x`` is not ``(..., rows, channels)``."""
        rows = x.shape[-2] if x.ndim > 1 else 0
        if rows != self.count or (self.channels and x.shape[-1] != self.channels):
            blocks = [f"{mul}x{ir}: {ir.dim * n}" for (mul, ir), n in zip(self.irreps, self.copies, strict=True)]
            expected = f"(..., {self.count}, {self.channels})"
            raise InputError(f"{name} of {what} is {expected}, rows {', '.join(blocks)}; got {tuple(x.shape)}")
