"""Coordinates that motions do not change: classical multidimensional scaling with a rule for its signs.

From squared distances ``D2`` of n points, ``G = -1/2 J D2 J = U diag(l) U^T`` and ``Z = U_k diag(sqrt(l_k))``; for points X
in d dimensions the same, without the n x n matrix, is ``Z = (X - c) V`` with V the principal axes, largest first. Z keeps
all distances if k = d and is invariant to motions up to ``2^k`` signs, which a rule decides:

    moment:  sum_i z_i^3 > 0, or the 5th or 7th power where the third vanishes,
    maxabs:  the entry of largest ``|z_i|`` is positive.

Zhang et al., Revisiting Transformation Invariant Geometric Deep Learning, 2021, arXiv 2112.12345 (TinvNN). The paper's way
to fix the signs is not public; these rules, and the tie that each of them reports, are ours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from coset.errors import InputError
from coset.symmetrizers.principal import centralized, gap_tolerance, principal_axes

SignRule = Literal["moment", "maxabs"]


class Coordinates(NamedTuple):
    """Invariant coordinates and how far they can be trusted."""

    Z: Tensor  #: (*batch, n, k); rows of padding are zero
    stress: Tensor  #: (*batch,): sqrt(sum (d_ij - |Z_i - Z_j|)^2 / sum d_ij^2), 0 where all distances are kept
    gaps: Tensor  #: (*batch, k' - 1): relative gaps of the leading eigenvalues, largest first
    tied: Tensor  #: (*batch, k): axes whose sign the rule cannot decide


def sign_rule(z: Tensor, weights: Tensor, *, rule: SignRule = "moment", tol: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Signs ``(*batch, k)`` in {-1, 1} for coordinates ``z`` ``(*batch, n, k)``, and which axes are tied.

    ``weights`` ``(*batch, n)`` are zero for padding. A relative moment (or difference of the two extremes) below ``tol`` is
    a tie, and so is an axis without extent.
    """
    if rule not in get_args(SignRule):
        raise InputError(f"sign rule is one of {', '.join(get_args(SignRule))}; got {rule!r}")
    w = weights.unsqueeze(-1).to(z)
    square = z.square()
    size = (square * w).sum(-2)
    flat = size <= tol**2 * size.amax(-1, keepdim=True)
    if rule == "maxabs":
        real = torch.where(w > 0, z, 0.0)
        high, low = real.amax(-2), real.amin(-2)
        value = (high + low) / torch.maximum(high, -low).clamp(min=1e-300)
        tied = value.abs() < tol
        return torch.where(tied | (value > 0), 1.0, -1.0).to(z), tied | flat
    sign, tied = torch.ones_like(size), torch.ones_like(size, dtype=torch.bool)
    power = z * w
    for _ in (3, 5, 7):
        power = power * square
        value = power.sum(-2) / power.abs().sum(-2).clamp(min=1e-300)
        clear = tied & (value.abs() >= tol)
        sign, tied = torch.where(clear, value.sign(), sign), tied & ~clear
        if not bool((tied & ~flat).any()):
            break
    return sign, tied | flat


def mds(
    x: Tensor,
    k: int | None = None,
    *,
    mask: Tensor | None = None,
    rule: SignRule = "moment",
    scale: bool = False,
    tol: float | None = None,
) -> Coordinates:
    """Invariant coordinates of clouds ``x`` ``(*batch, n, d)``, ``k <= d`` of them (all by default), largest axis first.

    ``scale`` divides by the root mean square distance from the center, which makes them invariant to scale as well. In the
    dtype of ``x``, computed in float64. Raises InputError as :func:`pca_frame`, and for fewer than k + 1 points.
    """
    d = x.shape[-1]
    k = d if k is None else k
    _check_size(k, d, x.shape[-2], mask)
    cloud = centralized(x, mask=mask)
    axes = principal_axes(cloud)
    w = cloud.w
    centered = torch.where((w > 0).unsqueeze(-1), cloud.points, 0.0)
    tol = gap_tolerance(x.dtype) if tol is None else tol
    full = centered @ axes.V.flip(-1)
    z = full[..., :k]
    sign, tied = sign_rule(z, w, rule=rule, tol=tol)
    z = z * sign.unsqueeze(-2)
    stress = (
        _stress((centered.unsqueeze(-2) - centered.unsqueeze(-3)).norm(dim=-1), z, w) if k < d else z.new_zeros(x.shape[:-2])
    )
    if scale:
        z = z / (full.square().sum((-2, -1), keepdim=True) / w.sum(-1)[..., None, None]).sqrt()
    return Coordinates(z.to(x), stress, axes.gaps.flip(-1), tied)


