"""Finite groups: cyclic, dihedral, the rotation groups of the Platonic solids, groups from a Cayley table.

Elements are indices, 0 the identity. ``C(n)`` and ``D(n)`` act on the plane (``linear`` is 2 x 2, positive angles turn
counter-clockwise), the polyhedral groups on space (3 x 3). Tables and matrices are computed once for equal groups, in
float64; products of two matrices meet the third to 1e-15.

The matrices of the icosahedral group have entries in 0, ±1, ±1/2, ±φ/2, ±1/(2φ) with φ the golden ratio, the two-fold
axes being the coordinate axes (so that ``Tetrahedral`` is contained in both others).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import natural
from coset.groups.subgroups import Tabulated

# ---------------------------------------------------------------------- groups of the plane


@dataclass(frozen=True)
class C(Tabulated):
    """The cyclic group: element ``k`` turns the plane by ``2 pi k / n`` counter-clockwise."""

    n: int

    def __post_init__(self) -> None:
        natural("C", self.n)

    def __str__(self) -> str:
        return f"C({self.n})"

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.n

    @property
    def table(self) -> Tensor:
        k = torch.arange(self.n)
        return (k[:, None] + k) % self.n

    @property
    def matrices(self) -> Tensor:
        return _turns(self.n)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(_power("r", k) or "e" for k in range(self.n))

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return (g + h) % self.n

    def inverse(self, g: Tensor) -> Tensor:
        return -g % self.n

    def generators(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones(min(self.n - 1, 1), dtype=torch.int64, device=device)


@dataclass(frozen=True)
class D(Tabulated):
    """The dihedral group of order ``2 n``: element ``k + n f`` is ``r^k s^f`` with ``s: (x, y) -> (x, -y)``."""

    n: int

    def __post_init__(self) -> None:
        natural("D", self.n)

    def __str__(self) -> str:
        return f"D({self.n})"

    @property
    def order(self) -> float:  # type: ignore[override]
        return 2 * self.n

    @property
    def table(self) -> Tensor:
        g = torch.arange(2 * self.n)
        return self.compose(g[:, None], g)

    @property
    def matrices(self) -> Tensor:
        turns = _turns(self.n)
        return torch.cat([turns, turns * torch.tensor([1.0, -1.0], dtype=torch.float64)])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple((_power("r", k) + "s" * f) or "e" for f in range(2) for k in range(self.n))

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        (k, f), (m, e) = (g % self.n, g // self.n), (h % self.n, h // self.n)
        return (k + torch.where(f == 1, -m, m)) % self.n + self.n * ((f + e) % 2)

    def inverse(self, g: Tensor) -> Tensor:
        return torch.where(g < self.n, -g % self.n, g)

    def generators(self, *, dtype=None, device=None) -> Tensor:
        return torch.tensor([1, self.n] if self.n > 1 else [1], device=device)


def _power(letter: str, k: int) -> str:
    return "" if k == 0 else letter if k == 1 else f"{letter}^{k}"


@cache
def _turns(n: int) -> Tensor:
    """Rotations by ``2 pi k / n``; quarter turns are exact because only the rest of a quadrant meets cos and sin."""
    out = []
    for k in range(n):
        quadrant, rest = divmod(4 * k, n)
        small = min(rest, n - rest) * math.pi / (2 * n)
        c, s = (math.cos(small), math.sin(small)) if 2 * rest <= n else (math.sin(small), math.cos(small))
        if 2 * rest == n:
            c = s = math.sqrt(0.5)
        for _ in range(quadrant):
            c, s = -s, c
        out.append([[c, -s], [s, c]])
    return torch.tensor(out, dtype=torch.float64) + 0.0  # no negative zeros


# ---------------------------------------------------------------------- groups of space


@dataclass(frozen=True)
class Polyhedral(Tabulated):
    """Base of the rotation groups of solids; ``inversion=True`` adds ``-1``: element ``i + rotations`` is minus element i."""

    inversion: bool = False

    def __str__(self) -> str:
        return f"{type(self).__name__}({'inversion=True' if self.inversion else ''})"

    def _seeds(self) -> tuple[Tensor, ...]:
        """Rotations that generate the group."""
        raise ContractError(f"{type(self).__name__} has no rotations; use Tetrahedral(), Octahedral() or Icosahedral()")

    @property
    def matrices(self) -> Tensor:
        return _solid(self)[0]

    @property
    def table(self) -> Tensor:
        return _solid(self)[1]

    @property
    def names(self) -> tuple[str, ...]:
        return _solid(self)[2]


class Tetrahedral(Polyhedral):
    """The 12 rotations of the tetrahedron; with inversion T_h."""

    def _seeds(self) -> tuple[Tensor, ...]:
        return _CYCLE, torch.diag(_X - _Y - _Z)


class Octahedral(Polyhedral):
    """The 24 rotations of the cube; with inversion O_h."""

    def _seeds(self) -> tuple[Tensor, ...]:
        return _CYCLE, torch.stack([-_Y, _X, _Z])


class Icosahedral(Polyhedral):
    """The 60 rotations of the icosahedron with vertices ``(0, ±1, ±φ)`` and cyclic shifts; with inversion I_h."""

    def _seeds(self) -> tuple[Tensor, ...]:
        a, b = (_PHI - 1) / 2, _PHI / 2
        fifth = torch.tensor([[a, -b, 0.5], [b, 0.5, a], [-0.5, a, b]], dtype=torch.float64)  # 72 degrees about (0, 1, φ)
        return _CYCLE, torch.diag(_X - _Y - _Z), fifth


_PHI = (1 + math.sqrt(5)) / 2
_X, _Y, _Z = torch.eye(3, dtype=torch.float64)
_CYCLE = torch.stack([_Z, _X, _Y])
_ENTRIES = torch.tensor([0.0, 0.5, 1.0, _PHI / 2, (_PHI - 1) / 2], dtype=torch.float64)


@cache
def _solid(group: Polyhedral) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Matrices, table and names: closed under the seeds, entries snapped to exact values, ordered by angle."""
    found = torch.eye(3, dtype=torch.float64)[None]
    while True:
        products = torch.cat([found, *(_snap(found @ seed) for seed in group._seeds())])
        grown = products.unique(dim=0)
        if len(grown) == len(found):
            break
        found = grown
    order = sorted(range(len(found)), key=lambda i: (-round(found[i].trace().item(), 9), (-found[i]).flatten().tolist()))
    matrices = found[order] + 0.0
    names = tuple(map(_name, matrices))
    if group.inversion:
        matrices = torch.cat([matrices, -matrices]) + 0.0
        names = (*names, "-1", *("-" + name for name in names[1:]))
    products = (matrices[:, None] @ matrices).flatten(2)
    table = torch.cdist(products, matrices.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)
    return matrices, table, names


