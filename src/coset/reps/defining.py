"""The representations from which others are built: trivial, vector, homogeneous, determinant, sign, permutation, realified."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.group import Elements, Group
from coset.groups.permutation import S
from coset.reps.action import take
from coset.reps.representation import Representation


@dataclass(frozen=True, repr=False)
class Trivial(Representation):
    """One number that nothing moves."""

    group: Group

    dim = 1
    degree = 0

    def matrix(self, g: Any) -> Tensor:
        leaf = g
        while isinstance(leaf, Elements):
            leaf = leaf.parts[0]
        dtype = leaf.dtype.to_real() if leaf.is_floating_point() or leaf.is_complex() else torch.float64
        return torch.ones(*self.group.batch_shape(g), 1, 1, dtype=dtype, device=leaf.device)

    def algebra(self) -> Tensor:
        return torch.zeros(int(self.group.dim), 1, 1, dtype=torch.float64)

    def act(self, g, x, given=None):
        return x.expand(*self.group.batch_shape(g), *x.shape[len(self.group.batch_shape(g)) :])

    def dual(self) -> Representation:
        return self

    def __str__(self) -> str:
        return "trivial"


@dataclass(frozen=True, repr=False)
class Vector(Representation):
    """The defining representation: vectors of R^n, moved by ``group.linear`` (without the shift of an affine group)."""

    group: Group

    degree = 1

    @property
    def dim(self) -> int:  # type: ignore[override]
        return _space(self.group)

    def matrix(self, g: Any) -> Tensor:
        return self.group.linear(g)

    def __str__(self) -> str:
        return "vector"


@dataclass(frozen=True, repr=False)
class Homogeneous(Representation):
    """Points ``(x, 1)`` of an affine group: ``[[linear, shift], [0, 1]]``; not orthogonal, and no sum with translations."""

    group: Group

    degree = 1

    @property
    def dim(self) -> int:  # type: ignore[override]
        return _space(self.group) + 1

    def matrix(self, g: Any) -> Tensor:
        top = torch.cat([self.group.linear(g), self.group.shift(g).unsqueeze(-1)], -1)
        last = torch.zeros_like(top[..., :1, :])
        last[..., -1] = 1
        return torch.cat([top, last], -2)

    def __str__(self) -> str:
        return "homogeneous"


@dataclass(frozen=True, repr=False)
class Realified(Representation):
    """A complex representation on pairs (real parts, imaginary parts): ``[[Re, -Im], [Im, Re]]``, of twice the dimension."""

    base: Representation

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.base.group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 2 * self.base.dim

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.base.degree

    def matrix(self, g: Any) -> Tensor:
        re, im = torch.view_as_real(self.base.matrix(g).resolve_conj()).unbind(-1)
        return torch.cat([torch.cat([re, -im], -1), torch.cat([im, re], -1)], -2)

    def __str__(self) -> str:
        return f"real({self.base})"


@lru_cache(maxsize=256)
def _space(group: Group) -> int:
    """The n of the R^n on which the group acts."""
    return group.linear(group.identity(dtype=torch.float64)).shape[-1]


def tensor(group: Group, rank: int) -> Representation:
    """Cartesian tensors of ``rank``: ``Vector(group) ** rank``, and ``Trivial`` for rank 0."""
    if not isinstance(rank, int) or rank < 0:
        raise InputError(f"tensor: the rank is a whole number of at least 0, got {rank!r}")
    return Vector(group) ** rank if rank else Trivial(group)


@dataclass(frozen=True, repr=False)
class Determinant(Representation):
    """``det rho(g)``: how volumes scale; for orthogonal groups the pseudoscalar."""

    of: Representation

    dim = 1

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.of.group

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.of.dim * self.of.degree

    def matrix(self, g: Any) -> Tensor:
        return torch.linalg.det(self.of.matrix(g))[..., None, None]

    def __str__(self) -> str:
        return f"det({self.of})"


@dataclass(frozen=True, repr=False)
class Sign(Representation):
    """The sign of ``det rho(g)``: parity of a permutation, orientation of a frame."""

    of: Representation

    dim = 1

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.of.group

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.of.dim * self.of.degree

    def matrix(self, g: Any) -> Tensor:
        return torch.linalg.det(self.of.matrix(g)).sign()[..., None, None]

    def algebra(self) -> Tensor:
        return torch.zeros(int(self.group.dim), 1, 1, dtype=torch.float64)

    def dual(self) -> Representation:
        return self

    def __str__(self) -> str:
        return f"sign({self.of})"


@dataclass(frozen=True, repr=False)
class Permutation(Representation):
    """``S(n)`` permuting coordinates: nodes or axes of space (``order`` 1), edges as ordered pairs (``order`` 2), tuples.

    ``dim`` is ``n ** order``; coordinates are those of an array ``(n, ..., n)`` flattened.
    """

    group: S
    order: int = 1

    degree = 0  # a finite group is summed whole

    def __post_init__(self) -> None:
        if not isinstance(self.group, S) or self.order < 1:
            raise InputError(f"Permutation: expected S(n) and an order of at least 1, got {self.group!r} and {self.order!r}")

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.group.n**self.order

    def sources(self, g: Tensor) -> Tensor:
        """The old place of every coordinate, ``(*batch, dim)``."""
        n, index = self.group.n, g
        for _ in range(self.order - 1):
            index = (index.unsqueeze(-1) * n + g.unsqueeze(-2)).flatten(-2)
        return index

    def matrix(self, g: Tensor) -> Tensor:
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[self.sources(g)]

    def act(self, g, x, given=None):
        return take(x, self.sources(g), x.ndim - 1)

    def dual(self) -> Representation:
        return self

    def __str__(self) -> str:
        return "permutation" if self.order == 1 else f"permutation({self.order})"
