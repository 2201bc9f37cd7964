"""Decompositions of matrix groups: polar, Cartan (KAK), Iwasawa, and coordinates where ``exp`` is not onto.

    polar    g = p k          p symmetric positive, k orthogonal (or g = k p)
    Cartan   g = k exp(a) l   k, l orthogonal, a diagonal
    Iwasawa  g = k exp(a) n   k orthogonal, a diagonal, n upper triangular with unit diagonal

On GL+(n) and SL(n), where some elements have no logarithm, :class:`LogPolar` gives every element off a null set the
coordinates of ``log p`` and ``log k`` (Mironenco and Forré, ICLR 2024, arXiv 2310.11366). Both groups are unimodular; with
``x_i`` the eigenvalues of ``log p`` and ``dk`` the Haar measure of SO(n),

    dg = prod_{i<j} sinh(|x_i - x_j|) / |x_i - x_j|  d(log p) dk.

The polar factor comes from Newton's iteration and the logarithm from square roots, not from eigenvectors: both are
differentiable where singular values coincide, as at the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.haar import haar_matrices
from coset.groups.lie import skew_basis, symmetric_basis
from coset.groups.matrix import GL, SL, SO
from coset.groups.rotations import matrix_log, skew_log


def polar(g: Tensor, *, side: Literal["left", "right"] = "left") -> tuple[Tensor, Tensor]:
    """Invertible ``(..., n, n)`` to ``(p, k)`` with ``g = p k``, or, from the right, ``(k, p)`` with ``g = k p``.

    Differentiable. Raises InputError for singular, rectangular or non-finite matrices.
    """
    if side not in ("left", "right"):
        raise InputError(f"polar: side is 'left' or 'right', got {side!r}")
    m = _square(g, "polar")
    k = _orthogonal_factor(m)
    p = m @ k.mT if side == "left" else k.mT @ m
    p = ((p + p.mT) / 2).to(g.dtype)
    return (p, k.to(g.dtype)) if side == "left" else (k.to(g.dtype), p)


def _square(g: Tensor, who: str) -> Tensor:
    """The matrices in float64, checked to be square, finite and invertible."""
    if g.ndim < 2 or g.shape[-1] != g.shape[-2]:
        raise InputError(f"{who}: expected square matrices (..., n, n), got shape {tuple(g.shape)}")
    m = g.to(torch.float64)
    if not bool(torch.isfinite(m).all()):
        raise InputError(f"{who}: the matrix has entries that are NaN or infinite")
    values = torch.linalg.svdvals(m.detach())
    if bool((values[..., -1] <= 1e-14 * values[..., 0]).any()):
        raise InputError(f"{who}: a matrix is singular (smallest singular value {float(values[..., -1].min()):.1e})")
    return m


def _orthogonal_factor(m: Tensor) -> Tensor:
    """Newton's iteration ``x <- (mu x + x^-T / mu) / 2``, scaled by norms (Higham 2008, section 8.6)."""
    x = m
    for _ in range(100):
        back = torch.linalg.inv(x).mT
        mu = (_scale(back) / _scale(x)).detach()
        mu = torch.where((mu - 1).abs() < 1e-2, torch.ones_like(mu), mu)  # unscaled near the end, where it converges fastest
        new = (mu * x + back / mu) / 2
        change = float((new - x).detach().abs().max()) if x.numel() else 0.0
        x = new
        if change < 1e-9:  # quadratic: the error left is about its square
            return x
    raise InputError("polar: the iteration does not converge; the matrix is too close to singular")


def _scale(x: Tensor) -> Tensor:
    norms = torch.linalg.matrix_norm(x, 1) * torch.linalg.matrix_norm(x, torch.inf)
    return norms.pow(0.25)[..., None, None]


