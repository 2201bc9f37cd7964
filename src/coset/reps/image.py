"""Images: how a group of the plane moves pixels, exactly where the grid allows it and by one interpolation elsewhere.

An element with matrix ``A`` and shift ``t`` moves the content, ``(g . x)(p) = x(A^-1 (p - t))``, in the coordinates of
:mod:`coset.reps`: x to the right, y up, both from -1 to 1 across the image's edges, so that a shift of ``2 / W`` is one
pixel. What comes from outside the image is zero. Signed permutation matrices (quarter turns and flips) only move entries
of the array and are exact in every dtype; all others interpolate, and :meth:`Image.floor` says how much that costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from coset.errors import ContractError, InputError
from coset.reps.action import Kind

Mode = Literal["bilinear", "bicubic", "nearest"]


def resample(
    x: Tensor, matrix: Tensor, shift: Tensor | None = None, size: int | tuple[int, int] | None = None, mode: Mode = "bilinear"
) -> Tensor:
    """``x`` ``(*batch, ..., H, W)`` with its content moved by ``p -> matrix p + shift``: ``(*batch, ..., h, w)``.

    ``matrix`` is ``(*batch, 2, 2)`` and ``shift`` ``(*batch, 2)``; their batch axes stand for the leading axes of ``x`` and
    broadcast against them. ``size`` is the resolution sampled at (one number for a square), the image's own if None. An
    orbit, ``x`` of shape ``(1, N, C, H, W)`` under K matrices, computes the K grids once for all N C channels.
    Differentiable (once) in ``x``, ``matrix`` and ``shift``; matrices that carry a gradient are always interpolated.
    Raises InputError for shapes that do not fit, integers, and matrices that mix the axes of an image which is not square.
    """
    outer = matrix.ndim - 2
    if matrix.shape[-2:] != (2, 2) or x.ndim < outer + 2:
        raise InputError(
            f"resample: expected matrices (*batch, 2, 2) and x (*batch, ..., H, W), got {tuple(matrix.shape)}, {tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise InputError(f"resample: expected a floating image, got {x.dtype}; convert it, for example x.float() / 255")
    if mode not in get_args(Mode):
        raise InputError(f"resample: mode is one of {', '.join(get_args(Mode))}; got {mode!r}")
    shape = (size, size) if isinstance(size, int) else size or (x.shape[-2], x.shape[-1])
    _check_square(x, matrix)

    lead = torch.broadcast_shapes(matrix.shape[:-2], x.shape[:outer])
    if math.prod(matrix.shape[:-2]) == 1:  # one element for all: every leading axis is a channel
        matrix, shift = matrix.reshape(1, 2, 2), None if shift is None else shift.reshape(1, 2)
        flat = x.reshape(1, -1, *x.shape[-2:])
    else:
        matrix = matrix.expand(*lead, 2, 2).reshape(-1, 2, 2)
        shift = None if shift is None else shift.expand(*lead, 2).reshape(-1, 2)
        shared = math.prod(x.shape[:outer]) == 1
        whole = x if shared else x.expand(*lead, *x.shape[outer:])
        flat = whole.reshape(1 if shared else len(matrix), -1, *x.shape[-2:])
    moved = _resample(flat, matrix, shift, shape, mode)
    return moved.reshape(*lead, *x.shape[outer:-2], *shape)


def _resample(x: Tensor, matrix: Tensor, shift: Tensor | None, size: tuple[int, int], mode: str) -> Tensor:
    """``(k or 1, C, H, W)`` moved by k matrices: index moves where exact, interpolation for the rest."""
    codes = _exact(matrix, shift)
    rest = [i for i, code in enumerate(codes) if code is None]
    if len(rest) == len(codes):
        return _interpolate(x, matrix, shift, size, mode)
    own = len(x) > 1
    upright = (
        x if size == tuple(x.shape[-2:]) else _interpolate(x, torch.eye(2).to(matrix).expand(len(x), 2, 2), None, size, mode)
    )
    if len(codes) == 1 and codes[0] is not None:
        return _turn(upright, codes[0])
    out = x.new_empty(len(codes), x.shape[1], *size)
    for code in sorted({code for code in codes if code is not None}):
        at = torch.tensor([i for i, other in enumerate(codes) if other == code], device=x.device)
        out[at] = _turn(upright[at] if own else upright, code)
    if rest:
        at = torch.tensor(rest, device=x.device)
        out[at] = _interpolate(x[at] if own else x, matrix[at], None if shift is None else shift[at], size, mode)
    return out


def _interpolate(x: Tensor, matrix: Tensor, shift: Tensor | None, size: tuple[int, int], mode: str) -> Tensor:
    """Sample at ``A^-1 (p - t)``; the grid's own y axis runs downwards, hence the signs."""
    back = torch.linalg.inv(matrix)
    start = back.new_zeros(len(back), 2) if shift is None else -(back @ shift.to(back).unsqueeze(-1)).squeeze(-1)
    down = back.new_tensor([1.0, -1.0])
    theta = torch.cat([back * down * down.unsqueeze(-1), (start * down).unsqueeze(-1)], -1).to(x)
    grid = functional.affine_grid(theta, [len(theta), 1, *size], align_corners=False)
    return functional.grid_sample(x.expand(len(theta), -1, -1, -1), grid, mode=mode, padding_mode="zeros", align_corners=False)


