"""The real irreducible representations of finite groups, found in the regular one.

A symmetric matrix that commutes with the left translations, ``S = sum_h c_h (R_h + R_h^-1)`` with right translations ``R_h``
and generic numbers ``c_h``, has irreducible eigenspaces, and every real irrep is among them. Their characters tell them
apart; the basis of each is the Gram-Schmidt basis of the projected elements ``e, g_1, g_2, ...`` (so nothing depends on the
choices of an eigensolver). Where the vectors of the group's own space, or these times their determinant, are
irreducible they stand for themselves. (Serre, Linear Representations of Finite Groups, chapters 2 and 13; Dixon, Math. Comp.
24, 1970.)

Names: a letter for the dimension, A E T G H for 1 to 5 and ``V6``, ``V7``, ... beyond, numbered within a dimension in
the order of the characters, the largest first: A or A1 is trivial. (Mulliken's B, g and u are not used.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import FiniteGroup

LARGEST = 2048  #: order of a group up to which its irreps are computed


@dataclass(frozen=True, eq=False)
class FiniteTable:
    """All real irreps of one group: names, matrices ``(order, dim, dim)``, characters and what commutes with them."""

    names: tuple[str, ...]
    matrices: tuple[Tensor, ...]
    characters: Tensor  #: (irreps, order)
    commutants: tuple[int, ...]  #: 1 real, 2 complex, 4 quaternionic type

    def multiplicities(self, character: Tensor) -> list[int]:
        """How often every irrep occurs in a representation with this character ``(order,)``."""
        counts = (self.characters * character.to(self.characters)).mean(-1) / torch.tensor(self.commutants)
        if not bool(((counts - counts.round()).abs() < 1e-6).all()) or bool((counts < -1e-6).any()):
            raise InputError(f"this is no character of a representation: its irreps would occur {counts.tolist()} times")
        return [int(n) for n in counts.round().tolist()]


@lru_cache(maxsize=64)
def finite_table(group: FiniteGroup) -> FiniteTable:
    """The real irreps of ``group``, by dimension, then by character, descending from the identity's class on."""
    if group.order > LARGEST:
        raise InputError(f"{group} has {int(group.order)} elements; irreps are computed up to {LARGEST}")
    found: list[tuple[Tensor, Tensor]] = []  # characters and matrices
    for space in _eigenspaces(group):
        character = _character(group, space)
        if not any((character - known).abs().max() < 1e-6 for known, _ in found):
            found.append((character, _matrices(group, space)))
    order = sorted(range(len(found)), key=lambda i: (round(float(found[i][0][0])), (-found[i][0]).round(decimals=6).tolist()))
    characters = torch.stack([found[i][0] for i in order])
    matrices = [_familiar(group, *found[i]) for i in order]
    commutants = tuple(round(float((c * c).mean())) for c in characters)
    return FiniteTable(_names([m.shape[-1] for m in matrices]), tuple(matrices), characters, commutants)


def _eigenspaces(group: FiniteGroup) -> list[Tensor]:
    """Orthonormal bases ``(order, dim)`` of the eigenspaces of a generic symmetric matrix of the commutant."""
    order = int(group.order)
    generic = torch.cos(torch.arange(order, dtype=torch.float64) ** 2 + 1)
    inverse = group.inverse(group.elements())
    generic = generic + generic[inverse]
    matrix = generic[group.compose(inverse[:, None], group.elements())]  # S[g, h] = c(g^-1 h) commutes with x -> k x
    values, vectors = torch.linalg.eigh(matrix)
    scale = max(1.0, float(values.abs().max()))
    cuts = torch.nonzero(values.diff() > 1e-8 * scale).flatten() + 1
    return list(torch.tensor_split(vectors, cuts.tolist(), dim=1))


def _character(group: FiniteGroup, space: Tensor) -> Tensor:
    """``tr P L_g`` for the projection on ``space``: ``sum_h P[h, g h]``."""
    projection = space @ space.T
    everyone = group.elements()
    moved = group.compose(everyone[:, None], everyone)
    return projection[everyone, moved].sum(-1)


def _matrices(group: FiniteGroup, space: Tensor) -> Tensor:
    """``(order, dim, dim)`` in the Gram-Schmidt basis of the projections of the group's elements."""
    basis: list[Tensor] = []
    for column in (space @ space.T).T:
        for _ in range(2):  # twice is enough
            column = column - sum((b * (b @ column) for b in basis), torch.zeros_like(column))
        if len(basis) < space.shape[1] and column.norm() > 1e-3 * (space.shape[1] / len(space)) ** 0.5:
            basis.append(column / column.norm())
    frame = torch.stack(basis, 1)
    source = group.compose(group.inverse(group.elements())[:, None], group.elements())  # (g x)[h] = x[g^-1 h]
    return torch.einsum("hi,ghj->gij", frame, frame[source])


def _familiar(group: FiniteGroup, character: Tensor, matrices: Tensor) -> Tensor:
    """The vectors of the group's own space, plain or axial, where these are this very irrep."""
    try:
        vectors = group.linear(group.elements()).to(torch.float64)
    except ContractError:
        return matrices
    for known in (vectors, vectors * torch.linalg.det(vectors)[:, None, None]):
        trace = known.diagonal(dim1=-2, dim2=-1).sum(-1)
        if known.shape[-1] == matrices.shape[-1] and (trace - character).abs().max() < 1e-6:
            return known
    return matrices


def _names(dims: list[int]) -> tuple[str, ...]:
    letters = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}
    return tuple(
        (letters.get(dim) or f"V{dim}_") + (str(dims[: i + 1].count(dim)) if dims.count(dim) > 1 or dim > 5 else "")
        for i, dim in enumerate(dims)
    )
