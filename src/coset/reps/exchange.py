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

    The two are told by the tensor itself, which :meth:`move` looks up in ``given``; so it acts on inputs as they came (or
    with leading axes added), not on copies, and comes first in a product. All other fields stay.
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
        if isinstance(field.kind, (Action, RegularAxis)):
            return field.kind.move(self, g, x, given)
        for name, other in ((self.a, self.b), (self.b, self.a)):
            if name in given and _same(x, given[name]):
                partner = given[other].view((*[1] * (x.ndim - given[other].ndim), *given[other].shape))
                return torch.where(g.to(x.device).view((*g.shape, *[1] * (x.ndim - g.ndim))) == 1, partner, x)
        return x.expand((*g.shape, *x.shape[g.ndim :]))


def _same(x: Tensor, y: Tensor) -> bool:
    """Whether ``x`` is ``y``, or a view of all of it with axes of one added."""
    return x is y or (x.data_ptr() == y.data_ptr() and x.numel() == y.numel() and x.squeeze().shape == y.squeeze().shape)
