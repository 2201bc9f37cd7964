"""Normalisation and nonlinearity by norms, for features of orthogonal representations.

Where ``rho`` is orthogonal, ``|x|`` is invariant and any function of it may scale ``x``: ``y_i = f(|x_i|) x_i / |x_i|`` for
every summand ``x_i`` of a direct sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import ContractError
from coset.reps.representation import Representation

_TINY = 1e-6  #: added to squared norms, whose root has no derivative at 0


def check_orthogonal(rep: Representation, layer: str) -> None:
    """ContractError unless all summands of ``rep`` are orthogonal, which norms need."""
    for part in set(rep.summands()):
        if not part.orthogonal():
            raise ContractError(f"{layer}: {part!r} is not orthogonal, so norms are not invariant; use a basis in which it is")


class SummandNorms(nn.Module):
    """Norms of the summands of a feature: ``(..., rep.dim)`` to ``(..., number of summands)``."""

    def __init__(self, rep: Representation) -> None:
        super().__init__()
        check_orthogonal(rep, type(self).__name__)
        self.sizes = [part.dim for part in rep.summands()]
        self.index = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        self.contracts = (Contract(rep.group, rep, f"... x {len(self.sizes)} x scalar"),)

    def forward(self, x: Tensor) -> Tensor:
        """``sqrt(|x_i|^2 + 1e-6)``."""
        square = x.new_zeros(*x.shape[:-1], len(self.sizes))
        return torch.sqrt(square.index_add(-1, self.index.to(x.device), x.square()) + _TINY)


class NormNonlinearity(nn.Module):
    """``y_i = relu(|x_i| + b_i) x_i / |x_i|`` with a learned bias for every summand; one-dimensional ones included."""

    def __init__(self, rep: Representation) -> None:
        super().__init__()
        self.norms = SummandNorms(rep)
        self.bias = nn.Parameter(torch.zeros(len(self.norms.sizes)))
        self.contracts = (Contract(rep.group, rep, rep),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., rep.dim)`` to the same."""
        size = self.norms(x)
        gain = F.relu(size + self.bias) / size
        return x * gain.index_select(-1, self.norms.index.to(x.device))


class RepresentationNorm(nn.Module):
    """Layer norm of a feature: divided by the root mean square of all its summands' norms, a learned gain for each."""

    def __init__(self, rep: Representation) -> None:
        super().__init__()
        self.norms = SummandNorms(rep)
        self.gain = nn.Parameter(torch.ones(len(self.norms.sizes)))
        self.contracts = (Contract(rep.group, rep, rep),)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., rep.dim)`` to the same."""
        size = torch.sqrt(self.norms(x).square().mean(-1, keepdim=True))
        return x / size * self.gain.index_select(-1, self.norms.index.to(x.device))
