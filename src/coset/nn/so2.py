"""Layers in the frames of edges, where equivariant maps are matrices of SO(2) (formulas: :mod:`coset.ops.so2`).

In a frame a feature is one of SO(2): order ``m`` of all degrees and channels is ``(2, degrees * C)``, a block of frequency
``m``. :class:`SO2Linear` and the activations work there; :class:`SO2Convolution` is a whole layer, with both rotations and the
sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO, O
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, complete, over
from coset.nn.radial import RadialMLP
from coset.ops.index import Edges
from coset.ops.orders import Orders
from coset.ops.rotation import Frames
from coset.ops.so2 import in_frames, so2_linear
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps


def frame_irreps(orders: Orders, channels: int, scalars: int = 0) -> Irreps:
    """The irreps of SO(2) of a feature in a frame, ``scalars`` of frequency 0 in front."""
    blocks = [(scalars, 0)] if scalars else []
    return Irreps([*blocks, *((orders.degrees(m) * channels, m) for m in range(orders.mmax + 1))], SO(2))


class SO2Linear(nn.Module):
    """``(..., orders.rows * C_in)`` to ``(..., scalars + orders_out.rows * C_out)``, flat features of :func:`frame_irreps`.

    ``scalars`` further outputs of order 0 (logits, gates) come first. ``reflections=True`` leaves out the imaginary parts,
    which a mirror plane through the edge forbids: then whole layers are equivariant under O(3) for features of natural parity.
    """

    def __init__(
        self,
        orders: Orders,
        channels_in: int,
        channels_out: int,
        *,
        orders_out: Orders | None = None,
        scalars: int = 0,
        reflections: bool = False,
    ) -> None:
        super().__init__()
        self.orders_in, self.orders_out = orders, orders_out or orders
        self.channels_in, self.channels_out, self.reflections = channels_in, channels_out, reflections
        if min(channels_in, channels_out) < 1 or scalars < 0:
            raise InputError(f"SO2Linear: at least one channel, got {channels_in} in, {channels_out} out, {scalars} scalars")
        self.weights = nn.ParameterList()
        for m in range(orders.mmax + 1):
            shape = (self.orders_out.degrees(m) * channels_out, orders.degrees(m) * channels_in)
            parts = 1 if m == 0 or reflections else 2
            self.weights.append(nn.Parameter(torch.randn(parts, *shape) / (parts * shape[1]) ** 0.5))
        size = orders.degrees(0) * channels_in
        self.scalars = nn.Linear(size, scalars) if scalars else None
        self.irreps_in = frame_irreps(orders, channels_in)
        self.irreps_out = frame_irreps(self.orders_out, channels_out, scalars)
        self.contracts = (Contract(SO(2), self.irreps_in, self.irreps_out),)

    def forward(self, x: Tensor) -> Tensor:
        """On flat features."""
        scalars, z = self.mix(x.unflatten(-1, (self.orders_in.rows, self.channels_in)))
        return torch.cat([scalars, z.flatten(-2)], -1)

    def mix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(..., rows, C_in)`` to the scalars ``(..., scalars)`` and ``(..., rows out, C_out)``."""
        whole, *pairs = self.weights
        pairs = [torch.cat([weight, torch.zeros_like(weight)]) if self.reflections else weight for weight in pairs]
        first = z[..., : self.orders_in.degrees(0), :].flatten(-2)
        scalars = first[..., :0] if self.scalars is None else self.scalars(first)
        return scalars, so2_linear(z, [whole[0], *pairs], self.orders_in, self.orders_out)


class FrameGate(nn.Module):
    """Degree 0 through SiLU, every other degree and channel times a sigmoid of its own scalar.

    ``z`` ``(..., orders.rows * C)``, a flat feature of :func:`frame_irreps`, with ``lmax * C`` scalars, to the same.
    """

    def __init__(self, orders: Orders, channels: int) -> None:
        super().__init__()
        self.orders, self.channels_in, self.channels_out = orders, channels, channels
        self.scalars = orders.lmax * channels
        self.contracts = (frame_contract(orders, channels, channels, self.scalars),)

    def forward(self, z: Tensor, scalars: Tensor) -> Tensor:
        """See the class."""
        rows = z.unflatten(-1, (self.orders.rows, self.channels_in))
        gates = torch.sigmoid(scalars).unflatten(-1, (self.orders.lmax, self.channels_in))
        degree = torch.tensor(self.orders.degree[1:], device=z.device, dtype=torch.int64) - 1
        return torch.cat([F.silu(rows[..., :1, :]), rows[..., 1:, :] * gates.index_select(-2, degree)], -2).flatten(-2)


