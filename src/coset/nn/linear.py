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
from coset.reps.intertwiners import intertwiners, invariants
from coset.reps.representation import Representation


class EquivariantLinear(nn.Module):
    """``(..., rep_in.dim)`` to ``(..., rep_out.dim)``.

    Weights are drawn such that outputs have about the variance of the inputs. ContractError where no map but zero exists
    (say so with ``zero=True`` if that is meant), or for representations of two groups.
    """

    def __init__(self, rep_in: Representation, rep_out: Representation, *, bias: bool = True, zero: bool = False) -> None:
        super().__init__()
        basis = intertwiners(rep_in, rep_out)
        if not len(basis) and not zero:
            raise ContractError(f"EquivariantLinear: the only equivariant map from {rep_in!r} to {rep_out!r} is zero; add a tensor product first")
        self.basis = Constant(basis)
        # row i of W has variance sum_k s_k^2 |B_k[i]|^2; with s_k^2 = 1 / sum_k |B_k[i]|^2 on the rows that B_k fills, it is one
        rows = basis.square().sum(-1)
        fill = rows.sum(0).clamp(min=1e-12)
        scale = ((rows / fill).sum(1) / rows.sum(1).clamp(min=1e-12)).sqrt()
        self.weight = nn.Parameter(torch.randn(len(basis)) * scale.to(torch.get_default_dtype()))
        self.offset = Constant(invariants(rep_out))
        self.bias = nn.Parameter(torch.zeros(len(self.offset.value))) if bias and len(self.offset.value) else None
        self.contracts = (Contract(rep_in.group, rep_in, rep_out),)

    def matrix(self) -> Tensor:
        """``W``, (rep_out.dim, rep_in.dim)."""
        return torch.einsum("k,koi->oi", self.weight, self.basis.like(self.weight))

    def forward(self, x: Tensor) -> Tensor:
        """``W x + b`` on the last axis."""
        y = x @ self.matrix().mT
        return y if self.bias is None else y + self.bias @ self.offset.like(self.bias)
