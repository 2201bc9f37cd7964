"""Linear maps between features of irreps: by Schur's lemma, one matrix over channels for every irrep.

    y_(k, w) = (1 / sqrt(n)) sum_u x_(k, u) W_(u, w),      n = all input channels of that irrep,

so that weights of variance 1 keep the variance of components. :class:`coset.nn.linear.EquivariantLinear` does the same for
representations of any group from a basis of intertwiners; here the basis is known and a block is one matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.permutation import S
from coset.nn.irreps_blocks import IrrepsLike, as_irreps, join_blocks, over, split_blocks
from coset.reps.fields import Fields
from coset.reps.irreps import Irreps


class IrrepsLinear(nn.Module):
    """``(..., irreps_in.dim)`` to ``(..., irreps_out.dim)``.

    ``weight`` is flat, one matrix ``(mul_in, mul_out)`` for every pair of blocks of one irrep, input blocks outermost; ``bias``
    adds a number to every trivial channel. ContractError for an output irrep that no input reaches (``zero=True`` leaves zeros
    there) and for irreps of two groups.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, *, bias: bool = False, zero: bool = False) -> None:
        super().__init__()
        self.irreps_in = as_irreps(irreps_in)
        self.irreps_out = as_irreps(irreps_out, self.irreps_in.group)
        self.paths = linear_paths(self.irreps_in, self.irreps_out, zero=zero)
        self.weight = nn.Parameter(torch.randn(weight_count(self.irreps_in, self.irreps_out)))
        self.offsets = [place for place, (_, ir) in enumerate(self.irreps_out) if ir.is_scalar()]
        count = sum(self.irreps_out[place].mul for place in self.offsets)
        self.bias = nn.Parameter(torch.zeros(count)) if bias and count else None
        self.contracts = (Contract(self.irreps_in.group, self.irreps_in, self.irreps_out),)

    def forward(self, x: Tensor) -> Tensor:
        """``W x + b``."""
        parts = linear(split_blocks(x, self.irreps_in), self.weight, self.irreps_in, self.irreps_out)
        if self.bias is not None:
            sizes = [self.irreps_out[place].mul for place in self.offsets]
            for place, bias in zip(self.offsets, self.bias.split(sizes), strict=True):
                parts[place] = parts[place] + bias
        return join_blocks(parts)


class SpeciesLinear(nn.Module):
    """A linear map for every species: ``y_i = W_(z_i) x_i`` with ``x`` ``(N, irreps_in.dim)`` and species ``z`` ``(N,)`` in
    ``0..species-1``.

    The full product of features and one-hot species, as interatomic potentials use it for self-connections.
    """

    def __init__(self, irreps_in: IrrepsLike, irreps_out: IrrepsLike, species: int, *, zero: bool = False) -> None:
        super().__init__()
        if species < 1:
            raise InputError(f"SpeciesLinear: at least one species, got {species}")
        self.irreps_in = as_irreps(irreps_in)
        self.irreps_out = as_irreps(irreps_out, self.irreps_in.group)
        linear_paths(self.irreps_in, self.irreps_out, zero=zero)
        self.weight = nn.Parameter(torch.randn(species, weight_count(self.irreps_in, self.irreps_out)))
        inputs = Fields({"x": over("N", self.irreps_in), "z": "N x scalar"})
        outputs = over("N", self.irreps_out)
        self.contracts = (Contract(self.irreps_in.group, inputs, outputs), Contract(S("N"), inputs, outputs))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """``(N, irreps_out.dim)``; atoms of one species are treated together."""
        if z.shape != x.shape[:1]:
            raise InputError(f"SpeciesLinear: one species per feature, got z {tuple(z.shape)} for x {tuple(x.shape)}")
        out = x.new_zeros(len(x), self.irreps_out.dim)
        for species, weight in enumerate(self.weight):
            members = torch.nonzero(z == species).flatten()
            parts = linear(split_blocks(x.index_select(0, members), self.irreps_in), weight, self.irreps_in, self.irreps_out)
            out = out.index_add(0, members, join_blocks(parts))
        return out


def linear_paths(irreps_in: Irreps, irreps_out: Irreps, *, zero: bool = False) -> list[tuple[int, int]]:
    """Pairs of blocks ``(in, out)`` of one irrep, input blocks outermost. Errors as :class:`IrrepsLinear` says."""
    if irreps_in.group != irreps_out.group:
        raise ContractError(f"a linear map from {irreps_in!r} to {irreps_out!r}: these are irreps of two groups; restrict one")
    for mul, ir in irreps_out:
        if mul and ir not in irreps_in and not zero:
            raise ContractError(
                f"the only equivariant linear map from {irreps_in} to {ir} is zero; drop {ir} from the output, or say zero=True"
            )
    return [(i, o) for i, (_, a) in enumerate(irreps_in) for o, (_, b) in enumerate(irreps_out) if a == b]


def weight_count(irreps_in: Irreps, irreps_out: Irreps) -> int:
    """How many weights a linear map has."""
    return sum(irreps_in[i].mul * irreps_out[o].mul for i, o in linear_paths(irreps_in, irreps_out, zero=True))


def linear(parts: list[Tensor], weight: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> list[Tensor]:
    """The map on blocks with flat ``weight``; see the module."""
    out: list[Tensor | None] = [None] * len(irreps_out)
    start = 0
    for i, o in linear_paths(irreps_in, irreps_out, zero=True):
        rows, columns = irreps_in[i].mul, irreps_out[o].mul
        matrix = weight[start : start + rows * columns].view(rows, columns) / irreps_in.count(irreps_in[i].ir) ** 0.5
        start += rows * columns
        part = parts[i] @ matrix
        before = out[o]
        out[o] = part if before is None else before + part
    lead = parts[0].shape[:-2]
    return [
        parts[0].new_zeros(*lead, ir.dim, mul) if part is None else part
        for part, (mul, ir) in zip(out, irreps_out, strict=True)
    ]
