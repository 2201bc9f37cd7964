"""Losses of two views, and the loop that draws them: Barlow Twins, VICReg, SIE.

With embeddings ``a``, ``b`` (M, D), all sums over the members of ALL processes and differentiable there:

    invariance(a, b)  = sum |a - b|^2 / (M D)
    variance(a)       = 1/2 mean_j relu(1 - sqrt(var_j(a) + 1e-4)),     var unbiased
    covariance(a)     = sum_{i != j} C_ij^2 / D,                        C = a^T a / (M - 1), a centered
    cross_correlation = z(a)^T z(b) / M,                                z = (. - mean) / std, std biased

    Barlow Twins  = sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2                      (Zbontar et al., arXiv 2103.03230)
    VICReg        = s invariance + v (variance(a) + variance(b)) + c (covariance(a) + covariance(b))
                                                                                         (Bardes et al., arXiv 2105.04906)
    SIE           = s invariance(i, i') + t invariance(W(z) e, e') + v (variance([i|e]) + variance([i'|e']))
                    + v variance(W(z) e) + c (covariance([i|e]) + covariance([i'|e']))
                                                                                         (Garrido et al., arXiv 2302.10283)

Every loss is the same number in all processes, and the gradient that their average gives is that of one process with the
joint batch: the published Barlow code, which reduces outside autograd, has ``1 / processes`` of it. Contracts: S("M") on a
common permutation of the members, S("D") on one of the features (not for SIE, whose halves differ); exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S

Terms = dict[str, Tensor]


class _Total(torch.autograd.Function):
    """Sum over processes; a value enters the losses of all, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        out = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Total.apply(gradient)


def total(value: Tensor) -> Tensor:
    """The sum over processes, differentiable; ``value`` itself where there is one."""
    return _Total.apply(value) if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1 else value


def members(a: Tensor) -> Tensor:
    """The number of members in all processes, a scalar in the dtype of ``a``."""
    return total(a.new_tensor(float(len(a))))


def check_embeddings(**named: Tensor) -> None:
    """InputError unless all are ``(M, D)`` of one M, at least two members over all processes, D > 1, no NaN."""
    sizes = {name: tuple(x.shape) for name, x in named.items()}
    if any(len(shape) != 2 for shape in sizes.values()) or len({shape[0] for shape in sizes.values()}) != 1:
        raise InputError(f"embeddings of two views are (M, D) with one batch size, got {sizes}")
    first = next(iter(named.values()))
    if any(shape[1] < 2 for shape in sizes.values()):
        raise InputError(f"embeddings need at least two dimensions, got {sizes}; one has nothing to be decorrelated from")
    if float(members(first.detach())) < 2:
        raise InputError("embeddings of one member have no variance; take a batch of at least 2")
    for name, x in named.items():
        if not bool(torch.isfinite(x).all()):
            raise InputError(
                f"embedding {name!r}: {int((~torch.isfinite(x)).sum())} of {x.numel()} entries are NaN or infinite"
            )


def centered(a: Tensor) -> Tensor:
    """``a`` minus its mean over the members of all processes."""
    return a - total(a.sum(0)) / members(a)