def _snap(matrices: Tensor) -> Tensor:
    nearest = (matrices.abs()[..., None] - _ENTRIES).abs().argmin(-1)
    return _ENTRIES[nearest] * matrices.sign() + 0.0


def _name(rotation: Tensor) -> str:
    """``120°[1,1,1]``: the angle in degrees about an axis whose largest component is 1."""
    cos = (rotation.trace().item() - 1) / 2
    if cos > 1 - 1e-9:
        return "e"
    skew = torch.stack([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    half = rotation + torch.eye(3, dtype=torch.float64)  # rank one at 180 degrees, its columns along the axis
    axis = skew if cos > -1 + 1e-9 else half[:, half.diagonal().argmax()]
    axis = axis / axis.abs().max()
    angle = round(math.degrees(math.acos(max(-1.0, min(1.0, cos)))))
    return f"{angle}°[{','.join(f'{round(a, 2) + 0.0:g}' for a in axis.tolist())}]"


# ---------------------------------------------------------------------- any finite group


@dataclass(frozen=True)
class Cayley(Tabulated):
    """The group with this multiplication table: ``rows[g][h]`` is ``g h``, element 0 the identity.

    ``rows`` is a square of indices (nested sequences, array or tensor), ``labels`` optional names. Raises InputError when
    the table is no square, holds other numbers, has its identity elsewhere, lacks an inverse or is not associative.
    """

    rows: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        try:
            table = torch.as_tensor(self.rows)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"Cayley: expected a square table of element indices ({error})") from error
        _validate(table)
        object.__setattr__(self, "rows", tuple(map(tuple, table.tolist())))
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.labels and len(set(self.labels)) != len(table):
            raise InputError(f"Cayley: {len(table)} elements need as many different labels, got {list(self.labels)}")

    def __str__(self) -> str:
        return f"Cayley({[list(row) for row in self.rows]})"

    @property
    def order(self) -> float:  # type: ignore[override]
        return len(self.rows)

    @property
    def table(self) -> Tensor:
        return _tensor(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels or super().names


@cache
def _tensor(rows: tuple[tuple[int, ...], ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64)


def _validate(table: Tensor) -> None:
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise InputError(f"Cayley: expected a square table, got shape {tuple(table.shape)}")
    n = len(table)
    if table.is_floating_point() or table.is_complex() or table.dtype == torch.bool:
        raise InputError(f"Cayley: entries are element indices (integers), got {table.dtype}")
    if not bool(((table >= 0) & (table < n)).all()):
        raise InputError(f"Cayley: entries are 0 .. {n - 1}, got {int(table.min())} .. {int(table.max())}")
    everyone = torch.arange(n)
    if not (torch.equal(table[0], everyone) and torch.equal(table[:, 0], everyone)):
        units = [i for i in range(n) if torch.equal(table[i], everyone) and torch.equal(table[:, i], everyone)]
        hint = f"element {units[0]} is the identity: renumber so that it comes first" if units else "no element is an identity"
        raise InputError(f"Cayley: element 0 must be the identity; {hint}")
    if not bool((table == 0).any(1).all()):
        raise InputError(f"Cayley: element {int((~(table == 0).any(1)).nonzero()[0])} has no inverse")
    for g in range(n):  # one slice at a time: n^2 memory, not n^3
        left, right = table[table[g]], table[g][table]
        if not torch.equal(left, right):
            h, k = (left != right).nonzero()[0].tolist()
            raise InputError(f"Cayley: not associative, (g h) k != g (h k) for g={g}, h={h}, k={k}")
