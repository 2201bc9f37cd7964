"""Layers between signals on the sphere and on SO(3), in Fourier form; all commute with rotations on the left.

    sphere to SO(3):   F^l_mn = sum_c f^l_mc psi^l_nc           (correlation with a filter psi, free harmonics)
    SO(3) to SO(3):    out(R) = sum_j w_j F(R Q_j)              (a filter of points Q_j within ``radius`` of the identity)
    nonlinearity:      from_grid(relu(to_grid F)) or, of two halves, from_grid(to_grid F to_grid G)

The linear maps are exact: multiplying from the right is all that Schur's lemma leaves. A product of two signals is projected
back without error on a grid of degree 3 L; ``relu`` has all degrees, and its error is measured when the layer is built. Cohen
et al., Spherical CNNs, ICLR 2018, arXiv 1801.10130; Klee et al., Image to Sphere, ICLR 2023, arXiv 2302.13926.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.orthogonal import SO
from coset.groups.rotations import rotation_from_vector
from coset.nn.constant import Constant
from coset.nn.induce import sphere_irreps
from coset.nn.irreps_linear import IrrepsLinear
from coset.ops.healpix import healpix_centers
from coset.ops.so3_fourier import SO3Grid, degree_of_signal, join_degrees, shift, signal_irreps, signal_rows, split_degrees
from coset.reps.wigner import wigner_blocks

ACTIVATIONS = ("relu", "product")


class SphereToSO3(IrrepsLinear):
    """``inputs`` channels on the sphere, flat ``(..., (lmax + 1)^2 inputs)``, to ``outputs`` channels on SO(3), flat.

    A weight ``psi^l_n`` for every pair of channels: filters on the whole sphere, as spherical harmonics.
    """

    def __init__(self, inputs: int, outputs: int, lmax: int) -> None:
        super().__init__(sphere_irreps(lmax, inputs), signal_irreps(lmax, outputs))


class SO3Activation(nn.Module):
    """Signals ``(..., rows inputs)``, flat, changed point by point on a grid: ``inputs`` channels in, ``channels`` out.

    ``kind`` ``"product"`` multiplies two halves (``inputs = 2 channels``) and is exact; ``"relu"`` is approximate, with twice
    the error measured on this grid as bound, and exact under quarter turns about the polar axis, which permute the grid.
    """

    def __init__(self, channels: int, lmax: int, kind: str = "relu", *, degree: int = -1) -> None:
        super().__init__()
        if kind not in ACTIVATIONS:
            raise unknown("activation on SO(3)", kind, ACTIVATIONS)
        self.kind, self.grid = kind, SO3Grid(lmax, degree)
        if kind == "product" and self.grid.degree < 3 * lmax:
            raise InputError(f"SO3Activation: products of degree {lmax} need a grid of degree {3 * lmax}, got {degree}")
        self.inputs = channels * (2 if kind == "product" else 1)
        ends = signal_irreps(lmax, self.inputs), signal_irreps(lmax, channels)
        exact = kind == "product" or lmax == 0
        self.contracts = (Contract(SO(3), *ends) if exact else Contract(SO(3), *ends, "approximate", 2 * self.measure()),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self._change(x.unflatten(-1, (-1, self.inputs))).flatten(-2)

    def _change(self, x: Tensor) -> Tensor:
        size = math.sqrt(x.shape[-2])  # values of a standard normal signal then have variance 1
        values = self.grid.to_grid(x / size)
        if self.kind == "relu":
            return self.grid.from_grid(torch.relu(values)) * size
        first, second = values.chunk(2, -1)
        return self.grid.from_grid(first * second) * size

    def measure(self, turns: int = 8) -> float:
        """The largest relative equivariance error over seeded rotations, for standard normal signals in float64."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(8, signal_rows(self.grid.lmax), self.inputs, generator=generator, dtype=torch.float64)
        y, errors = self._change(x), []
        for g in SO(3).sample(turns, generator=generator, dtype=torch.float64):
            want = shift(y, g)
            errors.append(float((self._change(shift(x, g)) - want).norm() / want.norm()))
        return max(errors)


class SO3Conv(nn.Module):
    """Signals on SO(3), flat ``(..., rows inputs)``, to ``(..., rows outputs)``: a filter supported near the identity.

    Its points are the identity and turns about the twelve HEALPix axes by ``shells`` angles up to ``radius`` (radians).
    InputError for a radius outside (0, pi].
    """

    def __init__(self, inputs: int, outputs: int, lmax: int, *, radius: float = math.pi / 8, shells: int = 2) -> None:
        super().__init__()
        if not 0 < radius <= math.pi or shells < 1:
            raise InputError(f"SO3Conv: radius in (0, pi] and at least one shell, got {radius} and {shells}")
        self.inputs = inputs
        turns = [healpix_centers(1) * (radius * (k + 1) / shells) for k in range(shells)]
        self.points = Constant(rotation_from_vector(torch.cat([torch.zeros(1, 3, dtype=torch.float64), *turns])))
        self.tables = [Constant(block.flatten(1)) for block in wigner_blocks(lmax, self.points.value)]
        count = len(self.points.value)
        self.weight = nn.Parameter(torch.randn(inputs, outputs, count) / math.sqrt(inputs * count))
        self.contracts = (Contract(SO(3), signal_irreps(lmax, inputs), signal_irreps(lmax, outputs)),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        signal = x.unflatten(-1, (-1, self.inputs))
        if degree_of_signal(signal) != len(self.tables) - 1:
            raise InputError(f"SO3Conv: made for degrees up to {len(self.tables) - 1}, got {tuple(x.shape)}")
        out = []
        for part, table in zip(split_degrees(signal), self.tables, strict=True):
            size = part.shape[-2]
            kernel = (self.weight @ table.like(x)).unflatten(-1, (size, size))  # (inputs, outputs, 2l + 1 new, 2l + 1 old)
            flat = kernel.permute(3, 0, 2, 1).flatten(0, 1).flatten(1)  # (old inputs, new outputs)
            out.append((part.flatten(-2) @ flat).unflatten(-1, (size, -1)))
        return join_degrees(out).flatten(-2)