def cartan(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``g = k diag(exp(a)) l``: ``k`` a rotation, ``a`` ``(..., n)`` descending, ``l`` orthogonal with the sign of ``det g``.

    So ``l`` is a rotation on GL+(n), and ``a`` sums to zero on SL(n). By singular values; differentiable where these differ.
    Raises InputError as :func:`polar` does.
    """
    u, values, vh = torch.linalg.svd(_square(g, "cartan"))
    sign = torch.linalg.det(u).sign()[..., None]
    k = torch.cat([u[..., :-1], u[..., -1:] * sign[..., None]], -1)
    turned = torch.cat([vh[..., :-1, :], vh[..., -1:, :] * sign[..., None]], -2)
    return k.to(g.dtype), values.log().to(g.dtype), turned.to(g.dtype)


def iwasawa(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``g = k diag(exp(a)) n``: ``k`` orthogonal (a rotation on GL+), ``a`` ``(..., n)``, ``n`` unit upper triangular.

    Unique and differentiable everywhere. Raises InputError as :func:`polar` does.
    """
    q, r = torch.linalg.qr(_square(g, "iwasawa"))
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    n = r / diagonal[..., None]
    return (q * diagonal.sign()[..., None, :]).to(g.dtype), diagonal.abs().log().to(g.dtype), n.to(g.dtype)


class Draw(NamedTuple):
    """Random elements with their inverses, made together without inverting, and normalised importance weights."""

    elements: Tensor  #: (count, n, n)
    inverses: Tensor  #: (count, n, n)
    weights: Tensor  #: (count,), sum to one


@dataclass(frozen=True)
class LogPolar:
    """Coordinates of GL+(n) or SL(n): ``log k`` and ``log p`` of ``g = p k`` in an orthonormal basis for ``tr(X^T Y)``.

    First ``n (n - 1) / 2`` of the rotation (for n = 2 the angle times sqrt 2), then those of the symmetric part, diagonal
    first. A bijection with the rotations of angle pi taken out; the identity has coordinates 0.
    """

    group: GL | SL

    def __post_init__(self) -> None:
        if not (isinstance(self.group, SL) or (isinstance(self.group, GL) and self.group.positive)):
            raise InputError(f"LogPolar: expected GL(n, positive=True) or SL(n), got {self.group}")

    @property
    def dim(self) -> int:
        """The number of coordinates, the dimension of the group."""
        return self.group.dim

    @property
    def _turns(self) -> int:
        return self.group.n * (self.group.n - 1) // 2

    def basis(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """``(dim, n, n)``, orthonormal, skew matrices first."""
        traceless = isinstance(self.group, SL)
        both = [skew_basis(self.group.n) * 0.5**0.5, symmetric_basis(self.group.n, traceless=traceless)]
        return torch.cat(both).to(device=device, dtype=dtype or torch.float64)

    def coordinates(self, g: Tensor) -> Tensor:
        """``(..., n, n)`` to ``(..., dim)``; differentiable off angle pi.

        Raises InputError where ``det g <= 0``, on SL(n) where it is not 1 to 1e-4, and as :func:`polar` does.
        """
        m = _square(g, f"LogPolar({self.group})")
        if m.shape[-1] != self.group.n:
            raise InputError(f"LogPolar({self.group}): expected (..., {self.group.n}, {self.group.n}), got {tuple(g.shape)}")
        det = torch.linalg.det(m.detach())
        wrong = (det - 1).abs() > 1e-4 if isinstance(self.group, SL) else det <= 0
        if bool(wrong.any()):
            want = "1 to 1e-4" if isinstance(self.group, SL) else "positive"
            raise InputError(f"LogPolar({self.group}): determinants must be {want}, got {float(det[wrong].flatten()[0]):.6g}")
        k = _orthogonal_factor(m)
        p = m @ k.mT
        both = skew_log(k) + matrix_log((p + p.mT) / 2)
        return torch.einsum("...ij,kij->...k", both, self.basis(device=g.device)).to(g.dtype)

    def parts(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates to ``(log p, log k)``, symmetric and skew, ``(..., n, n)``."""
        if c.shape[-1:] != (self.dim,):
            raise InputError(
                f"LogPolar({self.group}): expected {self.dim} coordinates on the last axis, got shape {tuple(c.shape)}"
            )
        basis, turns = self.basis(device=c.device), self._turns
        wide = c.to(torch.float64)
        skew = torch.einsum("...k,kij->...ij", wide[..., :turns], basis[:turns])
        return torch.einsum("...k,kij->...ij", wide[..., turns:], basis[turns:]), skew

    def element(self, c: Tensor) -> Tensor:
        """Coordinates ``(..., dim)`` to ``exp(log p) exp(log k)``."""
        return self.pair(c)[0]

    def pair(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """The element and its inverse ``k^T exp(-log p)``, without inverting a matrix."""
        symmetric, skew = self.parts(c)
        k = torch.linalg.matrix_exp(skew)
        both = torch.linalg.matrix_exp(torch.stack([symmetric, -symmetric]))
        return (both[0] @ k).to(c.dtype), (k.mT @ both[1]).to(c.dtype)

    def log_haar_weight(self, c: Tensor) -> Tensor:
        """The logarithm of the density of Haar measure, ``(...)``, against ``d(log p) dk`` in these coordinates."""
        x = torch.linalg.eigvalsh(self.parts(c)[0])
        i, j = torch.triu_indices(self.group.n, self.group.n, 1, device=c.device)
        return _log_sinhc(x[..., j] - x[..., i]).sum(-1).to(c.dtype)

    def sample(
        self, count: int, variance: float = 0.1, *, haar_weights: bool = False, grid: bool = False,
        generator: torch.Generator | None = None,
    ) -> Draw:  # fmt: skip
        """``count`` elements: ``k`` uniform, the coordinates of ``2 log p = log g g^T`` normal with this variance.

        A localised law, of equal weights; with ``haar_weights`` the weights make it an importance sample of Haar measure
        (self-normalised). ``grid`` takes equidistributed rotations (n = 2, 3). Raises InputError for ``count < 1``.
        """
        if count < 1 or not variance >= 0:
            raise InputError(f"LogPolar.sample: expected count >= 1 and variance >= 0, got {count} and {variance}")
        n = self.group.n
        turns = SO(n).grid(count) if grid else haar_matrices(count, n, special=True, generator=generator)
        spread = variance**0.5 / 2
        c = torch.zeros(count, self.dim, dtype=torch.float64)
        c[:, self._turns :] = spread * torch.randn(count, self.dim - self._turns, generator=generator, dtype=torch.float64)
        stretch, back = self.pair(c)
        log_weights = torch.zeros(count, dtype=torch.float64)
        if haar_weights and variance > 0:
            log_weights = self.log_haar_weight(c) + (c * c).sum(-1) / (2 * spread**2)
        return Draw(stretch @ turns, turns.mT @ back, log_weights.softmax(0))


def _log_sinhc(d: Tensor) -> Tensor:
    """``log(sinh(d) / d)`` for ``d >= 0``, without overflow or cancellation."""
    small = d < 0.1
    safe = torch.where(small, torch.ones_like(d), d)
    square = d * d
    series = square / 6 * (1 - square / 30 * (1 - square * 4 / 63))
    return torch.where(small, series, safe - (2 * safe).log() + torch.log1p(-torch.exp(-2 * safe)))
