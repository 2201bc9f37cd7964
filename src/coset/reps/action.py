"""How elements move one tensor: the kinds that the language of fields names, and actions of one's own.

A *kind* (a word of the fields: ``vector``, ``position``, ``image``) works for every group whose geometry it needs; an
:class:`Action` belongs to one group and is written down where no word exists. Both say how many trailing axes of the
tensor they occupy (``axes``) and obey the batch rule of :meth:`coset.groups.group.Family.move`: the batch dimensions of
``g`` stand for the leading dimensions of ``x``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from coset.errors import ContractError


class Kind(ABC):
    """What the last ``axes`` axes of a tensor mean."""

    axes: int = 0
    #: True where no group moves the values (scalars, pointers): only an index permutation can touch the tensor
    still: bool = False
    #: True for numbers that a model may differentiate and noise may perturb
    floating: bool = True

    @abstractmethod
    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``g . x``; see :meth:`coset.groups.group.Family.move` for the batch rule."""

    def shape(self, space: int) -> tuple[int, ...]:
        """Sizes of the trailing axes for a group on R^``space``; what :meth:`Fields.example` makes."""
        return (space,) * self.axes

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """Relative error that the action itself makes at ``g`` (resampling), shape of ``g``'s batch; 0 if exact."""
        return torch.zeros(group.batch_shape(g), dtype=torch.float64)


@dataclass(frozen=True)
class Scalar(Kind):
    """Numbers that nothing moves: invariants, logits, charges."""

    still = True

    def move(self, group, g, x, given):
        return x.expand(*group.batch_shape(g), *x.shape[len(group.batch_shape(g)) :])

    def __str__(self) -> str:
        return "scalar"


@dataclass(frozen=True)
class Fixed(Scalar):
    """An input that the group deliberately leaves alone (gravity in a tilted room, the other molecule)."""

    def __str__(self) -> str:
        return "fixed"


@dataclass(frozen=True)
class Tensorial(Kind):
    """Cartesian tensors of rank ``rank``: every axis moves by ``linear(g)``; ``parity`` adds the sign of det.

    ``rank`` 0 with parity is a pseudoscalar, 1 a vector (axial with parity), 2 a matrix such as a stress.
    """

    rank: int = 1
    parity: bool = False

    WORDS: ClassVar[dict[tuple[int, bool], str]] = {(1, False): "vector", (1, True): "axial", (0, True): "pseudoscalar"}

    @property
    def axes(self) -> int:  # type: ignore[override]
        return self.rank

    def move(self, group, g, x, given):
        matrix = group.linear(g)
        if self.parity:
            sign = torch.linalg.det(matrix).sign().to(x)
            x = x * sign.view(*sign.shape, *[1] * (x.ndim - sign.ndim))
        for axis in range(x.ndim - self.rank, x.ndim):
            x = apply_matrix(matrix, x, axis)
        return x

    def __str__(self) -> str:
        word = self.WORDS.get((self.rank, self.parity))
        return word or f"tensor({self.rank}{', axial' if self.parity else ''})"


@dataclass(frozen=True)
class Position(Kind):
    """Points: ``linear(g) x + shift(g)``."""

    axes = 1

    def move(self, group, g, x, given):
        moved = apply_matrix(group.linear(g), x, x.ndim - 1)
        shift = group.shift(g).to(x)
        return moved + shift.view(*shift.shape[:-1], *[1] * (moved.ndim - shift.ndim), shift.shape[-1])

    def __str__(self) -> str:
        return "position"


class Action(Kind):
    """A rule of one's own for one group: implement ``act``; ``axes`` says how many trailing axes it moves."""

    def move(self, group, g, x, given):
        return self.act(g, x, given)

    @abstractmethod
    def act(self, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``g . x`` where ``given`` is the whole input by name."""


def apply_matrix(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """``matrix`` ``(*batch, m, n)`` applied along ``axis`` of ``x`` whose leading axes are ``batch`` (broadcast)."""
    matrix = matrix.to(x)
    if x.shape[axis] != matrix.shape[-1]:
        raise ContractError(
            f"a {tuple(matrix.shape[-2:])} matrix cannot move axis {axis} of a tensor of shape {tuple(x.shape)}: "
            f"the field and the group's space differ in size"
        )
    batch = matrix.ndim - 2
    moved = x.movedim(axis, -1)
    matrix = matrix.view(*matrix.shape[:batch], *[1] * max(moved.ndim - batch - 2, 0), *matrix.shape[batch:])
    if moved.ndim == batch + 1:  # one vector per element
        return (matrix @ moved.unsqueeze(-1)).squeeze(-1).movedim(-1, axis)
    return (moved @ matrix.mT).movedim(-1, axis)


#: the words of the field language; a word with an argument is written ``tensor(2)``
WORDS: dict[str, Kind] = {
    "scalar": Scalar(),
    "invariant": Scalar(),
    "logits": Scalar(),
    "fixed": Fixed(),
    "vector": Tensorial(1),
    "axial": Tensorial(1, parity=True),
    "pseudoscalar": Tensorial(0, parity=True),
    "position": Position(),
}
