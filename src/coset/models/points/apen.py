"""APEN: point networks approximately equivariant to every part of a body moving on its own, without being told the parts.

A partition of the cloud goes from fine to coarse. Every block averages a small PointNet over the principal frames of every
group of the current partition (:mod:`coset.symmetrizers.piecewise`) and gives, besides invariant and equivariant features, a
vote: where the center of the point's rigid part is,

    s_i = x_i + d_i,       next partition = components of a Gaussian mixture fitted to the votes (:mod:`coset.ops.mixture`).

Groups inside a rigid part make a block exact. So a block loses equivariance only where a group straddles parts or a point's
membership is in doubt, and the error of the whole is bounded, up to a constant M of the network, by

    error <= M sum over layers (mean of 1 - max_k r_ik  +  share of points in groups that straddle)        (APEN.bound)

Atzmon, Huang, Williams & Litany, Approximately Piecewise E(3) Equivariant Point Networks, ICLR 2024, arXiv 2402.08529.
Contracts: told the parts (or a finer partition), ``E(3) ** "K"`` exact; not told, E(3) and S("N") exact, ``E(3) ** "K"``
approximate. ``rotation_only`` takes SE(3), four frames instead of eight.

Differs from the published code: at test time nothing is random (all first groups by farthest points from a start that
no index decides, memberships by the largest responsibility); the first partition is local (variance 0.002 where the code says
0.2, which at body scale leaves 40 components nearly indistinguishable); a membership's gradient reaches the mean of the group
that the point is in, not of those it is not in; features are carried by points, not by means of groups.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from coset.contract import Contract, evaluating
from coset.errors import InputError
from coset.groups.euclidean import SE, E
from coset.groups.permutation import S
from coset.nn.part_net import PartNet, each_cloud
from coset.ops.mixture import Mixture, fit_mixture, with_gradient
from coset.ops.neighbors import farthest_points, knn
from coset.symmetrizers.piecewise import PiecewiseFrameAverage

GROUPS, POINTS_PER_GROUP = 40, 20  #: as many groups as a cloud has points for, at most 40
APART = 0.05  #: least distance of random first centers from all others, in training
TEMPERATURE = 10.0  #: of the hard Gumbel-softmax; only its gradient sees it


class Assignment(NamedTuple):
    """Which group every point of a batch of clouds is in."""

    group: Tensor  #: (B, n), labels inside the own cloud
    weight: Tensor  #: (B, n), ones; in training with the gradient of the membership
    uncertainty: Tensor  #: (B,), mean of 1 - max_k r_ik
    entropy: Tensor  #: (B,), mean entropy of the memberships, nats


class Certificate(NamedTuple):
    """Both terms of the bound, layer by layer ``(B, layers)``; the last layer is the decoder."""

    uncertainty: Tensor
    straddling: Tensor  #: share of points in groups that are not inside one rigid part

    @property
    def total(self) -> Tensor:
        """What the equivariance error is bounded by, up to the network's constant, ``(B,)``."""
        return (self.uncertainty + self.straddling).sum(-1)


