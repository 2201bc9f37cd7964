"""The cloud that a frame is read from: points or vectors as declared, or the pixels of an image weighted by their ink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import ContractError
from coset.reps.action import Position, Tensorial
from coset.reps.image import Image, disc_mask
from coset.symmetrizers.members import Members, dense, spatial
from coset.symmetrizers.principal import Cloud


@dataclass(frozen=True)
class Source:
    """Names of the fields that hold the cloud, its mask and its weights; None where there is none."""

    of: str | None = None
    mask: str | None = None
    weights: str | None = None


def read_cloud(
    x: Mapping[str, Tensor], contract: Contract, members: Members, source: Source, *, shifts: bool = False, detach: bool = True
) -> Cloud:
    """The cloud of every member, ``(members, n, d)``, padded where the sample is ragged.

    Without ``source.of`` it is the first position, vector or image; without ``source.mask`` a field called ``mask``.
    ``shifts`` says that images move about, so that what lies outside the inscribed disc counts too.
    Raises ContractError where the inputs hold no cloud.
    """
    name = source.of if source.of is not None else spatial(contract.inputs)
    declared = contract.inputs.of(name) if name is not None else None
    kind = None if declared is None else declared.kind
    if name is None or declared is None or not (isinstance(kind, (Position, Image)) or kind == Tensorial(1)):
        raise ContractError(f"principal axes are read from positions, vectors or images; the inputs are {contract.inputs}")
    value = x[name].detach() if detach else x[name]
    found = members.axis(declared, tuple(value.shape))
    if found is None and members.index is not None:
        raise ContractError(f"{name!r} ({declared}) belongs to no member of {members.index!r}; name another field with of=")
    axis, owner = found or (0, None)
    value = value.unsqueeze(0) if found is None else value.movedim(axis, 0)
    if isinstance(kind, Image):
        return _ink(value, shifts)
    masked = source.mask if source.mask is not None else _default_mask(contract, name)
    beside = [None if other is None else x[other].detach() for other in (masked, source.weights)]
    if owner is not None:
        value, real = dense(value, owner, members.size)
        mask, weights = (None if part is None else dense(part, owner, members.size)[0] for part in beside)
        return _points(value, real if mask is None else real & mask.bool(), weights)
    mask, weights = (None if part is None else part.unsqueeze(0) if found is None else part for part in beside)
    return _points(value, mask, weights)


def _default_mask(contract: Contract, name: str | None) -> str | None:
    return "mask" if "mask" in contract.inputs.names() and name != "mask" else None


def _points(x: Tensor, mask: Tensor | None, weights: Tensor | None) -> Cloud:
    """All axes between member and space are points; a mask over the first of them counts for the others."""
    x = x.unsqueeze(1) if x.ndim == 2 else x

    def over(part: Tensor | None) -> Tensor | None:
        return (
            None if part is None else part.reshape(*part.shape, *[1] * (x.ndim - 1 - part.ndim)).expand(x.shape[:-1]).flatten(1)
        )

    return Cloud(x.flatten(1, -2), over(mask), over(weights))


def _ink(x: Tensor, shifts: bool) -> Cloud:
    """Pixels of ``(members, ..., H, W)`` as points of the square, weighted by their positive values, channels added.

    A trace of uniform ink (1e-12 of the whole) gives blank images and single dots a cloud too.
    """
    height, width = x.shape[-2:]
    across = (2 * torch.arange(width, dtype=torch.float64, device=x.device) + 1 - width) / width
    up = -(2 * torch.arange(height, dtype=torch.float64, device=x.device) + 1 - height) / height
    points = torch.stack([across.expand(height, width), up.unsqueeze(-1).expand(height, width)], -1).view(1, -1, 2)
    inside = (
        torch.ones(height, width, dtype=torch.float64, device=x.device) if shifts else disc_mask(height, width, device=x.device)
    )
    ink = x.double().clamp(min=0).reshape(len(x), -1, height, width).sum(1) * inside
    total = ink.sum((-2, -1), keepdim=True)
    ink = ink + inside * torch.where(total > 0, total, 1.0) * 1e-12 / inside.sum()
    return Cloud(points.to(x.dtype).expand(len(x), -1, -1), None, ink.flatten(1))
