"""How elements move one tensor: the kinds that the language of fields names, and actions of one's own.

A *kind* (a word of the fields: ``vector``, ``position``, ``image``) works for every group whose geometry it needs; an
:class:`Action` belongs to one group and is written down where no word exists. Both say how many trailing axes of the
tensor they occupy (``axes``) and obey the batch rule of :meth:`coset.groups.group.Family.move`: the batch dimensions of
``g`` stand for the leading dimensions of ``x``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from coset.errors import ContractError, InputError


class Kind(ABC):
    """What the last ``axes`` axes of a tensor mean."""

    axes: int = 0
    #: True where no group moves the values (scalars, pointers): only an index permutation can touch the tensor
    still: bool = False
    #: True for numbers that a model may differentiate and noise may perturb
    floating: bool = True
    #: True where an action is not defined on all entries: ``move`` leaves NaN there, and residuals leave these entries out
    partial: bool = False

    @abstractmethod
    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``g . x``; see :meth:`coset.groups.group.Family.move` for the batch rule."""

    def shape(self, space: int) -> tuple[int, ...]:
        """Sizes of the trailing axes for a group on R^``space``; what :meth:`Fields.example` makes."""
        return (space,) * self.axes

    def draw(self, lead: tuple[int, ...], space: int, *, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        """Random values ``(*lead, *shape(space))`` for a test without data."""
        return torch.randn(*lead, *self.shape(space), generator=generator, dtype=dtype)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        """Relative error that the action itself makes at ``g`` (resampling), shape of ``g``'s batch; 0 if exact."""
        return torch.zeros(group.batch_shape(g), dtype=torch.float64)


@dataclass(frozen=True)
class Scalar(Kind):
    """Numbers that nothing moves: invariants, logits, charges."""

    still = True

    def move(self, group, g, x, given):
        return x.expand((*group.batch_shape(g), *x.shape[len(group.batch_shape(g)) :]))

    def __str__(self) -> str:
        return "scalar"


@dataclass(frozen=True)
class Labels(Scalar):
    """Integers out of ``values`` that nothing moves: atomic numbers, classes, integer counts. They have no derivative."""

    values: tuple[int, ...] = (0, 1)

    floating = False

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("Labels: at least one value")

    def draw(self, lead, space, *, generator, dtype):
        return torch.tensor(self.values)[torch.randint(len(self.values), lead, generator=generator)]

    def __str__(self) -> str:
        return f"labels({', '.join(map(str, self.values))})"


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

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or self.rank < 0:
            raise InputError(f"tensor: the rank is a whole number of at least 0, as in 'tensor(2)'; got {self.rank!r}")

    WORDS: ClassVar[dict[tuple[int, bool], str]] = {(1, False): "vector", (1, True): "axial", (0, True): "pseudoscalar"}

    @property
    def axes(self) -> int:  # type: ignore[override]
        return self.rank

    def move(self, group, g, x, given):
        matrix = group.linear(g)
        if self.parity:
            sign = torch.linalg.det(matrix).sign().to(x)
            x = x * sign.view((*sign.shape, *[1] * (x.ndim - sign.ndim)))
        elif not self.rank:
            x = x.expand((*matrix.shape[:-2], *x.shape[matrix.ndim - 2 :]))
        for axis in range(x.ndim - self.rank, x.ndim):
            x = apply_matrix(matrix, x, axis)
        return x

    def __str__(self) -> str:
        word = self.WORDS.get((self.rank, self.parity))
        return word or f"tensor({self.rank}{', parity=true' if self.parity else ''})"


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


@dataclass(frozen=True)
class Fibre(Kind):
    """A field of ``fibre`` over ``base``: ``Fibre(Tensorial(1), Image())`` is a flow ``(..., 2, H, W)``.

    The trailing axes are those of the fibre, then those of the base; an element moves the values and the places.
    """

    fibre: Kind
    base: Kind

    @property
    def axes(self) -> int:  # type: ignore[override]
        return self.fibre.axes + self.base.axes

    def move(self, group, g, x, given):
        x = self.base.move(group, g, x, given)
        inner = [x.ndim - self.base.axes + i for i in range(self.base.axes)]
        front = [len(group.batch_shape(g)) + i for i in range(self.base.axes)]
        # the base's axes stand aside, behind the batch of g, while the fibre moves
        return self.fibre.move(group, g, x.movedim(inner, front), given).movedim(front, inner)

    def shape(self, space: int) -> tuple[int, ...]:
        return (*self.fibre.shape(space), *self.base.shape(space))

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        return self.base.floor(group, g, x)

    def __str__(self) -> str:
        return f"{self.fibre}_{self.base}"


class Action(Kind):
    """A rule of one's own for one group: implement ``act``; ``axes`` says how many trailing axes it moves."""

    def move(self, group, g, x, given):
        return self.act(g, x, given)

    @abstractmethod
    def act(self, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``g . x`` where ``given`` is the whole input by name."""


@dataclass(frozen=True)
class Recorded(Action):
    """A field that nobody can move: pairs were recorded (two photographs of a turned object) and only
    :meth:`coset.contract.Contract.gap` is used. ``axes`` trailing axes belong to one value.
    """

    axes: int = 0  # type: ignore[misc]

    def act(self, g, x, given):
        raise ContractError(
            "a recorded field cannot be moved: take pairs (x, g, gx) from the data and compare the outputs with "
            "Contract.gap(f(x), f(gx), g)"
        )

    def shape(self, space: int) -> tuple[int, ...]:
        return (8,) * self.axes

    def __str__(self) -> str:
        return f"recorded({self.axes})" if self.axes else "recorded"


@dataclass(frozen=True)
class Learned(Action):
    """An action to be learned: ``module(g, x)`` returns ``g . x`` on the last ``axes`` axes; audited by :meth:`defect`."""

    module: Callable[[Any, Tensor], Tensor]
    axes: int = 1  # type: ignore[misc]

    def act(self, g, x, given):
        return self.module(g, x)

    def defect(self, group: Any, g: Any, h: Any, x: Tensor) -> Tensor:
        """How far from an action: ``|g . (h . x) - (g h) . x| / |(g h) . x|``, a number that carries gradients."""
        want = self.module(group.compose(g, h), x)
        return (self.module(g, self.module(h, x)) - want).norm() / want.norm()

    def shape(self, space: int) -> tuple[int, ...]:
        return (8,) * self.axes

    def __str__(self) -> str:
        return "learned"


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


def take(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """``x`` with its entries along ``axis`` taken at ``index`` ``(*batch, n)``, the batch standing for leading axes of x."""
    outer = index.ndim - 1
    lead = torch.broadcast_shapes(index.shape[:-1], x.shape[:outer])
    x = x.expand(*lead, *x.shape[outer:])
    place = index.view(*index.shape[:-1], *[1] * (axis - outer), index.shape[-1], *[1] * (x.ndim - axis - 1))
    return x.gather(axis, place.to(x.device).expand(*x.shape[:axis], index.shape[-1], *x.shape[axis + 1 :]))
