"""Lie groups of matrices, given by a basis of their algebra: what all of them share.

``algebra()`` is an orthogonal basis; rotations are measured by angle (coordinate ``a`` of SO(2) turns by ``a`` radians,
those of SO(3) are the rotation vector), boosts by rapidity, all else is of unit Frobenius norm. ``generators()`` are the
exponentials of the basis (one radian is generic, so together they generate a dense subgroup), then ``components()``, one
element for each way out of the identity's component.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import LieGroup, Rule
from coset.groups.rotations import matrix_log


class MatrixGroup(LieGroup):
    """A Lie group of ``size`` by ``size`` matrices given by a basis of its algebra."""

    n: int
    is_complex: bool = False

    @property
    def size(self) -> int:
        """The number of rows of an element."""
        return self.n

    @property
    def element_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.size, self.size)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return len(basis_of(self))

    def _make_basis(self) -> Tensor:
        """An orthogonal basis of the algebra, float64 or complex128 ``(dim, size, size)``."""
        raise ContractError(f"{type(self).__name__} states no basis of its algebra")

    def _draw(self, count: int, generator: Any) -> Tensor:
        raise ContractError(f"{type(self).__name__} states no law for samples")

    def _cast(self, x: Tensor, dtype: torch.dtype | None, device: Any) -> Tensor:
        dtype = dtype or torch.float64
        return x.to(device=device, dtype=dtype.to_complex() if self.is_complex else dtype)

    def algebra(self, *, dtype=None, device=None) -> Tensor:
        return self._cast(basis_of(self), dtype, device)

    def coordinates(self, matrix: Tensor) -> Tensor:
        """Elements of the algebra ``(*batch, size, size)`` to real coordinates ``(*batch, dim)`` in its basis."""
        basis = basis_of(self).to(matrix.device)
        scaled = basis.conj() / (basis.abs() ** 2).sum((-2, -1), keepdim=True)
        out = torch.einsum("...ij,kij->...k", matrix.to(torch.promote_types(matrix.dtype, basis.dtype)), scaled)
        return (out.real if out.is_complex() else out).to(matrix.dtype.to_real())

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return self._cast(torch.eye(self.size, dtype=torch.float64), dtype, device)

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        return self._cast(self._draw(n, generator), dtype, device)

    def components(self, *, dtype=None, device=None) -> Tensor:
        """Elements that, with the component of the identity, generate the group: ``(k, size, size)``, k = 0 if connected."""
        return self._cast(torch.zeros(0, self.size, self.size), dtype, device)

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """``exp`` of every basis vector of the algebra, then ``components()``."""
        smooth = self._cast(self.exp(torch.eye(self.dim, dtype=torch.float64)), dtype, device)
        return torch.cat([smooth, self.components(dtype=dtype, device=device)])

    def linear(self, g: Tensor) -> Tensor:
        return g

    def exp(self, a: Tensor) -> Tensor:
        self._check_coordinates(a)
        return torch.linalg.matrix_exp((a[..., None, None] * self.algebra(dtype=a.dtype, device=a.device)).sum(-3))

    def _check_coordinates(self, a: Tensor) -> None:
        if a.shape[-1:] != (self.dim,):
            raise InputError(f"{self}.exp: expected {self.dim} coordinates on the last axis, got shape {tuple(a.shape)}")

    def log(self, g: Tensor) -> Tensor:
        """Coordinates with ``exp(log(g)) = g``: by the principal logarithm, InputError where there is none."""
        return self.coordinates(matrix_log(g))

    def _of_rule(self, rule: Rule, dtype: torch.dtype | None, device: Any) -> Rule:
        return Rule(self._cast(rule.elements, dtype, device), rule.weights.to(device), rule.degree)


@cache
def basis_of(group: MatrixGroup) -> Tensor:
    """The basis of the algebra, made once for equal groups."""
    return group._make_basis()


def slack(tolerance: float, dtype: torch.dtype) -> float:
    """A tolerance no tighter than the dtype can hold."""
    return max(tolerance, 100 * torch.finfo(dtype).eps)


def is_near(x: Tensor, want: Tensor, tolerance: float) -> Tensor:
    """Largest entry of the difference at most ``tolerance``; False for NaN."""
    return (x - want).abs().flatten(-2).amax(-1) <= slack(tolerance, x.dtype)


# ---------------------------------------------------------------------- bases


def skew_basis(n: int) -> Tensor:
    """so(n): for n = 3 turns about x, y, z; otherwise turns from axis i to j for ``i < j``; each by one radian per unit."""
    pairs = [(1, 2), (2, 0), (0, 1)] if n == 3 else [(i, j) for i in range(n) for j in range(i + 1, n)]
    out = torch.zeros(len(pairs), n, n, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        out[k, j, i], out[k, i, j] = 1, -1
    return out


def symmetric_basis(n: int, *, traceless: bool = False) -> Tensor:
    """Symmetric matrices, orthonormal for ``tr(X^T Y)``: diagonal ones first, then ``(E_ij + E_ji) / sqrt(2)``."""
    if traceless:
        rows = [[1.0] * k + [-float(k)] + [0.0] * (n - k - 1) for k in range(1, n)]
        diagonal = torch.diag_embed(torch.tensor(rows, dtype=torch.float64).reshape(-1, n))
        diagonal = diagonal / torch.linalg.matrix_norm(diagonal)[:, None, None]
    else:
        diagonal = torch.diag_embed(torch.eye(n, dtype=torch.float64))
    i, j = torch.triu_indices(n, n, 1)
    mixed = torch.zeros(len(i), n, n, dtype=torch.float64)
    mixed[torch.arange(len(i)), i, j] = mixed[torch.arange(len(i)), j, i] = 0.5**0.5
    return torch.cat([diagonal, mixed])
