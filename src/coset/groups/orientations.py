"""Grids of orientations: unit vectors on the circle or the sphere, and the finite group that maps each grid onto itself.

On the circle, M equal angles (mapped onto themselves by ``C(M)``). On the sphere, the vertices of a Platonic solid where M is
4, 6, 8, 12 or 20, with the group of that solid, and a Fibonacci spiral otherwise, which no motion but the identity keeps.
A model that samples functions of orientation on a grid commutes exactly with the motions that permute it, and with others up
to the sampling error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from coset.errors import InputError
from coset.groups.finite import C, Icosahedral, Octahedral, Polyhedral, Tetrahedral
from coset.groups.haar import circle_angles, fibonacci_sphere
from coset.groups.subgroups import Tabulated

_PHI = (1 + 5**0.5) / 2
#: by number of vertices: one vertex, and the group whose orbit of it is the solid
_SOLIDS: dict[int, tuple[tuple[float, float, float], Polyhedral]] = {
    4: ((1, 1, 1), Tetrahedral()),
    6: ((0, 0, 1), Octahedral(inversion=True)),
    8: ((1, 1, 1), Octahedral(inversion=True)),
    12: ((0, 1, _PHI), Icosahedral(inversion=True)),
    20: ((1, 1, 1), Icosahedral(inversion=True)),
}


@dataclass(frozen=True)
class Orientations:
    """``count`` unit vectors in the plane (``space=2``) or in space (``space=3``), always the same for the same numbers.

    Raises InputError unless ``space`` is 2 or 3 and ``count`` enough for vectors that balance each other: more than ``space``.
    """

    space: int
    count: int

    def __post_init__(self) -> None:
        if self.space not in (2, 3):
            raise InputError(f"Orientations: the dimension of space is 2 or 3, got {self.space!r}")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count <= self.space:
            raise InputError(f"Orientations: at least {self.space + 1} in {self.space}D, got {self.count!r}")

    @property
    def points(self) -> Tensor:
        """The unit vectors, float64 ``(count, space)``; their sum is zero up to 1 / count."""
        return _points(self)

    @property
    def symmetry(self) -> Tabulated | None:
        """The largest finite group of this library that permutes the grid; in the plane rotations only. None for a spiral."""
        return C(self.count) if self.space == 2 else _SOLIDS[self.count][1] if self.count in _SOLIDS else None


@cache
def _points(grid: Orientations) -> Tensor:
    if grid.space == 2:
        angles = circle_angles(grid.count)
        return torch.stack([angles.cos(), angles.sin()], -1)
    if grid.count not in _SOLIDS:
        return fibonacci_sphere(grid.count)
    vertex, group = _SOLIDS[grid.count]
    orbit = group.matrices @ torch.nn.functional.normalize(torch.tensor(vertex, dtype=torch.float64), dim=0)
    same = torch.cdist(orbit, orbit, compute_mode="donot_use_mm_for_euclid_dist") < 1e-6
    return orbit[same.int().argmax(1).unique()]  # of each set of equal points the first