def mds_of_distances(
    distances: Tensor,
    k: int,
    *,
    mask: Tensor | None = None,
    rule: SignRule = "moment",
    exact: bool = False,
    tol: float | None = None,
) -> Coordinates:
    """Coordinates ``(*batch, n, k)`` of points of which only the ``distances`` ``(*batch, n, n)`` are known.

    Distances need not be Euclidean: negative eigenvalues count as zero, and what that and ``k`` cost is the stress.
    Raises InputError for matrices that are not symmetric, negative, not finite or have a nonzero diagonal, for n <= k, and
    with ``exact`` where the stress exceeds 5 %.
    """
    if distances.ndim < 2 or distances.shape[-1] != distances.shape[-2] or not distances.is_floating_point():
        raise InputError(f"expected floating distance matrices (*batch, n, n), got {distances.dtype}, {tuple(distances.shape)}")
    n = distances.shape[-1]
    _check_size(k, n, n, mask)
    real = torch.ones(distances.shape[:-1], dtype=torch.bool, device=distances.device) if mask is None else mask.bool()
    pairs = real.unsqueeze(-1) & real.unsqueeze(-2)
    D = torch.where(pairs, distances.double(), 0.0)
    _check_distances(D, 1e-5 if distances.dtype != torch.float64 else 1e-10)
    w = real.double()
    J = torch.diag_embed(w) - w.unsqueeze(-1) * w.unsqueeze(-2) / w.sum(-1)[..., None, None]
    values, U = torch.linalg.eigh(-0.5 * J @ D.square() @ J)
    values, U = values.flip(-1)[..., :k].clamp(min=0), U.flip(-1)[..., :k]
    z = U * values.sqrt().unsqueeze(-2)
    sign, tied = sign_rule(z, w, rule=rule, tol=gap_tolerance(distances.dtype) if tol is None else tol)
    z = z * sign.unsqueeze(-2)
    stress = _stress(D, z, w)
    if exact and bool((stress > 0.05).any()):
        raise InputError(
            f"these distances do not fit into {k} dimensions (stress {float(stress.max()):.1%} > 5 %); "
            f"take a larger k, or exact=False"
        )
    gaps = (values[..., :-1] - values[..., 1:]) / values[..., :1].clamp(min=1e-300)
    return Coordinates(z.to(distances), stress, gaps, tied)


def _stress(D: Tensor, z: Tensor, w: Tensor) -> Tensor:
    pairs = w.unsqueeze(-1) * w.unsqueeze(-2)
    kept = (z.unsqueeze(-2) - z.unsqueeze(-3)).norm(dim=-1)
    lost = ((D - kept).square() * pairs).sum((-2, -1))
    return (lost / (D.square() * pairs).sum((-2, -1)).clamp(min=1e-300)).sqrt()


def _check_size(k: int, d: int, n: int, mask: Tensor | None) -> None:
    if not 1 <= k <= d:
        raise InputError(f"MDS: expected 1 <= k <= {d} coordinates, got k = {k}")
    if n <= k:
        raise InputError(f"MDS: {k} coordinates need at least {k + 1} points, got {n}; lower k")
    if mask is not None and bool((mask.bool().sum(-1) <= k).any()):
        raise InputError(f"MDS: a sample has fewer than {k + 1} points behind its mask; leave it out or lower k")


def _check_distances(D: Tensor, tol: float) -> None:
    if not bool(torch.isfinite(D).all()):
        raise InputError("the distance matrix has entries that are NaN or infinite")
    if bool((D < 0).any()):
        raise InputError("the distance matrix has negative entries; distances (not similarities) are expected")
    bound = tol * D.abs().amax().clamp(min=1e-300)
    if bool(((D - D.mT).abs() > bound).any()):
        raise InputError("the distance matrix is not symmetric; average it with its transpose if that is meant")
    if bool((D.diagonal(dim1=-2, dim2=-1) > bound).any()):
        raise InputError("the distance matrix has a nonzero diagonal; a point has distance 0 from itself")
