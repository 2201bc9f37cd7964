"""The interface of everything that acts: families, groups, finite groups, Lie groups.

Elements are plain tensors with leading batch dimensions; ``element_shape`` is the shape of one element, so a tensor of
shape ``(*batch, *element_shape)`` holds a batch and ``g[i]`` is its i-th member. (Elements of a product are
:class:`Elements`, indexed along the batch in the same way.) Groups are frozen dataclasses: equal by value and hashable.

A group knows its *geometry* (``linear`` and ``shift``: how it moves vectors and points of R^n). How it moves a declared
field follows from that geometry and the field's kind, see :mod:`coset.reps.action`; a group with a rule of its own
overrides ``move``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError

if TYPE_CHECKING:
    from coset.groups.product import Power, Product


class Elements:
    """A batch of elements of a product: one entry per factor; indexing, ``len`` and iteration run along the batch."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __getitem__(self, index: Any) -> Elements:
        return Elements(*(part[index] for part in self.parts))

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[Elements]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Elements{self.parts}"


@dataclass(frozen=True)
class Rule:
    """A quadrature on a group: ``sum_i weights[i] f(elements[i])`` approximates the Haar mean of ``f``.

    It is exact for matrix entries of all representations whose tensor rank in the defining one is at most ``degree``
    (``math.inf`` for a finite group, which is summed whole).
    """

    elements: Any  #: (n, *element_shape)
    weights: Tensor  #: (n,), float64, sums to one
    degree: float

    def __len__(self) -> int:
        return len(self.weights)


def natural(name: str, n: Any, least: int = 1) -> None:
    """InputError unless ``n`` is a whole number of at least ``least``; ``name`` is the group that asked."""
    if isinstance(n, bool) or not isinstance(n, int) or n < least:
        raise InputError(f"{name}(n) needs a whole number n >= {least}, got {n!r}")


