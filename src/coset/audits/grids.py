"""Grids of group elements for orbit plots, with the coordinates of their axes.

Rotations of the plane at equal angles (72 by default), translations on a rectangle of pixels, scales log-spaced from 0.3 to
1, rotations of space about axes in a plane (12 directions x 16 angles, three planes: 576), circular shifts pixel by pixel,
finite groups whole, and products of these. The identity is always on the grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.elements import choose, element_names, is_identity
from coset.errors import CosetError, InputError
from coset.groups.group import Elements, Family, FiniteGroup
from coset.groups.haar import axis_angle_grid
from coset.groups.rotations import planar_angle, vector_from_rotation
from coset.groups.torus import Torus

PLANES = ("xy", "xz", "yz")


@dataclass(frozen=True)
class Axis:
    """One axis of a grid: ``kind`` says how to draw it."""

    kind: str  #: angle (degrees), scale, shift (pixels), rotation, element
    name: str
    coordinates: tuple[float, ...]  #: angles, factors or shifts; 0, 1, 2 ... for the rest
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """Elements in a row (``len(grid)`` of them) and the axes along which they are laid out."""

    elements: Any
    axes: tuple[Axis, ...]
    identity: int  #: place of the identity; -1 if it is not on the grid
    vectors: Tensor | None = None  #: rotation vectors of rotations of space, ``(k, 3)``

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(axis.labels) for axis in self.axes)

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def cyclic(self) -> bool:
        """Whether this is one axis of equal angles around the circle: a cyclic group, with a Fourier spectrum."""
        if len(self.axes) != 1 or self.axes[0].kind != "angle" or len(self) < 3:
            return False
        steps = np.diff(np.append(self.axes[0].coordinates, self.axes[0].coordinates[0] + 360))
        return bool(np.allclose(steps, 360 / len(self), atol=1e-6))


def grid_of(group: Family, elements: Any = None, *, samples: int = 72, seed: int = 0) -> Grid:
    """The grid that fits a bound group, or one around the given ``elements`` (a batch, or a Grid).

    A product gets the product grid of its factors. Raises InputError for an empty grid.
    """
    if isinstance(elements, Grid):
        grid = elements
    elif elements is not None:
        grid = _around(group, elements)
    elif len(group.factors()) > 1:
        grid = product_grid([grid_of(part, samples=samples, seed=seed) for part in group.factors()])
    else:
        grid = _default(group, samples, seed)
    if not len(grid):
        raise InputError(f"{group}: the orbit is empty, pass at least one group element")
    return grid


def _default(group: Family, samples: int, seed: int) -> Grid:
    space = _space(group)
    if not isinstance(group, FiniteGroup) and space == 3 and group.element_shape == (3, 3) and getattr(group, "dim", 0) == 3:
        return rotations_of_space()
    if isinstance(group, Torus):  # neighboring pixels: a coarser grid would meet one phase of a stride only
        side = max(1, math.isqrt(samples))
        return shifts(group, range(min(side, group.h)), range(min(side, group.w)))
    return _around(group, choose(group, samples, seed))


def rotations_of_space(directions: int = 12, angles: int = 16, planes: Sequence[str] = PLANES) -> Grid:
    """``SO(3)`` by axis and angle: axes in the given planes, angles from 0 to 180 degrees, ``planes x directions x angles``."""
    found = [axis_angle_grid(plane, directions, angles) for plane in planes]
    elements = torch.cat([one.elements.flatten(0, 1) for one in found])
    turns = [f"{v:.3g}°" for v in np.rad2deg(found[0].angles.numpy())]
    ways = [f"{v:.3g}°" for v in np.arange(directions) * 360 / directions]
    axes = (
        Axis("element", "plane of the axis", tuple(map(float, range(len(planes)))), tuple(planes)),
        Axis("element", "direction of the axis", tuple(np.arange(directions) * 360.0 / directions), tuple(ways)),
        Axis("rotation", "angle", tuple(np.rad2deg(found[0].angles.numpy()).tolist()), tuple(turns)),
    )
    return Grid(elements, axes, 0, vector_from_rotation(elements))


def angles_grid(group: Any, count: int = 72) -> Grid:
    """``count`` equal angles of ``SO(2)``, the identity first."""
    return _around(group, group.grid(count))


def translations(group: Any, steps: Sequence[float], size: int, rows: Sequence[float] | None = None) -> Grid:
    """Shifts in pixels of an image ``size`` pixels wide, along x (right) and y (up), for ``T(2)``: ``rows x columns``."""
    right = np.asarray(steps, dtype=float)
    up = np.asarray(steps if rows is None else rows, dtype=float)
    if not len(right) or not len(up):
        raise InputError("translations: the orbit is empty, name at least one shift along each axis")
    pairs = torch.tensor([(x, y) for y in up for x in right], dtype=torch.float64) * 2 / size
    elements = torch.eye(3, dtype=torch.float64).repeat(len(pairs), 1, 1)
    elements[:, :2, 2] = pairs
    if tuple(group.element_shape) != (3, 3):
        raise InputError(
            f"translations move the plane by homogeneous 3 x 3 matrices, {group} has elements {group.element_shape}"
        )
    axes = tuple(
        Axis("shift", name, tuple(v.tolist()), tuple(f"{s:g}" for s in v)) for name, v in (("up, px", up), ("right, px", right))
    )
    return Grid(elements, axes, _place(group, elements))


def shifts(group: Torus, down: Sequence[int], right: Sequence[int]) -> Grid:
    """Circular shifts of an image by whole pixels, along both axes: ``rows x columns``. InputError where there are none."""
    steps = torch.cartesian_prod(*(torch.tensor(list(v), dtype=torch.int64) for v in (down, right)))
    if not len(steps):
        raise InputError("shifts: the orbit is empty, name at least one shift along each axis")
    axes = tuple(
        Axis("shift", name, tuple(map(float, v)), tuple(map(str, v))) for name, v in (("down, px", down), ("right, px", right))
    )
    elements = group.shifts(steps)
    return Grid(elements, axes, _place(group, elements))


def scales(group: Any, count: int = 13, low: float = 0.3, high: float = 1.0) -> Grid:
    """Factors log-spaced from ``low`` to ``high``, both included; with ``high = 1`` the identity comes last."""
    if count < 1 or not 0 < low <= high:
        raise InputError(f"scales: expected count >= 1 and 0 < low <= high, got {count}, {low}, {high}")
    factors = torch.logspace(np.log10(low), np.log10(high), count, dtype=torch.float64)
    factors[(factors - 1).abs() < 1e-12] = 1.0
    axis = Axis("scale", "scale", tuple(factors.tolist()), tuple(f"x{v:.3g}" for v in factors.tolist()))
    elements = (
        factors if not group.element_shape else torch.eye(group.element_shape[-1], dtype=torch.float64) * factors.view(-1, 1, 1)
    )
    return Grid(elements, (axis,), _place(group, elements))


def product_grid(grids: Sequence[Grid]) -> Grid:
    """All combinations, the first factor slowest."""
    counts = [len(grid) for grid in grids]
    if 0 in counts:
        raise InputError("product_grid: the orbit is empty, one factor has no element")
    rows = torch.tensor(list(itertools.product(*map(range, counts))))
    elements = Elements(*(grid.elements[rows[:, i]] for i, grid in enumerate(grids)))
    at = [grid.identity for grid in grids]
    identity = -1 if min(at) < 0 else int(np.ravel_multi_index(at, counts))
    return Grid(elements, tuple(axis for grid in grids for axis in grid.axes), identity)


def _around(group: Family, elements: Any) -> Grid:
    """The axis of a plain batch of elements: angles, scales, or their names."""
    if not len(elements):
        raise InputError(f"{group}: the orbit is empty, pass at least one group element")
    names = tuple(element_names(group, elements))
    identity = _place(group, elements)
    numbers = tuple(float(i) for i in range(len(names)))
    vectors = None
    try:
        matrix, shift = group.linear(elements), group.shift(elements)
    except CosetError:
        return Grid(elements, (Axis("element", str(group), numbers, names),), identity)
    space, still = matrix.shape[-1], not bool(shift.abs().max() > 0)
    unit = torch.eye(space, dtype=matrix.dtype)
    rigid = torch.allclose(matrix @ matrix.mT, unit.expand_as(matrix), atol=1e-6)
    proper = bool((torch.linalg.det(matrix) > 0).all())
    if still and space == 2 and rigid and proper:
        degrees = np.rad2deg(planar_angle(matrix).numpy()) % 360
        degrees = np.where(degrees > 360 - 1e-9, 0.0, degrees)
        return Grid(elements, (Axis("angle", "angle", tuple(degrees.tolist()), names),), identity)
    if still and not rigid and torch.allclose(matrix, matrix[:, :1, :1] * unit, atol=1e-9):
        return Grid(elements, (Axis("scale", "scale", tuple(matrix[:, 0, 0].tolist()), names),), identity)
    if still and space == 3 and rigid and proper:
        vectors = vector_from_rotation(matrix)
    return Grid(elements, (Axis("element", str(group), numbers, names),), identity, vectors)


def _place(group: Family, elements: Any) -> int:
    found = torch.nonzero(is_identity(group, elements)).flatten()
    return int(found[0]) if len(found) else -1


def _space(group: Family) -> int:
    try:
        return int(group.linear(group.sample(1)).shape[-1])
    except CosetError:
        return 0
