"""Rotations and reflections: O(n), SO(n), and the stabilizer of a vector in either.

Exponential and logarithm are closed forms in the plane and in space, stable near angles 0 and pi.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import Rule, natural
from coset.groups.haar import circle_angles, haar_matrices, orthogonal_rule, reflection, rotation_grid, rotation_rule
from coset.groups.lie import MatrixGroup, basis_of, is_near, skew_basis, slack
from coset.groups.rotations import planar_rotation, rotation_from_quaternion, rotation_from_vector, skew_log


class Orthogonal(MatrixGroup):
    """What O(n), SO(n) share: algebra, exponential, logarithm, constructors in the plane and in space."""

    def __post_init__(self) -> None:
        natural(type(self).__name__, self.n)

    def __str__(self) -> str:
        return f"{type(self).__name__}({self.n})"

    def _make_basis(self) -> Tensor:
        return skew_basis(self.n)

    def inverse(self, g: Tensor) -> Tensor:
        return g.mT

    def exp(self, a: Tensor) -> Tensor:
        self._check_coordinates(a)
        if self.n == 2:
            return planar_rotation(a[..., 0])
        return rotation_from_vector(a) if self.n == 3 else super().exp(a)

    def log(self, g: Tensor) -> Tensor:
        """Angles in ``[-pi, pi]``; every rotation has a logarithm, InputError for reflections."""
        return self.coordinates(skew_log(g))

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        return is_near(g @ g.mT, self.identity(dtype=g.dtype, device=g.device), tolerance)

    def from_angle(self, angle: Tensor | float) -> Tensor:
        """Rotations of the plane by angles ``(...)`` in radians, counter-clockwise: ``(..., 2, 2)``."""
        if self.n != 2:
            raise ContractError(f"{self}.from_angle: one angle is for the plane, SO(2)")
        return planar_rotation(_float(angle))

    def from_axis_angle(self, axis: Tensor | Any, angle: Tensor | float) -> Tensor:
        """Rotations of space by ``angle`` radians ``(...)`` about ``axis`` ``(..., 3)`` of any length: ``(..., 3, 3)``."""
        axis, angle = _float(axis), _float(angle)
        if self.n != 3 or axis.shape[-1:] != (3,):
            raise ContractError(f"{self}.from_axis_angle: expected SO(3) and an axis (..., 3), got shape {tuple(axis.shape)}")
        length = torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
        if not bool((length > 0).all()):
            raise InputError(f"{self}.from_axis_angle: the axis is zero or NaN")
        return rotation_from_vector(axis / length * angle[..., None])

    def from_quaternion(self, q: Tensor | Any) -> Tensor:
        """Rotations of space from quaternions ``(w, x, y, z)`` of any length but zero: ``(..., 3, 3)``."""
        q = _float(q)
        if self.n != 3 or q.shape[-1:] != (4,):
            raise ContractError(f"{self}.from_quaternion: expected SO(3) and quaternions (..., 4), got shape {tuple(q.shape)}")
        return rotation_from_quaternion(q)

    def stabilizer(self, vector: Any) -> Stabilizer:
        """The subgroup that leaves ``vector`` (n,) where it is: for O(3) the rotations and mirrors about an axis."""
        return Stabilizer(self, vector)  # type: ignore[arg-type]

    def _grid_of_rotations(self, count: int) -> Tensor:
        if self.n == 1:
            return torch.ones(1, 1, 1, dtype=torch.float64)
        if self.n > 3:
            raise ContractError(f"{self} has no grid; sample it instead")
        return planar_rotation(circle_angles(count)) if self.n == 2 else rotation_grid(count)


def _float(x: Any) -> Tensor:
    x = torch.as_tensor(x, dtype=None if isinstance(x, Tensor) else torch.float64)
    return x if x.is_floating_point() else x.to(torch.float64)


@dataclass(frozen=True)
class SO(Orthogonal):
    """Rotations of R^n."""

    n: int

    def _draw(self, count: int, generator: Any) -> Tensor:
        return haar_matrices(count, self.n, special=True, generator=generator)

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        return super().contains(g, tolerance=tolerance) & (torch.linalg.det(g) > 0)

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        return self._of_rule(rotation_rule(self.n, degree), dtype, device)

    def grid(self, n: int, *, dtype=None, device=None) -> Tensor:
        """SO(2): n equal angles. SO(3): super-Fibonacci spirals. The identity first; ContractError for larger groups."""
        return self._cast(self._grid_of_rotations(n), dtype, device)


@dataclass(frozen=True)
class O(Orthogonal):  # noqa: E742
    """Rotations and reflections of R^n."""

    n: int

    def _draw(self, count: int, generator: Any) -> Tensor:
        return haar_matrices(count, self.n, generator=generator)

    def components(self, *, dtype=None, device=None) -> Tensor:
        """One reflection: ``-1`` for odd n, ``(x, y) -> (x, -y)`` and the like for even n."""
        return self._cast(reflection(self.n)[None], dtype, device)

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        return self._of_rule(orthogonal_rule(self.n, degree), dtype, device)

    def grid(self, n: int, *, dtype=None, device=None) -> Tensor:
        """The grid of ``n / 2`` rotations (rounded up), then the same times a reflection."""
        turns = self._grid_of_rotations((n + 1) // 2)
        return self._cast(torch.cat([turns, turns @ reflection(self.n)]), dtype, device)


@dataclass(frozen=True)
class Stabilizer(MatrixGroup):
    """The elements of O(n) or SO(n) that fix ``vector``: a copy of the group one dimension lower, about that axis."""

    group: O | SO
    vector: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.group, (O, SO)) or self.group.n < 2:
            raise InputError(f"Stabilizer: expected O(n) or SO(n) with n >= 2, got {self.group}")
        vector = _float(self.vector)
        if vector.shape != (self.group.n,) or not bool(torch.isfinite(vector).all()) or not bool(vector.norm() > 0):
            raise InputError(
                f"{self.group}.stabilizer: expected a non-zero vector of {self.group.n} numbers, got {self.vector}"
            )
        vector = vector.double()
        if not abs(float(vector.norm()) - 1) < 1e-14:  # a unit vector stays as it is, so that printing and parsing agree
            vector = vector / vector.norm()
        object.__setattr__(self, "vector", tuple(vector.tolist()))

    def __str__(self) -> str:
        return f"Stabilizer({self.group}, {list(self.vector)})"

    @property
    def n(self) -> int:  # type: ignore[override]
        return self.group.n

    @property
    def inner(self) -> O | SO:
        """The group one dimension lower."""
        return type(self.group)(self.group.n - 1)

    def _wrap(self, h: Tensor) -> Tensor:
        """``h`` acting on the complement of the vector."""
        frame = _frame(self.vector).to(h)
        out = torch.zeros(*h.shape[:-2], self.n, self.n, dtype=h.dtype, device=h.device)
        out[..., :-1, :-1], out[..., -1, -1] = h, 1
        return frame @ out @ frame.mT

    def _unwrap(self, g: Tensor) -> Tensor:
        frame = _frame(self.vector).to(g)
        return (frame.mT @ g @ frame)[..., :-1, :-1]

    def _make_basis(self) -> Tensor:
        frame = _frame(self.vector)
        return frame @ torch.nn.functional.pad(basis_of(self.inner), (0, 1, 0, 1)) @ frame.mT

    def _draw(self, count: int, generator: Any) -> Tensor:
        return self._wrap(self.inner._draw(count, generator))

    def inverse(self, g: Tensor) -> Tensor:
        return g.mT

    def components(self, *, dtype=None, device=None) -> Tensor:
        return self._cast(self._wrap(self.inner.components()), dtype, device)

    def log(self, g: Tensor) -> Tensor:
        return self.inner.log(self._unwrap(g))

    def contains(self, g: Tensor, *, tolerance: float = 1e-8) -> Tensor:
        vector = torch.tensor(self.vector, dtype=g.dtype, device=g.device)
        return self.group.contains(g, tolerance=tolerance) & ((g @ vector - vector).abs().amax(-1) <= slack(tolerance, g.dtype))

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        rule = self.inner.quadrature(degree)
        return self._of_rule(Rule(self._wrap(rule.elements), rule.weights, rule.degree), dtype, device)

    def grid(self, n: int, *, dtype=None, device=None) -> Tensor:
        return self._cast(self._wrap(self.inner.grid(n)), dtype, device)


@cache
def _frame(vector: tuple[float, ...]) -> Tensor:
    """A rotation whose last column is ``vector``."""
    last = torch.tensor(vector, dtype=torch.float64)
    basis = torch.linalg.qr(last[:, None], mode="complete")[0]
    frame = torch.cat([basis[:, 1:], last[:, None]], -1)
    return torch.cat([frame[:, :1] * torch.linalg.det(frame).sign(), frame[:, 1:]], -1)
