"""Motions of R^n and scalings: T(n), E(n), SE(n), Affine(n), Scale(n) and one-parameter groups.

A motion ``x -> A x + t`` is the homogeneous matrix ``[[A, t], [0, 1]]``, ``(n + 1, n + 1)``; ``linear`` and ``shift`` read
its parts. These groups are not compact: linear parts are sampled as their own group is, translations are normal with
standard deviation ``spread`` in every coordinate (no part of the group: groups that differ only there are equal).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.group import LieGroup, natural
from coset.groups.lie import MatrixGroup, basis_of, slack
from coset.groups.matrix import GL, SO, O


def _spread() -> Any:
    return field(default=1.0, kw_only=True, compare=False)


def _check_spread(name: str, spread: float) -> None:
    if not 0 <= spread < math.inf:
        raise InputError(f"{name}: spread is a standard deviation >= 0, got {spread!r}")


class Motions(MatrixGroup):
    """Homogeneous matrices whose linear part lies in ``base``; without a base the linear part is the identity."""

    compact = False
    spread: float

    def __post_init__(self) -> None:
        natural(type(self).__name__, self.n)
        _check_spread(type(self).__name__, self.spread)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._arguments()}{'' if self.spread == 1 else f', spread={self.spread}'})"

    def _arguments(self) -> str:
        return str(self.n)

    @property
    def base(self) -> MatrixGroup | None:
        """The group of the linear parts; None where it is trivial."""
        return None

    @property
    def size(self) -> int:
        return self.n + 1

    def element(self, linear: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """The motion with this linear part ``(*batch, n, n)`` and shift ``(*batch, n)``; the identity's where left out."""
        given = next(x for x in (linear, shift, torch.zeros((), dtype=torch.float64)) if x is not None)
        linear = torch.eye(self.n, dtype=given.dtype, device=given.device) if linear is None else linear
        shift = linear.new_zeros(self.n) if shift is None else shift
        if linear.shape[-2:] != (self.n, self.n) or shift.shape[-1:] != (self.n,):
            raise InputError(
                f"{self}.element: expected (..., {self.n}, {self.n}) and (..., {self.n}), "
                f"got {tuple(linear.shape)} and {tuple(shift.shape)}"
            )
        batch = torch.broadcast_shapes(linear.shape[:-2], shift.shape[:-1])
        top = torch.cat([linear.expand(*batch, -1, -1), shift.expand(*batch, -1)[..., None]], -1)
        last = torch.eye(self.n + 1, dtype=top.dtype, device=top.device)[-1:]
        return torch.cat([top, last.expand(*batch, 1, self.n + 1)], -2)

    def linear(self, g: Tensor) -> Tensor:
        return g[..., : self.n, : self.n]

    def shift(self, g: Tensor) -> Tensor:
        return g[..., : self.n, self.n]

    def _make_basis(self) -> Tensor:
        shifts = torch.zeros(self.n, self.n + 1, self.n + 1, dtype=torch.float64)
        shifts[torch.arange(self.n), torch.arange(self.n), self.n] = 1
        turns = torch.nn.functional.pad(basis_of(self.base), (0, 1, 0, 1)) if self.base else shifts[:0]
        return torch.cat([shifts, turns])

    def _draw(self, count: int, generator: Any) -> Tensor:
        linear = self.base.sample(count, generator=generator) if self.base else None
        return self.element(linear, self.spread * torch.randn(count, self.n, generator=generator, dtype=torch.float64))

    def components(self, *, dtype=None, device=None) -> Tensor:
        out = self.element(self.base.components()) if self.base else torch.zeros(0, self.size, self.size)
        return self._cast(out, dtype, device)

    def inverse(self, g: Tensor) -> Tensor:
        back = self.base.inverse(self.linear(g)) if self.base else self.linear(g)
        return self.element(back, -(back @ self.shift(g)[..., None])[..., 0])

    def log(self, g: Tensor) -> Tensor:
        """``log A`` of the linear part and the ``u`` with ``(int_0^1 exp(s log A) ds) u = t``; InputError as in its group."""
        if self.base is None:
            return self.shift(g)
        turn = self.base.log(self.linear(g))
        a = torch.einsum("...k,kij->...ij", turn, self.base.algebra(dtype=g.dtype, device=g.device))
        eye = torch.eye(self.n, dtype=g.dtype, device=g.device).expand_as(a)
        block = torch.cat([torch.cat([a, eye], -1), torch.zeros_like(torch.cat([a, a], -1))], -2)
        mean = torch.linalg.matrix_exp(block)[..., : self.n, self.n :]  # exp [[a, 1], [0, 0]] holds the integral
        return torch.cat([torch.linalg.solve(mean, self.shift(g)[..., None])[..., 0], turn], -1)

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        eye = torch.eye(self.size, dtype=g.dtype, device=g.device)
        inside = ((g - eye)[..., -1, :].abs().amax(-1) <= slack(tolerance, g.dtype)) & torch.isfinite(self.shift(g)).all(-1)
        linear = self.linear(g)
        if self.base is None:
            return inside & ((linear - eye[:-1, :-1]).abs().amax((-2, -1)) <= slack(tolerance, g.dtype))
        return inside & self.base.contains(linear, tolerance=tolerance)