class APEN(nn.Module):
    """``pos (B, n, 3)`` or ``(n, 3)`` to logits ``seg``, votes ``vote`` and, layer by layer, what the partition was.

    ``part`` (integers of the shape of the points) is used as the partition of all layers where it is given. ``body`` names the
    true rigid parts, which the network does not look at: with it the outputs tell how pure the groups are. Clouds of several
    sizes come as ``pos (N, 3)``, ``body (N,)`` and ``cloud (K,)``, the cloud of every rigid part.

    Outputs: ``seg (..., n, classes)``, ``vote (..., n, 3)`` the last votes, ``votes (levels, ..., n, 3)``, ``group
    (levels + 1, ..., n)``, and ``(..., levels + 1)`` ``uncertainty`` and ``entropy``, with ``body`` also ``straddling`` and
    ``impurity`` (the share of points that are not of their group's largest part).

    ``groups`` is how many groups the first partition has (None: one per twenty points, at most 40); ``carried`` how many
    scalars and vectors each block hands on; ``variances`` of the first partition and of the mixtures, in squared units of
    length (bodies are about 2 high). ``draw`` frames are drawn in training instead of all: cheaper, but what a block hands on
    is then no average as it is at test, and accuracy suffers.

    Raises InputError for sizes that are not positive, fewer points than groups, points that are NaN or infinite, labels that
    are negative or no integers, normals that are missing, misshapen or not asked for. Normals that are not of unit length are
    normalized, in training with a warning.
    """

    def __init__(
        self,
        classes: int = 6,
        width: int = 8,
        *,
        groups: int | None = None,
        carried: tuple[int, ...] = (8, 8, 8, 32),
        variances: tuple[float, ...] = (0.002, 0.001, 0.001, 0.003, 0.005),
        neighbors: int = 10,
        normals: bool = False,
        rotation_only: bool = False,
        draw: int | None = None,
        steps: int = 16,
    ) -> None:
        super().__init__()
        carried, variances = tuple(carried), tuple(variances)
        if classes < 1 or (groups is not None and groups < 1) or not carried or len(variances) != len(carried) + 1:
            raise InputError(
                f"APEN: classes and groups are at least 1, variances one more than carried; got classes {classes}, groups "
                f"{groups}, carried {carried}, variances {variances}"
            )
        self.config: dict[str, Any] = {
            "classes": classes,
            "width": width,
            "groups": groups,
            "carried": carried,
            "variances": variances,
            "neighbors": neighbors,
            "normals": normals,
            "rotation_only": rotation_only,
            "draw": draw,
            "steps": steps,
        }
        self.groups, self.variances, self.neighbors, self.normals, self.steps = groups, variances, neighbors, normals, steps
        self.motions = SE(3) if rotation_only else E(3)

        def layer(inner: PartNet) -> PiecewiseFrameAverage:
            return PiecewiseFrameAverage(inner, Contract(self.motions ** "K", inner.inputs(), inner.outputs()), draw=draw)

        self.blocks = nn.ModuleList(
            layer(PartNet(width, neighbors=neighbors, scalars=a, vectors=a + normals, scalars_out=b, vectors_out=b + 1))
            for a, b in pairwise((0, *carried))
        )
        last = carried[-1]
        self.decoder = layer(
            PartNet(width, neighbors=neighbors, scalars=last, vectors=last + normals, scalars_out=classes, vectors_out=0)
        )
        self.contracts = self._contracts(classes)

    def _contracts(self, classes: int) -> tuple[Contract, ...]:
        normal = {"normal": "N x vector"} if self.normals else {}
        dense = {"pos": "B x N x position", **{name: f"B x {field}" for name, field in normal.items()}}
        told = {"pos": "N x position", "part": "N -> K", **normal}
        untold = {"pos": "N x position", "body": "N -> K", "cloud": "K -> B", **normal}
        points = {"seg": f"N x {classes} x scalar", "vote": "N x position"}
        clouds = {name: f"B x {field}" for name, field in points.items()}
        return (
            Contract(self.motions ** "K", told, points),
            Contract(self.motions, dense, clouds),
            Contract(S("N"), dense, clouds),
            Contract(self.motions ** "K", untold, points, "approximate", name=f'{self.motions} ** "K", parts not told'),
        )

    def forward(
        self,
        pos: Tensor,
        part: Tensor | None = None,
        body: Tensor | None = None,
        cloud: Tensor | None = None,
        normal: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits, votes, and the partition with its certificate at every layer."""
        if cloud is not None and body is not None:
            return each_cloud(self._points_of, cloud, body, pos=pos, **({} if normal is None else {"normal": normal}))
        lone = pos.ndim == 2
        x = pos.unsqueeze(0) if lone else pos
        part, body, normal = (v.unsqueeze(0) if lone and v is not None else v for v in (part, body, normal))
        normal = self._check(x, part, body, normal)
        scalars, vectors = x.new_zeros(*x.shape[:2], 0), x.new_zeros(*x.shape[:2], 0, 3)
        used = told(part, x) if part is not None else self._first(x)
        seen, votes = [used], []
        for level, (block, variance) in enumerate(zip(self.blocks, self.variances[1:], strict=True)):
            scalars, vectors = self._layer(block, x, used, scalars, vectors, normal)
            votes.append(x + vectors[..., 0, :])
            vectors = vectors[..., 1:, :]
            used = used if part is not None else self._regroup(votes[-1], variance, level + 1)
            seen.append(used)
        logits, _ = self._layer(self.decoder, x, used, scalars, vectors, normal)
        out = {"seg": logits, "vote": votes[-1], "votes": torch.stack(votes), "group": torch.stack([a.group for a in seen])}
        out |= {name: torch.stack([getattr(a, name) for a in seen], -1) for name in ("uncertainty", "entropy")}
        if body is not None:
            found = [purity(a.group, body) for a in seen]
            out |= {
                "straddling": torch.stack([f[1] for f in found], -1),
                "impurity": 1 - torch.stack([f[0] for f in found], -1),
            }
        axis = {"votes": 1, "group": 1}
        return {name: value.squeeze(axis.get(name, 0)) for name, value in out.items()} if lone else out

    def _points_of(self, pos: Tensor, normal: Tensor | None = None) -> dict[str, Tensor]:
        y = self(pos, normal=normal)
        return {"seg": y["seg"], "vote": y["vote"]}

    def bound(self, pos: Tensor, body: Tensor, normal: Tensor | None = None) -> Certificate:
        """What the error under independent motions of ``body`` is bounded by, up to the network's constant; eval mode."""
        with evaluating(self), torch.no_grad():
            y = self(pos, body=body, normal=normal)
        return Certificate(y["uncertainty"], y["straddling"])

    def promise(self, constant: float, certificate: Certificate) -> Contract:
        """The contract about parts not told with the bound ``constant * certificate`` (its largest cloud).

        ``constant`` is fitted on other clouds than those that it is held against.
        """
        own = self.contracts[-1]
        limit = constant * float(certificate.total.max())
        return Contract(own.group, own.inputs, own.outputs, "approximate", limit, name=own.name)

    def _layer(
        self, block: nn.Module, x: Tensor, used: Assignment, scalars: Tensor, vectors: Tensor, normal: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One frame average over the groups: new scalars ``(B, n, a)`` and vectors ``(B, n, b, 3)``."""
        start = torch.arange(len(x), device=x.device)[:, None]
        near = knn(x, self.neighbors, group=used.group) + (start * x.shape[1]).unsqueeze(-1)
        label = torch.unique(used.group + start * (1 + int(used.group.max())), return_inverse=True)[1]
        vectors = vectors if normal is None else torch.cat([normal.unsqueeze(-2), vectors], -2)
        given = {"pos": x, "part": label, "near": near, "scalars": scalars, "vectors": vectors, "weight": used.weight}
        y = block(**{name: value.flatten(0, 1) for name, value in given.items()})
        return y["scalars"].view(*x.shape[:2], -1), y["vectors"].view(*x.shape[:2], -1, 3)

    def _first(self, x: Tensor) -> Assignment:
        """The finest partition: cells about points that cover the cloud; in training a quarter of them about random points."""
        count = self.groups or max(1, min(GROUPS, x.shape[1] // POINTS_PER_GROUP))
        chosen = farthest_points(x, count - count // 4 if self.training else count)
        if self.training:
            chosen = with_random_points(x, chosen, count // 4, APART)
        means = take(x, chosen)
        weights = torch.full_like(means[..., 0], 1 / count).log()
        return self._assign(x, Mixture(means, weights, self.variances[0]))

    def _regroup(self, votes: Tensor, variance: float, level: int) -> Assignment:
        """The partition that a mixture fitted to the votes gives."""
        count = self.groups or max(1, min(GROUPS, votes.shape[1] // POINTS_PER_GROUP))
        still = votes.detach()
        mixture = fit_mixture(
            still, take(still, farthest_points(still, count)), variance, steps=self.steps, prune=1e-4 * 2**level
        )
        return self._assign(votes, with_gradient(votes, mixture) if self.training else mixture)

    def _assign(self, x: Tensor, mixture: Mixture) -> Assignment:
        """Memberships: the likeliest group; in training drawn by hard Gumbel-softmax."""
        log_r = mixture.log_responsibilities(x)
        with torch.no_grad():
            r = log_r.exp()
            uncertainty = (1 - r.amax(-1)).mean(-1)
            entropy = -torch.where(r > 0, r * log_r, 0.0).sum(-1).mean(-1)
        if not self.training:
            return Assignment(log_r.argmax(-1), torch.ones_like(x[..., 0]), uncertainty, entropy)
        noisy = log_r - torch.rand_like(log_r).clamp(min=1e-20).log().neg().clamp(min=1e-20).log()
        group = noisy.detach().argmax(-1)
        soft = torch.softmax(noisy / TEMPERATURE, -1).gather(-1, group.unsqueeze(-1)).squeeze(-1)
        return Assignment(group, 1 + soft - soft.detach(), uncertainty, entropy)

    def _check(self, x: Tensor, part: Tensor | None, body: Tensor | None, normal: Tensor | None) -> Tensor | None:
        """InputError for what does not fit; the normals at unit length."""
        if x.ndim != 3 or x.shape[-1] != 3 or not x.numel():
            raise InputError(f"APEN: clouds are (B, n, 3) or (n, 3) with n > 0, got {tuple(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            raise InputError(f"APEN: {int((~torch.isfinite(x)).sum())} coordinates are NaN or infinite")
        if self.groups is not None and x.shape[1] < self.groups and part is None:
            raise InputError(f"APEN: {self.groups} groups need as many points, a cloud has {x.shape[1]}; lower groups=")
        for name, label in (("part", part), ("body", body)):
            if label is None:
                continue
            if label.shape != x.shape[:-1] or label.is_floating_point():
                raise InputError(f"APEN: {name} is integers {tuple(x.shape[:-1])}, got {label.dtype} {tuple(label.shape)}")
            if bool((label < 0).any()):
                raise InputError(f"APEN: {name} holds negative labels; leave points without a part out of the cloud")
        if (normal is not None) is not self.normals:
            raise InputError(f"APEN: built with normals={self.normals}, normals are {'missing' if self.normals else 'given'}")
        if normal is None:
            return None
        if normal.shape != x.shape:
            raise InputError(f"APEN: normals have the shape of the points, {tuple(x.shape)}, got {tuple(normal.shape)}")
        length = normal.norm(dim=-1, keepdim=True)
        if self.training and bool(((length - 1).abs() > 1e-3).any()):
            warnings.warn("APEN: normals are not of unit length; they are normalized", stacklevel=3)
        return normal / length.clamp(min=1e-12)


def told(part: Tensor, x: Tensor) -> Assignment:
    """A partition that is given: certain."""
    zero = x.new_zeros(len(x))
    return Assignment(part, torch.ones_like(x[..., 0]), zero, zero)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Points ``(B, k, 3)`` at ``index (B, k)``."""
    return x.gather(-2, index.unsqueeze(-1).expand(*index.shape, x.shape[-1]))


def with_random_points(x: Tensor, chosen: Tensor, count: int, apart: float) -> Tensor:
    """``count`` more indices, drawn from the points farther than ``apart`` from all chosen (the farthest where none is)."""
    far = torch.cdist(x, take(x, chosen)).amin(-1)
    for _ in range(count):
        lot = torch.rand_like(far) + (far > apart) + far / (1 + far.amax(-1, keepdim=True)) * (far <= apart)
        index = lot.masked_fill(far <= 0, -1.0).argmax(-1, keepdim=True)
        chosen = torch.cat([chosen, index], -1)
        far = torch.minimum(far, (x - take(x, index)).norm(dim=-1))
    return chosen


def purity(group: Tensor, body: Tensor) -> tuple[Tensor, Tensor]:
    """Of groups ``(B, n)`` against parts ``(B, n)``: the share of points of their group's largest part, ``(B,)``, and the share
    of points in groups that hold more than one part, ``(B,)``."""
    start = torch.arange(len(group), device=group.device)[:, None]
    label = torch.unique(group + start * (1 + int(group.max())), return_inverse=True)[1].flatten()
    own = torch.unique(body, return_inverse=True)[1].flatten()
    kinds = int(own.max()) + 1
    counts = torch.bincount(label * kinds + own, minlength=(int(label.max()) + 1) * kinds).view(-1, kinds).double()
    largest, size = counts.amax(1)[label], counts.sum(1)[label]
    share = (largest / size).view(group.shape).mean(1)
    mixed = (largest < size).double().view(group.shape).mean(1)
    return share, mixed


class VoteLoss:
    """``sum over levels of |s_i - c_i|^2 + seg_weight * cross-entropy``, c_i the center of the part that point i is of.

    Reads ``pos (B, n, 3)``, labels ``y (B, n)`` and rigid parts ``body (B, n)`` (the centers) of a batch. Models without votes
    have the cross-entropy alone; ``told`` is the name under which the model is handed the parts, if it is. ``noise`` is added
    to the points in training.
    """

    def __init__(self, seg_weight: float = 0.1, *, noise: float = 0.01, told: str | None = None) -> None:
        if seg_weight <= 0 or noise < 0:
            raise InputError(f"VoteLoss: seg_weight > 0 and noise >= 0, got {seg_weight} and {noise}")
        self.seg_weight, self.noise, self.told = seg_weight, noise, told

    def __call__(self, model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        pos, body = batch["pos"], batch["body"]
        centers = part_centers(pos, body)
        if getattr(model, "training", False) and self.noise:
            pos = pos + self.noise * torch.randn_like(pos)
        extra = {"normal": batch["normal"]} if "normal" in batch else {}
        y = model(pos=pos, **({self.told: body} if self.told else {}), **extra)
        label = nn.functional.cross_entropy(y["seg"].flatten(0, 1), batch["y"].flatten())
        if "votes" not in y:
            return {"loss": self.seg_weight * label, "label": label.detach()}
        vote = (y["votes"] - centers).square().sum(-1).mean((-1, -2)).sum()
        return {"loss": vote + self.seg_weight * label, "vote": vote.detach(), "label": label.detach()}


def part_centers(pos: Tensor, body: Tensor) -> Tensor:
    """The center of the part that every point is of, ``(B, n, 3)``."""
    size = 1 + int(body.max())
    index = body.unsqueeze(-1).expand_as(pos)
    total = pos.new_zeros(len(pos), size, 3).scatter_add(1, index, pos)
    count = pos.new_zeros(len(pos), size).scatter_add(1, body, torch.ones_like(pos[..., 0]))
    return (total / count.clamp(min=1).unsqueeze(-1)).gather(1, index)


__all__ = ["APEN", "Assignment", "Certificate", "VoteLoss", "part_centers", "purity"]
