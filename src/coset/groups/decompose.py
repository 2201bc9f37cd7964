"""Decompositions of matrix groups: polar, Cartan (KAK), Iwasawa, and coordinates where ``exp`` is not onto.

    polar    g = p k          p symmetric positive, k orthogonal (or g = k p)
    Cartan   g = k exp(a) l   k, l orthogonal, a diagonal
    Iwasawa  g = k exp(a) n   k orthogonal, a diagonal, n upper triangular with unit diagonal

On GL+(n) and SL(n), where some elements have no logarithm, :class:`LogPolar` gives every element off a null set the
coordinates of ``log p`` and ``log k`` (Mironenco and Forré, ICLR 2024, arXiv 2310.11366). Both groups are unimodular; with
``x_i`` the eigenvalues of ``log p`` and ``dk`` the Haar measure of SO(n),

    dg = prod_{i<j} sinh(|x_i - x_j|) / |x_i - x_j|  d(log p) dk.

The left Haar measure of the affine group over either, motions ``x -> h x + t``, is ``dt dh / |det h|``.

The polar factor comes from Newton's iteration and the logarithm from square roots (in the plane both are closed forms), not
from eigenvectors: they are differentiable where singular values coincide, as at the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.haar import circle_angles, haar_matrices
from coset.groups.lie import skew_basis, symmetric_basis
from coset.groups.matrix import GL, SL, SO
from coset.groups.rotations import matrix_log, planar_angle, planar_rotation, skew_log
from coset.groups.spd import check_law, log_invariant_weight


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


Turns = Literal["haar", "grid", "orbits"]  #: where the rotations of a sample come from, see :meth:`LogPolar.sample`


class Draw(NamedTuple):
    """Random elements with their inverses, made together without inverting, and normalised importance weights."""

    elements: Tensor  #: (count, n, n)
    inverses: Tensor  #: (count, n, n)
    weights: Tensor  #: (count,), sum to one


@dataclass(frozen=True)
class LogPolar:
    """Coordinates of GL+(n) or SL(n): ``log k`` and ``log p`` of ``g = p k`` in an orthonormal basis for ``tr(X^T Y)``.

    First ``n (n - 1) / 2`` of the rotation (for n = 2 the angle times sqrt 2), then those of the symmetric part, diagonal
    first. A bijection with the rotations of angle pi taken out; the identity has coordinates 0. In the plane angles lie in
    ``(-pi, pi]``, or with ``branch="positive"`` in ``[0, 2 pi)``, the convention of the code released with the paper, whose
    cut runs through the identity. Angles within 1e-6 of the cut are met on one side of it, which rounding must not choose.
    """

    group: GL | SL
    branch: Literal["centered", "positive"] = "centered"

    def __post_init__(self) -> None:
        if not (isinstance(self.group, SL) or (isinstance(self.group, GL) and self.group.positive)):
            raise InputError(f"LogPolar: expected GL(n, positive=True) or SL(n), got {self.group}")
        if self.branch not in ("centered", "positive") or (self.branch == "positive" and self.group.n != 2):
            raise InputError(
                f"LogPolar: branch is 'centered', or 'positive' for n = 2; got {self.branch!r}, n = {self.group.n}"
            )

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
        if self.group.n == 2:
            both = _planar_log(m, self.branch)
        else:
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
        return log_invariant_weight(2 * torch.linalg.eigvalsh(self.parts(c)[0])).to(c.dtype)

    def log_affine_weight(self, c: Tensor) -> Tensor:
        """The same for the left Haar measure ``dt dh / |det h|`` of the affine group, against ``dt d(log p) dk``."""
        return self.log_haar_weight(c) - self.parts(c)[0].diagonal(dim1=-2, dim2=-1).sum(-1).to(c.dtype)

    def sample(
        self, count: int, variance: float = 0.1, *, haar_weights: bool = False, turns: Turns = "haar", start: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Draw:  # fmt: skip
        """``count`` elements: ``k`` uniform, the coordinates of ``2 log p = log g g^T`` normal with this variance.

        A localised law, of equal weights; with ``haar_weights`` the weights make it an importance sample of Haar measure
        (self-normalised). ``turns`` says where the rotations come from: independent (``haar``), equidistant without a double
        end point (``grid``, n = 2, 3), or (``orbits``, n = 2) equidistant from the angle ``start`` on and arranged so that,
        whatever is drawn, the set of samples is mapped to itself by the largest of the groups C(4), C(2), C(1) whose order
        divides ``count``. Raises InputError for ``count < 1``.
        """
        check_law("LogPolar.sample", count, variance)
        if turns not in ("haar", "grid", "orbits") or (turns == "orbits" and self.group.n != 2):
            raise InputError(f"LogPolar.sample: turns is 'haar', 'grid', or 'orbits' for n = 2; got {turns!r}")
        n, quarter = self.group.n, math.gcd(count, 4) if turns == "orbits" else 1
        stretches = count // quarter
        spread = variance**0.5 / 2
        c = torch.zeros(stretches, self.dim, dtype=torch.float64)
        c[:, self._turns :] = spread * torch.randn(stretches, self.dim - self._turns, generator=generator, dtype=torch.float64)
        stretch, back = self.pair(c)
        log_weights = torch.zeros(stretches, dtype=torch.float64)
        if haar_weights and variance > 0:
            log_weights = self.log_haar_weight(c) + (c * c).sum(-1) / (2 * spread**2)
        if turns == "orbits":
            k = planar_rotation(start + circle_angles(count)[:stretches])
        else:
            k = SO(n).grid(count) if turns == "grid" else haar_matrices(count, n, special=True, generator=generator)
        elements, inverses = stretch @ k, k.mT @ back
        if quarter > 1:
            orbit = planar_rotation(circle_angles(quarter)).round()[:, None]
            elements, inverses = (orbit @ elements).flatten(0, 1), (inverses @ orbit.mT).flatten(0, 1)
        return Draw(elements, inverses, log_weights.repeat(quarter).softmax(0))


def _planar_log(m: Tensor, branch: str) -> Tensor:
    """``log k + log p`` of ``m = p k`` in the plane, in closed form; ``det m > 0``."""
    angle = planar_angle(m)
    turn = planar_rotation(angle)
    lowest = -1e-6 if branch == "positive" else 1e-6 - math.pi
    angle = torch.where(angle < lowest, angle + 2 * math.pi, angle)
    p = m @ turn.mT
    middle, d, e = (p[..., 0, 0] + p[..., 1, 1]) / 2, (p[..., 0, 0] - p[..., 1, 1]) / 2, (p[..., 0, 1] + p[..., 1, 0]) / 2
    half = torch.linalg.det(m).log() / 2
    square = (d * d + e * e) / (middle * middle)
    small = square < 1e-4  # atanh(r) / r as a series in r^2, so that the root has no part in its derivative at 0
    root = torch.where(small, torch.ones_like(square), square).sqrt()
    series = 1 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9)))
    slope = torch.where(small, series, ((middle * (1 + root)).log() - half) / root) / middle
    top, bottom = [half + slope * d, slope * e - angle], [slope * e + angle, half - slope * d]
    return torch.stack([torch.stack(top, -1), torch.stack(bottom, -1)], -2)
