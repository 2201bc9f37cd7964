"""Neighbors and farthest points of clouds: searched inside groups, batched, masked, in bounded memory.

``knn`` sorts the points by group and compares only inside a group, so its cost is the sum of squared group sizes, not
``n^2``. ``farthest_points`` covers a cloud greedily, each point the one farthest from those before it (Gonzalez,
Theoretical Computer Science 38, 1985). Distances are differences of coordinates, not expanded squares: both commute with
permutations exactly and with motions up to rounding, wherever no two distances tie.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from coset.errors import InputError

ENTRIES = 2**22  #: distances held at a time


@torch.no_grad()
def knn(
    x: Tensor, k: int, *, group: Tensor | None = None, mask: Tensor | None = None, itself: bool = True, entries: int = ENTRIES
) -> Tensor:
    """Indices ``(*batch, n, k)`` of the nearest points of every point of clouds ``x`` ``(*batch, n, d)``, nearest first.

    ``group`` ``(*batch, n)`` integers: only points of one group (and one cloud) are neighbors. ``mask`` ``(*batch, n)``:
    False is padding, nobody's neighbor. The point itself comes first unless ``itself`` is False; where fewer than ``k``
    are to be had, the point itself stands in. ``entries`` bounds how many distances are held at a time.

    Raises InputError for shapes that do not fit and for points that are NaN or infinite.
    """
    x, n = _clouds("knn", x, mask), x.shape[-2]
    if k < 1 or entries < 1:
        raise InputError(f"knn: k and entries are at least 1, got {k} and {entries}")
    flat = x.reshape(-1, x.shape[-1])
    cloud = torch.arange(len(flat), device=x.device) // max(n, 1)
    label = cloud if group is None else _within(cloud, _fits("group", group, x).reshape(-1))
    real = torch.arange(len(flat), device=x.device)
    if mask is not None:
        real = real[mask.reshape(-1)]
    out = torch.arange(len(flat), device=x.device).unsqueeze(-1).repeat(1, k)
    for members, valid in _buckets(real, label[real], entries):
        _search(flat, members, valid, out, itself, entries)
    return out.view(*x.shape[:-1], k) - (cloud * n).view(*x.shape[:-1], 1)


def _search(x: Tensor, members: Tensor, valid: Tensor, out: Tensor, itself: bool, entries: int) -> None:
    """Fill ``out`` for groups of like size, ``members (G, m)`` with padding where ``valid`` is False."""
    size = members.shape[1]
    points = x[members]
    place = torch.arange(size, device=x.device)
    for rows in place.split(max(1, entries // (len(members) * size))):
        far = torch.cdist(points[:, rows], points, compute_mode="donot_use_mm_for_euclid_dist")
        far = far.masked_fill(~valid.unsqueeze(1), torch.inf)
        # the point itself before its doubles, or behind everybody
        far[:, rows - rows[0], rows] = -1.0 if itself else torch.inf
        value, near = far.topk(min(out.shape[1], size), -1, largest=False)
        found = torch.where(value.isinf(), rows.unsqueeze(-1), near)
        source = members.gather(1, found.flatten(1)).view_as(found)
        keep = valid[:, rows]
        out[members[:, rows][keep], : source.shape[-1]] = source[keep]


def _buckets(points: Tensor, label: Tensor, entries: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Groups side by side, those of one size class (a power of two) together: members ``(G, m)`` and what is no padding."""
    if not len(points):
        return
    order = label.argsort(stable=True)
    counts = torch.unique_consecutive(label[order], return_counts=True)[1]
    start = counts.cumsum(0) - counts
    level = counts.double().log2().ceil()
    for one in level.unique():
        which = torch.nonzero(level == one).flatten()
        size = int(counts[which].max())
        for part in which.split(max(1, entries // size**2)):
            step = torch.arange(size, device=points.device)
            valid = step < counts[part].unsqueeze(-1)
            place = torch.where(valid, start[part].unsqueeze(-1) + step, start[part].unsqueeze(-1))
            yield points[order[place]], valid


@torch.no_grad()
def farthest_points(x: Tensor, k: int, *, mask: Tensor | None = None) -> Tensor:
    """Indices ``(*batch, k)`` that cover clouds ``x`` ``(*batch, n, d)``: the point farthest from the mean, then always the
    point farthest from all chosen.

    No index decides unless distances tie, so the choice commutes with permutations. Points where ``mask`` ``(*batch, n)``
    is False are never chosen. Raises InputError where a cloud has fewer than ``k`` points.
    """
    x = _clouds("farthest_points", x, mask)
    real = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask.bool()
    if k < 1 or (real.numel() and int(real.sum(-1).min()) < k):
        have = int(real.sum(-1).min()) if real.numel() else 0
        raise InputError(f"farthest_points: asked for {k} of clouds that have {have} points")
    x = torch.where(real.unsqueeze(-1), x, 0.0)
    mean = x.sum(-2, keepdim=True) / real.sum(-1)[..., None, None]
    apart = _square(x, mean).masked_fill(~real, -1.0)
    chosen = [apart.argmax(-1, keepdim=True)]
    apart = torch.where(real, torch.inf, -1.0).to(x)
    for _ in range(k - 1):
        last = x.gather(-2, chosen[-1].unsqueeze(-1).expand(*chosen[-1].shape, x.shape[-1]))
        # the chosen one is out for good, so that doubles of it are taken before it is taken twice
        apart = torch.minimum(apart, _square(x, last)).scatter(-1, chosen[-1], -1.0)
        chosen.append(apart.argmax(-1, keepdim=True))
    return torch.cat(chosen, -1)


def _square(x: Tensor, center: Tensor) -> Tensor:
    return (x - center).square().sum(-1)


def _within(cloud: Tensor, group: Tensor) -> Tensor:
    """One label per cloud and group."""
    name, own = torch.unique(group, return_inverse=True)
    return cloud * len(name) + own


def _clouds(name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    """The points with padding at the origin; InputError unless they are finite floating clouds."""
    if x.ndim < 2 or not x.is_floating_point():
        raise InputError(f"{name}: clouds are floating points (..., n, d), got {x.dtype} of shape {tuple(x.shape)}")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise InputError(f"{name}: mask is a bool tensor, True for points that count; got {mask.dtype}")
        x = torch.where(_fits("mask", mask, x).unsqueeze(-1), x, 0.0)
    if not bool(torch.isfinite(x).all()):
        raise InputError(f"{name}: a cloud has points that are NaN or infinite")
    return x


def _fits(name: str, value: Tensor, x: Tensor) -> Tensor:
    if value.shape != x.shape[:-1]:
        raise InputError(f"{name}: expected shape {tuple(x.shape[:-1])} for points {tuple(x.shape)}, got {tuple(value.shape)}")
    return value


__all__ = ["farthest_points", "knn"]
