"""Products of irreps through a decomposition: all paths share one set of channel weights, at a cost of ``O(R d)`` per channel.

    z[k] = sum_r C[k, r] (A^T x)[r] (B^T y)[r],   mixed over channels by one of the modes of
    :func:`coset.ops.decomposed.cp_product`

Equivariant as far as rank R goes; the layer states the measured error. Tensor Decomposition Networks, Lin et al., NeurIPS 2025,
arXiv 2507.01131.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.orthogonal import SO
from coset.nn.constant import Constant
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete
from coset.ops.decomposed import MODES, Decomposition, Mode, Request, cp_product, decompose
from coset.reps.fields import Field, Fields
from coset.reps.irreps import Irreps

Claim = Literal["exact", "approximate"]


class DecomposedProduct(nn.Module):
    """``x`` ``(N, irreps_x.dim)`` times ``y`` ``(N, irreps_y.dim)`` to ``(N, irreps_out.dim)``: irreps of SO(3), degrees
    ``0..lmax``.

    ``mode`` says how channels meet; ``outputs`` how many there are in the modes ``uvw`` and ``uuw``. ``factors`` is a
    :class:`~coset.ops.decomposed.Request` (fitted now, or read from ``cache``) or a finished decomposition. Factors and path
    scales are part of the state dict: they are what the layer computes. The contract is approximate with twice their error, and
    exact where the rank allows it; ``claim="exact"`` refuses a rank that does not.
    """

    def __init__(
        self,
        irreps_x: IrrepsLike,
        irreps_y: IrrepsLike,
        factors: Request | Decomposition,
        *,
        mode: Mode = "uvu",
        outputs: int | None = None,
        claim: Claim = "approximate",
        cache: str | Path | None = None,
    ) -> None:
        super().__init__()
        irreps_x, irreps_y = (as_irreps(irreps, SO(3)) for irreps in (irreps_x, irreps_y))
        if irreps_x.group != SO(3) or irreps_y.group != SO(3):
            raise ContractError(
                "DecomposedProduct: all paths of all degrees are taken, which parity forbids; use irreps of SO(3)"
            )
        (lmax, self.u), (other, self.v) = complete(irreps_x, "DecomposedProduct"), complete(irreps_y, "DecomposedProduct")
        self.found = factors if isinstance(factors, Decomposition) else decompose(factors, cache=cache)
        if not lmax == other == self.found.request.lmax:
            raise InputError(f"DecomposedProduct: factors for lmax {self.found.request.lmax}, irreps {irreps_x} and {irreps_y}")
        if mode not in MODES or (outputs is None) is (mode in ("uvw", "uuw")):
            raise InputError(
                f"DecomposedProduct: give outputs in the modes uvw and uuw only, got mode {mode!r}, outputs {outputs}"
            )
        self.mode: Mode = mode
        shape, channels, fan = self._sizes(outputs)
        self.weight = nn.Parameter(torch.randn(shape) / fan**0.5)
        self.irreps_out = Irreps([(channels, degree) for degree in range(lmax + 1)], SO(3))
        self._sides = (Fields({"x": Field(("N",), irreps_x), "y": Field(("N",), irreps_y)}), Field(("N",), self.irreps_out))
        self._take(self.found, claim)

    def _take(self, found: Decomposition, claim: Claim = "approximate") -> None:
        """These factors, and the promise that they allow."""
        self.found = found
        self._tables = [Constant(factor) for factor in found.factors]
        given = found.contract(claim)
        self.contracts = (Contract(SO(3), *self._sides, given.claim, given.bound),)

    def get_extra_state(self) -> Tensor:
        """Factors, scales and error in one float64 tensor: part of the state dict, and never rounded by ``float()``."""
        parts = [
            *(factor.flatten() for factor in self.found.factors),
            torch.tensor([*self.found.scales, self.found.error], dtype=torch.float64),
        ]
        return torch.cat(parts)

    def set_extra_state(self, state: Tensor) -> None:
        """The factors of the layer that was saved; InputError for another rank or lmax."""
        shapes = [factor.shape for factor in self.found.factors]
        sizes = [*(shape.numel() for shape in shapes), len(self.found.scales), 1]
        if state.numel() != sum(sizes):
            raise InputError(
                f"DecomposedProduct: the state holds {state.numel()} numbers, this layer (lmax {self.found.request.lmax}, rank "
                f"{self.found.request.rank}) needs {sum(sizes)}; build it with the rank that was saved"
            )
        *parts, scales, error = state.detach().to("cpu", torch.float64).split(sizes)
        a, b, c = (part.view(shape).clone() for part, shape in zip(parts, shapes, strict=True))
        self._take(replace(self.found, factors=(a, b, c), scales=tuple(scales.tolist()), error=float(error)))

    def _sizes(self, outputs: int | None) -> tuple[tuple[int, ...], int, int]:
        """The shape of the weight, the channels that come out, and how many products meet in one of them."""
        u, v, w = self.u, self.v, outputs or 0
        if self.mode in ("uuw", "uuu") and u != v:
            raise InputError(f"DecomposedProduct: mode {self.mode!r} pairs equal channels, x has {u} and y has {v}")
        return {
            "uvu": ((u, v), u, v),
            "uvv": ((u, v), v, u),
            "uvw": ((u, v, w), w, u * v),
            "uuw": ((u, w), w, u),
            "uuu": ((u,), u, 1),
        }[self.mode]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Features flat; leading axes ``(...)`` broadcast."""
        rows = (self.found.request.lmax + 1) ** 2
        a, b = x.unflatten(-1, (rows, self.u)), y.unflatten(-1, (rows, self.v))
        factors = [table.like(x) for table in self._tables]
        return cp_product(a, b, factors, self.mode, self.weight.to(x)).flatten(-2)
