"""Gated nonlinearities: scalars decide how much of every other feature passes.

Scalars go through an activation, every further summand ``x_i`` is multiplied by ``sigmoid(s_i)`` of a scalar of its own.
Works for every representation, orthogonal or not, since a number commutes with every matrix. Weiler et al., NeurIPS 2018,
arXiv 1807.02547.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coset.contract import Contract
from coset.errors import InputError
from coset.groups.group import Group
from coset.reps.defining import Trivial
from coset.reps.fields import Field
from coset.reps.representation import Representation


class Gate(nn.Module):
    """``scalars`` numbers and the summands of ``gated``, each with a gate: input ``(..., scalars + gates + gated.dim)``.

    ``rep_in`` is what the layer before must produce, ``rep_out`` what comes out (no gates). InputError below one scalar.
    """

    def __init__(self, gated: Representation, scalars: int, *, activation: Callable[[Tensor], Tensor] = F.silu) -> None:
        super().__init__()
        if scalars < 1:
            raise InputError(f"Gate: at least one scalar passes beside the gates, got {scalars}")
        one = Trivial(gated.group)
        self.sizes = [part.dim for part in gated.summands()]
        self.scalars, self.activation = scalars, activation
        self.rep_in: Representation = (scalars + len(self.sizes)) * one + gated
        self.rep_out: Representation = scalars * one + gated
        self.index = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        self.contracts = (Contract(gated.group, self.rep_in, self.rep_out),)

    def forward(self, x: Tensor) -> Tensor:
        """(..., rep_in.dim) to (..., rep_out.dim)."""
        scalars, gates, rest = x.split([self.scalars, len(self.sizes), x.shape[-1] - self.scalars - len(self.sizes)], -1)
        open_ = torch.sigmoid(gates).index_select(-1, self.index.to(x.device))
        return torch.cat([self.activation(scalars), open_ * rest], -1)


class Pointwise(nn.Module):
    """An activation applied to every number: equivariant where the group only moves numbers about.

    ``field`` must be such a field (scalars, images, regular maps): the claim is yours, and audits measure it.
    """

    def __init__(self, activation: Callable[[Tensor], Tensor], field: Field | str, *, group: Group) -> None:
        super().__init__()
        self.activation = activation
        self.contracts = (Contract(group, Field.of(field), Field.of(field)),)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return self.activation(x)
