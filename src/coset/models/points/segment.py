"""PointNet for the parts of a cloud, plain and averaged over the global frames of the cloud: the baselines of APEN.

Both label every point of ``pos (B, N, 3)`` from its neighbors and the mean of the whole cloud, with the network that APEN puts
into every part (:mod:`coset.nn.part_net`). Qi et al., PointNet, CVPR 2017, arXiv 1612.00593; frames as in Puny et al., ICLR
2022, arXiv 2110.03336. Contracts: S("N") exact, the framed one E(3) too; nothing about parts that move on their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import SE, E
from coset.groups.permutation import S
from coset.nn.part_net import PartNet, each_cloud
from coset.ops.neighbors import knn
from coset.symmetrizers.piecewise import PiecewiseFrameAverage


class PointSegmenter(nn.Module):
    """``pos (B, N, 3)`` or ``(N, 3)``, with ``normals`` also ``normal``, to ``{"seg": logits (..., N, classes)}``.

    Clouds of several sizes come as ``pos (N, 3)``, ``body (N,)`` (the rigid part of every point) and ``cloud (K,)`` (the cloud
    of every part); the parts themselves are not looked at. Raises InputError for sizes below 1, points that do not fit, and
    normals that are missing or not asked for.
    """

    def __init__(self, classes: int = 6, width: int = 16, *, neighbors: int = 10, normals: bool = False) -> None:
        super().__init__()
        if classes < 1:
            raise InputError(f"PointSegmenter: classes is at least 1, got {classes}")
        self.config: dict[str, Any] = {"classes": classes, "width": width, "neighbors": neighbors, "normals": normals}
        self.neighbors, self.normals = neighbors, normals
        self.net: Any = PartNet(width, neighbors=neighbors, vectors=int(normals), scalars_out=classes, vectors_out=0)
        inputs = {"pos": "B x N x position", **({"normal": "B x N x vector"} if normals else {})}
        self.contracts: tuple[Contract, ...] = (Contract(S("N"), inputs, {"seg": f"B x N x {classes} x scalar"}),)

    def forward(
        self, pos: Tensor, body: Tensor | None = None, cloud: Tensor | None = None, normal: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Logits of every point."""
        if pos.ndim not in (2, 3) or pos.shape[-1] != 3 or not pos.numel():
            raise InputError(f"{type(self).__name__}: clouds are (B, N, 3) or (N, 3), got {tuple(pos.shape)}")
        if (normal is not None) is not self.normals or (normal is not None and normal.shape != pos.shape):
            found = None if normal is None else tuple(normal.shape)
            raise InputError(
                f"{type(self).__name__}: normals={self.normals} and points {tuple(pos.shape)}, got normals {found}"
            )
        vectors = pos.new_zeros(*pos.shape[:-1], 0, 3) if normal is None else normal.unsqueeze(-2)
        if body is not None and cloud is not None:
            return each_cloud(self.forward, cloud, body, pos=pos, **({} if normal is None else {"normal": normal}))
        x = pos if pos.ndim == 3 else pos.unsqueeze(0)
        start = torch.arange(len(x), device=x.device) * x.shape[1]
        y = self.net(
            pos=(x - x.mean(1, keepdim=True)).flatten(0, 1),
            part=torch.arange(len(x), device=x.device).repeat_interleave(x.shape[1]),
            near=(knn(x, self.neighbors) + start[:, None, None]).flatten(0, 1),
            scalars=x.new_zeros(x.shape[0] * x.shape[1], 0),
            vectors=vectors.reshape(x.shape[0] * x.shape[1], int(self.normals), 3),
            weight=x.new_ones(x.shape[0] * x.shape[1]),
        )
        return {"seg": y["scalars"].view(*pos.shape[:-1], -1)}


class FramedSegmenter(PointSegmenter):
    """The same, averaged over the principal frames of the whole cloud: eight of E(3), four of SE(3) with ``rotation_only``.

    ``draw`` of them, drawn for every cloud, are used in training instead of all.
    """

    def __init__(
        self,
        classes: int = 6,
        width: int = 16,
        *,
        neighbors: int = 10,
        normals: bool = False,
        rotation_only: bool = False,
        draw: int | None = None,
    ) -> None:
        super().__init__(classes, width, neighbors=neighbors, normals=normals)
        self.config |= {"rotation_only": rotation_only, "draw": draw}
        motions = SE(3) if rotation_only else E(3)
        inner = self.net
        self.net = PiecewiseFrameAverage(inner, Contract(motions ** "K", inner.inputs(), inner.outputs()), draw=draw)
        own = self.contracts[0]
        self.contracts = (Contract(motions, own.inputs, own.outputs), own)


__all__ = ["FramedSegmenter", "PointSegmenter"]
