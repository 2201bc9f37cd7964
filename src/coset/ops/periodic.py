"""Neighbors within a cutoff, periodic images included: the graph of an atomistic model.

    v_e = x_target - x_source + n_e C,      |v_e| < r_max,

``C`` the cell's rows and ``n_e`` integers. Pairs are searched by vesin (extra ``atoms``), every direction once and every image
by itself, so that a cell smaller than the cutoff has its own copies among its neighbors. Only indices come from the search:
vectors are computed anew in torch (:func:`edge_vectors`), where they can be differentiated as often as one likes.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import InputError, require

IMAGES = 50  #: cells within the cutoff at most, along one axis and in one direction
FAR = 1e4  #: cutoffs between atoms at most, along an axis where nothing repeats
TOUCHING = 1e-3  #: atoms nearer than this, in units of length, are taken for a mistake in the data


def neighbor_list(
    pos: Tensor, r_max: float, *, cell: Tensor | None = None, periodic: bool | tuple[bool, bool, bool] = False
) -> tuple[Tensor, Tensor]:
    """``edge_index`` (2, E), (source, target), and ``shift`` (E, 3) int64 of all pairs of ``pos`` (N, 3) within ``r_max``.

    ``cell`` ``(3, 3)`` holds lattice vectors as rows; ``periodic`` says along which of them the structure repeats. Sorted by
    target, then source: sums over edges are then local. Positions may lie outside the cell.

    InputError for positions that are not finite, a cell without volume, and atoms nearer than :data:`TOUCHING`.
    """
    if pos.ndim != 2 or pos.shape[1] != 3 or not pos.is_floating_point():
        raise InputError(f"neighbor_list: positions are floating (N, 3), got {pos.dtype} {tuple(pos.shape)}")
    if not bool(torch.isfinite(pos).all()):
        raise InputError(f"neighbor_list: position {int((~pos.isfinite()).any(1).nonzero()[0])} is NaN or infinite")
    if not 0 < r_max < math.inf:
        raise InputError(f"neighbor_list: the cutoff is positive and finite, got {r_max}")
    axes = (periodic,) * 3 if isinstance(periodic, bool) else tuple(map(bool, periodic))
    box = _box(cell, any(axes))
    _check_width(box, axes, r_max)
    points = pos.detach().to("cpu", torch.float64)
    _check_extent(points, axes, r_max)
    search = _search(r_max if any(axes) else _reach(points, r_max))
    try:
        i, j, shift, length = search.compute(points.numpy(), box.numpy(), list(axes), "ijSd")
    except (RuntimeError, MemoryError) as error:
        raise InputError(
            f"neighbor_list: the search failed ({error}); check positions, cell and units (expected angstrom)"
        ) from error
    if len(length) and length.min() < TOUCHING:
        e = int(length.argmin())
        raise InputError(
            f"neighbor_list: atoms {int(i[e])} and {int(j[e])} are {length[e]:.1e} apart; "
            "remove the double, or check cell and units (expected angstrom)"
        )
    edge_index = torch.stack([torch.from_numpy(i.astype("int64")), torch.from_numpy(j.astype("int64"))])
    order = torch.argsort(edge_index[1] * max(len(pos), 1) + edge_index[0], stable=True)
    return edge_index[:, order].to(pos.device), torch.from_numpy(shift.astype("int64"))[order].to(pos.device)


def _reach(points: Tensor, r_max: float) -> float:
    """Where nothing repeats, a cutoff that is wider than the structure finds all pairs, as does one of twice its width.

    The search takes time and memory for what lies within the cutoff, atoms or none. Powers of 2, for searches are kept.
    """
    width = max(float((points.amax(0) - points.amin(0)).norm()), 1.0) if len(points) else 1.0
    return min(r_max, 2.0 ** math.ceil(math.log2(2 * width)))


@cache
def _search(r_max: float) -> Any:
    return require("vesin", extra="atoms").NeighborList(cutoff=float(r_max), full_list=True, sorted=False)


def _box(cell: Tensor | None, needed: bool) -> Tensor:
    if not needed:
        return torch.zeros(3, 3, dtype=torch.float64)
    if cell is None or cell.shape != (3, 3):
        raise InputError(
            f"neighbor_list: a periodic structure needs a cell (3, 3), got {None if cell is None else tuple(cell.shape)}"
        )
    box = cell.detach().to("cpu", torch.float64)
    volume = abs(float(torch.linalg.det(box)))
    if not bool(box.isfinite().all()) or volume < 1e-6 * max(float(box.norm(dim=1).prod()), 1e-300):
        raise InputError(f"neighbor_list: the cell has volume {volume:.1e}; its rows are three independent lattice vectors")
    return box


def _check_width(box: Tensor, axes: tuple[bool, ...], r_max: float) -> None:
    """Images beyond number would be searched in a cell that is thinner than any crystal's."""
    area = torch.stack([torch.linalg.cross(box[(k + 1) % 3], box[(k + 2) % 3]).norm() for k in range(3)])
    width = torch.linalg.det(box).abs() / area
    thin = [k for k in range(3) if axes[k] and float(width[k]) < r_max / IMAGES]
    if thin:
        raise InputError(
            f"neighbor_list: the cell is {float(width[thin[0]]):.1e} wide along axis {thin[0]} and the cutoff is {r_max:g}; "
            "check cell and units (expected angstrom)"
        )


def _check_extent(points: Tensor, axes: tuple[bool, ...], r_max: float) -> None:
    """The search divides space into cells as wide as the cutoff; where they are too many to count, the process would end."""
    extent = points.amax(0) - points.amin(0) if len(points) else torch.zeros(3)
    if far := [k for k in range(3) if not axes[k] and float(extent[k]) > FAR * r_max]:
        raise InputError(
            f"neighbor_list: atoms are {float(extent[far[0]]):.1e} apart along axis {far[0]}, where nothing repeats, and the "
            f"cutoff is {r_max:g}; check positions and units (expected angstrom)"
        )


def edge_vectors(
    pos: Tensor, edge_index: Tensor, *, shift: Tensor | None = None, cell: Tensor | None = None, batch: Tensor | None = None
) -> Tensor:
    """``v_e`` (E, 3): see the module. ``cell`` (B, 3, 3), ``batch`` (N,) the structure of every atom (one if None)."""
    if edge_index.ndim != 2 or len(edge_index) != 2:
        raise InputError(f"edge_vectors: edge_index is (2, edges), (source, target); got {tuple(edge_index.shape)}")
    source, target = edge_index
    vectors = pos.index_select(0, target) - pos.index_select(0, source)
    if shift is None or cell is None:
        return vectors
    if shift.shape != vectors.shape:
        raise InputError(f"edge_vectors: one shift (3,) per edge, got {tuple(shift.shape)} for {len(vectors)} edges")
    steps = shift.to(pos.dtype)
    if batch is None:
        return vectors + steps @ cell.reshape(-1, 3, 3)[0]
    return vectors + torch.einsum("ei,eij->ej", steps, cell[batch[source]])
