"""Induction: linear layers from the image plane, where only SO(2) acts, to signals on the sphere or on SO(3).

By Frobenius reciprocity ``Hom_SO(3)(Ind V, W) = Hom_SO(2)(V, Res W)``: every consistent map from images to features of SO(3) is
an SO(2)-steerable map into ``Res V_l = 0 + 1 + ... + l``. A filter as large as the map, read once about its center, is that
map,

    F^l_m = sum_x  R^l_|m|(r) e^{i (m - k) phi} f_k(x),

with one learnt radial function (rings of Gaussians inside the disc; with a learnt phase, complex) for each pair of channels,
l and |m|, for input fields of frequency k. Real parts are the components m > 0, imaginary parts m < 0: the basis of
:mod:`coset.reps`, in which a turn of the image by ``a`` is ``D^l(r(a))``. Howell et al., Equivariant Single View Pose
Prediction via Induced and Restricted Representations, NeurIPS 2023, arXiv 2307.03704, in the compact form of the formula (the
tensor-product form spans the same space). :class:`Orthographic` is the special case of Klee et al., Image to Sphere, ICLR
2023, arXiv 2302.13926. Contract: C(4) exact (the pixel grid keeps quarter turns), SO(2) approximate.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.groups.finite import C
from coset.groups.orthogonal import SO
from coset.nn.constant import Constant
from coset.nn.feature_map import grid_subgroup, harmonic_field, image_field, is_cyclic, regular_field
from coset.nn.in_plane import InPlane
from coset.ops.circular import pixel_centers
from coset.ops.harmonic_conv import harmonic_filters
from coset.ops.healpix import healpix_angles, healpix_centers
from coset.ops.so3_fourier import signal_irreps
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.fields import Field
from coset.reps.irreps import Irreps

TARGETS = ("sphere", "rotations")


def sphere_irreps(lmax: int, channels: int) -> Irreps:
    """A signal on the sphere as a flat feature of SO(3): ``channels`` copies of each degree up to ``lmax``."""
    return Irreps([(channels, str(l)) for l in range(lmax + 1)], SO(3))


class Induce(nn.Module):
    """Maps ``(B, inputs, 2 order + 1, H, H)``, or scalar maps ``(B, inputs, H, H)``, to flat features ``(B, irreps_out.dim)``.

    Components of the input are ``1, Re 1, Im 1, ...`` up to frequency ``order``. ``target`` is ``"sphere"`` (``outputs``
    copies of each degree up to ``lmax``) or ``"rotations"`` (``(2l + 1) outputs`` copies: a signal on SO(3)). ``phase=False``
    leaves radial functions real. Degrees above H / 2 outrun the pixels and draw a warning; InputError for maps that are not
    ``size`` x ``size`` or have other components.
    """

    def __init__(
        self, inputs: int, outputs: int, lmax: int, size: int, *, order: int = 0, target: str = "sphere", phase: bool = True
    ) -> None:
        super().__init__()
        if target not in TARGETS:
            raise unknown("target of an induction", target, TARGETS)
        if min(inputs, outputs, size) < 1 or min(lmax, order) < 0:
            raise InputError(f"Induce: channels and size >= 1, degrees >= 0; got {inputs}, {outputs}, {size}, {lmax}, {order}")
        if lmax > size / 2:
            text = f"Induce: degree {lmax} on a {size} x {size} map; above {size // 2} frequencies outrun the pixels"
            warnings.warn(text, stacklevel=2)
        self.inputs, self.lmax, self.size, self.order = inputs, lmax, size, order
        self.irreps_out = sphere_irreps(lmax, outputs) if target == "sphere" else signal_irreps(lmax, outputs)
        self.filters, self.paths = self._filters(phase)
        self.weights = nn.ParameterList(
            torch.randn(inputs * paths, sum(mul for mul, ir in self.irreps_out if ir.l >= n))
            / math.sqrt(max(inputs * paths, 1))
            for n, paths in enumerate(self.paths)
        )
        field, out = harmonic_field(inputs, order), Field(("B",), InPlane(self.irreps_out))
        # for white noise, as far from smooth as an image can be: most of it is the interpolation of the input
        self.contracts = (Contract(C(4), field, out), Contract(SO(2), field, out, "approximate", 1.0))

    def _filters(self, phase: bool) -> tuple[Constant, list[int]]:
        """All filters as one table ``(components H H, rows)``, frequency by frequency, and how many paths each has."""
        table, frequency = harmonic_filters(self.order, self.lmax, self.size, phases=phase)
        rows, paths = [], []
        for n in range(self.lmax + 1):
            own = table[frequency == n][:, max(2 * n - 1, 0) : 2 * n + 1]  # Re and Im of frequency n
            rows.append(own.flatten(2).flatten(0, 1))
            paths.append(len(own))
        return Constant(torch.cat(rows).mT), paths

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.unsqueeze(2) if x.ndim == 4 else x
        expected = (self.inputs, 2 * self.order + 1, self.size, self.size)
        if x.ndim != 5 or x.shape[1:] != expected:
            raise InputError(
                f"Induce: expected square maps (B, {', '.join(map(str, expected))}) of frequencies up to {self.order}, "
                f"got {tuple(x.shape)}"
            )
        sizes = [paths * (2 if n else 1) for n, paths in enumerate(self.paths)]
        moments = (x.flatten(2) @ self.filters.like(x)).split(sizes, -1)
        waves: list[list[Tensor]] = [[] for _ in range(self.lmax + 1)]  # of each degree: orders 0, 1, ... as (B, 1 or 2, mul)
        for n, (moment, weight) in enumerate(zip(moments, self.weights, strict=True)):
            pairs = moment.unflatten(-1, (self.paths[n], 2 if n else 1)).flatten(1, 2).mT  # (B, 1 or 2, inputs paths)
            counts = [mul for mul, ir in self.irreps_out if ir.l >= n]
            for l, part in enumerate((pairs @ weight).split(counts, -1), start=n):
                waves[l].append(part)
        return torch.cat([self._orders(parts).flatten(1) for parts in waves], -1)

    @staticmethod
    def _orders(waves: list[Tensor]) -> Tensor:
        """``(B, 2l + 1, mul)`` in the order m = -l, ..., l: sines, the constant, cosines."""
        cosines, sines = [part[:, :1] for part in waves[1:]], [part[:, 1:] for part in waves[1:]]
        return torch.cat([*sines[::-1], waves[0], *cosines], 1)


class Orthographic(nn.Module):
    """The projection of Image to Sphere: a feature map ``(B, inputs, H, H)`` painted on the hemisphere that faces the camera.

    Pixel features, after a linear map to ``outputs`` channels, are read by Gaussian weights at the orthographic places of
    HEALPix points, faded towards the rim; ``relu``; then transformed to degrees up to ``lmax``. In training ``sampled``
    random points stand for all (drawn from torch's global state), in eval mode all count. ``learned`` weights start
    consistent and are free afterwards: the contract under C(4) is then only measured. InputError for maps of another size.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        lmax: int,
        size: int,
        *,
        level: int = 2,
        coverage: float = 0.9,
        width: float = 0.2,
        sampled: int = 20,
        learned: bool = True,
    ) -> None:
        super().__init__()
        if min(inputs, outputs, size, sampled) < 1 or lmax < 0:
            raise InputError(f"Orthographic: channels, size and points >= 1, got {inputs}, {outputs}, {size}, {sampled}")
        self.inputs, self.size, self.sampled, self.learned = inputs, size, sampled, learned
        self.irreps_out = sphere_irreps(lmax, outputs)
        beta, _ = healpix_angles(2**level)
        front = beta <= math.pi / 2 + 1e-9
        points = healpix_centers(2**level)[front]
        self.rim = ((math.pi / 2 - beta[front]) / math.radians(15)).clamp(0, 1)  # fades from 75 to 90 degrees
        self.harmonics = Constant(spherical_harmonics(lmax, points))
        weights = self._weights(points, coverage, width)
        self.fixed = Constant(weights)
        self.free = nn.Parameter(weights.to(torch.get_default_dtype())) if learned else None
        self.mix = nn.Conv2d(inputs, outputs, 1)
        out = Field(("B",), InPlane(self.irreps_out))
        field = image_field(inputs)
        self.contracts = (Contract(C(4), field, out, "learned" if learned else "exact"),)

    def _weights(self, points: Tensor, coverage: float, width: float) -> Tensor:
        """Gaussian weights ``(points, H H)`` about the places of ``points`` (z to the right, x up), each of sum 1, faded."""
        right, up = (axis.flatten() for axis in pixel_centers(self.size))
        reach = coverage / points[:, [2, 0]].norm(dim=-1).max()
        gap = (right - reach * points[:, 2:]).square() + (up - reach * points[:, :1]).square()
        return torch.softmax(-gap / (2 * width**2), -1) * self.rim.unsqueeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, H)`` to ``(B, irreps_out.dim)``."""
        if x.ndim != 4 or x.shape[1:] != (self.inputs, self.size, self.size):
            raise InputError(f"Orthographic: expected (B, {self.inputs}, {self.size}, {self.size}), got {tuple(x.shape)}")
        weights = self.fixed.like(x) if self.free is None else self.free
        harmonics = self.harmonics.like(x)
        if self.training:
            chosen = torch.multinomial(self.rim.to(x), min(self.sampled, int((self.rim > 0).sum())))
            weights, harmonics = weights[chosen], harmonics[chosen]
        values = F.relu(weights @ self.mix(x).flatten(2).mT)  # (B, points, outputs)
        return (harmonics.mT @ values / math.sqrt(len(harmonics))).flatten(1)


class RegularToHarmonics(nn.Module):
    """Regular maps ``(B, channels, n, H, W)`` of C(n) as circular harmonics ``(B, channels, 2 (n // 2) + 1, H, W)``.

    The Fourier transform along the group axis, orthonormal: nothing is lost, and each frequency turns by its own phase.
    """

    def __init__(self, channels: int, group: C) -> None:
        super().__init__()
        if not is_cyclic(group):
            raise InputError(f"RegularToHarmonics: the group axis of {group} is not cyclic; use C(n)")
        n = int(group.order)
        self.order = n // 2
        angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
        rows = [torch.ones(n, dtype=torch.float64)]
        for m in range(1, self.order + 1):
            scale = 1.0 if 2 * m == n else math.sqrt(2)
            rows += [scale * (m * angle).cos(), (m * angle).sin() * (scale if 2 * m < n else 0)]
        self.table = Constant(torch.stack(rows) / math.sqrt(n))
        turns = grid_subgroup(group)
        self.contracts = (Contract(turns, regular_field(channels, group), harmonic_field(channels, self.order)),)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.einsum("fn,bcnhw->bcfhw", self.table.like(x), x)
