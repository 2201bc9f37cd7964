"""Matrix groups: GL(n), SL(n), O(n), SO(n), U(n), SU(n), Sp(n) and the Lorentz groups.

Compact groups are sampled by Haar measure. A non-compact one is sampled by its Cartan decomposition ``g = exp(X) k``: ``k``
Haar on the maximal compact subgroup, the coordinates of the symmetric ``X`` normal with standard deviation ``spread``
(which is no part of the group: groups that differ only there are equal). Unitary groups have complex elements, of the
complex dtype that belongs to the ``dtype`` asked for, and move complex tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import Rule, natural
from coset.groups.haar import haar_matrices, reflection, unitary_rule
from coset.groups.lie import MatrixGroup, basis_of, is_near, skew_basis, slack, symmetric_basis
from coset.groups.orthogonal import SO, O, Stabilizer
from coset.groups.rotations import unitary_log


class NonCompact(MatrixGroup):
    """A group with a Cartan decomposition; its basis lists the skew part, then the symmetric part."""

    compact = False
    spread: float

    def _arguments(self) -> str:
        """The arguments as written in code."""
        return str(self.n)

    def __str__(self) -> str:
        return f"{self._name()}({self._arguments()}{'' if self.spread == 0.3 else f', spread={self.spread}'})"

    def _name(self) -> str:
        return type(self).__name__

    def _check_spread(self) -> None:
        if not 0 <= self.spread < float("inf"):
            raise InputError(f"{self._name()}: spread is a standard deviation >= 0, got {self.spread!r}")

    def _draw_compact(self, count: int, generator: Any) -> Tensor:
        """Haar samples of the maximal compact subgroup."""
        return haar_matrices(count, self.n, special=True, generator=generator)

    def _draw(self, count: int, generator: Any) -> Tensor:
        turn = self._draw_compact(count, generator)
        basis = basis_of(self)
        symmetric = basis[(basis == basis.mT).flatten(1).all(1)]
        a = self.spread * torch.randn(count, len(symmetric), generator=generator, dtype=torch.float64)
        return torch.linalg.matrix_exp(torch.einsum("nk,kij->nij", a, symmetric)) @ turn


def _spread() -> Any:
    return field(default=0.3, kw_only=True, compare=False)


def _finite(g: Tensor) -> Tensor:
    """NaN and infinities replaced by zero, so that decompositions do not raise; the matrix is then singular or wrong."""
    return torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class GL(NonCompact):
    """Invertible matrices; with ``positive`` those of positive determinant, written ``GL+(n)``."""

    n: int
    positive: bool = False
    spread: float = _spread()

    def __post_init__(self) -> None:
        natural("GL", self.n)
        self._check_spread()

    def _name(self) -> str:
        return "GL+" if self.positive else "GL"

    def _make_basis(self) -> Tensor:
        return torch.cat([skew_basis(self.n), symmetric_basis(self.n)])

    def _draw_compact(self, count: int, generator: Any) -> Tensor:
        return haar_matrices(count, self.n, special=self.positive, generator=generator)

    def components(self, *, dtype=None, device=None) -> Tensor:
        if self.positive:
            return super().components(dtype=dtype, device=device)
        return self._cast(reflection(self.n)[None], dtype, device)

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        """Whether the smallest singular value exceeds ``tolerance`` times the largest."""
        values = torch.linalg.svdvals(_finite(g))
        inside = torch.isfinite(g).flatten(-2).all(-1) & (values[..., -1] > tolerance * values[..., 0])
        return inside & (torch.linalg.det(_finite(g)) > 0) if self.positive else inside


@dataclass(frozen=True)
class SL(NonCompact):
    """Matrices of determinant 1: they keep volumes."""

    n: int
    spread: float = _spread()

    def __post_init__(self) -> None:
        natural("SL", self.n)
        self._check_spread()

    def _make_basis(self) -> Tensor:
        return torch.cat([skew_basis(self.n), symmetric_basis(self.n, traceless=True)])

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        return (torch.linalg.det(g) - 1).abs() <= slack(tolerance, g.dtype)


@dataclass(frozen=True)
class Sp(NonCompact):
    """The real symplectic group of ``n`` degrees of freedom: ``2n x 2n`` with ``g^T J g = J`` on ``(q_1..q_n, p_1..p_n)``.

    ``J = [[0, 1], [-1, 0]]`` in blocks; ``Sp(1)`` is ``SL(2)``. Its maximal compact subgroup is U(n).
    """

    n: int
    spread: float = _spread()

    def __post_init__(self) -> None:
        natural("Sp", self.n)
        self._check_spread()

    @property
    def size(self) -> int:
        return 2 * self.n

    def form(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """``J``, ``(2n, 2n)``."""
        eye = torch.eye(self.n, dtype=torch.float64)
        return self._cast(_blocks(0 * eye, eye, -eye, 0 * eye), dtype, device)

    def _make_basis(self) -> Tensor:
        skew, symmetric = skew_basis(self.n), symmetric_basis(self.n)
        o, half = torch.zeros_like(symmetric), 0.5**0.5
        turns = _blocks(skew, 0 * skew, 0 * skew, skew)
        phases = half * _blocks(o, symmetric, -symmetric, o)
        stretches = [half * _blocks(symmetric, o, o, -symmetric), half * _blocks(o, symmetric, symmetric, o)]
        return torch.cat([turns, phases, *stretches])

    def _draw_compact(self, count: int, generator: Any) -> Tensor:
        u = haar_matrices(count, self.n, unitary=True, generator=generator)
        return _blocks(u.real, u.imag, -u.imag, u.real)

    def inverse(self, g: Tensor) -> Tensor:
        form = self.form(dtype=g.dtype, device=g.device)
        return -form @ g.mT @ form

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        form = self.form(dtype=g.dtype, device=g.device)
        return is_near(g.mT @ form @ g, form, tolerance)


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cat([a, b], -1), torch.cat([c, d], -1)], -2)


@dataclass(frozen=True)
class Lorentz(NonCompact):
    """O(p, q), the matrices with ``g^T eta g = eta`` for ``eta = diag(1, .., -1, ..)``; by default on ``(t, x, y, z)``.

    ``restricted=True`` takes the component of the identity, ``SO+(p, q)``: no reversal of time or space. Boosts are
    measured by rapidity.
    """

    p: int = 1
    q: int = 3
    restricted: bool = field(default=False, kw_only=True)
    spread: float = _spread()

    def __post_init__(self) -> None:
        for n in (self.p, self.q):
            natural("Lorentz", n)
        self._check_spread()

    def _arguments(self) -> str:
        return f"{self.p}, {self.q}{', restricted=True' if self.restricted else ''}"

    @property
    def n(self) -> int:  # type: ignore[override]
        return self.p + self.q

    def form(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """``eta``, ``(n, n)``."""
        return self._cast(torch.diag(torch.tensor([1.0] * self.p + [-1.0] * self.q, dtype=torch.float64)), dtype, device)

    def _make_basis(self) -> Tensor:
        pad = torch.nn.functional.pad
        turns = [pad(skew_basis(self.p), (0, self.q, 0, self.q)), pad(skew_basis(self.q), (self.p, 0, self.p, 0))]
        boosts = torch.zeros(self.p * self.q, self.n, self.n, dtype=torch.float64)
        for k, (i, j) in enumerate((i, j) for i in range(self.p) for j in range(self.p, self.n)):
            boosts[k, i, j] = boosts[k, j, i] = 1
        return torch.cat([*turns, boosts])

    def _draw_compact(self, count: int, generator: Any) -> Tensor:
        out = torch.zeros(count, self.n, self.n, dtype=torch.float64)
        out[:, : self.p, : self.p] = haar_matrices(count, self.p, special=self.restricted, generator=generator)
        out[:, self.p :, self.p :] = haar_matrices(count, self.q, special=self.restricted, generator=generator)
        return out

    def components(self, *, dtype=None, device=None) -> Tensor:
        """A reflection of the first ``p`` axes (of time), a reflection of the others (of space)."""
        if self.restricted:
            return super().components(dtype=dtype, device=device)
        out = torch.eye(self.n, dtype=torch.float64).repeat(2, 1, 1)
        out[0, : self.p, : self.p], out[1, self.p :, self.p :] = reflection(self.p), reflection(self.q)
        return self._cast(out, dtype, device)

    def inverse(self, g: Tensor) -> Tensor:
        form = self.form(dtype=g.dtype, device=g.device)
        return form @ g.mT @ form

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        form = self.form(dtype=g.dtype, device=g.device)
        inside = is_near(g.mT @ form @ g, form, tolerance)
        if not self.restricted:
            return inside
        first, second = g[..., : self.p, : self.p], g[..., self.p :, self.p :]
        return inside & (torch.linalg.det(first) > 0) & (torch.linalg.det(second) > 0)


# ---------------------------------------------------------------------- unitary groups


class Unitary(MatrixGroup):
    """What U(n) and SU(n) share; ``algebra()`` is skew-Hermitian, coordinates are real."""

    is_complex = True
    special = False

    def __post_init__(self) -> None:
        natural(type(self).__name__, self.n)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.n})"

    def _make_basis(self) -> Tensor:
        skew, symmetric = skew_basis(self.n), symmetric_basis(self.n, traceless=self.special)
        return torch.cat([skew * 0.5**0.5 + 0j, 1j * symmetric])

    def _draw(self, count: int, generator: Any) -> Tensor:
        return haar_matrices(count, self.n, special=self.special, unitary=True, generator=generator)

    def inverse(self, g: Tensor) -> Tensor:
        return g.mH

    def log(self, g: Tensor) -> Tensor:
        """Every element has one; computed one matrix at a time and not differentiable."""
        return self.coordinates(unitary_log(g, special=self.special))

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        inside = is_near(g @ g.mH, torch.eye(self.n, dtype=g.dtype, device=g.device), tolerance)
        return inside & ((torch.linalg.det(g) - 1).abs() <= slack(tolerance, g.dtype)) if self.special else inside

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        return self._of_rule(unitary_rule(self.n, degree, special=self.special), dtype, device)

    def move(self, g: Tensor, field: Any, x: Tensor, given: Any) -> Tensor:
        if not (x.is_complex() or field.still):
            raise ContractError(f"{self} moves complex tensors, got {x.dtype} for a field {field}")
        return super().move(g, field, x, given)


@dataclass(frozen=True)
class U(Unitary):
    """Unitary matrices."""

    n: int


@dataclass(frozen=True)
class SU(Unitary):
    """Unitary matrices of determinant 1."""

    n: int
    special = True


__all__ = ["GL", "SL", "SO", "SU", "Lorentz", "O", "Sp", "Stabilizer", "U"]
