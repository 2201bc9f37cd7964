"""A small message-passing network whose tensor product is exchangeable: what each product can learn, at equal channels.

Per layer, with harmonics Y and radial weights W of the edge, a product ``*`` of :mod:`coset.nn.signal_product`,

    m_i = (1 / sqrt n) sum_j (A x_j) *_{W(r_ij)} Y(r_ij),      x'_i = gate(B m_i + C x_i),

where A, B, C are linear maps of irreps and gates are numbers that scalars compute. Two heads: :class:`TetrisNet` sorts the
eight Tetris pieces, whose chiral pair differs by a pseudoscalar only; :class:`ParticleNet` predicts moving charges. Setting of
Tetris after Geiger & Smidt, e3nn: Euclidean Neural Networks, arXiv 2207.09453.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import SE, E
from coset.groups.permutation import S
from coset.nn.irreps_gate import IrrepsGate
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.message import mlp
from coset.nn.particles import INPUTS, OUTPUTS, all_pairs, check_particles, check_sizes
from coset.nn.signal_product import SignalProduct, signal_irreps
from coset.ops.index import Edges
from coset.ops.radial import gaussian_basis, gaussian_grid
from coset.ops.spherical_harmonics import spherical_harmonics
from coset.reps.irreps import Irreps

RADIAL, HIDDEN = 8, 32  #: Gaussians of the distance, width of the radial network


class Interaction(nn.Module):
    """One layer: features ``(N, irreps.dim)`` to the same irreps; ``invariants`` numbers per edge feed the radial network."""

    def __init__(self, product: str, channels: int, lmax: int, invariants: int, *, both: bool) -> None:
        super().__init__()
        self.product = SignalProduct(product, channels, lmax, both=both)
        self.irreps = self.product.irreps_in
        scalars = Irreps([block for block in self.irreps if block.ir.l == 0], self.irreps.group)
        rest = Irreps([block for block in self.irreps if block.ir.l > 0], self.irreps.group)
        self.gate = IrrepsGate(scalars, rest)
        self.before = IrrepsLinear(self.irreps, self.irreps)
        self.after = IrrepsLinear(self.product.irreps_out, self.gate.irreps_in)
        self.keep = IrrepsLinear(self.irreps, self.gate.irreps_in)
        self.radial = mlp(invariants, HIDDEN, self.product.weights * channels)
        nn.init.normal_(
            list(self.radial.parameters())[-1]
        )  # weights of variance 1 at any distance: a product has up to three of them

    def forward(self, x: Tensor, harmonics: Tensor, invariants: Tensor, edges: Edges, neighbors: float) -> Tensor:
        """``x'``; see the module."""
        weights = self.radial(invariants).unflatten(-1, (self.product.weights, -1))
        message = self.product(self.before(x), harmonics, weights, edges) / neighbors**0.5
        return self.gate(self.after(message) + self.keep(x))


class ProductNet(nn.Module):
    """Features of nodes after ``layers`` interactions, ``(N, irreps.dim)``, from inputs of ``irreps_in``.

    ``both`` keeps also the parities that harmonics do not have; without them all invariants are even under reflections.
    """

    def __init__(
        self, irreps_in: str, product: str, *, channels: int, lmax: int, layers: int, edge_features: int = 0, both: bool = True
    ) -> None:
        super().__init__()
        check_sizes("ProductNet", channels=channels, lmax=lmax, layers=layers)
        kinds = RADIAL + edge_features
        self.layers = nn.ModuleList(Interaction(product, channels, lmax, kinds, both=both) for _ in range(layers))
        first: Any = self.layers[0]
        self.lmax, self.irreps = lmax, first.irreps
        self.embed = IrrepsLinear(Irreps(irreps_in, self.irreps.group), self.irreps, zero=True)

    def forward(
        self, x: Tensor, pos: Tensor, edge_index: Tensor, radius: float, *, neighbors: float, edge_attr: Tensor | None = None
    ) -> Tensor:
        """``x (N, irreps_in.dim)`` at ``pos (N, 3)``; distances are told apart up to ``radius``."""
        source, target = edge_index
        d = pos.index_select(0, target) - pos.index_select(0, source)
        r = torch.sqrt(d.square().sum(-1) + 1e-12)
        harmonics = spherical_harmonics(self.lmax, d)
        centers, width = gaussian_grid(radius, RADIAL, overlap=1.0)
        invariants = gaussian_basis(r, centers, width)
        invariants = invariants if edge_attr is None else torch.cat([invariants, edge_attr], -1)
        edges, x = Edges(edge_index, len(pos)), self.embed(x)
        for layer in self.layers:
            x = layer(x, harmonics, invariants, edges, neighbors)
        return x


