"""Equivariant attention over the incoming edges of a node, smooth where an edge is cut off.

Weights of the edges ``e`` into a node ``i`` from scores ``s_e`` (invariants) and an envelope ``c_e`` that falls to zero at the
cutoff:

    a_e = c_e * exp(s_e - t_i) c_e / (sum_(f -> i) exp(s_f - t_i) c_f + eps)

The envelope stands twice. Inside the sum it lets an edge leave the average smoothly; outside, it lets the last edge of a node
leave, whose share would be 1 up to the end. Values are mixed in the frames of the edges (:mod:`coset.ops.so2`):

    x_i' = W_out sum_(e -> i) D_e^T [ a_e W_2 f(W_1 D_e (x_source w_e | x_target w'_e)) ]

Liao et al., EquiformerV3, 2026, arXiv 2604.09130.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import O
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete, over
from coset.nn.irreps_linear import IrrepsLinear
from coset.nn.radial import RadialMLP
from coset.nn.s2_activation import FrameSwiGLU
from coset.nn.so2 import FrameGate, SO2Linear, as_edges
from coset.ops.index import Edges, Index
from coset.ops.orders import Orders
from coset.ops.radial import polynomial_envelope
from coset.ops.rotation import Frames
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps

EPS = 1e-8  #: keeps the quotient and two derivatives finite in float32 as all envelopes of a node vanish
ABOVE = 19.0  #: more than log(1 / EPS), by which a score may exceed the level of its node
LOWEST = -1e30  #: the level of a node whose edges all weigh nothing


def envelope_softmax(scores: Tensor, envelope: Tensor, target: Index) -> Tensor:
    """The weights ``a_e`` of the module, ``(E, heads)``, for scores ``(E, heads)`` and envelopes ``(E,)`` in [0, 1].

    ``t_i`` is the largest ``s_f + log c_f``: an edge that enters with a high score changes nothing at once. Nodes without edges
    have nothing to weigh and nothing is divided.
    """
    if scores.ndim != 2 or envelope.shape != scores.shape[:1]:
        raise InputError(
            f"envelope_softmax: scores (E, heads) and envelope (E,), got {tuple(scores.shape)}, {tuple(envelope.shape)}"
        )
    weight = envelope.unsqueeze(-1)
    level = torch.where(weight > 0, scores + weight.clamp(min=EPS).log(), -torch.inf).detach()
    place = target.values.unsqueeze(-1).expand_as(level)
    top = level.new_full((target.size, level.shape[1]), LOWEST).scatter_reduce(0, place, level, "amax")
    above = scores - top.index_select(0, target.values)
    inside = torch.exp(above.clamp(max=ABOVE)) * weight  # only edges without weight reach the bound
    total = inside.new_zeros(target.size, inside.shape[1]).index_add(0, target.values, inside)
    return weight * inside / (total.index_select(0, target.values) + EPS)


class SmoothLeakyReLU(nn.Module):
    """``(1 + a) / 2 x + (1 - a) / 2 x (2 sigmoid(x) - 1)``: slope ``a`` far below zero, 1 far above, smooth between."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return (1 + self.slope) / 2 * x + (1 - self.slope) / 2 * x * (2 * torch.sigmoid(x) - 1)


