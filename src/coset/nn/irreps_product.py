"""Products of features of irreps with learned weights, node by node.

- :class:`FullyConnectedProduct`: two features, every copy with every copy (:func:`coset.ops.instructed.fully_connected`).
- :class:`ManyBody`: one feature with itself, up to four times, weights per species: the step from pairs of atoms to clusters
  in MACE (Batatia et al., NeurIPS 2022, arXiv 2206.07697; :mod:`coset.ops.symmetric_contraction`).

Decomposed products, cheaper and approximate, are in :mod:`coset.nn.decomposed_product`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, over
from coset.nn.irreps_linear import IrrepsLinear
from coset.ops.instructed import fully_connected
from coset.ops.symmetric_contraction import symmetric_contraction
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps


class FullyConnectedProduct(nn.Module):
    """``x`` ``(..., irreps_1.dim)`` times ``y`` ``(..., irreps_2.dim)`` to ``(..., irreps_out.dim)``, all paths and copies
    mixed.

    ``weight`` is flat, one ``(mul_1, mul_2, mul_out)`` for every path, in e3nn's order. InputError or ContractError for an
    output irrep that no path reaches.
    """

    def __init__(self, irreps_1: IrrepsLike, irreps_2: IrrepsLike, irreps_out: IrrepsLike) -> None:
        super().__init__()
        first = as_irreps(irreps_1)
        second, out = (as_irreps(irreps, first.group) for irreps in (irreps_2, irreps_out))
        self.product = fully_connected(first, second, out)
        reached = {path.iout for path in self.product.instructions}
        if missing := [block for place, block in enumerate(out) if place not in reached and block.mul]:
            raise InputError(
                f"FullyConnectedProduct: no path of {first} x {second} reaches {missing[0].ir}; drop it from the output"
            )
        self.weight = nn.Parameter(torch.randn(self.product.weight_numel))
        inputs = Fields({"x": over("N", first), "y": over("N", second)})
        self.contracts = tuple(Contract(group, inputs, over("N", out)) for group in (first.group, S("N")))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See the class; leading axes broadcast."""
        return self.product(x, y, self.weight)


class ManyBody(nn.Module):
    """``x`` ``(N, irreps_in.dim)`` with species ``z`` ``(N,)`` to ``(N, irreps_out.dim)``: symmetric powers up to
    ``correlation``.

    Every power has its weights per species, path and channel; a linear layer mixes channels after it. InputError for an irrep
    that no power reaches and a correlation outside 1..4.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, species: int, *, correlation: int = 3) -> None:
        super().__init__()
        irreps_in = as_irreps(irreps_in)
        irreps_out = as_irreps(irreps_out, irreps_in.group)
        if species < 1:
            raise InputError(f"ManyBody: at least one species, got {species}")
        self.channels = irreps_in.channels()
        between = Irreps([(self.channels, ir) for ir in dict.fromkeys(ir for _, ir in irreps_out)], irreps_in.group)
        self.contraction = symmetric_contraction(irreps_in, between, correlation)
        groups = [torch.randn(species, paths.count, self.channels) / max(paths.count, 1) for paths in self.contraction.paths]
        self.weight = nn.Parameter(torch.cat(groups, 1))
        self.linear = IrrepsLinear(between, irreps_out)
        inputs = Fields({"x": over("N", irreps_in), "z": "N x scalar"})
        self.contracts = tuple(Contract(group, inputs, over("N", irreps_out)) for group in (irreps_in.group, S("N")))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """See the class; ``z`` integers in ``0..species-1``."""
        y = self.contraction(x.unflatten(-1, (self.contraction.rows, self.channels)), self.weight, z)
        return self.linear(y.flatten(-2))
