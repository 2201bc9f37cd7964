"""Convolutions of SO(2) by circular harmonics; maps are (B, channels, 2 M + 1, H, W), components 1, Re 1, Im 1, ...

Exact at quarter turns, approximate in between (the pixel grid); formulas and sources: :mod:`coset.ops.harmonic_conv`.
Nonlinearities act on what rotations leave alone: the component of frequency 0 and the magnitudes ``|z_m|``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.finite import C
from coset.nn.constant import Constant
from coset.nn.feature_map import harmonic_field
from coset.ops.harmonic_conv import harmonic_kernels

_TINY = 1e-6  #: under the root of a magnitude


class HarmonicConv2d(nn.Module):
    """(B, inputs, 2 order_in + 1, H, W) to (B, outputs, 2 order_out + 1, H, W); same size, zero padding.

    An image is a map of order 0. InputError for an even kernel or a negative order.
    """

    def __init__(self, inputs: int, outputs: int, *, order_in: int, order_out: int, kernel: int = 5) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise InputError(f"HarmonicConv2d: channels are >= 1, got {inputs} and {outputs}")
        basis, frequencies = harmonic_kernels(order_in, order_out, kernel)
        self.basis, self.kernel = Constant(basis), kernel
        # as many basis elements feed an output component as share its frequency
        scale = (inputs * torch.bincount(frequencies)[frequencies]).to(torch.get_default_dtype()).rsqrt()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, len(basis)) * scale)
        self.contracts = (Contract(C(4), harmonic_field(inputs, order_in), harmonic_field(outputs, order_out)),)

    def expanded(self) -> Tensor:
        """The kernel (outputs, 2 order_out + 1, inputs, 2 order_in + 1, k, k)."""
        return torch.einsum("oin,nrchw->orichw", self.weight, self.basis.like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve all components at once."""
        kernel = self.expanded()
        out = F.conv2d(x.flatten(1, 2), kernel.flatten(2, 3).flatten(0, 1), padding=self.kernel // 2)
        return out.unflatten(1, kernel.shape[:2])


def split_frequencies(x: Tensor) -> tuple[Tensor, Tensor]:
    """Frequency 0 ``(B, C, H, W)`` and the others ``(B, C, M, 2, H, W)``."""
    return x[:, :, 0], x[:, :, 1:].unflatten(2, ((x.shape[2] - 1) // 2, 2))


def join_frequencies(scalars: Tensor, others: Tensor) -> Tensor:
    """Undo :func:`split_frequencies`."""
    return torch.cat([scalars.unsqueeze(2), others.flatten(2, 3)], 2)


def frequency_norm(others: Tensor) -> Tensor:
    """``|z_m|``, ``(B, C, M, H, W)``, of :func:`split_frequencies`; differentiable at 0."""
    return torch.sqrt(others.square().sum(3) + _TINY)


class NormNonlinearity2d(nn.Module):
    """``relu(bn(z_0))`` and ``relu(bn(|z_m|)) z_m / |z_m|``: batch norms of invariants only."""

    def __init__(self, channels: int, order: int) -> None:
        super().__init__()
        self.scalar = nn.BatchNorm2d(channels)
        self.norm = nn.BatchNorm2d(channels * order) if order else None
        field = harmonic_field(channels, order)
        self.contracts = (Contract(C(4), field, field),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, 2 M + 1, H, W) to the same."""
        scalars, others = split_frequencies(x)
        scalars = F.relu(self.scalar(scalars))
        if self.norm is None:
            return scalars.unsqueeze(2)
        size = frequency_norm(others)
        gain = F.relu(self.norm(size.flatten(1, 2))).view_as(size) / size
        return join_frequencies(scalars, others * gain.unsqueeze(3))


class GatedNonlinearity2d(nn.Module):
    """``relu(bn(z_0))`` and ``sigmoid(g_m) z_m``, the gates g a 1 x 1 convolution of the frequency-0 maps."""

    def __init__(self, channels: int, order: int) -> None:
        super().__init__()
        self.scalar = nn.BatchNorm2d(channels)
        self.gates = nn.Conv2d(channels, channels * order, 1) if order else None
        field = harmonic_field(channels, order)
        self.contracts = (Contract(C(4), field, field),)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, 2 M + 1, H, W) to the same."""
        scalars, others = split_frequencies(x)
        scalars = self.scalar(scalars)
        if self.gates is None:
            return F.relu(scalars).unsqueeze(2)
        gain = torch.sigmoid(self.gates(scalars)).view(len(x), *others.shape[1:3], 1, *x.shape[-2:])
        return join_frequencies(F.relu(scalars), others * gain)
