"""Group convolutions of fields on a periodic square lattice; features are (B, channels, order, H, W), values (B, d, H, W).

Every layer is exact under the shifts of the lattice and under its point ``group`` (D(4), or a subgroup of it), and works on
lattices of any size. The kernels are expanded in every call. Formulas and sources: :mod:`coset.ops.lattice_conv`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.group import FiniteGroup
from coset.nn.constant import Constant
from coset.nn.feature_map import GroupAxis
from coset.ops.group_conv import lifting_kernel, regular_kernel, regular_shift
from coset.ops.lattice_conv import circular_conv, site_matrices, tap_basis
from coset.reps.action import Fibre, Kind, Scalar
from coset.reps.fields import Field
from coset.reps.lattice import Shifts, Sites

#: of He's standard deviation: networks start nearly linear in weak fields, which few configurations reward (chosen on
#: validation; from 1 a plain network of the task holstein ends with four times the error)
START = 0.25


def lattice_field(site: Kind) -> Field:
    """``(B, d, H, W)``: values of ``site`` at every site; numbers (scalars, pseudoscalars) have d = 1."""
    return Field(("B",) if site.axes else ("B", "1"), Sites() if isinstance(site, Scalar) else Fibre(site, Sites()))


def feature_field(channels: int, group: FiniteGroup) -> Field:
    """``(B, channels, order, H, W)``."""
    return Field(("B", str(channels)), Fibre(GroupAxis(group), Sites()))


class LatticeConv(nn.Module):
    """What the two convolutions share: weights per tap, one bias per channel. InputError for channels below one."""

    def __init__(self, inputs: tuple[int, ...], outputs: int, group: FiniteGroup, kernel: int) -> None:
        super().__init__()
        if outputs < 1 or min(inputs) < 1:
            raise InputError(f"lattice convolution: channels are >= 1, got {inputs[0]} and {outputs}")
        self.basis = Constant(tap_basis(group, kernel))
        fan = math.prod(inputs) * kernel**2
        self.weight = nn.Parameter(torch.randn(outputs, *inputs, kernel**2) * START * math.sqrt(2 / fan))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def convolve(self, x: Tensor, kernel: Tensor) -> Tensor:
        """``x`` ``(B, inputs, H, W)`` with ``kernel`` ``(outputs, order, inputs, k, k)``: ``(B, outputs, order, H, W)``."""
        shape = kernel.shape[:2]
        return circular_conv(x, kernel.flatten(0, 1), self.bias.repeat_interleave(shape[1])).unflatten(1, shape)


class LatticeLift(LatticeConv):
    """Values (B, d, H, W) of ``site`` to features (B, outputs, order, H, W)."""

    def __init__(self, site: Kind, outputs: int, *, group: FiniteGroup, kernel: int = 5) -> None:
        back = site_matrices(site, group)[group.inverse(group.elements())]
        super().__init__((back.shape[-1],), outputs, group, kernel)
        self.back = Constant(back)
        self.contracts = (Contract(group * Shifts(), lattice_field(site), feature_field(outputs, group)),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, H, W) to (B, outputs, order, H, W)."""
        taps = lifting_kernel(self.weight, self.basis.like(self.weight))
        return self.convolve(x, torch.einsum("ogjyx,gji->ogiyx", taps, self.back.like(self.weight)))


class LatticeGroupConv(LatticeConv):
    """Features (B, inputs, order, H, W) to (B, outputs, order, H, W)."""

    def __init__(self, inputs: int, outputs: int, *, group: FiniteGroup, kernel: int = 3) -> None:
        super().__init__((inputs, int(group.order)), outputs, group, kernel)
        self.shift = regular_shift(group)
        self.contracts = (Contract(group * Shifts(), feature_field(inputs, group), feature_field(outputs, group)),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, order, H, W) to (B, outputs, order, H, W)."""
        kernel = regular_kernel(self.weight, self.basis.like(self.weight), self.shift.to(self.weight.device))
        return self.convolve(x.flatten(1, 2), kernel.flatten(2, 3))


class LatticeReadout(nn.Module):
    """Features (B, channels, order, H, W) to values (B, d, H, W) of ``site``; a bias where the group leaves one alone."""

    def __init__(self, channels: int, site: Kind, *, group: FiniteGroup) -> None:
        super().__init__()
        matrices = site_matrices(site, group)
        self.matrices, kept = Constant(matrices), matrices.mean(0)
        self.weight = nn.Parameter(torch.randn(kept.shape[0], channels) * START / math.sqrt(channels))
        self.kept = Constant(kept)
        self.bias = nn.Parameter(torch.zeros(len(kept))) if bool((kept.abs() > 1e-9).any()) else None
        self.contracts = (Contract(group * Shifts(), feature_field(channels, group), lattice_field(site)),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, order, H, W) to (B, d, H, W)."""
        mixed = torch.einsum("gij,jc->icg", self.matrices.like(x), self.weight) / x.shape[2]
        bias = None if self.bias is None else self.kept.like(x) @ self.bias
        return circular_conv(x.flatten(1, 2), mixed.flatten(1)[..., None, None], bias)


__all__ = ["LatticeGroupConv", "LatticeLift", "LatticeReadout", "feature_field", "lattice_field"]
