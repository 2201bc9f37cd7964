"""Neighbors of atoms that move: a list with a skin, searched anew only when an atom has moved half of it.

    |x_i - x_i(last search)| < skin / 2 for all i   =>   every pair within r_max is among those found within r_max + skin.

(Verlet, Phys. Rev. 159, 98, 1967.) What is handed out holds exactly the pairs within ``r_max``, in one canonical order: target,
source, then image. So it does not depend on when the last search was, bit for bit, and neither does a trajectory that is
continued from a file. Distances are computed in float64.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coset.errors import InputError
from coset.ops.periodic import TOUCHING, neighbor_list


class VerletList:
    """Pairs within ``r_max`` (angstrom), searched within ``r_max + skin``; ``searches`` counts how often."""

    def __init__(self, r_max: float, skin: float = 0.5) -> None:
        if not r_max > 0 or not skin >= 0:
            raise InputError(f"neighbors: a positive cutoff and a skin >= 0, got {r_max} and {skin}")
        self.r_max, self.skin, self.searches = float(r_max), float(skin), 0
        self._at: tuple[np.ndarray, np.ndarray, tuple[bool, ...]] | None = None  #: positions, cell, periodicity of the search
        self._edges, self._shift = np.zeros((2, 0), np.int64), np.zeros((0, 3), np.int64)

    def __call__(self, pos: np.ndarray, cell: np.ndarray, periodic: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor]:
        """``edge_index`` (2, E) and ``shift`` (E, 3) of ``pos`` (N, 3) in ``cell`` (3, 3), as
        :func:`coset.ops.periodic.neighbor_list` gives them, which says what is refused."""
        if not np.isfinite(pos).all():
            raise InputError(f"neighbors: the position of atom {int(np.argwhere(~np.isfinite(pos))[0, 0])} is NaN or infinite")
        if self._stale(pos, cell, periodic):
            self._search(pos, cell, periodic)
        source, target = self._edges
        vectors = pos[target] - pos[source] + self._shift @ cell
        length = np.sqrt(np.einsum("ei,ei->e", vectors, vectors))
        if len(length) and length.min() < TOUCHING:
            e = int(length.argmin())
            raise InputError(f"neighbors: atoms {source[e]} and {target[e]} are {length[e]:.1e} apart, on top of each other")
        near = length < self.r_max
        return torch.from_numpy(self._edges[:, near]), torch.from_numpy(self._shift[near])

    def _stale(self, pos: np.ndarray, cell: np.ndarray, periodic: tuple[bool, ...]) -> bool:
        if self._at is None or self.skin == 0:
            return True
        before, box, axes = self._at
        if before.shape != pos.shape or axes != periodic or not np.array_equal(box, cell):
            return True
        return len(pos) > 0 and float(np.square(pos - before).sum(1).max()) >= (0.5 * self.skin) ** 2

    def _search(self, pos: np.ndarray, cell: np.ndarray, periodic: tuple[bool, bool, bool]) -> None:
        self._at = None  # a search that fails leaves nothing behind
        found = neighbor_list(
            torch.from_numpy(pos), self.r_max + self.skin, cell=torch.from_numpy(cell) if any(periodic) else None,
            periodic=periodic,
        )  # fmt: skip
        edges, shift = (x.numpy() for x in found)
        order = np.lexsort((*shift.T[::-1], edges[0], edges[1]))
        self._edges, self._shift = np.ascontiguousarray(edges[:, order]), np.ascontiguousarray(shift[order])
        self._at, self.searches = (pos.copy(), cell.copy(), periodic), self.searches + 1
