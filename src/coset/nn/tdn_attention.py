"""Attention whose products with harmonics share one weight for all paths, so that a decomposition of rank R can stand for them.

    m_e = w(r_e) * P(U x_source + V x_target, Y_e),    a_e = softmax over e -> i of f(scalars of m_e),    smooth at the cutoff
    x_i' = W sum_(e -> i) a_e P(gate(m_e), Y_e)

``P`` couples all degrees along all paths (:class:`FactoredProduct` as far as a rank goes, :class:`CoupledProduct` without
error), ``U``, ``V``, ``W`` mix channels, alike for every degree. Features are
``(N, (lmax + 1)^2, C)``, irreps of SO(3). Lin et al., Tensor Decomposition Networks, NeurIPS 2025, arXiv 2507.01131. The
softmax has the envelope twice (:func:`coset.nn.graph_attention.envelope_softmax`); the paper's has none, and forces jump.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.orthogonal import SO
from coset.nn.decomposed_product import DecomposedProduct
from coset.nn.graph_attention import SmoothLeakyReLU, envelope_softmax
from coset.nn.radial import RadialMLP
from coset.ops.decomposed import Decomposition, Request, coupling, cp_product, decompose
from coset.ops.index import Edges
from coset.ops.plan import Operand, make_plan
from coset.ops.product import product
from coset.ops.scatter import scatter_sum
from coset.reps.fields import Field
from coset.reps.irreps import Irreps


def features(channels: int, lmax: int) -> Irreps:
    """``channels`` of every degree ``0..lmax`` of SO(3)."""
    return Irreps([(channels, degree) for degree in range(lmax + 1)], SO(3))


class CoupledProduct(nn.Module):
    """All paths of degrees up to ``lmax`` with the sizes of the gauge ``"unit"``: what a decomposition approximates.

    ``x`` ``(E, d, C)`` times ``y`` ``(E, d, 1)`` with one weight per channel, run as a plan; exact.
    """

    def __init__(self, channels: int, lmax: int) -> None:
        super().__init__()
        dense = unit_tensor(lmax)
        table, side = torch.nonzero(dense), len(dense)
        inputs = [Operand("x", side), Operand("y", side, False)]
        values = dense[tuple(table.T)].numpy()
        self.plan = make_plan(inputs, Operand("out", side), table.numpy(), values, f"coupled(lmax {lmax})")
        self.weight = nn.Parameter(torch.randn(channels))
        irreps = features(channels, lmax)
        self.contracts = (
            Contract(SO(3), {"x": Field(("E",), irreps), "y": Field(("E",), features(1, lmax))}, Field(("E",), irreps)),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Flat features ``(E, d C)`` and ``(E, d)`` to ``(E, d C)``."""
        rows = x.unflatten(-1, (y.shape[-1], -1))
        return (product(self.plan, [rows, y]) * self.weight).flatten(-2)


class FactoredProduct(DecomposedProduct):
    """A :class:`DecomposedProduct` of channels with one harmonic: the same numbers, its weight on the rows of ``x``.

    These are fewer than the factors' columns, by which the parent multiplies.
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Flat features ``(E, d C)`` and ``(E, d)`` to ``(E, d C)``."""
        rows = x.unflatten(-1, (y.shape[-1], self.u)) * self.weight[:, 0].to(x)
        return cp_product(rows, y.unsqueeze(-1), [table.like(x) for table in self._tables]).flatten(-2)


def unit_tensor(lmax: int) -> Tensor:
    """The coupling of all paths ``(d, d, d)`` in the gauge "unit", whose blocks have largest entry 1; float64."""
    dense, labels, paths = coupling(lmax)
    largest = torch.zeros(len(paths), dtype=dense.dtype).scatter_reduce(0, labels.flatten(), dense.abs().flatten(), "amax")
    return dense / largest[labels]


