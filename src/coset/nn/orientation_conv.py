"""Convolutions on positions x orientations: separable on a shared grid, dense on a cloud, and the residual block around them.

A kernel is a linear function of a *basis* computed once from invariants of a pair of places and shared by all layers,

    basis(a) = GELU(W2 GELU(W1 monomials(a))) * envelope(|r|),

so that a layer only owns the map from basis to kernel. On a grid ``o_1 .. o_M`` shared by all nodes the convolution separates,

    y[i, o] = sum_(j -> i) k1(r_ij, o) * x[j, o],        z[i, p] = 1/M sum_o k2(o . p) * y[i, o]  (+ bias),

channel by channel. Bekkers et al., Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation
Space, ICLR 2024, arXiv 2310.02970. Both convolutions commute with permutations of nodes and of orientations, exactly.

Sums over many neighbors explode, so the first forward pass in training rescales the kernels, once: ``k1`` by
``std(x) / std(y)``, ``k2`` by ``std(y) / std(z)``. That it has happened is a buffer (a resumed run does not repeat it). Differs
from the paper: the rescaled kernels serve the very pass they were measured in, deviations are those of the global batch, so
that the processes of a distributed run keep equal weights, and a monomial is listed once.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.ops.scatter import scatter_sum


def monomials(x: Tensor, degree: int) -> Tensor:
    """All monomials of degree 1 to ``degree`` in the variables ``(..., d)``, each once: ``(..., terms)``."""
    variables = x.unbind(-1)
    out = list(variables)
    level: dict[tuple[int, ...], Tensor] = {(i,): variable for i, variable in enumerate(variables)}
    for order in range(2, degree + 1):
        terms = combinations_with_replacement(range(len(variables)), order)
        level = {term: level[term[:-1]] * variables[term[-1]] for term in terms}
        out += level.values()
    return torch.stack(out, -1)


class KernelBasis(nn.Module):
    """Smooth functions ``(..., size)`` of ``inputs`` invariants ``(..., inputs)``: a two-layer network on their monomials."""

    def __init__(self, inputs: int, hidden: int, size: int, *, degree: int = 3) -> None:
        super().__init__()
        if min(inputs, hidden, size, degree) < 1:
            raise InputError(f"KernelBasis: sizes are at least 1, got {inputs}, {hidden}, {size} and degree {degree}")
        self.degree = degree
        terms = monomials(torch.zeros(inputs), degree).shape[-1]
        self.net = nn.Sequential(nn.Linear(terms, hidden), nn.GELU(), nn.Linear(hidden, size), nn.GELU())

    def forward(self, invariants: Tensor) -> Tensor:
        """Values of the basis."""
        return self.net(monomials(invariants, self.degree))


def spread(x: Tensor) -> Tensor:
    """Standard deviation over all entries, float64, and over all processes where several share a batch."""
    x = x.detach().double()
    moments = torch.stack([torch.full_like(x.sum(), x.numel()), x.sum(), x.square().sum()])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(moments)
    count, total, squares = moments
    return (squares / count - (total / count).square()).clamp(min=0).sqrt()


class Calibrated(nn.Module):
    """A layer whose kernels are rescaled by its first forward pass in training, once."""

    calibrated: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def _calibrate(self, kernels: tuple[nn.Linear, ...], stages: tuple[Tensor, ...]) -> None:
        """Kernel by kernel, the deviation after it becomes that before it; a stage without spread leaves its kernel alone."""
        spreads = [spread(x) for x in stages]
        for kernel, before, after in zip(kernels, spreads, spreads[1:], strict=False):
            ratio = before / after
            kernel.weight.mul_(torch.where(ratio.isfinite() & (ratio > 0), ratio, torch.ones_like(ratio)).to(kernel.weight))
        self.calibrated.fill_(True)

    @property
    def _due(self) -> bool:
        return self.training and not bool(self.calibrated)


class SeparableConv(Calibrated):
    """Depthwise convolution over positions, then over a shared grid of orientations; ``basis`` functions make each kernel."""

    def __init__(self, channels: int, basis: int) -> None:
        super().__init__()
        self.over_positions = nn.Linear(basis, channels, bias=False)
        self.over_orientations = nn.Linear(basis, channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))
        features = f"M x {channels} x scalar"
        inputs = {"x": f"N x {features}", "spatial": f"E x M x {basis} x scalar", "angular": f"M x M x {basis} x scalar"}
        inputs["edge_index"] = "2 x E -> N"
        self.contracts = tuple(Contract(S(index), inputs, f"N x {features}") for index in ("N", "M"))

    def forward(self, x: Tensor, spatial: Tensor, angular: Tensor, edge_index: Tensor) -> Tensor:
        """``x`` ``(N, M, channels)``, bases ``(E, M, basis)`` and ``(M, M, basis)``, ``edge_index`` (source, target)."""
        if self._due:
            with torch.no_grad():
                y = self._gather(x, spatial, edge_index)
                kernels = (self.over_positions, self.over_orientations)
                self._calibrate(kernels, (x, y, self._turn(y, angular)))
        return self._turn(self._gather(x, spatial, edge_index), angular) + self.bias

    def _gather(self, x: Tensor, spatial: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        return scatter_sum(self.over_positions(spatial) * x.index_select(0, source), target, len(x))

    def _turn(self, y: Tensor, angular: Tensor) -> Tensor:
        return torch.einsum("poc,noc->npc", self.over_orientations(angular), y) / y.shape[1]


class CloudConv(Calibrated):
    """Depthwise convolution over the points of a cloud, of any space: ``z_i = sum_(j -> i) k_ij * x_j + bias``."""

    def __init__(self, channels: int, basis: int) -> None:
        super().__init__()
        self.kernel = nn.Linear(basis, channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))
        inputs = {"x": f"N x {channels} x scalar", "basis": f"E x {basis} x scalar", "edge_index": "2 x E -> N"}
        self.contracts = (Contract(S("N"), inputs, f"N x {channels} x scalar"),)

    def forward(self, x: Tensor, basis: Tensor, edge_index: Tensor) -> Tensor:
        """``x`` ``(N, channels)``, ``basis`` ``(E, basis)``, ``edge_index`` (source, target)."""
        if self._due:
            with torch.no_grad():
                self._calibrate((self.kernel,), (x, self._gather(x, basis, edge_index)))
        return self._gather(x, basis, edge_index) + self.bias

    def _gather(self, x: Tensor, basis: Tensor, edge_index: Tensor) -> Tensor:
        return scatter_sum(self.kernel(basis) * x.index_select(0, edge_index[0]), edge_index[1], len(x))


class ConvNeXt(nn.Module):
    """``x + scale * W2 GELU(W1 LayerNorm(conv(x, ...)))``: a convolution that mixes places, a network that mixes channels.

    ``layer_scale`` is where the learned scale of each channel starts; None leaves it out. Liu et al., CVPR 2022.
    """

    def __init__(self, conv: nn.Module, channels: int, *, widening: int = 4, layer_scale: float | None = None) -> None:
        super().__init__()
        self.conv = conv
        wide = widening * channels
        self.mix = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((channels,), float(layer_scale)))

    def forward(self, x: Tensor, *geometry: Tensor) -> Tensor:
        """Features of the shape that ``conv`` takes, its further arguments passed on."""
        step = self.mix(self.conv(x, *geometry))
        return x + (step if self.scale is None else self.scale * step)
