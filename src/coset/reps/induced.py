"""Representations of finite groups by tables: regular, quotient, induced, or from matrices of generators.

With a subgroup H of G (``G.subgroup([...])``), coset representatives ``r_i`` and a representation ``sigma`` of H, the
induced representation has the block ``sigma(h)`` at ``(j, i)`` where ``g r_i = r_j h``. The quotient representation is that
of the trivial ``sigma``, the regular one that of ``H = {e}``. (Serre, Linear Representations of Finite Groups, chapter 7.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup
from coset.groups.subgroups import Cosets, Subgroup, cosets
from coset.reps.action import Kind, take
from coset.reps.representation import Constant, Representation


def _sources(group: FiniteGroup, g: Tensor) -> Tensor:
    """``g^-1 h`` for all h: where what stands at ``h`` afterwards comes from, ``(*batch, order)``."""
    inverse = group.inverse(g)
    return group.compose(inverse.unsqueeze(-1), group.elements().to(g.device))


@dataclass(frozen=True)
class RegularAxis(Kind):
    """The word ``regular``: the last axis is indexed by the elements of whatever finite group acts.

    ``(g . x)[h] = x[g^-1 h]``. ``order`` fixes its size, as in ``regular(8)``.
    """

    order: int | None = None

    axes = 1

    def __post_init__(self) -> None:
        if self.order is not None and (not isinstance(self.order, int) or self.order < 1):
            raise InputError(f"regular: the order of the group is a whole number, got {self.order!r}")

    def move(self, group: Any, g: Tensor, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if not isinstance(group, FiniteGroup):
            raise ContractError(f"{group} has no regular axis: only finite groups index an axis by their elements")
        if x.shape[-1] != group.order:
            raise ContractError(
                f"{group} has {int(group.order)} elements, the regular axis of x {tuple(x.shape)} has {x.shape[-1]}"
            )
        return take(x, _sources(group, g), x.ndim - 1)

    def shape(self, space: int) -> tuple[int, ...]:
        if self.order is None:
            raise InputError("the size of a regular axis is unknown without a group; write its order, as in 'regular(8)'")
        return (self.order,)

    def __str__(self) -> str:
        return "regular" if self.order is None else f"regular({self.order})"


@dataclass(frozen=True, repr=False)
class Listed(Representation):
    """A representation of a finite group whose matrices are listed, ``(order, dim, dim)``; checked when made."""

    group: FiniteGroup
    table: Constant
    word: str = "listed"

    def __post_init__(self) -> None:
        table, order = self.table.value, int(self.group.order)
        if table.shape[:1] != (order,) or table.ndim != 3 or table.shape[1] != table.shape[2]:
            raise InputError(f"{self.word}: expected matrices ({order}, dim, dim) for {self.group}, got {tuple(table.shape)}")

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.table.value.shape[-1]

    @property
    def degree(self) -> int:  # type: ignore[override]
        return 0  # finite groups are summed whole

    def matrix(self, g: Tensor) -> Tensor:
        return self.table.value.to(g.device)[g]

    def __str__(self) -> str:
        return self.word


def generator_words(group: FiniteGroup) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """Generators ``(k,)`` and how each element was first reached: (element, generator, earlier element), breadth first.

    Element 0 is the identity. Raises InputError where the generators do not reach the whole group.
    """
    own = group.generators()
    own = own if len(own) or group.order == 1 else group.elements()[1:]
    reached: dict[int, tuple[int, int]] = {0: (-1, -1)}
    queue = [0]
    for element in queue:
        for k, product in enumerate(group.compose(own, torch.full_like(own, element)).tolist()):
            if product not in reached:
                reached[product] = (k, element)
                queue.append(product)
    if len(reached) != group.order:
        raise InputError(f"the generators of {group} reach {len(reached)} of its {int(group.order)} elements")
    return own, [(element, *reached[element]) for element in queue[1:]]


def from_generators(group: FiniteGroup, matrices: Tensor | Sequence[Any], *, tolerance: float = 1e-8) -> Listed:
    """The representation of ``group`` with these matrices ``(k, dim, dim)`` for ``group.generators()``.

    Raises InputError where they are not a homomorphism: a relation of the group fails, and by how much.
    """
    matrices = torch.as_tensor(matrices, dtype=torch.float64)
    own, steps = generator_words(group)
    if matrices.ndim != 3 or len(matrices) != len(own) or matrices.shape[1] != matrices.shape[2]:
        raise InputError(
            f"from_generators: {group} has {len(own)} generators, expected ({len(own)}, dim, dim), got {tuple(matrices.shape)}"
        )
    table = torch.eye(matrices.shape[-1], dtype=torch.float64).repeat(int(group.order), 1, 1)
    for element, k, earlier in steps:
        table[element] = matrices[k] @ table[earlier]
    for k, generator in enumerate(own):
        products = group.compose(generator.expand(int(group.order)), group.elements())
        gap = (matrices[k] @ table - table[products]).abs().max().item()
        if not gap <= tolerance:
            raise InputError(
                f"from_generators: the matrices are no homomorphism of {group}: rho(g) rho(h) - rho(g h) is {gap:.1e}"
            )
    return Listed(group, Constant(table), "from_generators")


@dataclass(frozen=True, repr=False)
class Regular(Representation):
    """Functions on a finite group, ``(g . x)[h] = x[g^-1 h]``: ``dim`` is the order, every irrep occurs ``its size`` times."""

    group: FiniteGroup

    degree = 0

    @property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.group.order)

    def matrix(self, g: Tensor) -> Tensor:
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[_sources(self.group, g)]

    def act(self, g, x, given=None):
        return RegularAxis().move(self.group, g, x, {})

    def dual(self) -> Representation:
        return self

    def __str__(self) -> str:
        return "regular"


@dataclass(frozen=True, repr=False)
class Quotient(Representation):
    """Functions on the cosets ``G / H``, permuted by G: ``Quotient(D(4).subgroup(["s"]))`` lives on the square's corners."""

    subgroup: Subgroup

    degree = 0

    def __post_init__(self) -> None:
        _check_subgroup("Quotient", self.subgroup)

    @property
    def group(self) -> FiniteGroup:  # type: ignore[override]
        return self.subgroup.parent

    @property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.group.order / self.subgroup.order)

    def sources(self, g: Tensor) -> Tensor:
        """The coset from which the value at each coset comes, ``(*batch, dim)``."""
        return _left_cosets(self.subgroup).action.to(g.device)[self.group.inverse(g)]

    def matrix(self, g: Tensor) -> Tensor:
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[self.sources(g)]

    def act(self, g, x, given=None):
        return take(x, self.sources(g), x.ndim - 1)

    def dual(self) -> Representation:
        return self

    def __str__(self) -> str:
        return f"quotient({list(self.subgroup.members)})"


