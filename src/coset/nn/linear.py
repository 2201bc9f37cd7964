"""Equivariant linear layers between any two representations of any group.

``y = W x + b`` with ``W = sum_k c_k B_k`` over a basis of the intertwiners, ``rho_out(g) B_k = B_k rho_in(g)``, and ``b`` an
invariant vector: nothing else linear is equivariant, so the layer is complete as well as exact. Finzi, Welling & Wilson,
ICML 2021, arXiv 2104.09459; the basis comes from :mod:`coset.reps.intertwiners`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError
from coset.nn.constant import Constant
from coset.reps.intertwiners import block_bases, invariants, places
from coset.reps.representation import Representation


class EquivariantLinear(nn.Module):
    """``(..., rep_in.dim)`` to ``(..., rep_out.dim)``.

    One weight (copies out, copies in, k) for every pair of types of summands with k common maps, so that sums of many
    copies cost no more than their weights. Drawn such that outputs have about the variance of the inputs. ContractError
    where no map but zero exists (say so with ``zero=True`` if that is meant), or for representations of two groups.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, *, bias: bool = True, zero: bool = False) -> None:
        super().__init__()
        blocks = block_bases(rep_in, rep_out)
        if not blocks and not zero:
            raise ContractError(
                f"EquivariantLinear: the only equivariant map from {rep_in!r} to {rep_out!r} is zero; "
                f"add a tensor product first"
            )
        columns, rows = places(rep_in), places(rep_out)
        self.shape = (rep_out.dim, rep_in.dim)
        self.blocks = [(Constant(basis), rows[b].flatten(), columns[a].flatten()) for (a, b), basis in blocks.items()]
        self.weights = nn.ParameterList()
        for (a, b), basis in blocks.items():
            # a coordinate of type b sums, over all types that reach it, copies x k products of mean square 1 / dim
            terms = sum(len(columns[c]) * len(other) for (c, d), other in blocks.items() if d == b)
            draw = torch.randn(len(rows[b]), len(columns[a]), len(basis))
            self.weights.append(nn.Parameter(draw * (b.dim / terms) ** 0.5))
        self.offset = Constant(invariants(rep_out))
        self.bias = nn.Parameter(torch.zeros(len(self.offset.value))) if bias and len(self.offset.value) else None
        self.contracts = (Contract(rep_in.group, rep_in, rep_out),)

    def matrix(self, like: Tensor) -> Tensor:
        """``W``, (rep_out.dim, rep_in.dim), in the dtype and on the device of ``like``."""
        out = like.new_zeros(self.shape)
        for weight, (basis, rows, columns) in zip(self.weights, self.blocks, strict=True):
            block = torch.einsum("abk,koi->aobi", weight, basis.like(weight)).flatten(2).flatten(0, 1)
            out = out.index_put((rows.to(like.device).unsqueeze(-1), columns.to(like.device)), block)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """``W x + b`` on the last axis."""
        y = x @ self.matrix(x).mT
        return y if self.bias is None else y + self.bias @ self.offset.like(self.bias)
