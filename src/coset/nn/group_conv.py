"""Group convolutions of images over C(n) and D(n) with steerable kernels; maps are (B, channels, order, H, W).

Exact for the elements that keep the pixel grid (quarter turns, and flips in D(n)), which is what the layers' contracts
promise; other elements are met as well as the pixels allow. Kernels are expanded anew in every call: they are small, and a
cache could outlive the weights it was made from. Formulas and sources: :mod:`coset.ops.group_conv`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.group import FiniteGroup
from coset.nn.constant import Constant
from coset.nn.feature_map import grid_subgroup, image_field, regular_field
from coset.ops.group_conv import lifting_kernel, regular_kernel, regular_shift, steered_basis


class LiftingConv2d(nn.Module):
    """Images (B, inputs, H, W) to regular maps (B, outputs, order, H, W) of ``group``; same size, zero padding.

    InputError for an even ``kernel``, a group that does not act on the plane, or channels below one.
    """

    def __init__(self, inputs: int, outputs: int, *, group: FiniteGroup, kernel: int = 5) -> None:
        super().__init__()
        _check_channels(inputs, outputs)
        self.group, self.kernel = group, kernel
        basis = steered_basis(group, kernel)
        self.basis = Constant(basis)
        scale = math.sqrt(2 / (inputs * basis.shape[1]))
        self.weight = nn.Parameter(torch.randn(outputs, inputs, basis.shape[1]) * scale)
        self.contracts = (Contract(grid_subgroup(group), image_field(inputs), regular_field(outputs, group)),)

    def expanded(self) -> Tensor:
        """The kernel (outputs, order, inputs, k, k)."""
        return lifting_kernel(self.weight, self.basis.like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, order, H, W)."""
        kernel = self.expanded()
        out = F.conv2d(x, kernel.flatten(0, 1), padding=self.kernel // 2)
        return out.unflatten(1, kernel.shape[:2])


class GroupConv2d(nn.Module):
    """Regular maps (B, inputs, order, H, W) to (B, outputs, order, H, W) of the same group."""

    def __init__(self, inputs: int, outputs: int, *, group: FiniteGroup, kernel: int = 5) -> None:
        super().__init__()
        _check_channels(inputs, outputs)
        self.group, self.kernel = group, kernel
        basis = steered_basis(group, kernel)
        self.basis, self.shift = Constant(basis), regular_shift(group)
        order = int(group.order)
        scale = math.sqrt(2 / (inputs * order * basis.shape[1]))
        self.weight = nn.Parameter(torch.randn(outputs, inputs, order, basis.shape[1]) * scale)
        self.contracts = (Contract(grid_subgroup(group), regular_field(inputs, group), regular_field(outputs, group)),)

    def expanded(self) -> Tensor:
        """The kernel (outputs, order, inputs, order, k, k)."""
        return regular_kernel(self.weight, self.basis.like(self.weight), self.shift.to(self.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, order, H, W) to (B, outputs, order, H, W)."""
        kernel = self.expanded()
        out = F.conv2d(x.flatten(1, 2), kernel.flatten(2, 3).flatten(0, 1), padding=self.kernel // 2)
        return out.unflatten(1, kernel.shape[:2])


class RegularBatchNorm2d(nn.Module):
    """Batch norm of regular maps: one mean and variance per channel, shared by the group axis, one scale and bias."""

    def __init__(self, channels: int, group: FiniteGroup) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels)
        field = regular_field(channels, group)
        self.contracts = (Contract(grid_subgroup(group), field, field),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, order, H, W) to the same."""
        return self.norm(x)


class GroupPool(nn.Module):
    """Regular maps to invariant images (B, channels, H, W): the ``max`` or ``mean`` over the group axis."""

    def __init__(self, channels: int, group: FiniteGroup, *, how: str = "max") -> None:
        super().__init__()
        if how not in ("max", "mean"):
            raise InputError(f"GroupPool: how is 'max' or 'mean', got {how!r}")
        self.how = how
        self.contracts = (Contract(grid_subgroup(group), regular_field(channels, group), image_field(channels)),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, order, H, W) to (B, channels, H, W)."""
        return x.amax(2) if self.how == "max" else x.mean(2)


def _check_channels(inputs: int, outputs: int) -> None:
    if inputs < 1 or outputs < 1:
        raise InputError(f"group convolution: channels are >= 1, got {inputs} and {outputs}")
