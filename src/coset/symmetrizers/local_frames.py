"""One frame for every point, from its nearest neighbors: a network on small patches becomes an equivariant point map.

Around every point its k nearest points (itself among them) form a patch; the frame of the patch averages the network there,
which returns something for the patch's center, such as a normal. Only distances between neighbors matter, so far-away
points cannot disturb a frame. Puny et al., ICLR 2022, arXiv 2110.03336, section 4 (k = 20, PointNet).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.reps.action import Position
from coset.reps.fields import Field, Fields
from coset.symmetrizers.average import Frame, Seen
from coset.symmetrizers.frames import FrameAverage, Policy
from coset.symmetrizers.principal import Axes, pca_frame


def neighborhoods(x: Tensor, k: int = 20, mask: Tensor | None = None) -> Tensor:
    """Indices ``(B, n, k)`` of the k nearest points of each point of ``x`` ``(B, n, d)``, itself first.

    Padding (``mask`` False) is nobody's neighbor. Raises InputError for clouds of fewer than k points.
    """
    real = x.shape[-2] if mask is None else int(mask.sum(-1).min())
    if not 1 <= k <= real:
        raise InputError(f"neighborhoods: expected 1 <= k <= {real}, the smallest number of points in a cloud; got {k}")
    gap = torch.cdist(x.detach().double(), x.detach().double(), compute_mode="donot_use_mm_for_euclid_dist")
    gap.diagonal(dim1=-2, dim2=-1).fill_(-1)
    if mask is not None:
        gap = gap.masked_fill(~mask.bool().unsqueeze(-2), float("inf"))
    return gap.topk(k, largest=False).indices


def local_frames(x: Tensor, k: int = 20, mask: Tensor | None = None) -> Axes:
    """Principal axes ``(B, n, d, d)``, centers and gaps of the neighborhood of every point; see :func:`pca_frame`."""
    return pca_frame(gather(x, neighborhoods(x, k, mask)))


def gather(x: Tensor, at: Tensor) -> Tensor:
    """``x`` ``(B, n, ...)`` at indices ``(B, n, k)``: ``(B, n, k, ...)``."""
    return x[torch.arange(len(x), device=x.device).view(-1, 1, 1), at]


class LocalFrameAverage(nn.Module):
    """``model`` on patches, averaged over a frame for each: inputs ``"B x N x ..."``, outputs one row per point.

    The model gets every input as ``(patches, k, ...)`` and returns ``(patches, ...)``. Points of a cloud without distinct
    principal moments around them follow ``policy``. Rows of padding are as the model returns them.

    Raises ContractError for fields that do not start with the two indices of the positions.
    """

    def __init__(
        self, model: Any, contract: Contract, k: int = 20, *, frame: Frame | None = None, policy: Policy = "warn"
    ) -> None:
        super().__init__()
        name = next((name for name, declared in contract.inputs if isinstance(declared.kind, Position)), None)
        if name is None or len(contract.inputs.of(name).index) != 2:
            raise ContractError(f"local frames need an input such as 'B x N x position', got {contract.inputs}")
        index = contract.inputs.of(name).index
        for known, declared in (*contract.inputs, *contract.outputs):
            if declared.index[:2] != index or declared.target is not None:
                raise ContractError(f"{known or 'tensor'!r} ({declared}): local frames take and return fields over {index}")
        self.position, self.k, self.policy = name, k, policy
        inputs = Fields({n: _patch(d, "P", "K") for n, d in contract.inputs if n != "mask"})
        inner = replace(contract, inputs=inputs, outputs=Fields({n: _patch(d, "P") for n, d in contract.outputs}), view=None)
        self.average = FrameAverage(model, inner, frame=frame, policy=policy)
        self.contract = contract
        group = self.average.promised.group
        self.contracts = (replace(contract, group=group, claim="exact", bound=None, where=self.frame_holds),)

    @property
    def model(self) -> Any:
        """The wrapped model."""
        return self.average.model

    @property
    def seen(self) -> Seen:
        """Patches met so far, degenerate ones among them."""
        return self.average.frame.seen

    def frame_holds(self, x: Any) -> Tensor:
        """On which clouds every patch has a well-defined frame."""
        packed = self.contract.inputs.pack(x)
        good = self.average.frame.regular(self._patches(packed), self.average.contract)
        return torch.as_tensor(good).view(packed[self.position].shape[0], -1).all(-1)

    def forward(self, x: Any = None, /, **named: Tensor) -> Any:
        """Outputs for every point."""
        packed = self.contract.inputs.pack(named if x is None else x)
        self.contract.inputs.sizes(packed)
        shape = packed[self.position].shape[:2]
        y = self.average.contract.outputs.pack(self.average(self.average.contract.inputs.unpack(self._patches(packed))))
        return self.contract.outputs.unpack({name: value.unflatten(0, shape) for name, value in y.items()})

    def _patches(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        at = neighborhoods(x[self.position], self.k, x.get("mask"))
        return {name: gather(x[name], at).flatten(0, 1) for name in self.average.contract.inputs.names()}


def _patch(declared: Field, *index: str) -> Field:
    return replace(declared, index=(*index, *declared.index[2:]))