def shared_product(channels: int, lmax: int, factors: Decomposition | None) -> tuple[nn.Module, float]:
    """The product of ``factors``, or of all paths without them, and the factor that gives its output unit variance."""
    tensor = unit_tensor(lmax) if factors is None else factors.tensor()
    size = float(len(tensor) ** 0.5 / tensor.norm())
    if factors is None:
        return CoupledProduct(channels, lmax), size
    return FactoredProduct(features(channels, lmax), features(1, lmax), factors), size


def factors_of(lmax: int, rank: int | None, gauge: str | None) -> Decomposition | None:
    """Factors of rank ``rank``, None for all paths. ``gauge`` None is ``"unit"`` for lmax 1 and ``"fitted"`` above."""
    if rank is None:
        return None
    chosen = gauge or ("unit" if lmax < 2 else "fitted")
    return decompose(Request(lmax, rank, chosen))  # type: ignore[arg-type]


class SharedLinear(nn.Module):
    """One matrix over channels for every degree, ``(..., d, C)`` to ``(..., d, C')``, and a bias in degree 0."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, outputs) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``x W + b``, the bias added without writing into what was computed: derivatives of derivatives."""
        y = x @ self.weight
        return torch.cat([y[..., :1, :] + self.bias, y[..., 1:, :]], -2)


class DegreeGate(nn.Module):
    """Degree 0 through a SiLU, every other channel times a gate, one per channel, made from degree 0: ``(..., d, C)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        first = x[..., :1, :]
        return torch.cat([F.silu(first), x[..., 1:, :] * torch.sigmoid(self.gates(first))], -2)


class ProductAttention(nn.Module):
    """``x`` ``(N, d, C)``, harmonics ``(E, d)``, invariants ``(E, features)`` and envelopes ``(E,)`` to ``(N, d, outputs)``.

    ``heads`` share the ``channels``; ``alpha`` numbers per head make a score. InputError for channels that do not divide.
    """

    def __init__(self, channels: int, lmax: int, edge_features: int, factors: Decomposition | None, *, heads: int = 4,
                 alpha: int = 8, hidden: int = 64, outputs: int | None = None, dropout: float = 0.0) -> None:  # fmt: skip
        super().__init__()
        if min(channels, heads, alpha, hidden) < 1 or channels % heads:
            raise InputError(f"ProductAttention: {channels} channels are not shared out to {heads} heads of {alpha} numbers")
        self.heads, self.alpha = heads, alpha
        self.source, self.target = SharedLinear(channels, channels), SharedLinear(channels, channels)
        self.first, self.size = shared_product(channels, lmax, factors)
        self.second, _ = shared_product(channels, lmax, factors)
        self.radial = RadialMLP([edge_features, hidden, hidden, channels])
        self.logits = nn.Linear(channels, heads * alpha)
        self.score = nn.Sequential(nn.LayerNorm(alpha), SmoothLeakyReLU(0.2))
        self.vector = nn.Parameter(torch.randn(heads, alpha) / alpha**0.5)
        self.value, self.gate = SharedLinear(channels, channels), DegreeGate(channels)
        self.out = SharedLinear(channels, outputs or channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sh: Tensor, edge_attr: Tensor, envelope: Tensor, edges: Edges) -> Tensor:
        """See the class."""
        source, target = edges["source"].values, edges["target"].values
        both = (self.source(x).index_select(0, source) + self.target(x).index_select(0, target)) * 0.5**0.5
        message = self._couple(self.first, both * self.radial(edge_attr).unsqueeze(-2), sh)
        scores = (self.score(self.logits(message[:, 0]).unflatten(-1, (self.heads, self.alpha))) * self.vector).sum(-1)
        weights = self.dropout(envelope_softmax(scores, envelope, edges["target"]))
        value = self._couple(self.second, self.gate(self.value(message)), sh)
        value = (value.unflatten(-1, (self.heads, -1)) * weights[:, None, :, None]).flatten(-2)
        return self.out(scatter_sum(value, target, len(x)))

    def _couple(self, multiply: nn.Module, x: Tensor, sh: Tensor) -> Tensor:
        return self.size * multiply(x.flatten(-2), sh).unflatten(-1, x.shape[-2:])