def _exact(matrix: Tensor, shift: Tensor | None) -> list[tuple[int, int, int, int] | None]:
    """For every matrix its entries if it is a signed permutation without shift, else None."""
    if matrix.requires_grad or (shift is not None and shift.requires_grad):
        return [None] * len(matrix)
    tolerance = 1e-6 if matrix.dtype in (torch.float32, torch.bfloat16, torch.float16) else 1e-9
    whole = matrix.round()
    exact = (
        ((matrix - whole).abs() <= tolerance).flatten(1).all(1)
        & (whole.abs().sum(1) == 1).all(1)
        & (whole.abs().sum(2) == 1).all(1)
    )
    if shift is not None:
        exact &= (shift.abs() <= tolerance).all(1)
    entries = whole.flatten(1).to(torch.int64).tolist()
    return [tuple(row) if ok else None for row, ok in zip(entries, exact.tolist(), strict=True)]


def _turn(x: Tensor, code: tuple[int, int, int, int]) -> Tensor:
    """The signed permutation ``[[a, b], [c, d]]`` of the plane as flips and a transposition of the array."""
    a, b, c, d = code
    if a:
        return x.flip([axis for axis, sign in ((-1, a), (-2, d)) if sign < 0])
    return x.mT.flip([axis for axis, sign in ((-2, c), (-1, b)) if sign > 0])


def _check_square(x: Tensor, matrix: Tensor) -> None:
    if x.shape[-1] != x.shape[-2] and bool((matrix[..., 0, 1].abs() + matrix[..., 1, 0].abs() > 1e-9).any()):
        raise InputError(
            f"resample: a {tuple(x.shape[-2:])} image is not square and would be sheared by a rotation; pad it first"
        )


def disc_mask(height: int, width: int, *, dtype: torch.dtype = torch.float64, device: Any = None) -> Tensor:
    """1 inside the inscribed disc, 0 outside, with a ramp one pixel wide: ``(height, width)``."""
    x = (2 * torch.arange(width, dtype=torch.float64) + 1 - width) / width
    y = (2 * torch.arange(height, dtype=torch.float64) + 1 - height) / height
    radius = (x.square() + y.square().unsqueeze(-1)).sqrt()
    return ((1 - radius) * min(height, width) / 2 + 0.5).clamp(0, 1).to(dtype=dtype, device=device)


@dataclass(frozen=True)
class Image(Kind):
    """Pixels of the plane on the last two axes ``(H, W)``, moved by ``linear`` and ``shift`` of any group of R^2.

    With ``size`` every element, the identity included, is ONE resampling of a larger source to that resolution, so that
    no element is sharper than the others; ``disc`` multiplies by :func:`disc_mask`, which hides the corners that turn in
    and out. Both make the identity something other than a no-op (see :meth:`coset.contract.Contract.origin`), and an image
    moved twice is then resampled or masked twice: declare them where a sample enters, and plain ``image`` for outputs.
    """

    size: int | tuple[int, int] | None = None
    mode: Mode = "bilinear"
    disc: bool = False

    axes = 2

    def __post_init__(self) -> None:
        sizes = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if len(sizes) != 2 or any(n is not None and (not isinstance(n, int) or n < 1) for n in sizes):
            raise InputError(f"Image: size is a number of pixels, a pair (H, W) or None; got {self.size!r}")
        if self.mode not in get_args(Mode):
            raise InputError(f"Image: mode is one of {', '.join(get_args(Mode))}; got {self.mode!r}")

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        matrix = self._matrix(group, g)
        return self._masked(resample(x, matrix, group.shift(g), self.size, self.mode))

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """``|g^-1 . (g . x) - e . x| / |e . x|``, there and back again on the grid; shape of ``g``'s batch."""
        matrix, shift = self._matrix(group, g), group.shift(g)
        outer = matrix.ndim - 2
        start = self._masked(resample(x, torch.eye(2).to(matrix), None, self.size, self.mode))
        there = self._masked(resample(x, matrix, shift, self.size, self.mode))
        inverse = torch.linalg.inv(matrix)
        back = resample(there, inverse, -(inverse @ shift.unsqueeze(-1)).squeeze(-1), None, self.mode)
        gap = (back - start).to(torch.float64).flatten(outer).norm(dim=-1)
        norm = start.to(torch.float64).flatten(outer).norm(dim=-1)
        return torch.where(gap == 0, gap, gap / norm)

    def shape(self, space: int) -> tuple[int, ...]:
        """16 x 16, or twice the size that is sampled."""
        if self.size is None:
            return (16, 16)
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        return (2 * height, 2 * width)

    @staticmethod
    def _matrix(group: Any, g: Any) -> Tensor:
        matrix = group.linear(g)
        if matrix.shape[-2:] != (2, 2):
            raise ContractError(
                f"{group} acts on R^{matrix.shape[-1]}, an image needs a group of the plane such as SO(2) or D(4)"
            )
        return matrix

    def _masked(self, x: Tensor) -> Tensor:
        return x * disc_mask(*x.shape[-2:], dtype=x.dtype, device=x.device) if self.disc else x

    def __str__(self) -> str:
        size = "x".join(map(str, self.size)) if isinstance(self.size, tuple) else self.size
        words = [
            f"size={size}" if size else "",
            f"mode={self.mode}" if self.mode != "bilinear" else "",
            "disc=true" if self.disc else "",
        ]
        inside = ", ".join(filter(None, words))
        return f"image({inside})" if inside else "image"