class TetrisNet(nn.Module):
    """Clouds of blocks ``(B, N, 3)`` to logits ``(B, classes)``, invariant under SE(3); classes 0 and 1 are mirror images.

    Seven even scalars tell the shapes and one odd scalar the two mirror images, ``logit_0,1 = even +- odd``: under O(3) they
    change places. ``both=False`` (and every product that reaches no odd scalar) leaves the pair tied.
    """

    def __init__(
        self, product: str, classes: int = 8, *, channels: int = 8, lmax: int = 2, layers: int = 3, both: bool = True,
        radius: float = 1.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config: dict[str, Any] = {
            "product": product, "classes": classes, "channels": channels, "lmax": lmax, "layers": layers, "both": both,
            "radius": radius,
        }  # fmt: skip
        self.radius = radius
        parity = product != "matrix"
        self.body = ProductNet("1x0e" if parity else "1x0", product, channels=channels, lmax=lmax, layers=layers, both=both)
        scalars = Irreps([block for block in self.body.irreps if block.ir.l == 0], self.body.irreps.group)
        self.scalars, self.odd = scalars.dim, len(scalars) == 2
        wanted = [(classes - parity, scalars[0].ir), *((1, ir) for _, ir in scalars[1:])]
        self.head = IrrepsLinear(scalars, Irreps(wanted, scalars.group))
        inputs, outputs = "B x N x position", f"B x {classes} x scalar"
        self.contracts = (Contract(SE(3), inputs, outputs), Contract(S("N"), inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        if x.ndim != 3 or x.shape[-1] != 3:
            raise InputError(f"TetrisNet: expected clouds (B, N, 3), got {tuple(x.shape)}")
        batch, n = x.shape[:2]
        pos = x.reshape(-1, 3)
        edge_index = all_pairs(batch, n, device=x.device)
        near = (pos[edge_index[0]] - pos[edge_index[1]]).square().sum(-1) < self.radius**2
        ones = pos.new_ones(len(pos), 1)
        features = self.body(ones, pos, edge_index[:, near], self.radius, neighbors=2.0)
        y = self.head(features[:, : self.scalars]).view(batch, n, -1).mean(1)
        if self.config["product"] == "matrix":  # without parity every class has a scalar of its own
            return y
        even, odd = (y[:, :-1], y[:, -1:]) if self.odd else (y, torch.zeros_like(y[:, :1]))
        return torch.cat([even[:, :1] + odd, even[:, :1] - odd, even[:, 1:]], -1)


class ParticleNet(nn.Module):
    """``pos, vel (B, N, 3)``, ``charge (B, N)`` to positions ``(B, N, 3)`` at a later time; equivariant under E(3)."""

    def __init__(self, product: str, *, channels: int = 16, lmax: int = 2, layers: int = 2, radius: float = 5.0) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "product": product, "channels": channels, "lmax": lmax, "layers": layers, "radius": radius
        }  # fmt: skip
        self.radius = radius
        self.body = ProductNet(
            "2x0e+2x1o", product, channels=channels, lmax=lmax, layers=layers, edge_features=1, both=product == "gaunt+vector"
        )
        self.head = IrrepsLinear(self.body.irreps, "1x1o")
        self.contracts = (Contract(E(3), INPUTS, OUTPUTS), Contract(S("N"), INPUTS, OUTPUTS))

    def forward(self, pos: Tensor, vel: Tensor, charge: Tensor) -> Tensor:
        """Positions at the later time: free flight and what the network adds."""
        check_particles(pos, vel, charge)
        n = pos.shape[-2]
        speed = torch.sqrt(vel.square().sum(-1) + 1e-12)
        vectors = torch.stack([vel, pos - pos.mean(-2, keepdim=True)], -1)  # (B, N, 3, 2)
        x = torch.cat([torch.stack([charge, speed], -1), vectors.flatten(-2)], -1).flatten(0, -2)
        edge_index = all_pairs(x.shape[0] // n, n, device=pos.device)
        product = charge.flatten()[edge_index].prod(0).unsqueeze(-1)
        flat = pos.reshape(-1, 3)
        features = self.body(x, flat, edge_index, self.radius, neighbors=n - 1.0, edge_attr=product)
        return pos + vel + self.head(features).view(pos.shape)


__all__ = ["Interaction", "ParticleNet", "ProductNet", "TetrisNet", "signal_irreps"]