def invariance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of paired embeddings."""
    return total((a - b).square().sum()) / (members(a) * a.shape[-1])


def variance(a: Tensor) -> Tensor:
    """Half the mean hinge that keeps the standard deviation of every feature above 1."""
    spread = total(centered(a).square().sum(0)) / (members(a) - 1)
    return (1 - (spread + 1e-4).sqrt()).relu().mean() / 2


def covariance(a: Tensor) -> Tensor:
    """Squares of the covariances between different features, over their number."""
    x = centered(a)
    c = total(x.mT @ x) / (members(a) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / a.shape[-1]


def standardized(a: Tensor, name: str = "a") -> Tensor:
    """Mean 0 and (biased) variance 1 by feature; a constant feature becomes 0, with a warning that names it."""
    x = centered(a)
    spread = total(x.square().sum(0)) / members(a)
    level = total(a.detach().square().sum(0)) / members(a)
    flat = spread <= level * torch.finfo(a.dtype).eps ** 2
    if bool(flat.any()):
        which = flat.nonzero().flatten().tolist()
        warnings.warn(f"embedding {name!r}: features {which[:8]} do not vary over the batch and count as 0", stacklevel=2)
    return torch.where(flat, 0.0, x * torch.where(flat, 1.0, spread).rsqrt())


def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """``C`` (D, D) between the features of two views, in float32 at least; entries within [-1, 1]."""
    a, b = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in (a, b))
    with torch.autocast(a.device.type, enabled=False):
        return total(standardized(a, "a").mT @ standardized(b, "b")) / members(a)


# ---------------------------------------------------------------------------------------------------- criteria

PAIR = {"a": "M x D x scalar", "b": "M x D x scalar"}


class BarlowTwins(nn.Module):
    """``sum_i (1 - C_ii)^2 + weight sum_{i != j} C_ij^2``; sums, so it grows with D.

    The paper's ``weight`` is 0.0051 at D = 8192; without one, 1 / D is taken, bounded below by the paper's. No ``eps`` in the
    norm (the code's is 1e-5), so that an affine change of a feature changes nothing.
    """

    def __init__(self, weight: float | None = None) -> None:
        super().__init__()
        if weight is not None and not 0 <= weight < float("inf"):
            raise InputError(f"BarlowTwins: the weight of the off-diagonal terms is >= 0, got {weight}")
        self.config: dict[str, Any] = {"weight": weight}
        self.contracts = (Contract(S("M"), PAIR, {"loss": "scalar"}), Contract(S("D"), PAIR, {"loss": "scalar"}))
        self.weight = weight

    def forward(self, a: Tensor, b: Tensor) -> Terms:
        """``loss``, and its parts ``on`` and ``off`` (unweighted)."""
        check_embeddings(a=a, b=b)
        if a.shape != b.shape:
            raise InputError(f"BarlowTwins: both views have the same number of features, got {a.shape[1]} and {b.shape[1]}")
        c = cross_correlation(a, b)
        on = (1 - c.diagonal()).square().sum()
        off = c.square().sum() - c.diagonal().square().sum()
        weight = max(0.0051, 1 / a.shape[1]) if self.weight is None else self.weight
        return {"loss": on + weight * off, "on": on.detach(), "off": off.detach()}


class VICReg(nn.Module):
    """``similarity`` invariance + ``spread`` variances + ``decorrelation`` covariances; the paper's weights are 25, 25, 1."""

    def __init__(self, similarity: float = 25.0, spread: float = 25.0, decorrelation: float = 1.0) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"similarity": similarity, "spread": spread, "decorrelation": decorrelation}
        self.contracts = (Contract(S("M"), PAIR, {"loss": "scalar"}), Contract(S("D"), PAIR, {"loss": "scalar"}))
        self.similarity, self.spread, self.decorrelation = similarity, spread, decorrelation

    def forward(self, a: Tensor, b: Tensor) -> Terms:
        """``loss`` and its unweighted parts."""
        check_embeddings(a=a, b=b)
        return _weighted(
            {
                "invariance": invariance(a, b),
                "variance": variance(a) + variance(b),
                "covariance": covariance(a) + covariance(b),
            },
            {"invariance": self.similarity, "variance": self.spread, "covariance": self.decorrelation},
        )


class SplitEmbedding(nn.Module):
    """SIE: VICReg on invariant halves ``i``, the same on equivariant halves after prediction, both decorrelated together.

    Input: ``i``, ``e`` of the first view, ``i2``, ``e2`` of the second, ``predicted`` = ``W(z) e``. The paper's weights.
    """

    def __init__(
        self, similarity: float = 10.0, equivariance: float = 4.5, spread: float = 10.0, decorrelation: float = 1.0
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "similarity": similarity, "equivariance": equivariance, "spread": spread, "decorrelation": decorrelation,
        }  # fmt: skip
        inputs = dict.fromkeys(("i", "i2"), "M x D x scalar") | dict.fromkeys(("e", "e2", "predicted"), "M x H x scalar")
        self.contracts = tuple(Contract(S(index), inputs, {"loss": "scalar"}) for index in ("M", "D", "H"))
        self.weights = {
            "invariance": similarity, "equivariance": equivariance, "variance": spread, "predicted_variance": spread,
            "covariance": decorrelation,
        }  # fmt: skip

    def forward(self, i: Tensor, e: Tensor, i2: Tensor, e2: Tensor, predicted: Tensor) -> Terms:
        """``loss`` and its unweighted parts."""
        check_embeddings(i=i, e=e, i2=i2, e2=e2, predicted=predicted)
        first, second = torch.cat([i, e], -1), torch.cat([i2, e2], -1)
        parts = {
            "invariance": invariance(i, i2),
            "equivariance": invariance(predicted, e2),
            "variance": variance(first) + variance(second),
            "predicted_variance": variance(predicted),
            "covariance": covariance(first) + covariance(second),
        }
        return _weighted(parts, self.weights)


def _weighted(parts: Terms, weights: Mapping[str, float]) -> Terms:
    loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
    return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}