def frame_contract(orders: Orders, channels_in: int, channels_out: int, scalars: int) -> Contract:
    """What an activation in a frame promises: it commutes with turns about the edge."""
    inputs = Fields({"z": over("E", frame_irreps(orders, channels_in)), "scalars": f"E x {scalars} x scalar"})
    return Contract(SO(2), inputs, over("E", frame_irreps(orders, channels_out)))


class SO2Convolution(nn.Module):
    """``x_i' = (1 / sqrt(neighbors)) sum_(j -> i) D_e^T W (D_e x_j * w(edge_attr))`` on nodes, ``W`` an :class:`SO2Linear`.

    Features have all degrees ``0..lmax``, once each, irreps of SO(3), or of O(3) with the parities of harmonics (then without
    imaginary parts). ``edge_attr`` are invariants of the edge, a radial basis; a small network makes one weight per degree and
    channel of them. ``edges`` may be shared by layers, and so may ``frames``. ``chunk`` bounds memory; see
    :func:`coset.ops.so2.in_frames`.
    """

    def __init__(
        self,
        irreps_in: IrrepsLike,
        irreps_out: IrrepsLike,
        edge_features: int,
        *,
        mmax: int | None = None,
        hidden: int = 64,
        neighbors: float = 1.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        irreps_in = as_irreps(irreps_in)
        irreps_out = as_irreps(irreps_out, irreps_in.group)
        (lmax_in, channels_in), (lmax_out, channels_out) = (complete(i, "SO2Convolution") for i in (irreps_in, irreps_out))
        mmax = min(lmax_in, lmax_out) if mmax is None else mmax
        self.orders_in, self.orders_out = Orders(lmax_in, mmax), Orders(lmax_out, mmax)
        self.channels, self.neighbors, self.chunk = channels_in, neighbors, chunk
        self.linear = SO2Linear(
            self.orders_in, channels_in, channels_out, orders_out=self.orders_out, reflections=irreps_in.group == O(3)
        )
        self.radial = RadialMLP([edge_features, hidden, (lmax_in + 1) * channels_in])
        inputs = Fields(
            {
                "x": over("N", irreps_in),
                "vectors": "E x vector",
                "edge_attr": f"E x {edge_features} x scalar",
                "edge_index": "2 x E -> N",
            }
        )
        outputs = over("N", irreps_out)
        self.contracts = tuple(Contract(group, inputs, outputs) for group in (irreps_in.group, S("N")))

    def forward(
        self, x: Tensor, vectors: Tensor, edge_attr: Tensor, edge_index: Tensor | Edges, frames: Frames | None = None
    ) -> Tensor:
        """``x`` ``(N, dim)``, ``vectors`` ``(E, 3)`` from source to target or back, to ``(N, dim out)``."""
        edges = as_edges(edge_index, len(x))
        frames = frames or Frames.of(vectors, max(self.orders_in.lmax, self.orders_out.lmax))
        weights = self.radial(edge_attr).unflatten(-1, (self.orders_in.degrees(0), self.channels))
        degree = torch.tensor(self.orders_in.degree, device=x.device)

        def mix(z: Tensor, w: Tensor) -> Tensor:
            return self.linear.mix(z * w.index_select(1, degree))[1]

        rows = x.unflatten(-1, ((self.orders_in.lmax + 1) ** 2, self.channels))
        y = in_frames(mix, rows, frames, edges, self.orders_in, self.orders_out, data=(weights,), chunk=self.chunk)
        return y.flatten(-2) / self.neighbors**0.5


def as_edges(edge_index: Tensor | Edges, nodes: int) -> Edges:
    """Indices of a graph; given Edges, made once and shared by layers, are taken as they are."""
    return edge_index if isinstance(edge_index, Edges) else Edges(edge_index, nodes)
