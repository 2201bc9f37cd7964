"""Products of node features with edge harmonics inside message passing, one interface for every product.

A feature holds every degree 0..lmax with parity p (-1)^l for one or both signs p, ``channels`` times each; the filter is the
harmonics of the edge, 0..lmax. ``forward`` gathers the features of the source, multiplies, and sums into the target:

- ``cg``: all Clebsch-Gordan paths, a radial weight per path and channel (:func:`coset.ops.tensor_product.channelwise`);
- ``gaunt``: a Gaunt product for each sign, radial weights per degree of both factors and of the result;
- ``gaunt+vector``: beside it the cross product of vector fields, which turns one sign into the other: the odd paths;
- ``matrix``: the matrix product, under SO(3) only.

A separable product has 3 (lmax + 1) weights where ``cg`` has one per path: the price of its speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coset.errors import InputError, unknown
from coset.groups.matrix import SO, O
from coset.nn.irreps_blocks import split_blocks
from coset.ops.gaunt import GauntProduct
from coset.ops.index import Edges
from coset.ops.matrix_product import MatrixProduct
from coset.ops.tensor_product import channelwise
from coset.ops.vector_product import VectorProduct
from coset.reps.irreps import Irreps

PRODUCTS = ("cg", "gaunt", "gaunt+vector", "matrix")


def signal_irreps(channels: int, lmax: int, *, both: bool, group: SO | O | None = None) -> Irreps:
    """``channels`` of every degree: ``C x0e + C x1o + ...``, with ``both`` also ``C x0o + C x1e + ...``."""
    if group == SO(3):
        return Irreps([(channels, l) for l in range(lmax + 1)], group)
    signs = (1, -1) if both else (1,)
    words = [f"{channels}x{l}{'e' if p * (-1) ** l > 0 else 'o'}" for l in range(lmax + 1) for p in signs]
    return Irreps("+".join(words))


class SignalProduct(nn.Module):
    """``product`` between features ``(N, irreps_in.dim)`` and harmonics ``(E, (lmax + 1)^2)``, summed over edges.

    ``weights`` says how many numbers per edge and channel it takes. InputError for an unknown product and sizes below 1.
    """

    even_scale: Tensor
    odd_scale: Tensor

    def __init__(self, product: str, channels: int, lmax: int, *, both: bool = False) -> None:
        super().__init__()
        if product not in PRODUCTS:
            raise unknown("product", product, PRODUCTS)
        if channels < 1 or lmax < 0:
            raise InputError(f"SignalProduct: channels >= 1 and lmax >= 0, got {channels} and {lmax}")
        self.product, self.channels, self.lmax = product, channels, lmax
        self.both = product == "gaunt+vector" or (both and product != "matrix")
        self.group = SO(3) if product == "matrix" else O(3)
        self.irreps_in = signal_irreps(channels, lmax, both=self.both, group=self.group)
        self.irreps_filter = signal_irreps(1, lmax, both=False, group=self.group)
        degrees = lmax + 1
        if product == "cg":
            self.paths = channelwise(self.irreps_in, self.irreps_filter, self.irreps_in)
            self.irreps_out, self.weights = self.paths.irreps_out, len(self.paths.paths)
            return
        even: Any = MatrixProduct(lmax, lmax, lmax) if product == "matrix" else GauntProduct(lmax, lmax, lmax)
        signs = 2 if self.both else 1
        self.even, self.odd = even, VectorProduct(lmax, lmax, lmax) if product == "gaunt+vector" else None
        copies = 1 + (self.odd is not None)
        self.irreps_out = Irreps([(copies * mul, ir) for mul, ir in self.irreps_in], self.group)
        self.weights = signs * degrees * (3 + (6 if self.odd is not None else 0))
        dtype = torch.get_default_dtype()
        self.register_buffer("even_scale", even.output_weights().to(dtype)[:, None], persistent=False)
        if self.odd is not None:
            self.register_buffer("odd_scale", self.odd.output_weights().to(dtype)[:, None, None], persistent=False)

    def forward(self, x: Tensor, harmonics: Tensor, weights: Tensor, edges: Edges) -> Tensor:
        """Messages ``(N, irreps_out.dim)``; ``weights`` is ``(E, weights, channels)``."""
        if weights.shape[-2:] != (self.weights, self.channels):
            raise InputError(
                f"SignalProduct: {self.product} takes ({self.weights}, {self.channels}) weights per edge, "
                f"got {tuple(weights.shape)}"
            )
        if self.product == "cg":
            rows = x.unflatten(-1, (-1, self.channels))
            return self.paths(rows, harmonics, weights, edges).flatten(-2)
        source, target = edges["source"], edges["target"]
        signals = self._signals(x.index_select(0, source.values))
        filters = harmonics.unsqueeze(-1).expand(*harmonics.shape, self.channels)
        message = self._join(self._multiply(signals, filters, weights))
        return message.new_zeros(target.size, message.shape[-1]).index_add(0, target.values, message)

    def _multiply(self, signals: list[Tensor], filters: Tensor, weights: Tensor) -> list[list[Tensor]]:
        """For every sign of the result, its copies ``(E, rows, C)``."""
        parts = iter(weights.split(self.lmax + 1, -2))
        out: list[list[Tensor]] = [[] for _ in signals]
        for sign, signal in enumerate(signals):
            out[sign].append(self.even(signal, filters, next(parts), next(parts), next(parts) * self.even_scale))
        if self.odd is not None:
            for sign, signal in enumerate(signals):
                w1, w2, w3 = (torch.stack([next(parts), next(parts)], -2) for _ in range(3))
                out[len(signals) - 1 - sign].append(self.odd(signal, filters, w1, w2, w3 * self.odd_scale))
        return out

    def _signals(self, x: Tensor) -> list[Tensor]:
        """Rows of every sign, ``(E, (lmax + 1)^2, C)``."""
        blocks = split_blocks(x, self.irreps_in)
        signs = 2 if self.both else 1
        return [torch.cat(blocks[sign::signs], -2) for sign in range(signs)]

    def _join(self, results: Sequence[Sequence[Tensor]]) -> Tensor:
        """A flat feature of ``irreps_out``: for every degree and sign, the copies side by side."""
        sizes = [2 * l + 1 for l in range(self.lmax + 1)]
        by_sign = [torch.cat(list(copies), -1).split(sizes, -2) for copies in results]
        return torch.cat([block.flatten(-2) for blocks in zip(*by_sign, strict=True) for block in blocks], -1)