class Family(ABC):
    """Transformations one can sample; need not be closed under composition (crops, colour jitter)."""

    element_shape: tuple[int, ...] = ()

    def bind(self, fields: Any, x: Mapping[str, Tensor]) -> Family:
        """The family for this sample: an open group such as ``S("N")`` reads its size and fibres from ``x``."""
        return self

    @abstractmethod
    def sample(
        self, n: int, *, generator: torch.Generator | None = None, dtype: torch.dtype | None = None, device: Any = None
    ) -> Any:
        """``n`` random elements, shape ``(n, *element_shape)``: Haar if compact, a stated law otherwise."""

    def move(self, g: Any, field: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """The natural action of ``g`` on a tensor ``x`` declared as ``field``; ``given`` is the whole input.

        The batch dimensions of ``g`` stand for the leading dimensions of ``x`` and broadcast against them: add a
        leading axis to ``x`` for an orbit (``(1, N, 3)`` moved by ``(K, 3, 3)`` gives ``(K, N, 3)``), pass one element
        per row for a motion of its own for every member. Raises ContractError where there is no natural action.
        """
        return field.kind.move(self, g, x, given)

    def move_all(self, g: Any, fields: Any, x: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every declared tensor of a sample moved; overridden where an action mixes tensors (an exchange of two)."""
        return {name: self.move(g, declared, x[name], given) for name, declared in fields}

    def linear(self, g: Any) -> Tensor:
        """The matrix by which ``g`` moves vectors, shape ``(*batch, n, n)``."""
        raise ContractError(f"{self} does not move vectors of space; declare a Representation or an Action for this field")

    def shift(self, g: Any) -> Tensor:
        """The translation by which ``g`` moves points after ``linear``, shape ``(*batch, n)``."""
        return self.linear(g).new_zeros(()).expand(self.linear(g).shape[:-1])

    def batch_shape(self, g: Any) -> tuple[int, ...]:
        """The leading (batch) dimensions of ``g``."""
        if isinstance(g, Elements):
            return self._parts_batch_shape(g)
        return tuple(g.shape[: g.ndim - len(self.element_shape)])

    def _parts_batch_shape(self, g: Elements) -> tuple[int, ...]:
        raise ContractError(f"{self} has no product elements, got {g}")

    def factors(self) -> tuple[Family, ...]:
        """The factors of a direct product; a contract over it is audited factor by factor."""
        return (self,)

    def __mul__(self, other: Family) -> Product:
        from coset.groups.product import Product

        return Product((*self.factors(), *other.factors()))

    def __pow__(self, index: str) -> Power:
        from coset.groups.product import Power

        return Power(self, index)  # type: ignore[arg-type]


class Group(Family):
    """A family closed under composition and inverse."""

    compact: bool = True
    dim: int = 0  #: dimension as a manifold; 0 if discrete
    order: float = math.inf

    @abstractmethod
    def identity(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Any:
        """The identity, shape ``element_shape``."""

    @abstractmethod
    def compose(self, g: Any, h: Any) -> Any:
        """``g h`` (first ``h``, then ``g``), batch dimensions broadcast."""

    @abstractmethod
    def inverse(self, g: Any) -> Any:
        """``g`` to the power -1."""

    def generators(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Any:
        """Discrete generators ``(k, *element_shape)``; with ``LieGroup.algebra`` they generate a dense subgroup."""
        return torch.stack([self.identity(dtype=dtype, device=device)])[:0]

    def equal(self, g: Any, h: Any, *, tolerance: float = 1e-10) -> Tensor:
        """Whether ``g`` and ``h`` are the same element, up to ``tolerance`` in the largest entry; batch of bool."""
        gap = (g - h).abs().to(torch.float64)
        return gap.flatten(gap.ndim - len(self.element_shape)).amax(-1) <= tolerance if self.element_shape else gap <= tolerance

    def contains(self, g: Any, *, tolerance: float = 1e-8) -> Tensor:
        """Whether ``g`` lies in the group, batch of bool."""
        raise ContractError(f"{self} has no membership test")

    def quadrature(self, degree: int, *, dtype: torch.dtype | None = None, device: Any = None) -> Rule:
        """A rule exact to tensor rank ``degree``; ContractError where none exists (non-compact groups)."""
        raise ContractError(f"{self} has no Haar mean; use its generators (coset.reps.intertwiners) or sample it")

    def grid(self, n: int, *, dtype: torch.dtype | None = None, device: Any = None) -> Any:
        """About ``n`` equidistributed elements, the identity first: what an orbit plot runs over."""
        raise ContractError(f"{self} has no grid; sample it instead")


class FiniteGroup(Group):
    """A finite group: elements are indices ``0 .. order - 1`` (int64, shape ``()``), 0 the identity."""

    @property
    @abstractmethod
    def table(self) -> Tensor:
        """Cayley table, int64 ``(order, order)``: ``table[g, h]`` is ``g h``."""

    def elements(self) -> Any:
        """All elements, ``(order, *element_shape)``, the identity first."""
        return torch.arange(int(self.order))

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.zeros((), dtype=torch.int64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return self.table.to(g.device)[g, h]

    def inverse(self, g: Tensor) -> Tensor:
        return (self.table == 0).to(torch.int64).argmax(1).to(g.device)[g]

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        return torch.randint(int(self.order), (n,), generator=generator).to(device)

    def contains(self, g: Tensor, *, tolerance: float = 0.0) -> Tensor:
        return (g >= 0) & (g < self.order)

    def quadrature(self, degree: int = 0, *, dtype=None, device=None) -> Rule:
        n = int(self.order)
        return Rule(self.elements().to(device), torch.full((n,), 1.0 / n, dtype=torch.float64, device=device), math.inf)

    def grid(self, n: int = 0, *, dtype=None, device=None) -> Tensor:
        """All elements, whatever ``n`` asks for."""
        return self.elements().to(device)


class LieGroup(Group):
    """A matrix Lie group: elements are matrices ``(n, n)``, composed by matmul."""

    @abstractmethod
    def algebra(self, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        """A basis of the Lie algebra, ``(dim, *element_shape)``."""

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.eye(self.element_shape[-1], dtype=dtype or torch.float64, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        return torch.linalg.inv(g)

    def exp(self, a: Tensor) -> Tensor:
        """Coordinates ``(*batch, dim)`` in the basis ``algebra()`` to elements."""
        if a.shape[-1] != self.dim:
            raise InputError(f"{self}.exp: expected {self.dim} coordinates on the last axis, got shape {tuple(a.shape)}")
        return torch.linalg.matrix_exp(torch.einsum("...k,kij->...ij", a, self.algebra(dtype=a.dtype, device=a.device)))

    @abstractmethod
    def log(self, g: Tensor) -> Tensor:
        """Coordinates ``(*batch, dim)`` with ``exp(log(g)) = g`` where ``exp`` is onto; InputError elsewhere."""
