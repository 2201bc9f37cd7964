"""The names of irreducible representations: of O(3), SO(3), SU(2), O(2), SO(2) and of finite groups.

| group | label | written | dimension |
|---|---|---|---|
| O(3) | ``Irrep(l, p)`` | ``0e 0o 1o 1e ...``: degree, then parity under -1 (e even, o odd) | 2l + 1 |
| SO(3) | ``Degree(l)`` | ``0 1 2 ...`` | 2l + 1 |
| SU(2) | ``Spin(j)`` | ``0 1/2 1 3/2 ...`` (complex matrices) | 2j + 1 |
| SO(2) | ``Frequency(m)`` | ``0 1 2 ...``, real: a turn by ``a`` turns a pair by ``m a`` | 1 or 2 |
| O(2) | ``Wave(m, p)`` | ``0e 0o 1 2 ...``; ``0o`` is the determinant | 1 or 2 |
| finite | ``FiniteIrrep(G, i)`` | ``A1 A2 E T1 ...``, see :mod:`coset.reps.finite_irreps` | any |

All are values that know their ``group``, ``dim``, matrices and products: ``a * b`` iterates over the irreps in the tensor
product, ``3 * a`` and ``a + b`` are :class:`coset.reps.irreps.Irreps`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup, Group
from coset.groups.matrix import SU
from coset.groups.orthogonal import SO, O
from coset.reps.finite_irreps import FiniteTable, finite_table
from coset.reps.spin import spin_matrix
from coset.reps.wigner import wigner_blocks

if TYPE_CHECKING:
    from coset.reps.irreps import Irreps


class Label(ABC):
    """One irreducible representation by name; frozen, hashable, ordered within its group."""

    #: dimension over the reals of the matrices that commute with it: 1, or 2 and 4 for real pairs and quadruples
    commutant: int = 1
    dim: int
    group: Group
    #: tensor rank in the defining representation up to which its entries are polynomials
    degree: int

    @abstractmethod
    def matrix(self, g: Any) -> Tensor:
        """The matrices ``(..., dim, dim)`` of elements of the group."""

    @abstractmethod
    def _times(self, other: Any) -> Iterator[Label]: ...

    def is_scalar(self) -> bool:
        """Whether it is the trivial representation."""
        return self.degree == 0

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Label):
            if other.group != self.group:
                raise ContractError(f"{self!r} * {other!r}: irreps of different groups, {self.group} and {other.group}")
            return self._times(other)
        return other * self if isinstance(other, int) else NotImplemented

    def __rmul__(self, multiplicity: int) -> Irreps:
        from coset.reps.irreps import Irreps

        return Irreps([(multiplicity, self)], self.group)

    def __add__(self, other: Any) -> Irreps:
        return 1 * self + other


@dataclass(frozen=True, order=True, repr=False, init=False)
class Irrep(Label):
    """Degree ``l`` and parity ``p`` (+1 even, -1 odd) of O(3); also ``Irrep("1o")``. A vector is ``1o``, a torque ``1e``."""

    l: int
    p: int

    group: ClassVar[Group] = O(3)  # type: ignore[misc]

    def __init__(self, l: int | str | tuple[int, int] | Irrep, p: int = 0) -> None:
        if isinstance(l, str):
            l, p = _parse_spherical(l)
        elif not isinstance(l, int):
            l, p = (l.l, l.p) if isinstance(l, Irrep) else l
        _whole(f"Irrep({l!r}, {p!r})", l)
        if p not in (1, -1):
            raise InputError(f"Irrep({l!r}, {p!r}): the parity is +1 (even) or -1 (odd); write {l}e or {l}o")
        object.__setattr__(self, "l", l)
        object.__setattr__(self, "p", p)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 2 * self.l + 1

    @property
    def degree(self) -> int:  # type: ignore[override]
        # a parity other than that of a tensor of rank l takes one cross product more, a pseudoscalar two
        return self.l if self.p == (-1) ** self.l else self.l + 1 if self.l else 3

    @staticmethod
    def iterator(lmax: int | None = None) -> Iterator[Irrep]:
        """``0e, 0o, 1o, 1e, 2e, 2o, ...``: every degree with its own parity first."""
        l = 0
        while lmax is None or l <= lmax:
            yield from (Irrep(l, (-1) ** l), Irrep(l, -((-1) ** l)))
            l += 1

    def matrix(self, g: Tensor) -> Tensor:
        return matrices([self], g)[self]

    def _times(self, other: Irrep) -> Iterator[Irrep]:
        return (Irrep(l, self.p * other.p) for l in range(abs(self.l - other.l), self.l + other.l + 1))

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"

    __repr__ = __str__


@dataclass(frozen=True, order=True, repr=False)
class Degree(Label):
    """Degree ``l`` of SO(3), where parity has no meaning."""

    l: int

    group: ClassVar[Group] = SO(3)  # type: ignore[misc]

    def __post_init__(self) -> None:
        _whole("Degree", self.l)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 2 * self.l + 1

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.l

    def matrix(self, g: Tensor) -> Tensor:
        return matrices([self], g)[self]

    def _times(self, other: Degree) -> Iterator[Degree]:
        return (Degree(l) for l in range(abs(self.l - other.l), self.l + other.l + 1))

    def __str__(self) -> str:
        return str(self.l)

    __repr__ = __str__


@dataclass(frozen=True, order=True, repr=False)
class Spin(Label):
    """Spin ``j`` of SU(2), whole or half; complex matrices, m = j, ..., -j, so that spin 1/2 is the group itself."""

    j: Fraction

    group: ClassVar[Group] = SU(2)  # type: ignore[misc]

    def __post_init__(self) -> None:
        j = Fraction(self.j)
        if j < 0 or 2 * j != int(2 * j):
            raise InputError(f"Spin({self.j}): a spin is 0, 1/2, 1, 3/2, ...")
        object.__setattr__(self, "j", j)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return int(2 * self.j) + 1

    @property
    def degree(self) -> int:  # type: ignore[override]
        return int(2 * self.j)

    def matrix(self, g: Tensor) -> Tensor:
        return spin_matrix(self.j, g)

    def _times(self, other: Spin) -> Iterator[Spin]:
        steps = int(2 * min(self.j, other.j))
        return (Spin(abs(self.j - other.j) + k) for k in range(steps + 1))

    def __str__(self) -> str:
        return str(self.j)

    __repr__ = __str__


@dataclass(frozen=True, order=True, repr=False)
class Frequency(Label):
    """Frequency ``m >= 0`` of SO(2), real: 1 for ``m = 0``, otherwise ``[[cos m a, -sin m a], [sin m a, cos m a]]``."""

    m: int

    group: ClassVar[Group] = SO(2)  # type: ignore[misc]

    def __post_init__(self) -> None:
        _whole("Frequency", self.m)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 2 if self.m else 1

    @property
    def commutant(self) -> int:  # type: ignore[override]
        return 2 if self.m else 1

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.m

    def matrix(self, g: Tensor) -> Tensor:
        return _multiple_turn(self.m, g) if self.m else torch.ones_like(g[..., :1, :1])

    def _times(self, other: Frequency) -> Iterator[Frequency]:
        if not (self.m and other.m):
            return iter((Frequency(self.m + other.m),))
        low, high = Frequency(abs(self.m - other.m)), Frequency(self.m + other.m)
        return iter((low, high) if low.m else (low, low, high))

    def __str__(self) -> str:
        return str(self.m)

    __repr__ = __str__


@dataclass(frozen=True, order=True, repr=False)
class Wave(Label):
    """Frequency ``m >= 0`` of O(2); ``m = 0`` has a parity, ``0e`` trivial and ``0o`` the determinant (p = 0 otherwise)."""

    m: int
    p: int = 0

    group: ClassVar[Group] = O(2)  # type: ignore[misc]

    def __post_init__(self) -> None:
        _whole("Wave", self.m)
        if (self.p in (1, -1)) != (self.m == 0) or self.p not in (1, 0, -1):
            raise InputError(f"Wave({self.m}, {self.p}): frequency 0 has a parity, 0e or 0o, the others have none")

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 2 if self.m else 1

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.m or (2 if self.p == -1 else 0)

    def matrix(self, g: Tensor) -> Tensor:
        sign = torch.linalg.det(g).sign()
        if not self.m:
            return (sign if self.p == -1 else torch.ones_like(sign))[..., None, None]
        turn = torch.cat([g[..., :1], g[..., 1:] * sign[..., None, None]], -1)  # g = turn diag(1, det)
        columns = _multiple_turn(self.m, turn).unbind(-1)
        return torch.stack([columns[0], columns[1] * sign[..., None]], -1)

    def _times(self, other: Wave) -> Iterator[Wave]:
        if not (self.m or other.m):
            return iter((Wave(0, self.p * other.p),))
        if not (self.m and other.m):
            return iter((Wave(self.m + other.m),))
        low, high = abs(self.m - other.m), self.m + other.m
        return iter((Wave(low), Wave(high)) if low else (Wave(0, 1), Wave(0, -1), Wave(high)))

    def __str__(self) -> str:
        return str(self.m) if self.m else "0e" if self.p == 1 else "0o"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class FiniteIrrep(Label):
    """The ``index``-th real irreducible representation of a finite group, as :func:`finite_table` orders them."""

    group: FiniteGroup
    index: int

    degree = 0

    def __post_init__(self) -> None:
        if not 0 <= self.index < len(self._table.names):
            raise InputError(f"{self.group} has {len(self._table.names)} real irreps, index {self.index} is none of them")

    @property
    def _table(self) -> FiniteTable:
        return finite_table(self.group)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self._table.matrices[self.index].shape[-1]

    @property
    def commutant(self) -> int:  # type: ignore[override]
        return self._table.commutants[self.index]

    def matrix(self, g: Tensor) -> Tensor:
        return self._table.matrices[self.index].to(g.device)[g]

    def _times(self, other: FiniteIrrep) -> Iterator[FiniteIrrep]:
        table = self._table
        count = table.multiplicities(table.characters[self.index] * table.characters[other.index])
        return (FiniteIrrep(self.group, i) for i, n in enumerate(count) for _ in range(n))

    def is_scalar(self) -> bool:
        return self.index == 0

    def __lt__(self, other: FiniteIrrep) -> bool:
        return self.index < other.index

    def __str__(self) -> str:
        return self._table.names[self.index]

    __repr__ = __str__


# ---------------------------------------------------------------------- reading and checking

_SPHERICAL = re.compile(r"^\s*([0-9]+)\s*([eoy])\s*$")


def _parse_spherical(text: str) -> tuple[int, int]:
    match = _SPHERICAL.match(text)
    if match:
        l = int(match[1])
        return l, {"e": 1, "o": -1, "y": (-1) ** l}[match[2]]
    bare = text.strip()
    hint = f"it lacks a parity: write {bare}o or {bare}e" if bare.isdigit() else "write a degree and a parity, such as 0e or 1o"
    raise InputError(f"irrep {text!r}: {hint}")


def _whole(what: str, n: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise InputError(f"{what}: the degree is a whole number of at least 0, got {n!r}")


# ---------------------------------------------------------------------- matrices


def matrices(labels: Sequence[Label], g: Any) -> dict[Label, Tensor]:
    """The matrices of several irreps of one group at once; those of rotations share one pass over ``g``."""
    distinct = tuple(dict.fromkeys(labels))
    if not distinct or not isinstance(distinct[0], (Irrep, Degree)):
        return {label: label.matrix(g) for label in distinct}
    improper = isinstance(distinct[0], Irrep)
    sign = torch.linalg.det(g).sign()[..., None, None] if improper else None
    degrees = tuple(sorted({label.l for label in distinct}))  # type: ignore[attr-defined]
    blocks = dict(zip(degrees, wigner_blocks(degrees, g if sign is None else g * sign), strict=True))
    return {
        label: blocks[label.l] if sign is None or label.p == 1 else blocks[label.l] * sign  # type: ignore[attr-defined]
        for label in distinct
    }


def _multiple_turn(m: int, turn: Tensor) -> Tensor:
    """The ``m``-th power of rotations of the plane ``(..., 2, 2)``, without angles: differentiable everywhere."""
    c, s = turn[..., 0, 0], turn[..., 1, 0]
    cosine, sine = torch.ones_like(c), torch.zeros_like(s)
    for _ in range(m):
        cosine, sine = cosine * c - sine * s, sine * c + cosine * s
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
