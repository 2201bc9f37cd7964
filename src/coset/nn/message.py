"""Message passing that E(n) acts on: features stay invariant, positions and velocities move with the frame.

For every edge ``source -> target``, with ``d = x_target - x_source``,

    m_e  = message(h_target, h_source, |d|^2, edge features)
    h'_i = h_i + update(h_i, sum_e m_e)
    v'_i = gain(h_i) v_i + mean_e shift(m_e) d_e          (v present)
    x'_i = x_i + v'_i, or x_i + mean_e shift(m_e) d_e     (v absent)

Satorras, Hoogeboom & Welling, E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv 2102.09844. Exact for E(n) and for
permutations of nodes. Differs from the paper: ``d / (|d| + 1)`` bounds the step, and messages are averaged for positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.euclidean import E
from coset.groups.permutation import S

Message = Callable[[Tensor], Tensor]  #: (edges, 2 hidden + 1 + edge features) -> (edges, hidden)
Update = Callable[[Tensor], Tensor]  #: (nodes, 2 hidden) -> (nodes, hidden)


def mlp(inputs: int, hidden: int, outputs: int, *, last: bool = True) -> nn.Sequential:
    """Two linear layers with SiLU between them and, unless ``last``, after them."""
    layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers) if last else nn.Sequential(*layers, nn.SiLU())


class MessagePassing(nn.Module):
    """One layer on ``h`` (N, hidden), ``x`` (N, n), optionally ``v`` (N, n); ``edge_index`` is (source, target).

    Axes between the first and the last, (N, T, hidden) and (N, T, n), hold frames on the same graph, each by itself.
    ``message`` and ``update`` replace the default two-layer networks; they see invariants only, so whatever they compute
    keeps the contract. Without ``residual`` features become ``update`` alone; ``move=False`` leaves positions where they
    are; ``damped`` messages see ``log(1 + |d|^2)``, so that steps grow no faster than distances. Raises InputError for sizes
    that do not fit.
    """

    def __init__(
        self,
        hidden: int,
        edge_features: int = 0,
        *,
        space: int = 3,
        velocity: bool = False,
        move: bool = True,
        message: Message | None = None,
        update: Update | None = None,
        residual: bool = True,
        damped: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1 or edge_features < 0 or space < 1:
            raise InputError(f"MessagePassing: sizes are positive, got hidden {hidden}, edges {edge_features}, space {space}")
        self.hidden, self.edge_features, self.velocity, self.move = hidden, edge_features, velocity, move
        self.residual, self.damped = residual, damped
        self.message = message or mlp(2 * hidden + 1 + edge_features, hidden, hidden, last=False)
        self.update = update or mlp(2 * hidden, hidden, hidden)
        self.shift = mlp(hidden, hidden, 1) if move else None
        if self.shift is not None:
            nn.init.xavier_uniform_(next(self.shift[-1].parameters()), gain=1e-3)  # positions start almost at rest
        self.gain = mlp(hidden, hidden, 1) if velocity and move else None
        self.contracts = self._contracts(space)

    def _contracts(self, space: int) -> tuple[Contract, ...]:
        inputs = {"h": f"N x {self.hidden} x scalar", "x": "N x position", "edge_index": "2 x E -> N"}
        outputs = {"h": f"N x {self.hidden} x scalar", "x": "N x position"}
        if self.velocity:
            inputs["v"] = outputs["v"] = "N x vector"
        if self.edge_features:
            inputs["edge_attr"] = f"E x {self.edge_features} x scalar"
        return (Contract(E(space), inputs, outputs), Contract(S("N"), inputs, outputs))

    def forward(
        self, h: Tensor, x: Tensor, edge_index: Tensor, v: Tensor | None = None, edge_attr: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``{"h", "x"}`` and ``"v"`` where the layer has velocities."""
        if (v is None) is self.velocity:
            raise InputError(f"MessagePassing: velocity={self.velocity}, but v is {'missing' if v is None else 'given'}")
        if (edge_attr is None) is (self.edge_features > 0):
            raise InputError(
                f"MessagePassing: expects {self.edge_features} edge features, edge_attr is {edge_attr is not None}"
            )
        source, target = edge_index
        d = x.index_select(0, target) - x.index_select(0, source)
        square = d.square().sum(-1, keepdim=True)
        seen = square.log1p() if self.damped else square
        edge = seen if edge_attr is None else torch.cat([seen, edge_attr], -1)
        message = self._message(h, edge, source, target)
        gathered = torch.zeros_like(h).index_add(0, target, message)
        update = self.update(torch.cat([h, gathered], -1))
        out = {"h": h + update if self.residual else update, "x": x}
        if self.shift is not None:
            # sqrt has no derivative at 0: two nodes at one place exchange no force
            step = self.shift(message) * d / (torch.sqrt(square + 1e-12) + 1)
            count = torch.zeros_like(x[..., :1]).index_add(0, target, torch.ones_like(square)).clamp(min=1)
            step = torch.zeros_like(x).index_add(0, target, step) / count
            if v is not None and self.gain is not None:
                step = self.gain(h) * v + step
                out["v"] = step
            out["x"] = x + step
        elif v is not None:
            out["v"] = v
        return out

    def _message(self, h: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """``message(h_target, h_source, edge)``; the default network's first layer acts on nodes before they meet on edges."""
        if not isinstance(self.message, nn.Sequential):
            return self.message(torch.cat([h.index_select(0, target), h.index_select(0, source), edge], -1))
        weight, bias = self.message[0].parameters()
        to, of, on = weight.split([self.hidden, self.hidden, edge.shape[-1]], -1)
        out = F.linear(edge, on, bias) + F.linear(h, to).index_select(0, target) + F.linear(h, of).index_select(0, source)
        return self.message[1:](out)