@dataclass(frozen=True)
class T(Motions):
    """Translations of R^n."""

    n: int
    spread: float = _spread()

    def grid(self, n: int, *, dtype=None, device=None) -> Tensor:
        """A lattice of about ``n`` shifts out to ``2 spread`` along every axis, the identity first."""
        side = 2 * (round(max(n, 1) ** (1 / self.n)) // 2) + 1  # odd, so that zero is on the lattice
        steps = torch.linspace(-1, 1, side, dtype=torch.float64) * 2 * self.spread if side > 1 else torch.zeros(1).double()
        shifts = torch.cartesian_prod(*[steps] * self.n).reshape(-1, self.n)
        middle = len(shifts) // 2
        order = [middle, *(i for i in range(len(shifts)) if i != middle)]
        return self._cast(self.element(None, shifts[order]), dtype, device)


@dataclass(frozen=True)
class E(Motions):
    """Rotations, reflections and translations of R^n."""

    n: int
    spread: float = _spread()

    @property
    def base(self) -> MatrixGroup:
        return O(self.n)


@dataclass(frozen=True)
class SE(Motions):
    """Rotations and translations of R^n."""

    n: int
    spread: float = _spread()

    @property
    def base(self) -> MatrixGroup:
        return SO(self.n)


@dataclass(frozen=True)
class Affine(Motions):
    """Invertible linear maps and translations of R^n; with ``positive`` only those that keep orientation."""

    n: int
    positive: bool = False
    spread: float = _spread()

    def _arguments(self) -> str:
        return f"{self.n}, positive=True" if self.positive else str(self.n)

    @property
    def base(self) -> MatrixGroup:
        return GL(self.n, self.positive)


# ---------------------------------------------------------------------- one parameter


class Line(LieGroup):
    """Groups with one real coordinate, elements of shape ``()``."""

    compact = False
    dim = 1
    element_shape = ()
    spread: float

    def algebra(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones(1, dtype=dtype or torch.float64, device=device)

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """The element of coordinate 1."""
        return self.exp(self.algebra(dtype=dtype, device=device)[:, None])

    def _normal(self, n: int, generator: Any) -> Tensor:
        return self.spread * torch.randn(n, 1, generator=generator, dtype=torch.float64)

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        return self.exp(self._normal(n, generator)).to(device=device, dtype=dtype or torch.float64)

    def grid(self, n: int, *, dtype=None, device=None) -> Tensor:
        """About ``n`` elements at equal steps of the coordinate out to ``2 spread`` both ways, the identity first."""
        half = max(n // 2, 0)
        steps = torch.arange(1, half + 1, dtype=torch.float64) * (2 * self.spread / max(half, 1))
        both = torch.stack([steps, -steps], -1).flatten()
        return self.exp(torch.cat([both.new_zeros(1), both])[:, None]).to(device=device, dtype=dtype or torch.float64)


@dataclass(frozen=True)
class Scale(Line):
    """Positive numbers ``s``, scaling R^n by ``s`` and, by ``weights``, other quantities by powers of it.

    A vector or position has weight 1, a tensor of rank k weight k, a scalar weight 0. ``weights`` overrides this by the
    name of an index or of a kind, an index before a kind: with ``Scale(3, {"tau": 1.5, "scalar": 2})`` a field
    ``"tau x scalar"`` moves by ``s^1.5``, any other scalar by ``s^2``. Samples: the logarithm is normal with standard
    deviation ``spread``.
    """

    n: int
    weights: Any = None  #: a mapping from index or kind to exponent, kept as sorted pairs
    spread: float = field(default=0.3, kw_only=True, compare=False)

    def __post_init__(self) -> None:
        natural("Scale", self.n)
        _check_spread("Scale", self.spread)
        try:
            pairs = self.weights.items() if isinstance(self.weights, Mapping) else tuple(self.weights or ())
            weights = tuple(sorted((str(name), float(power)) for name, power in pairs))
        except (TypeError, ValueError) as error:
            raise InputError(f"Scale: weights map an index or a kind to a number, got {self.weights!r}") from error
        if bad := [name for name, power in weights if not math.isfinite(power)]:
            raise InputError(f"Scale: the weight of {bad[0]!r} is not finite")
        object.__setattr__(self, "weights", weights)

    def __str__(self) -> str:
        weights = f", weights={dict(self.weights)}" if self.weights else ""
        return f"Scale({self.n}{weights}{'' if self.spread == 0.3 else f', spread={self.spread}'})"

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones((), dtype=dtype or torch.float64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g * h

    def inverse(self, g: Tensor) -> Tensor:
        return 1 / g

    def exp(self, a: Tensor) -> Tensor:
        return a[..., 0].exp()

    def log(self, g: Tensor) -> Tensor:
        if not bool((g > 0).all()):
            raise InputError(f"{self}.log: elements are positive numbers")
        return g.log()[..., None]

    def contains(self, g: Tensor, *, tolerance: float = 0.0) -> Tensor:
        return (g > 0) & torch.isfinite(g)

    def linear(self, g: Tensor) -> Tensor:
        return g[..., None, None] * torch.eye(self.n, dtype=g.dtype, device=g.device)

    def weight(self, field: Any) -> float | None:
        """The exponent that ``weights`` gives to a declared field; None where its kind decides."""
        weights = dict(self.weights)
        return next((weights[name] for name in (*field.index, str(field.kind)) if name in weights), None)

    def move(self, g: Tensor, field: Any, x: Tensor, given: Any) -> Tensor:
        power = None if field.target else self.weight(field)
        if power is None:
            return super().move(g, field, x, given)
        factor = g.to(x) ** power
        return factor.reshape(*g.shape, *[1] * (x.ndim - g.ndim)) * x


@dataclass(frozen=True)
class OneParameter(Line):
    """The flow ``x -> exp(t A) x`` of a matrix: elements are times ``t``, composed by addition.

    ``matrix`` is ``(n, n)``, as nested sequences, array or tensor. Samples are normal with standard deviation ``spread``.
    """

    matrix: tuple[tuple[float, ...], ...]
    spread: float = _spread()

    def __post_init__(self) -> None:
        _check_spread("OneParameter", self.spread)
        try:
            matrix = torch.as_tensor(self.matrix, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"OneParameter: expected a square matrix of numbers ({error})") from error
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not bool(torch.isfinite(matrix).all()):
            raise InputError(f"OneParameter: expected a finite square matrix, got shape {tuple(matrix.shape)}")
        object.__setattr__(self, "matrix", tuple(map(tuple, matrix.tolist())))

    def __str__(self) -> str:
        return f"OneParameter({[list(row) for row in self.matrix]}{'' if self.spread == 1 else f', spread={self.spread}'})"

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.zeros((), dtype=dtype or torch.float64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g + h

    def inverse(self, g: Tensor) -> Tensor:
        return -g

    def exp(self, a: Tensor) -> Tensor:
        return a[..., 0]

    def log(self, g: Tensor) -> Tensor:
        return g[..., None]

    def contains(self, g: Tensor, *, tolerance: float = 0.0) -> Tensor:
        return torch.isfinite(g)

    def linear(self, g: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(g[..., None, None] * torch.tensor(self.matrix, dtype=g.dtype, device=g.device))
