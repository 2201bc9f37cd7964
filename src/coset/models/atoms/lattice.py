"""Force field of a lattice model: configurations of a field to the forces on it, under all symmetries of the square lattice.

A lifting convolution 5 x 5 to features on the point group, ``depth`` residual group convolutions 3 x 3 with SiLU, the mean over
the group, one linear map: fields of any size are met without change, and a force depends on the sites within ``radius`` only.
At half filling the electronic force is odd, made so by the mean over the two signs, ``f(q) = (net(q) - net(-q)) / 2``. The
conservative form has an invariant readout, an energy per site, and ``f = -dE/dq``, which is free of curl; it sees twice as far.

What stands at a site is a representation of the point group: ``site="scalar"`` (distortions of the Holstein model),
``"vector"`` (displacements in the plane), ``"pseudoscalar"``, ``"axial"``. With ``group="C(1)"`` it is the plain CNN of the
comparison. Contract: the point group and all shifts, with ``half_filling_z2`` also the change of sign; exact.

Fan and Chern, Equivariant Neural Networks for Force-Field Models of Lattice Systems, 2026, arXiv 2601.04104, whose layers and
sizes are not known here; Cohen & Welling, arXiv 1602.07576. The mean over the group stands before the last linear map.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.group import Family, FiniteGroup
from coset.groups.parse import parse_group
from coset.nn.lattice_conv import LatticeGroupConv, LatticeLift, LatticeReadout, lattice_field
from coset.ops.group_conv import plane_matrices
from coset.reps.action import Kind, Scalar
from coset.reps.lattice import Shifts, SignChange
from coset.reps.words import parse_kind
from coset.symmetrizers.average import GroupAverage


class LatticeForceField(nn.Module):
    """``q`` (B, d, H, W) to forces (B, d, H, W), d the dimension of ``site``: 1 for scalars, 2 for vectors.

    ``channels`` are features per element of ``group``; the network sees ``q / scale``. The defaults are the network of 7957
    parameters of the comparison.
    InputError for a site or a group that is none, for fields of another dimension, lattices smaller than the receptive field
    (``2 radius + 1``), odd lattices with ``half_filling_z2``, and oblong ones with a group that exchanges the axes.
    """

    def __init__(
        self,
        site: str = "scalar",
        *,
        group: str = "D(4)",
        channels: int = 6,
        depth: int = 3,
        half_filling_z2: bool = True,
        conservative: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError(f"LatticeForceField: scale is a typical size of the field > 0, got {scale}")
        if depth < 0:
            raise InputError(f"LatticeForceField: depth is a number of layers >= 0, got {depth}")
        self.config: dict[str, Any] = {
            "site": site, "group": group, "channels": channels, "depth": depth, "half_filling_z2": half_filling_z2,
            "conservative": conservative, "scale": scale,
        }  # fmt: skip
        self.group, self.site = _point_group(group), parse_kind(site)
        self.half_filling_z2, self.conservative, self.radius = half_filling_z2, conservative, 2 + depth
        self.field = lattice_field(self.site)
        space: Family = self.group * Shifts()
        self.contracts = (Contract(space * SignChange() if half_filling_z2 else space, self.field, self.field),)
        net: nn.Module = _Features(self.site, self.group, channels, depth, Scalar() if conservative else self.site, scale)
        self.channels = net.inputs
        out: Any = self.field
        if conservative:
            net, out = _Total(net), "B x scalar"
        self.net = GroupAverage(net, Contract(SignChange(), self.field, out)) if half_filling_z2 else net
        axes = plane_matrices(self.group)
        self._square = bool((axes[:, 0, 1] != 0).any())

    def forward(self, q: Tensor) -> Tensor:
        """The electronic part of the forces, in units of ``g``; the elastic part, ``-K q``, is known and added outside."""
        self._check(q)
        if not self.conservative:
            return self.net(q)
        learning = torch.is_grad_enabled() and (q.requires_grad or any(p.requires_grad for p in self.parameters()))
        with torch.enable_grad():
            q = q if q.requires_grad else q.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.net(q).sum(), q, create_graph=learning)
        return -slope

    def energy(self, q: Tensor) -> Tensor:
        """``E`` ``(B,)`` with ``f = -dE/dq``; InputError unless conservative."""
        if not self.conservative:
            raise InputError("LatticeForceField: these forces have no energy; build it with conservative=True")
        self._check(q)
        return self.net(q)

    def _check(self, q: Tensor) -> None:
        if q.ndim != 4 or q.shape[1] != self.channels or not q.is_floating_point():
            raise InputError(
                f"LatticeForceField: {self.config['site']} has dimension {self.channels}, expected a floating field "
                f"(B, {self.channels}, H, W), got {q.dtype} of shape {tuple(q.shape)}"
            )
        sides = tuple(q.shape[-2:])
        if min(sides) < 2 * self.radius + 1:
            raise InputError(
                f"LatticeForceField: the receptive field of {2 * self.radius + 1} sites does not fit a lattice of "
                f"{sides[0]} x {sides[1]}; take a larger lattice or a smaller depth"
            )
        if self._square and sides[0] != sides[1]:
            raise InputError(
                f"LatticeForceField: {self.group} turns a {sides[0]} x {sides[1]} lattice; use D(2) or a square one"
            )
        if self.half_filling_z2 and any(side % 2 for side in sides):
            raise InputError(
                f"LatticeForceField: a lattice with an odd side ({sides[0]} x {sides[1]}) frustrates the checkerboard, so that "
                f"forces are not odd; use an even one or half_filling_z2=False"
            )


class _Features(nn.Module):
    """Values (B, d, H, W) to values of ``out`` through features on the point group."""

    def __init__(self, site: Kind, group: FiniteGroup, channels: int, depth: int, out: Kind, scale: float) -> None:
        super().__init__()
        self.lift = LatticeLift(site, channels, group=group)
        self.layers = nn.ModuleList(LatticeGroupConv(channels, channels, group=group) for _ in range(depth))
        self.readout = LatticeReadout(channels, out, group=group)
        self.inputs, self.scale = self.lift.weight.shape[1], scale

    def forward(self, q: Tensor) -> Tensor:
        h = F.silu(self.lift(q / self.scale))
        for layer in self.layers:
            h = h + F.silu(layer(h))
        return self.readout(h)


class _Total(nn.Module):
    """The sum of the energies of all sites, (B,)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, q: Tensor) -> Tensor:
        return self.net(q).flatten(1).sum(1)


def _point_group(name: str) -> FiniteGroup:
    found = parse_group(name)
    if not isinstance(found, FiniteGroup):
        raise InputError(f"LatticeForceField: the point group is C(1), C(2), C(4), D(1), D(2) or D(4), got {found}")
    return found


__all__ = ["LatticeForceField"]
