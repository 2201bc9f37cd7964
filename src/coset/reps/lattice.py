"""Fields on a periodic lattice: its sites, all of its shifts whatever its size, and the change of sign of a field.

Values of a representation at every site of an ``H x W`` lattice whose borders meet are declared ``Fibre(values, Sites())``, a
tensor ``(..., d, H, W)``. Point groups of the plane, ``D(4)``, turn it about the center of the array; :class:`Shifts` moves it
along the torus; :class:`SignChange` is an internal symmetry of order two, which leaves the places alone. Direct products of
the three are audited factor by factor, and their generators generate the whole space group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError
from coset.groups.group import Family, FiniteGroup
from coset.groups.torus import Torus
from coset.reps.action import Fibre, Kind
from coset.reps.image import Image
from coset.reps.torus import PeriodicImage

PLACES = Image()


@dataclass(frozen=True)
class Sites(PeriodicImage):
    """The places of a periodic lattice on the last two axes: rolled by shifts, turned by point groups as an image is."""

    def move(self, group: Any, g: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        return super().move(group, g, x, given) if isinstance(group, Torus) else PLACES.move(group, g, x, given)

    def floor(self, group: Any, g: Any, x: Tensor) -> Tensor:
        return super().floor(group, g, x) if isinstance(group, Torus) else PLACES.floor(group, g, x)

    def __str__(self) -> str:
        return "sites"


def _on_sites(kind: Kind) -> bool:
    return isinstance(kind, Sites) or (isinstance(kind, Fibre) and _on_sites(kind.base))


@dataclass(frozen=True)
class Shifts(Family):
    """All shifts of the lattice of a sample: :class:`~coset.groups.torus.Torus` once :meth:`bind` has read its size."""

    def __str__(self) -> str:
        return "Shifts()"

    def bind(self, fields: Any, x: Mapping[str, Tensor]) -> Torus:
        """``Torus(H, W)`` of the fields over ``Sites``; ContractError without one, or where two lattices differ in size."""
        sizes = {tuple(x[name].shape[-2:]) for name, declared in fields if _on_sites(declared.kind)}
        if len(sizes) != 1:
            found = f"lattices of sizes {sorted(sizes)}" if sizes else f"none in {fields}"
            raise ContractError(f"{self}: expected fields over the sites of one lattice, found {found}")
        return Torus(*sizes.pop())

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        raise ContractError(f"{self} is open: call bind(fields, x) so that it reads the size of the lattice")


@dataclass(frozen=True)
class SignChange(FiniteGroup):
    """Order two: element 1 turns every field ``q`` into ``-q``; what is no floating field, or a scalar, stays."""

    order = 2

    def __str__(self) -> str:
        return "SignChange()"

    @property
    def table(self) -> Tensor:
        return torch.tensor([[0, 1], [1, 0]])

    def generators(self, *, dtype=None, device=None) -> Tensor:
        return torch.ones(1, dtype=torch.int64, device=device)

    def move(self, g: Tensor, field: Any, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if field.still:
            return field.kind.move(self, g, x, given)
        sign = (1 - 2 * g).to(x)
        return x * sign.view(*sign.shape, *[1] * (x.ndim - sign.ndim))


__all__ = ["Shifts", "SignChange", "Sites"]
