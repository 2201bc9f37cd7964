"""Features of irreps taken apart: blocks ``(..., 2l+1, mul)`` of a flat feature ``(..., dim)``, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import Group
from coset.groups.orthogonal import SO, O
from coset.reps.fields import Field
from coset.reps.irreps import Irreps

IrrepsLike = str | Irreps  #: ``"8x0e+4x1o"`` of O(3), or Irreps of any group


def as_irreps(given: IrrepsLike, group: Group | None = None) -> Irreps:
    """Irreps in the layout of this library; a string is read as irreps of ``group``, O(3) unless given."""
    irreps = given if isinstance(given, Irreps) else Irreps(given, group or O(3))  # type: ignore[arg-type]
    if irreps.layout != "ir_mul":
        raise ContractError(f"{irreps!r}: layers keep channels last; convert with coset.reps.conventions")
    return irreps


def over(index: str, irreps: Irreps) -> Field:
    """The field ``index x irreps``: one feature per node (``"N"``) or edge (``"E"``)."""
    return Field((index,), irreps)


def split_blocks(x: Tensor, irreps: Irreps) -> list[Tensor]:
    """``(..., irreps.dim)`` as one ``(..., 2l+1, mul)`` per block; InputError if the last axis differs."""
    if x.shape[-1:] != (irreps.dim,):
        raise InputError(f"expected features {irreps} (..., {irreps.dim}), got {tuple(x.shape)}")
    parts = x.split([block.dim for block in irreps], -1)
    return [part.unflatten(-1, (ir.dim, mul)) for part, (mul, ir) in zip(parts, irreps, strict=True)]


def join_blocks(parts: Sequence[Tensor]) -> Tensor:
    """The inverse of :func:`split_blocks`."""
    return torch.cat([part.flatten(-2) for part in parts], -1)


def scalars(count: int, like: Irreps) -> Irreps:
    """``count`` trivial irreps of the same group."""
    return Irreps([(count, 0)] if count else [], like.group)  # type: ignore[arg-type]


def channels_of(irreps: Irreps, layer: str) -> int:
    """The multiplicity that all blocks have, so that the feature is ``(..., rows, C)``; InputError otherwise."""
    counts = {block.mul for block in irreps}
    if len(counts) != 1:
        raise InputError(f"{layer}: all blocks need one multiplicity, got {irreps}; put an IrrepsLinear before it")
    return counts.pop()


def complete(irreps: Irreps, layer: str) -> tuple[int, int]:
    """``(lmax, channels)`` of features of all degrees ``0..lmax``, once each and in order, as the sphere or frames need them.

    Of O(3), parities are those of spherical harmonics. InputError for anything else.
    """
    count = channels_of(irreps, layer)
    degrees = [_degree(ir, layer) for _, ir in irreps]
    if degrees != list(range(len(degrees))):
        raise InputError(f"{layer}: expected degrees 0, 1, ..., lmax in order, got {irreps}")
    if irreps.group == O(3) and any(ir.p != (-1) ** ir.l for _, ir in irreps):
        raise InputError(
            f"{layer}: on the sphere degree l has parity (-1)^l, got {irreps}; use these parities, or irreps of SO(3)"
        )
    return len(degrees) - 1, count


def _degree(ir: Any, layer: str) -> int:
    if ir.group not in (O(3), SO(3)):
        raise InputError(f"{layer}: needs irreps of O(3) or SO(3), got {ir!r} of {ir.group}")
    return int(ir.l)