class GraphAttention(nn.Module):
    """Attention on nodes ``x`` ``(N, irreps_in.dim)`` with edge vectors ``(E, 3)`` and invariants ``(E, edge_features)``.

    Features have all degrees ``0..lmax`` once each, irreps of SO(3), or of O(3) with the parities of harmonics. ``hidden``
    channels between the two mixes, ``value`` channels per head; ``alpha`` numbers per head make a score. ``activation`` is
    ``"gate"`` or ``"swiglu"``, a product on the sphere; both are exact. A layer of one's own, with what :class:`FrameGate`
    has, makes the promises of this one its maker's. ``radial`` are the hidden sizes of the radial network. Edges beyond
    ``cutoff`` weigh nothing; with ``p=None`` there is no envelope, and energies jump where an edge is cut off.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike,
        edge_features: int,
        cutoff: float,
        *,
        mmax: int | None = None,
        heads: int = 4,
        hidden: int = 32,
        value: int = 16,
        alpha: int = 16,
        activation: Literal["gate", "swiglu"] | nn.Module = "gate",
        radial: Sequence[int] = (64,),
        dropout: float = 0.0,
        p: int | None = 5,
    ) -> None:
        super().__init__()
        irreps_in = as_irreps(irreps_in)
        irreps_out = as_irreps(irreps_out, irreps_in.group)
        self.lmax, self.channels = complete(irreps_in, "GraphAttention")
        if isinstance(activation, str) and activation not in ("gate", "swiglu"):
            raise InputError(f"GraphAttention: activation is 'gate' or 'swiglu', got {activation!r}")
        if not cutoff > 0 or min(heads, hidden, value, alpha) < 1:
            raise InputError(
                f"GraphAttention: sizes and the cutoff are positive, got cutoff {cutoff}, heads {heads}, hidden {hidden}"
            )
        self.orders = Orders(self.lmax, self.lmax if mmax is None else mmax)
        self.heads, self.cutoff, self.p = heads, cutoff, p
        kinds: dict[Any, Any] = {"gate": FrameGate, "swiglu": FrameSwiGLU}
        self.activation: Any = kinds.get(activation, lambda *_: activation)(self.orders, hidden)
        mirrored = irreps_in.group == O(3)
        self.radial = RadialMLP([edge_features, *radial, 2 * (self.lmax + 1) * self.channels])
        self.first = SO2Linear(
            self.orders,
            2 * self.channels,
            self.activation.channels_in,
            scalars=heads * alpha + self.activation.scalars,
            reflections=mirrored,
        )
        self.second = SO2Linear(self.orders, self.activation.channels_out, heads * value, reflections=mirrored)
        self.score = nn.Sequential(nn.LayerNorm(alpha), SmoothLeakyReLU())
        self.vector = nn.Parameter(torch.randn(heads, alpha) / alpha**0.5)
        self.dropout = nn.Dropout(dropout)
        between = Irreps([(heads * value, ir) for _, ir in irreps_in], irreps_in.group)
        self.out = IrrepsLinear(between, irreps_out, bias=True)
        self.contracts = self._contracts(irreps_in, irreps_out, edge_features)

    @staticmethod
    def _contracts(irreps_in: Irreps, irreps_out: Irreps, edge_features: int) -> tuple[Contract, ...]:
        inputs = Fields(
            {
                "x": over("N", irreps_in),
                "vectors": "E x vector",
                "edge_attr": f"E x {edge_features} x scalar",
                "edge_index": "2 x E -> N",
            }
        )
        return tuple(Contract(group, inputs, over("N", irreps_out)) for group in (irreps_in.group, S("N")))

    def forward(
        self, x: Tensor, vectors: Tensor, edge_attr: Tensor, edge_index: Tensor | Edges, frames: Frames | None = None
    ) -> Tensor:
        """``(N, irreps_out.dim)``; ``frames`` of the vectors may be shared by layers. InputError for vectors of length zero."""
        edges = as_edges(edge_index, len(x))
        frames = frames or Frames.of(vectors, self.lmax)
        scalars, z = self.first.mix(self._both_ends(x, edge_attr, edges, frames))
        logits, rest = scalars.split([self.vector.numel(), scalars.shape[-1] - self.vector.numel()], -1)
        acted = self.activation(z.flatten(-2), rest).unflatten(-1, (self.orders.rows, self.activation.channels_out))
        values = self.second.mix(acted)[1]
        scores = (self.score(logits.unflatten(-1, self.vector.shape)) * self.vector).sum(-1)
        lengths = torch.linalg.vector_norm(vectors, dim=-1)
        envelope = torch.ones_like(lengths) if self.p is None else polynomial_envelope(lengths, self.cutoff, self.p)
        weights = self.dropout(envelope_softmax(scores, envelope, edges["target"]))
        values = (values.unflatten(-1, (self.heads, values.shape[-1] // self.heads)) * weights[:, None, :, None]).flatten(-2)
        y = frames.leave(values, self.orders, edges["target"])
        return self.out(y.flatten(-2))

    def _both_ends(self, x: Tensor, edge_attr: Tensor, edges: Edges, frames: Frames) -> Tensor:
        """Features of both ends in the frames, each degree and channel times its radial weight: ``(E, rows, 2C)``."""
        rows = x.unflatten(-1, ((self.lmax + 1) ** 2, self.channels))
        ends = [frames.enter(rows, self.orders, edges[end]) for end in ("source", "target")]
        weights = self.radial(edge_attr).unflatten(-1, (self.lmax + 1, 2 * self.channels))
        degree = torch.tensor(self.orders.degree, device=x.device)
        return torch.cat(ends, -1) * weights.index_select(1, degree)
