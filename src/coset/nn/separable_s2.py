"""Any function on the sphere beside scalars that act by themselves: the activation of EquiformerV2, for comparison.

    y = n from_grid(f(to_grid(z) / n)),     then degree 0 of y replaced by f(s),       n = sqrt(rows)

``f(to_grid(z))`` has all degrees where ``z`` has finitely many; the grid folds the high ones back, so that the layer is
equivariant as far as its grid goes, and no grid makes it exact (:class:`coset.nn.s2_activation.SwiGLUS2` is). ``n`` gives the
signal of standard normal coefficients unit variance. Liao et al., EquiformerV2, ICLR 2024, arXiv 2306.12059.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.nn.irreps_gate import Activation
from coset.nn.so2 import frame_contract
from coset.ops.orders import Orders
from coset.ops.s2grid import S2Grid


def separable(grid: S2Grid, lmax: int, signal: Tensor, given: Tensor, activation: Activation = F.silu) -> Tensor:
    """``signal`` ``(..., rows, C)`` and scalars ``(..., C)`` to ``(..., rows, C)``; see the module."""
    size = signal.shape[-2] ** 0.5
    y = grid.from_grid(activation(grid.to_grid(signal, lmax) / size), lmax) * size
    return torch.cat([activation(given).unsqueeze(-2), y[..., 1:, :]], -2)


class FrameSeparable(nn.Module):
    """:func:`separable` SiLU in the frames of edges, on the least grid that is exact for products.

    ``z`` ``(..., orders.rows * C)``, a flat feature of :func:`coset.nn.so2.frame_irreps`, and ``C`` scalars to the same shape.
    Contract: SO(2), approximate without a stated bound (a percent or two for standard normal features).
    """

    def __init__(self, orders: Orders, channels: int) -> None:
        super().__init__()
        self.orders, self.channels_in, self.channels_out, self.scalars = orders, channels, channels, channels
        self.grid = S2Grid(orders.lmax, orders.mmax)
        exact = frame_contract(orders, channels, channels, channels)
        self.contracts = (Contract(exact.group, exact.inputs, exact.outputs, "approximate"),)

    def forward(self, z: Tensor, scalars: Tensor) -> Tensor:
        """See the class."""
        layout = self.orders.layout
        to_orders, to_degrees = (torch.tensor(rows, device=z.device) for rows in (layout.to_orders, layout.to_degrees))
        rows = z.unflatten(-1, (self.orders.rows, self.channels_in)).index_select(-2, to_degrees)
        return separable(self.grid, self.orders.lmax, rows, scalars).index_select(-2, to_orders).flatten(-2)
