"""Isotropic Gaussian mixtures of one fixed variance: EM in log space, merging, pruning, and the gradient of its fixed point.

For points s_i, weights pi_k and means mu_k

    E:  r_ik = pi_k N(s_i; mu_k, v 1) / sum_j pi_j N(s_i; mu_j, v 1)
    M:  mu_k = sum_i r_ik s_i / sum_i r_ik,    pi_k = mean_i r_ik.

EM runs without gradient. At its fixed point theta = (log pi, mu) the gradient g(theta, s) of the mean log-likelihood
vanishes, so that with H the Hessian of that likelihood in theta

    theta(s) = stop(theta) - H^+ (g(stop(theta), s) - stop(g))

has the value of EM's answer and the derivative of the implicit function, without unrolling. The pseudo-inverse takes care of
the weights' common shift and of components that are out. Dempster, Laird & Rubin, 1977; the implicit step as in Atzmon et
al., Approximately Piecewise E(3) Equivariant Point Networks, ICLR 2024. There theta holds pi; here log pi, which stays
positive, and means are measured in standard deviations, so that H is well scaled at every variance.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from coset.errors import InputError

TINY = 1e-12


class Mixture(NamedTuple):
    """Components of a batch of mixtures; ``log_weights`` is -inf for components that are out."""

    means: Tensor  #: (*batch, K, d)
    log_weights: Tensor  #: (*batch, K), exp of it sums to 1
    variance: float

    @property
    def alive(self) -> Tensor:
        """Which components are in, ``(*batch, K)``."""
        return self.log_weights > -torch.inf

    def log_responsibilities(self, x: Tensor) -> Tensor:
        """``log r`` ``(*batch, n, K)`` of points ``(*batch, n, d)``; -inf for components that are out."""
        return torch.log_softmax(self._scores(x), -1)

    def _scores(self, x: Tensor) -> Tensor:
        # |s - mu|^2 less |s|^2, which all components share; about the mean point, so that far clouds lose no digits
        origin = x.detach().mean(-2, keepdim=True)
        x, means = x - origin, self.means - origin
        return (x @ means.mT - means.square().sum(-1).unsqueeze(-2) / 2) / self.variance + self.log_weights.unsqueeze(-2)


@torch.no_grad()
def fit_mixture(
    x: Tensor, means: Tensor, variance: float, *, steps: int = 16, merge: float = 1e-3, prune: float = 1e-4
) -> Mixture:
    """EM from ``means`` ``(*batch, K, d)`` and equal weights on points ``x`` ``(*batch, n, d)``; no gradient.

    Means nearer than ``merge`` become one (their weights are added) before the first step and half-way; a quarter later
    components lighter than ``prune`` are left out, and if none is left all points form one, with a warning. Components that
    are out are cut off where that is possible for the whole batch.

    Raises InputError for shapes, variances and steps that do not fit and for points that are not finite.
    """
    if x.ndim < 2 or means.shape[:-2] != x.shape[:-2] or means.shape[-1] != x.shape[-1] or not means.shape[-2]:
        raise InputError(
            f"fit_mixture: points (*batch, n, d) and means (*batch, K, d), got {tuple(x.shape)} and {tuple(means.shape)}"
        )
    if not variance > 0 or steps < 0 or merge < 0 or prune < 0:
        raise InputError(f"fit_mixture: variance > 0 and steps, merge, prune >= 0; got {variance}, {steps}, {merge}, {prune}")
    if not bool(torch.isfinite(x).all() & torch.isfinite(means).all()):
        raise InputError("fit_mixture: points or means are NaN or infinite")
    weights = torch.full_like(means[..., 0], -torch.log(torch.tensor(float(means.shape[-2]))).item())
    mixture = _merged(Mixture(means, weights, variance), merge)
    for step in range(steps):
        mixture = em_step(x, mixture)
        if step == steps // 2:
            mixture = _merged(mixture, merge)
        elif step == steps // 2 + max(steps // 4, 1):
            mixture = _pruned(x, mixture, prune)
    return _compact(mixture)


def em_step(x: Tensor, mixture: Mixture) -> Mixture:
    """One E step and one M step; components that are out stay out."""
    r = torch.softmax(mixture._scores(x), -1)
    mass = r.sum(-2)
    means = (r.mT @ x) / mass.clamp(min=TINY).unsqueeze(-1)
    used = mass > TINY
    means = torch.where(used.unsqueeze(-1), means, mixture.means)
    log_weights = torch.where(mixture.alive, (mass.clamp(min=TINY) / x.shape[-2]).log(), -torch.inf)
    return mixture._replace(means=means, log_weights=log_weights)


def _merged(mixture: Mixture, distance: float) -> Mixture:
    """Chains of means nearer than ``distance`` become the first of them, which takes their weights."""
    alive, count = mixture.alive, mixture.means.shape[-2]
    apart = torch.cdist(mixture.means, mixture.means, compute_mode="donot_use_mm_for_euclid_dist")
    near = (apart < distance) & alive.unsqueeze(-1) & alive.unsqueeze(-2)
    near |= torch.eye(count, dtype=torch.bool, device=near.device)
    first = near.int().argmax(-1)  # the first mean that each is near to
    for _ in range(max(count - 1, 1).bit_length()):  # the first of the first: the head of the chain
        first = first.gather(-1, first)
    weights = torch.zeros_like(mixture.log_weights).scatter_add(-1, first, mixture.log_weights.exp())
    return mixture._replace(log_weights=weights.log())


def _pruned(x: Tensor, mixture: Mixture, least: float) -> Mixture:
    """Without components lighter than ``least``; all points in one component where none is left."""
    weights = mixture.log_weights.exp()
    weights = torch.where(weights < least, 0.0, weights)
    means, lost = mixture.means, weights.sum(-1) <= 0
    if bool(lost.any()):
        warnings.warn(
            f"fit_mixture: no component has weight {least} or more in {int(lost.sum())} clouds; all their points form one",
            stacklevel=3,
        )
        only = torch.nn.functional.one_hot(torch.zeros_like(lost, dtype=torch.long), weights.shape[-1]).to(weights)
        weights = torch.where(lost.unsqueeze(-1), only, weights)
        means = torch.where((lost.unsqueeze(-1) & (only > 0)).unsqueeze(-1), x.mean(-2, keepdim=True), means)
    return mixture._replace(means=means, log_weights=(weights / weights.sum(-1, keepdim=True)).log())


def _compact(mixture: Mixture) -> Mixture:
    """The components that are in, first in order, as many as the fullest mixture of the batch has."""
    alive = mixture.alive
    keep = alive.long().argsort(dim=-1, descending=True, stable=True)[..., : int(alive.sum(-1).max())]
    means = mixture.means.gather(-2, keep.unsqueeze(-1).expand(*keep.shape, mixture.means.shape[-1]))
    return mixture._replace(means=means, log_weights=mixture.log_weights.gather(-1, keep))


def with_gradient(x: Tensor, mixture: Mixture) -> Mixture:
    """The same mixture, its means and weights differentiable in ``x`` by the implicit function theorem.

    The derivative is that of EM's fixed point: exact where EM has converged. Directions in which the likelihood is flat to
    relative 1e-5 (1e-10 in float64) get none.
    """
    if not x.requires_grad:
        return mixture
    means, log_weights = mixture.means.detach(), mixture.log_weights.detach()
    sigma, d = mixture.variance**0.5, x.shape[-1]
    fixed = Mixture(means, log_weights, mixture.variance)
    r = fixed.log_responsibilities(x).exp()
    # phi_ik = (1, (s_i - mu_k) / sigma): r phi is the derivative of point i's log-likelihood in (log pi_k, mu_k / sigma)
    apart = (x.unsqueeze(-2) - means.unsqueeze(-3)) / sigma
    u = torch.cat([r.unsqueeze(-1), r.unsqueeze(-1) * apart], -1).flatten(-2)
    g = u.mean(-2)
    with torch.no_grad():
        inverse = torch.linalg.pinv(
            _hessian(r, apart, u, log_weights.exp()), hermitian=True, rtol=1e-10 if x.dtype == torch.float64 else 1e-5
        )
    step = -(inverse @ (g - g.detach()).unsqueeze(-1)).squeeze(-1).unflatten(-1, (means.shape[-2], 1 + d))
    weights = torch.log_softmax(torch.where(mixture.alive, log_weights + step[..., 0], -torch.inf), -1)
    return Mixture(means + sigma * step[..., 1:], weights, mixture.variance)


def _hessian(r: Tensor, apart: Tensor, u: Tensor, pi: Tensor) -> Tensor:
    """Second derivative of the mean log-likelihood in (log pi_k, mu_k / sigma), component by component."""
    n, count, d = apart.shape[-3:]
    phi = torch.cat([torch.ones_like(r).unsqueeze(-1), apart], -1)
    own = torch.einsum("...nk,...nka,...nkb->...kab", r, phi, phi) / n
    own[..., range(1, 1 + d), range(1, 1 + d)] -= r.mean(-2).unsqueeze(-1)
    own[..., 0, 0] -= pi  # log pi is normalized: less diag(pi) - pi pi^T
    out = -(u.mT @ u) / n
    blocks = out.view(*out.shape[:-2], count, 1 + d, count, 1 + d)
    place = torch.arange(count, device=r.device)
    blocks[..., place, :, place, :] += own.movedim(-3, 0)
    blocks[..., :, 0, :, 0] += pi.unsqueeze(-1) * pi.unsqueeze(-2)
    return out


__all__ = ["Mixture", "em_step", "fit_mixture", "with_gradient"]
