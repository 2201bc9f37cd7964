"""Learnable functions of a distance: what the length of an edge contributes to messages.

Bases with trainable shapes over :mod:`coset.ops.radial`, a small network on top of them, and splines learned directly
(:mod:`coset.ops.bspline`), which cost a look-up and four products. All of them see invariants only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.ops.bspline import UniformBSpline
from coset.ops.radial import bessel_basis, gaussian_basis, gaussian_grid, polynomial_envelope


class BesselBasis(nn.Module):
    """``count`` Bessel functions of distances ``(E,)`` times the polynomial envelope: ``(E, count)``, zero beyond ``r_max``.

    Frequencies start at ``n pi / r_max`` and are learned if ``learn``. ``p`` is the envelope's exponent.
    """

    def __init__(self, r_max: float, count: int = 8, *, p: int = 6, learn: bool = False) -> None:
        super().__init__()
        _sizes("BesselBasis", r_max, count)
        self.r_max, self.p = r_max, p
        self.frequencies = nn.Parameter(torch.arange(1, count + 1) * (math.pi / r_max), requires_grad=learn)
        self.contracts = _of_distances(count)

    def forward(self, r: Tensor) -> Tensor:
        """Any shape ``(...)`` to ``(..., count)``."""
        return bessel_basis(r, self.r_max, self.frequencies) * polynomial_envelope(r, self.r_max, self.p).unsqueeze(-1)


class GaussianBasis(nn.Module):
    """``count`` Gaussians of distances ``(E,)``: ``(E, count)``; centers and widths are learned if ``learn``. No envelope."""

    def __init__(self, r_max: float, count: int = 64, *, overlap: float = 2.0, learn: bool = False) -> None:
        super().__init__()
        _sizes("GaussianBasis", r_max, count)
        centers, width = gaussian_grid(r_max, count, overlap=overlap)
        self.centers = nn.Parameter(centers.to(torch.get_default_dtype()), requires_grad=learn)
        self.widths = nn.Parameter(torch.full((count,), width), requires_grad=learn)
        self.contracts = _of_distances(count)

    def forward(self, r: Tensor) -> Tensor:
        """Any shape ``(...)`` to ``(..., count)``."""
        return gaussian_basis(r, self.centers.to(r), self.widths.to(r))


class RadialSpline(nn.Module):
    """``outputs`` cubic splines of the distance, coefficients learned directly: ``(E,)`` to ``(E, outputs)``.

    The last three coefficients are zero, so that values and two derivatives vanish at ``r_max``. Facet, arXiv 2509.08418.
    """

    def __init__(self, r_max: float, outputs: int, *, knots: int = 16) -> None:
        super().__init__()
        _sizes("RadialSpline", r_max, outputs)
        if knots < 2:
            raise InputError(f"RadialSpline: at least 2 knots, got {knots}")
        self.spline = UniformBSpline(r_max, knots - 1)
        self.coefficients = nn.Parameter(torch.randn(self.spline.size - 3, outputs))
        self.contracts = _of_distances(outputs)

    def forward(self, r: Tensor) -> Tensor:
        """Any shape ``(...)`` to ``(..., outputs)``."""
        rest = self.coefficients.new_zeros(3, self.coefficients.shape[1])
        return self.spline.evaluate(torch.cat([self.coefficients, rest]).to(r), r)


class RadialMLP(nn.Sequential):
    """``(E, sizes[0])`` invariants of edges to ``(E, sizes[-1])`` weights: Linear, LayerNorm, SiLU in between, Linear last.

    ``norm=False`` leaves the layer norms out and ``bias=False`` the biases, so that zero (beyond a cutoff) gives zero.
    """

    def __init__(self, sizes: Sequence[int], *, norm: bool = True, bias: bool = True) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise InputError(f"RadialMLP: at least an input and an output size, all positive, got {list(sizes)}")
        if norm and not bias:
            raise InputError("RadialMLP: a layer norm has a bias; without biases it must go too (norm=False)")
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes[:-1]):
            layers += [nn.Linear(before, after, bias=bias), *([nn.LayerNorm(after)] if norm else []), nn.SiLU()]
        super().__init__(*layers, nn.Linear(sizes[-2], sizes[-1], bias=bias))
        self.contracts = (Contract(S("E"), f"E x {sizes[0]} x scalar", f"E x {sizes[-1]} x scalar"),)


def _of_distances(count: int) -> tuple[Contract, ...]:
    return (Contract(S("E"), "E x scalar", f"E x {count} x scalar"),)


def _sizes(layer: str, r_max: float, count: int) -> None:
    if not r_max > 0 or count < 1:
        raise InputError(f"{layer}: expected r_max > 0 and at least one function, got r_max {r_max} and {count}")
