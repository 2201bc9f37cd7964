"""Representations: linear actions on the last axis, and their algebra.

``rho + sigma`` (direct sum), ``rho * sigma`` (tensor product), ``3 * rho`` (multiples), ``rho ** 2``, ``rho.dual()``,
``rho.restrict(H)`` and ``rho.conjugate(Q)`` are representations again. All are values: two that were built alike are equal,
have one hash and print as they were written. Coordinates of a sum are those of its parts one after the other; of a product,
``(i, j) -> i * dim(sigma) + j``, the first factor outermost, as ``flatten`` does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup, Group
from coset.groups.product import Product
from coset.reps.action import Action, apply_matrix
from coset.reps.blocks import block_diagonal, kron
from coset.reps.infinitesimal import embed, is_orthogonal, tangent


class Constant:
    """A tensor kept as a value: float64 on the CPU, compared and hashed by its entries."""

    def __init__(self, value: Tensor) -> None:
        self.value = torch.as_tensor(value).detach().to("cpu", torch.float64).clone()
        self._key = (tuple(self.value.shape), self.value.numpy().tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Constant{tuple(self.value.shape)}"


class Representation(Action):
    """A homomorphism from ``group`` to the invertible matrices of size ``dim``, acting on the last axis of a tensor.

    ``degree`` is the tensor rank in the defining representation up to which its matrix entries are polynomials: what a
    quadrature must integrate.
    """

    axes = 1
    group: Group
    dim: int
    degree: int

    @abstractmethod
    def matrix(self, g: Any) -> Tensor:
        """``rho(g)``, shape ``(*batch, dim, dim)``; float64 for finite groups, else in the dtype of ``g``."""

    def act(self, g: Any, x: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """``rho(g) x`` on the last axis of ``x``, batch axes of ``g`` leading."""
        return apply_matrix(self.matrix(g), x, x.ndim - 1)

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """``act``, checked to be of the group that moves; a factor of a product representation moves by its own part."""
        if group == self.group:
            return self.act(g, x, given)
        if isinstance(self.group, Product) and group in self.group.parts:
            return self.act(embed(self.group, self.group.parts.index(group), g), x, given)
        raise ContractError(
            f"{self!r} cannot be moved by {group}; pull it back with .restrict({group}, embedding) or declare a scalar"
        )

    def algebra(self) -> Tensor:
        """The derivative at the identity, ``(dim of the group, dim, dim)`` float64; empty for discrete groups."""
        return tangent(self).clone()

    def character(self, g: Any) -> Tensor:
        """The trace of ``rho(g)``, shape ``(*batch,)``."""
        return self.matrix(g).diagonal(dim1=-2, dim2=-1).sum(-1)

    def orthogonal(self) -> bool:
        """Whether every ``rho(g)`` is an orthogonal matrix (judged on generators and algebra, to 1e-9)."""
        return is_orthogonal(self)

    def invariants(self) -> Tensor:
        """An orthonormal basis ``(k, dim)`` of the vectors that nothing moves; ``len`` of it is their dimension."""
        from coset.reps.intertwiners import invariants

        return invariants(self)

    def irreps(self) -> Any:
        """Its :class:`~coset.reps.irreps.Irreps`, found by characters; see :func:`coset.reps.characters.irreps_of`."""
        from coset.reps.characters import irreps_of

        return irreps_of(self)

    def summands(self) -> tuple[Representation, ...]:
        """The parts of a direct sum in order; a representation that is no sum is its own single part."""
        return (self,)

    def dual(self) -> Representation:
        """The action on linear forms, ``rho(g^-1)^T``."""
        return Dual(self)

    def restrict(
        self, subgroup: Group, embedding: Callable[[Any], Any] | Tensor | Sequence[int] | None = None
    ) -> Representation:
        """The same matrices for ``subgroup`` only (or any group with a homomorphism ``embedding`` into this one).

        ``embedding`` maps elements, or lists for a finite subgroup the elements of a finite group. Left out, elements of
        equal shape are taken as they are and a finite group enters a matrix group by its ``linear``.
        """
        rule = tuple(int(e) for e in embedding) if isinstance(embedding, (Tensor, Sequence)) else embedding
        return Restriction(self, subgroup, rule)

    def conjugate(self, q: Tensor) -> Representation:
        """In another basis: ``Q rho(g) Q^-1``."""
        return Conjugate(self, Constant(q))

    def shape(self, space: int) -> tuple[int, ...]:
        return (self.dim,)

    def __add__(self, other: Representation) -> Representation:
        return Sum(_same_group("+", self, other))

    def __mul__(self, other: Representation | int) -> Representation:
        if isinstance(other, int):
            return other * self
        return TensorProduct(_same_group("*", self, other))

    def __rmul__(self, times: int) -> Representation:
        if not isinstance(times, int) or times < 1:
            raise InputError(f"{times!r} * {self}: a multiple is a whole number of at least 1")
        return self if times == 1 else Sum((self,) * times)

    def __pow__(self, rank: int) -> Representation:
        if not isinstance(rank, int) or rank < 1:
            raise InputError(f"{self} ** {rank!r}: the power is a whole number of at least 1; rank 0 is Trivial(group)")
        return self if rank == 1 else TensorProduct((self,) * rank)

    def __repr__(self) -> str:
        return f"<{self} of {self.group}>"


def _same_group(sign: str, *parts: Representation) -> tuple[Representation, ...]:
    for part in parts[1:]:
        if not isinstance(part, Representation) or part.group != parts[0].group:
            raise ContractError(
                f"{parts[0]!r} {sign} {part!r}: both sides must be representations of one group; restrict them first"
            )
    return parts


@dataclass(frozen=True, repr=False)
class Sum(Representation):
    """Direct sum; nested sums are flattened."""

    parts: tuple[Representation, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(atom for part in self.parts for atom in part.summands()))

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.parts[0].group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return sum(part.dim for part in self.parts)

    @property
    def degree(self) -> int:  # type: ignore[override]
        return max(part.degree for part in self.parts)

    def summands(self) -> tuple[Representation, ...]:
        return self.parts

    def runs(self) -> list[tuple[Representation, int]]:
        """Equal neighbours counted: ``[(rho, 3), (sigma, 1)]``."""
        return [(part, len(list(same))) for part, same in groupby(self.parts)]

    def matrix(self, g):
        return block_diagonal([block for part, n in self.runs() for block in [part.matrix(g)] * n])

    def act(self, g, x, given=None):
        out, start = [], 0
        for part, n in self.runs():
            piece = x.narrow(-1, start, n * part.dim)
            out.append(part.act(g, piece.unflatten(-1, (n, part.dim)), given).flatten(-2))
            start += n * part.dim
        if start != x.shape[-1]:
            raise ContractError(f"{self!r} has dimension {start}, the last axis of x {tuple(x.shape)} differs")
        return torch.cat(out, -1)

    def algebra(self) -> Tensor:
        return block_diagonal([part.algebra() for part in self.parts])

    def character(self, g):
        return sum(n * part.character(g) for part, n in self.runs())

    def dual(self) -> Representation:
        return Sum(tuple(part.dual() for part in self.parts))

    def restrict(self, subgroup, embedding=None):
        return Sum(tuple(part.restrict(subgroup, embedding) for part in self.parts))

    def __str__(self) -> str:
        return " + ".join(f"{n} * {part}" if n > 1 else str(part) for part, n in self.runs())


@dataclass(frozen=True, repr=False)
class TensorProduct(Representation):
    """Tensor (Kronecker) product; nested products are flattened."""

    parts: tuple[Representation, ...]

    def __post_init__(self) -> None:
        flat = (atom for part in self.parts for atom in (part.parts if isinstance(part, TensorProduct) else (part,)))
        object.__setattr__(self, "parts", tuple(flat))

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.parts[0].group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return reduce(lambda total, part: total * part.dim, self.parts, 1)

    @property
    def degree(self) -> int:  # type: ignore[override]
        return sum(part.degree for part in self.parts)

    def matrix(self, g):
        return reduce(kron, [part.matrix(g) for part in self.parts])

    def act(self, g, x, given=None):
        if x.shape[-1] != self.dim:
            raise ContractError(f"{self!r} has dimension {self.dim}, the last axis of x {tuple(x.shape)} differs")
        axes = x.ndim - 1
        x = x.unflatten(-1, [part.dim for part in self.parts])
        for k, part in enumerate(self.parts):
            x = part.act(g, x.movedim(axes + k, -1), given).movedim(-1, axes + k)
        return x.flatten(axes)

    def algebra(self) -> Tensor:
        total = None
        for k, part in enumerate(self.parts):
            a = part.algebra()
            factors = [torch.eye(other.dim, dtype=a.dtype).expand(len(a), -1, -1) for other in self.parts]
            factors[k] = a
            term = reduce(kron, factors)
            total = term if total is None else total + term
        return total  # type: ignore[return-value]

    def character(self, g):
        return reduce(torch.mul, [part.character(g) for part in self.parts])

    def dual(self) -> Representation:
        return TensorProduct(tuple(part.dual() for part in self.parts))

    def restrict(self, subgroup, embedding=None):
        return TensorProduct(tuple(part.restrict(subgroup, embedding) for part in self.parts))

    def __str__(self) -> str:
        return " * ".join(f"({part})" if isinstance(part, Sum) else str(part) for part in self.parts)


@dataclass(frozen=True, repr=False)
class Dual(Representation):
    """``rho(g^-1)^T``."""

    base: Representation

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.base.group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.base.dim

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.base.degree

    def matrix(self, g):
        return torch.linalg.inv(self.base.matrix(g)).mT

    def algebra(self) -> Tensor:
        return -self.base.algebra().mT

    def dual(self) -> Representation:
        return self.base

    def __str__(self) -> str:
        return f"dual({self.base})"


@dataclass(frozen=True, repr=False)
class Conjugate(Representation):
    """``Q rho(g) Q^-1``: the same action in another basis."""

    base: Representation
    q: Constant

    def __post_init__(self) -> None:
        q = self.q.value
        if q.shape != (self.base.dim, self.base.dim) or not torch.linalg.cond(q) < 1e12:
            raise InputError(
                f"conjugate: expected an invertible ({self.base.dim}, {self.base.dim}) matrix, got {tuple(q.shape)}"
            )

    @property
    def group(self) -> Group:  # type: ignore[override]
        return self.base.group

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.base.dim

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.base.degree

    def matrix(self, g):
        inner = self.base.matrix(g)
        q = self.q.value.to(inner)
        return q @ inner @ torch.linalg.inv(q)

    def algebra(self) -> Tensor:
        return self.q.value @ self.base.algebra() @ torch.linalg.inv(self.q.value)

    def character(self, g):
        return self.base.character(g)

    def __str__(self) -> str:
        return f"conjugate({self.base})"


@dataclass(frozen=True, repr=False)
class Restriction(Representation):
    """``rho`` seen by a subgroup: ``matrix(h) = rho(embedding(h))``."""

    base: Representation
    group: Group
    embedding: Callable[[Any], Any] | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.embedding, tuple) and (
            not isinstance(self.group, FiniteGroup) or len(self.embedding) != self.group.order
        ):
            raise InputError(
                f"restrict: a list embeds a finite group element by element; {self.group} has order {self.group.order}"
            )

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.base.dim

    @property
    def degree(self) -> int:  # type: ignore[override]
        return self.base.degree

    def embed(self, h: Any) -> Any:
        """The element of the larger group."""
        if callable(self.embedding):
            return self.embedding(h)
        if self.embedding is not None:
            return torch.tensor(self.embedding, device=h.device)[h]
        large = self.base.group.element_shape
        if self.group.element_shape == large and isinstance(self.group, FiniteGroup) == isinstance(
            self.base.group, FiniteGroup
        ):
            return h
        matrix = self.group.linear(h)
        if matrix.shape[-2:] == large:
            return matrix
        raise ContractError(f"{self.group} has no evident embedding into {self.base.group}; pass restrict(group, embedding)")

    def matrix(self, g):
        return self.base.matrix(self.embed(g))

    def __str__(self) -> str:
        return str(self.base)
