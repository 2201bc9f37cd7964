"""Exchange("a", "b"): the group of two elements that swaps two inputs with each other.

>>> from coset.contract import Contract
>>> contract = Contract(Exchange("a", "b"), {"a": "B x 4 x scalar", "b": "B x 4 x scalar"}, "B x scalar")

states that a similarity does not depend on the order of its arguments. A pair in one tensor needs no exchange between
tensors: declare its axis of two ``regular(2)``, and the same group swaps its entries (so a two-headed output is swapped too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup
from coset.reps.action import Action
from coset.reps.induced import RegularAxis


@dataclass(frozen=True)
class Exchange(FiniteGroup):
    """Order two: element 1 puts the input ``b`` in the place of ``a`` and ``a`` in the place of ``b``.

    Outputs called ``a`` and ``b`` are swapped too. All other fields stay, or move by a rule of their own.
    """

    a: str
    b: str

    order = 2

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise InputError(f"Exchange: two different inputs are swapped, got {self.a!r} twice")

    def __str__(self) -> str:
        return f'Exchange("{self.a}", "{self.b}")'

    @property
    def table(self) -> Tensor:
        return torch.tensor([[0, 1], [1, 0]])

    def generators(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones(1, dtype=torch.int64, device=device)

    def bind(self, fields: Any, x: Mapping[str, Tensor]) -> Exchange:
        """Check that both inputs are there and declared alike."""
        if fields.of(self.a) != fields.of(self.b) or x[self.a].shape != x[self.b].shape:
            raise ContractError(
                f"{self}: both inputs must be declared alike and have one shape; {self.a!r} is {fields.of(self.a)} "
                f"{tuple(x[self.a].shape)}, {self.b!r} is {fields.of(self.b)} {tuple(x[self.b].shape)}"
            )
        return self

    def move(self, g: Tensor, field: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """A field alone: its own kind's rule (``regular(2)`` is swapped), or nothing."""
        if isinstance(field.kind, (Action, RegularAxis)):
            return field.kind.move(self, g, x, given)
        return x.expand((*g.shape, *x.shape[g.ndim :]))

    def move_all(self, g: Tensor, fields: Any, x: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pair swapped where both are declared (inputs, or outputs of the same names), all others by themselves."""
        out = super().move_all(g, fields, x, given)
        if {self.a, self.b} <= set(out):
            first, second = out[self.a], out[self.b]
            swap = g.to(first.device).view((*g.shape, *[1] * (first.ndim - g.ndim))) == 1
            out[self.a], out[self.b] = torch.where(swap, second, first), torch.where(swap, first, second)
        return out
