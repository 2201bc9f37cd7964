"""A classifier on orthogonal moments of the image: no learned filters, invariants by arithmetic.

Magnitudes ``|A_pq|`` of Zernike, pseudo-Zernike or Fourier-Mellin moments, optionally with the relative phases that
magnitudes forget (pair products ``A_pq conj(A_p'q)`` and triple products across frequencies), normalised by batch norm,
into a small perceptron. Exact at quarter turns; elsewhere up to the sampling of the image. Magnitudes are also invariant
under reflection, relative phases are not. Formulas and source: :mod:`coset.ops.moments` (arXiv 2209.10944).
Contract: D(4) exact and O(2) approximate; with relative phases C(4) and SO(2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.groups.finite import C, D
from coset.groups.matrix import SO, O
from coset.nn.constant import Constant
from coset.ops.moments import check_map, magnitude, moment_basis, phase_pairs, phase_triples, projection, relative_phases
from coset.reps.fields import Field
from coset.reps.image import Image


class MomentsNet(nn.Module):
    """``x`` (B, 1, size, size) to logits (B, classes). ``phases`` adds relative phases; ``order`` is at most ``size``."""

    def __init__(
        self,
        kind: str = "zernike",
        order: int = 8,
        *,
        phases: bool = False,
        hidden: int = 128,
        dropout: float = 0.1,
        subpixels: int = 5,
        size: int = 16,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "kind": kind, "order": order, "phases": phases, "hidden": hidden, "dropout": dropout, "subpixels": subpixels,
            "size": size, "classes": classes,
        }  # fmt: skip
        basis = moment_basis(kind, order, size, subpixels=subpixels)
        weight = projection(basis)
        self.size, self.real, self.imag = size, Constant(weight.real), Constant(weight.imag)
        self.pairs = phase_pairs(basis.indices) if phases else None
        self.triples = phase_triples(basis.indices) if phases else None
        count = len(basis) + sum(2 * len(found) for found in (self.pairs, self.triples) if found is not None)
        self.classify = nn.Sequential(
            nn.BatchNorm1d(count), nn.Linear(count, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
        )  # fmt: skip
        field, out = Field(("B", "1"), Image(size=size, disc=True)), f"B x {classes} x scalar"
        grid, whole = (C(4), SO(2)) if phases else (D(4), O(2))
        # measured on digits: .12, all of it from resampling the source at 16 pixels
        self.contracts = (Contract(grid, field, out), Contract(whole, field, out, "approximate", 1.0))

    def features(self, x: Tensor) -> Tensor:
        """The invariants that the classifier reads, (B, F)."""
        check_map(x, self.size)
        a = torch.complex(
            torch.einsum("bhw,nhw->bn", x[:, 0], self.real.like(x)), torch.einsum("bhw,nhw->bn", x[:, 0], self.imag.like(x))
        )
        if self.pairs is None or self.triples is None:
            return magnitude(a)
        return torch.cat([magnitude(a), relative_phases(a, self.pairs, self.triples)], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classify(self.features(x))
