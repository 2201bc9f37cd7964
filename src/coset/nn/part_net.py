"""A PointNet for many small clouds at once: points see themselves, their neighbors and the mean of their part.

Points ``(N, 3)`` belong to parts by a pointer ``part (N,)``; no part sees another. Five linear layers of growing width, a mean
over every part (weighted), then four more on all layers' outputs and that mean. Qi, Su, Mo & Guibas, PointNet, CVPR 2017,
arXiv 1612.00593, in the form that Atzmon et al. (APEN, ICLR 2024) put into every frame: no batch norm, mean pooling.
Contract: S("N") exact; nothing about rotations, which is what frames are for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S

GROWTH = (2, 3, 4, 5, 6)  #: widths of the first layers, in units of ``width``


class PartNet(nn.Module):
    """``pos (N, 3)``, ``part (N,)``, ``near (N, k)``, ``scalars (N, a)``, ``vectors (N, b, 3)``, ``weight (N,)`` to the same.

    ``near`` holds indices of neighbors (those of other parts are blanked), ``weight`` counts points in their part. Outputs are
    ``scalars (N, scalars_out)`` and ``vectors (N, vectors_out, 3)`` in the coordinates of the input. A part should be
    centered: what is seen of a point are its coordinates. Raises InputError for sizes that are not positive or do not fit.
    """

    def __init__(
        self,
        width: int = 16,
        *,
        neighbors: int = 10,
        scalars: int = 0,
        vectors: int = 0,
        scalars_out: int = 8,
        vectors_out: int = 8,
    ) -> None:
        super().__init__()
        if min(width, neighbors) < 1 or min(scalars, vectors, scalars_out, vectors_out) < 0 or scalars_out + vectors_out < 1:
            raise InputError(
                f"PartNet: width and neighbors are at least 1, features at least 0, some come out; got width {width}, "
                f"neighbors {neighbors}, in {scalars} + {vectors}, out {scalars_out} + {vectors_out}"
            )
        self.config: dict[str, Any] = {
            "width": width,
            "neighbors": neighbors,
            "scalars": scalars,
            "vectors": vectors,
            "scalars_out": scalars_out,
            "vectors_out": vectors_out,
        }
        self.neighbors, self.scalars, self.vectors = neighbors, scalars, vectors
        self.scalars_out, self.vectors_out = scalars_out, vectors_out
        first = 3 * neighbors + scalars + 3 * vectors
        widths = [width * step for step in GROWTH]
        self.points = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise([first, *widths]))
        self.own = nn.Linear(sum(widths), 8 * width)
        self.pooled = nn.Linear(widths[-1], 8 * width, bias=False)
        self.head = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Linear(8 * width, 8 * width),
            nn.ReLU(inplace=True),
            nn.Linear(8 * width, 4 * width),
            nn.ReLU(inplace=True),
            nn.Linear(4 * width, scalars_out + 3 * vectors_out),
        )
        self.reset()
        self.contracts = (Contract(S("N"), self.inputs(), self.outputs()),)

    def reset(self) -> None:
        """Weights that keep the size of what passes through (He et al., 2015, arXiv 1502.01852); no biases.

        Nine layers with torch's own initialization would leave three thousandths of it: groups of a few points, whose
        coordinates are small, would all look alike for hundreds of steps.
        """
        for layer in (module for module in self.modules() if isinstance(module, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            next(self.head[-1].parameters()).mul_(0.1)  # votes start near the points themselves

    def inputs(self) -> dict[str, str]:
        """Fields of the input."""
        return {
            "pos": "N x position",
            "part": "N -> K",
            "near": f"N x {self.neighbors} -> N",
            "scalars": f"N x {self.scalars} x scalar",
            "vectors": f"N x {self.vectors} x vector",
            "weight": "N x scalar",
        }

    def outputs(self) -> dict[str, str]:
        """Fields of the output."""
        return {"scalars": f"N x {self.scalars_out} x scalar", "vectors": f"N x {self.vectors_out} x vector"}

    def forward(
        self, pos: Tensor, part: Tensor, near: Tensor, scalars: Tensor, vectors: Tensor, weight: Tensor
    ) -> dict[str, Tensor]:
        """Scalars and vectors of every point."""
        if near.shape != (len(pos), self.neighbors) or vectors.shape[1:] != (self.vectors, 3):
            raise InputError(
                f"PartNet: near ({len(pos)}, {self.neighbors}) and vectors ({len(pos)}, {self.vectors}, 3), "
                f"got {tuple(near.shape)} and {tuple(vectors.shape)}"
            )
        # neighbors of other parts are seen at the center, where they say nothing
        mates = (part[near] == part.unsqueeze(-1)).unsqueeze(-1)
        h = torch.cat([(pos[near] * mates).flatten(1), vectors.flatten(1), scalars], -1)
        seen = []
        for layer in self.points[:-1]:
            h = layer(h).relu_()
            seen.append(h)
        seen.append(self.points[-1](h))
        # the mean of a part enters the head through a matrix of its own, applied once per part
        context = self.pooled(part_mean(seen[-1], part, weight))[part]
        y = self.head(self.own(torch.cat(seen, -1)) + context)
        split = y.split([self.scalars_out, 3 * self.vectors_out], -1)
        return {"scalars": split[0], "vectors": split[1].unflatten(-1, (self.vectors_out, 3))}


def each_cloud(model: Callable[..., dict[str, Tensor]], cloud: Tensor, part: Tensor, **points: Tensor) -> dict[str, Tensor]:
    """A network of one cloud on several of different sizes: ``part (N,)`` says whose a point is, ``cloud (K,)`` whose a part.

    ``points`` ``(N, ...)`` are given to ``model`` cloud by cloud, without batch axis; rows come back in order.
    """
    owner = cloud[part]
    order = owner.argsort(stable=True)
    sizes = torch.unique_consecutive(owner[order], return_counts=True)[1].tolist()
    parts = zip(*(value[order].split(sizes) for value in points.values()), strict=True)
    results = [model(**dict(zip(points, values, strict=True))) for values in parts]
    back = order.argsort()
    return {name: torch.cat([y[name] for y in results])[back] for name in results[0]}


def part_mean(h: Tensor, part: Tensor, weight: Tensor) -> Tensor:
    """Weighted means ``(K, c)`` of ``h (N, c)`` over parts; 0 for parts without weight."""
    count = int(part.max()) + 1 if len(part) else 0
    mass = weight.new_zeros(count).index_add(0, part, weight)
    total = h.new_zeros(count, h.shape[1]).index_add(0, part, h * weight.unsqueeze(-1))
    return total / (mass + 1e-6 * (mass == 0)).unsqueeze(-1)


__all__ = ["PartNet", "each_cloud", "part_mean"]