@dataclass(frozen=True, repr=False)
class Induced(Representation):
    """``sigma``, a representation of a :class:`~coset.groups.subgroups.Subgroup` H, induced to the parent G.

    Fields on ``G / H`` with values in ``sigma``'s space: ``dim`` is ``|G| / |H| * sigma.dim``, coset outermost.
    """

    sigma: Representation

    degree = 0

    def __post_init__(self) -> None:
        _check_subgroup("Induced", self.sigma.group)

    @property
    def group(self) -> FiniteGroup:  # type: ignore[override]
        return self.sigma.group.parent  # type: ignore[attr-defined]

    @property
    def dim(self) -> int:  # type: ignore[override]
        return int(self.group.order / self.sigma.group.order) * self.sigma.dim

    def matrix(self, g: Tensor) -> Tensor:
        split = _left_cosets(self.sigma.group)  # type: ignore[arg-type]
        representatives = split.representatives.to(g.device)
        target, h = split.split(self.group.compose(g.unsqueeze(-1), representatives))  # g r_i = r_j h
        blocks = self.sigma.matrix(h)  # (*batch, i, d, d)
        places = torch.nn.functional.one_hot(target, len(representatives)).to(blocks)  # (*batch, i, j)
        whole = torch.einsum("...ij,...iab->...jaib", places, blocks)
        return whole.reshape(*whole.shape[:-4], self.dim, self.dim)

    def dual(self) -> Representation:
        return Induced(self.sigma.dual())

    def __str__(self) -> str:
        return f"induced({self.sigma} of {list(self.sigma.group.members)})"  # type: ignore[attr-defined]


def _check_subgroup(name: str, group: Any) -> None:
    if not isinstance(group, Subgroup):
        raise InputError(f"{name}: expected a subgroup with its parent, such as D(4).subgroup(['s']), got {group}")


@lru_cache(maxsize=256)
def _left_cosets(subgroup: Subgroup) -> Cosets:
    return cosets(subgroup.parent, subgroup)
