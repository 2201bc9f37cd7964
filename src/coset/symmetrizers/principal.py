"""Principal axes of point clouds: the mathematics that frames and canonicalizers share.

For a cloud with weights w, center ``c = sum_i w_i x_i / sum_i w_i`` and covariance

    sum_i w_i (x_i - c)(x_i - c)^T = V diag(l) V^T,      l ascending,

the columns of V are its axes, determined up to sign where the spectrum is simple; how simple is told by the relative gaps
``(l_{i+1} - l_i) / l_max``. In rows, ``(X - c) V`` are the coordinates of classical multidimensional scaling.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.euclidean import SE, Affine, E, Scale, T
from coset.groups.group import Family, Group
from coset.groups.matrix import SO, O
from coset.groups.permutation import S


class Axes(NamedTuple):
    """Principal axes of a batch of clouds, in float64."""

    V: Tensor  #: (*batch, d, d), columns are axes, eigenvalues ascending
    center: Tensor  #: (*batch, d)
    gaps: Tensor  #: (*batch, d - 1): consecutive differences of the eigenvalues over the largest


class Cloud(NamedTuple):
    """The points of every member: ``x`` ``(members, n, d)``, mask and weights ``(members, n)`` or None."""

    x: Tensor
    mask: Tensor | None = None
    weights: Tensor | None = None


class Centered(NamedTuple):
    """A cloud relative to its center, in float64."""

    points: Tensor  #: (*batch, n, d), anything finite where masked
    w: Tensor  #: (*batch, n), 0 where masked
    center: Tensor  #: (*batch, d)


def pca_frame(x: Tensor, weights: Tensor | None = None, mask: Tensor | None = None) -> Axes:
    """Principal axes ``V``, center and relative spectral gaps of clouds ``x`` ``(*batch, n, d)``.

    ``weights`` ``(*batch, n)`` count points (masses), ``mask`` ``(*batch, n)`` is False for padding, which enters neither
    center nor covariance. Computed in float64 and returned there; differentiable where the spectrum is simple.

    Raises InputError for NaN, fewer than d points, masks without points, clouds of a single place.
    """
    return principal_axes(centralized(x, weights, mask))


def principal_axes(cloud: Centered) -> Axes:
    """:func:`pca_frame` of a cloud that is centered already."""
    points, w, center = cloud
    d, counts = points.shape[-1], (w > 0).sum(-1)
    if bool((counts < d).any()):
        raise InputError(
            f"pca_frame: {d} axes need at least {d} points, a cloud has {int(counts.min())}; "
            f"leave small clouds out or use the translations alone, T({d})"
        )
    values, V = torch.linalg.eigh((points * w.unsqueeze(-1)).mT @ points)
    top = values[..., -1:]
    size = (w.sum(-1, keepdim=True) * center.square().sum(-1, keepdim=True)).detach()
    if bool((top.detach() <= 1e-24 * size + 1e-300).any()):
        raise InputError("pca_frame: all points of a cloud lie in one place, so that it has neither axes nor size")
    return Axes(V, center, (values[..., 1:] - values[..., :-1]) / top)


def centralized(x: Tensor, weights: Tensor | None = None, mask: Tensor | None = None) -> Centered:
    """A cloud ``(*batch, n, d)`` relative to its center, in float64.

    Raises InputError for integers, negative weights, masks without points, points that are NaN or infinite.
    """
    if x.ndim < 2 or not x.is_floating_point():
        raise InputError(f"pca_frame: expected floating points (*batch, n, d), got {x.dtype} of shape {tuple(x.shape)}")
    w = torch.ones(x.shape[:-1], dtype=torch.float64, device=x.device)
    for name, factor in (("weights", weights), ("mask", mask)):
        if factor is None:
            continue
        if factor.shape != x.shape[:-1]:
            raise InputError(
                f"{name}: expected shape {tuple(x.shape[:-1])} for points {tuple(x.shape)}, got {tuple(factor.shape)}"
            )
        if bool((factor < 0).any()):
            raise InputError(f"{name} must not be negative")
        w = w * factor.to(torch.float64)
    total = w.sum(-1, keepdim=True)
    if x.shape[-2] == 0 or bool((total <= 0).any()):
        raise InputError("a cloud has no points (an empty mask); leave it out of the batch")
    points = x.to(torch.float64)
    if mask is not None:  # padding may hold anything, NaN included
        points = torch.where((w > 0).unsqueeze(-1), points, 0.0)
    center = (points * w.unsqueeze(-1)).sum(-2) / total
    if not bool(torch.isfinite(center).all()):  # one bad point spoils the mean
        raise InputError("a cloud has points that are NaN or infinite")
    return Centered(points - center.unsqueeze(-2), w, center)


def radius(cloud: Centered) -> Tensor:
    """Root mean square distance from the center, ``(members,)``; InputError where it is zero."""
    r = ((cloud.points.square().sum(-1) * cloud.w).sum(-1) / cloud.w.sum(-1)).sqrt()
    if bool((r <= 0).any()):
        raise InputError("a scale frame needs clouds of positive radius, one has all its points in one place")
    return r


def gap_tolerance(dtype: torch.dtype) -> float:
    """The relative gap under which two eigenvalues count as one: 1e-10 in float64, 1e-4 below."""
    return 1e-10 if dtype == torch.float64 else 1e-4


def signs(d: int) -> Tensor:
    """All ``2^d`` sign vectors ``(2^d, d)``, float64, all plus first."""
    return torch.tensor(list(itertools.product((1.0, -1.0), repeat=d)), dtype=torch.float64)


def sign_choices(V: Tensor, *, proper: bool) -> Tensor:
    """All admissible signs of the columns of ``V`` ``(*batch, d, d)``: ``(F, *batch, d)``; ``proper`` asks for det 1."""
    d = V.shape[-1]
    s = signs(d - 1 if proper else d).to(V)
    s = s.view(len(s), *[1] * (V.ndim - 2), s.shape[-1]).expand(len(s), *V.shape[:-2], s.shape[-1])
    if not proper:
        return s
    last = torch.linalg.det(V.detach()).sign() * s.prod(-1)
    return torch.cat([s, last.unsqueeze(-1)], -1)


def random_blocks(equal: Tensor, count: int, *, seed: int) -> Tensor:
    """Haar rotations inside the eigenspaces: ``(count, members, d, d)``, the identity outside.

    ``equal`` ``(members, d - 1)`` says which consecutive eigenvalues are one.
    """
    d = equal.shape[-1] + 1
    label = torch.cat([equal.new_zeros(len(equal), 1), ~equal], -1).cpu().long().cumsum(-1)
    same = label.unsqueeze(-1) == label.unsqueeze(-2)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, len(equal), d, d, generator=generator, dtype=torch.float64)
    drawn = torch.where(same, drawn, 0.0)
    drawn = torch.where(torch.diag_embed(same.sum(-1) == 1), torch.eye(d, dtype=torch.float64), drawn)
    Q, R = torch.linalg.qr(drawn)
    return Q * torch.diagonal(R, dim1=-2, dim2=-1).sign().unsqueeze(-2)


class Geometry(NamedTuple):
    """What of a motion a frame has to fix, and the group that its elements live in."""

    group: Group
    covers: Family  #: the factors of the contract's group that the frame covers
    n: int
    turns: bool
    proper: bool
    shifts: bool
    scales: bool

    def element(self, turns: Tensor, center: Tensor, scale: Tensor | None = None) -> Tensor:
        """The elements ``x -> scale turn x + center`` from turns ``(F, members, n, n)``."""
        if scale is not None:
            turns = turns * scale.view(*scale.shape, 1, 1)
        if isinstance(self.group, (O, SO)):
            return turns
        return self.group.element(turns, center if self.shifts else None)  # type: ignore[attr-defined]


def geometry(group: Family) -> Geometry:
    """What a frame for ``group`` fixes: T, O, SO, E, SE, beside them Scale and permutations (which frames do not touch).

    Raises ContractError for any other group.
    """
    scales = [part for part in group.factors() if isinstance(part, Scale)]
    rest = [part for part in group.factors() if not isinstance(part, (Scale, S))]
    if len(rest) == 1 and isinstance(rest[0], (T, O, SO, E, SE)) and len(scales) <= 1:
        motion = rest[0]
        if scales and scales[0].weights:
            raise ContractError(f"{scales[0]}: a frame scales positions and vectors alike; it knows no weights")
        n, wide = motion.n, isinstance(motion, (T, E, SE))
        covers = motion * scales[0] if scales else motion
        return Geometry(
            Affine(n) if scales else motion,
            covers,
            n,
            turns=not isinstance(motion, T),
            proper=isinstance(motion, (SO, SE)),
            shifts=wide,
            scales=bool(scales),
        )
    raise ContractError(
        f"principal axes are a frame for T(d), O(d), SO(d), E(d), SE(d), alone or times Scale(d); the group is {group}; "
        f"average over a finite group instead, or use a canonicalizer of your own"
    )
