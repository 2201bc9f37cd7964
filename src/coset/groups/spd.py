"""Positive definite symmetric matrices: logarithmic coordinates, the action of GL(n) and the measure that it preserves.

``g . S = g S g^T`` moves SPD(n) transitively, and I is fixed by rotations: SPD(n) = GL+(n) / SO(n), and with determinant one
SL(n) / SO(n). ``log S`` is a global chart. With ``l_i`` the eigenvalues of ``X = log S`` the invariant measure is

    det(S)^{-(n+1)/2} dS = prod_{i<j} sinh(|l_i - l_j| / 2) / (|l_i - l_j| / 2) dX

(Terras, Harmonic Analysis on Symmetric Spaces II, section 1.1; the sampler is that of arXiv 2310.11366).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.group import natural
from coset.groups.lie import symmetric_basis
from coset.groups.rotations import matrix_log


@dataclass(frozen=True)
class SPD:
    """Positive definite symmetric ``n x n`` matrices; with ``unit`` those of determinant one."""

    n: int
    unit: bool = False

    def __post_init__(self) -> None:
        natural("SPD", self.n)

    @property
    def dim(self) -> int:
        """The number of coordinates."""
        return self.n * (self.n + 1) // 2 - self.unit

    def basis(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """``(dim, n, n)``, orthonormal for ``tr(X^T Y)``, the diagonal first (traceless with ``unit``)."""
        return symmetric_basis(self.n, traceless=self.unit).to(device=device, dtype=dtype or torch.float64)

    def coordinates(self, s: Tensor) -> Tensor:
        """``log S`` of ``(..., n, n)`` in the basis, ``(..., dim)``; differentiable.

        Raises InputError unless ``s`` is square, finite, symmetric to 1e-6 of its size, positive definite and, with
        ``unit``, of determinant 1 to 1e-4.
        """
        wide = self._checked(s)
        return torch.einsum("...ij,kij->...k", matrix_log(wide), self.basis(device=s.device)).to(s.dtype)

    def element(self, c: Tensor) -> Tensor:
        """Coordinates ``(..., dim)`` to ``exp X``."""
        if c.shape[-1:] != (self.dim,):
            raise InputError(f"{self}: expected {self.dim} coordinates on the last axis, got shape {tuple(c.shape)}")
        x = torch.einsum("...k,kij->...ij", c.to(torch.float64), self.basis(device=c.device))
        return torch.linalg.matrix_exp(x).to(c.dtype)

    def act(self, g: Tensor, s: Tensor) -> Tensor:
        """``g S g^T``; batch dimensions broadcast."""
        return g @ s @ g.mT

    def log_weight(self, c: Tensor) -> Tensor:
        """The logarithm of the density of the invariant measure against ``dX`` in these coordinates, ``(...)``."""
        x = torch.einsum("...k,kij->...ij", c.to(torch.float64), self.basis(device=c.device))
        return log_invariant_weight(torch.linalg.eigvalsh(x)).to(c.dtype)

    def sample(self, count: int, variance: float = 0.1, *, generator: torch.Generator | None = None) -> Tensor:
        """``(count, n, n)`` with normal coordinates of this variance: a law that is invariant under rotations."""
        check_law("SPD.sample", count, variance)
        return self.element(variance**0.5 * torch.randn(count, self.dim, generator=generator, dtype=torch.float64))

    def _checked(self, s: Tensor) -> Tensor:
        if s.ndim < 2 or s.shape[-2:] != (self.n, self.n):
            raise InputError(f"{self}: expected (..., {self.n}, {self.n}), got shape {tuple(s.shape)}")
        wide = s.to(torch.float64)
        if not bool(torch.isfinite(wide).all()):
            raise InputError(f"{self}: the matrix has entries that are NaN or infinite")
        size = wide.detach().abs().amax((-2, -1), keepdim=True)
        if bool(((wide - wide.mT).detach().abs() > 1e-6 * size).any()):
            raise InputError(f"{self}: a matrix is not symmetric; take g g^T, or (S + S^T) / 2 if it is by rounding only")
        wide = (wide + wide.mT) / 2
        values = torch.linalg.eigvalsh(wide.detach())
        if bool((values[..., 0] <= 1e-14 * values[..., -1]).any()):
            raise InputError(f"{self}: a matrix is not positive definite (least eigenvalue {float(values[..., 0].min()):.1e})")
        if self.unit and bool(((det := values.prod(-1)) - 1).abs().gt(1e-4).any()):
            raise InputError(
                f"{self}: determinants must be 1 to 1e-4, got {float(det[(det - 1).abs() > 1e-4].flatten()[0]):.6g}"
            )
        return wide


def log_invariant_weight(values: Tensor) -> Tensor:
    """``sum_{i<j} log(sinh(d) / d)``, ``d = |l_i - l_j| / 2``, of the eigenvalues ``(..., n)`` of ``log S``."""
    i, j = torch.triu_indices(values.shape[-1], values.shape[-1], 1, device=values.device)
    return log_sinhc((values[..., j] - values[..., i]).abs() / 2).sum(-1)


def log_sinhc(d: Tensor) -> Tensor:
    """``log(sinh(d) / d)`` for ``d >= 0``, without overflow or cancellation."""
    small = d < 0.1
    safe = torch.where(small, torch.ones_like(d), d)
    square = d * d
    series = square / 6 * (1 - square / 30 * (1 - square * 4 / 63))
    return torch.where(small, series, safe - (2 * safe).log() + torch.log1p(-torch.exp(-2 * safe)))


def check_law(who: str, count: int, variance: float) -> None:
    """InputError unless at least one sample is asked for, of a variance that is not negative."""
    if count < 1 or not variance >= 0:
        raise InputError(f"{who}: expected count >= 1 and variance >= 0, got {count} and {variance}")
