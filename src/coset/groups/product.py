"""Groups made of groups: the direct product ``G * H``, the power ``G ** "K"`` and the semidirect product.

A direct product acts on every field by each of its factors in turn (they commute); it is audited factor by factor, which
is enough. A power gives every member of an index set an element of its own: ``E(3) ** "B"`` moves every graph of a batch
by itself, ``E(3) ** "K"`` every rigid part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError
from coset.groups.group import Elements, Family, FiniteGroup, Group, Rule


@dataclass(frozen=True)
class Product(Group):
    """Direct product of families; ``identity``, ``compose`` and ``inverse`` need every factor to be a group."""

    parts: tuple[Family, ...]

    def __str__(self) -> str:
        return " * ".join(map(str, self.parts))

    @property
    def dim(self) -> int:  # type: ignore[override]
        return sum(part.dim for part in self._groups())

    @property
    def order(self) -> float:  # type: ignore[override]
        total = 1.0
        for part in self._groups():
            total *= part.order
        return total

    @property
    def compact(self) -> bool:  # type: ignore[override]
        return all(part.compact for part in self._groups())

    def _groups(self) -> tuple[Group, ...]:
        for part in self.parts:
            if not isinstance(part, Group):
                raise ContractError(f"{self}: {part} is a family without composition, so the product is no group")
        return self.parts  # type: ignore[return-value]

    def factors(self) -> tuple[Family, ...]:
        return self.parts

    def bind(self, fields, x) -> Product:
        return Product(tuple(part.bind(fields, x) for part in self.parts))

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Elements:
        return Elements(*(p.sample(n, generator=generator, dtype=dtype, device=device) for p in self.parts))

    def identity(self, *, dtype=None, device=None) -> Elements:
        return Elements(*(p.identity(dtype=dtype, device=device) for p in self._groups()))

    def compose(self, g: Elements, h: Elements) -> Elements:
        return Elements(*(p.compose(a, b) for p, a, b in zip(self._groups(), g.parts, h.parts, strict=True)))

    def inverse(self, g: Elements) -> Elements:
        return Elements(*(p.inverse(a) for p, a in zip(self._groups(), g.parts, strict=True)))

    def generators(self, *, dtype=None, device=None) -> Elements:
        """The generators of every factor, the identity in the others."""
        return _generators_side_by_side(self._groups(), dtype, device)

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        """The product of the factors' rules."""
        return _product_rule([p.quadrature(degree, dtype=dtype, device=device) for p in self._groups()])

    def equal(self, g: Elements, h: Elements, *, tolerance: float = 1e-10) -> Tensor:
        same = [p.equal(a, b, tolerance=tolerance) for p, a, b in zip(self._groups(), g.parts, h.parts, strict=True)]
        return torch.stack(torch.broadcast_tensors(*same)).all(0)

    def contains(self, g: Elements, *, tolerance: float = 1e-8) -> Tensor:
        inside = [p.contains(a, tolerance=tolerance) for p, a in zip(self._groups(), g.parts, strict=True)]
        return torch.stack(torch.broadcast_tensors(*inside)).all(0)

    def _parts_batch_shape(self, g: Elements) -> tuple[int, ...]:
        return self.parts[0].batch_shape(g.parts[0])

    def move(self, g: Elements, field, x, given):
        for part, element in zip(self.parts, g.parts, strict=True):
            x = part.move(element, field, x, given)
        return x

    def move_all(self, g: Elements, fields, x, given):
        for part, element in zip(self.parts, g.parts, strict=True):
            x = part.move_all(element, fields, x, given)
        return dict(x)


def _generators_side_by_side(groups: Sequence[Group], dtype: Any, device: Any) -> Elements:
    own = [p.generators(dtype=dtype, device=device) for p in groups]
    unit = [p.identity(dtype=dtype, device=device) for p in groups]
    columns = []
    for j in range(len(groups)):
        rows = [own[j] if i == j else unit[j].expand(len(own[i]), *unit[j].shape) for i in range(len(groups))]
        columns.append(torch.cat(rows))
    return Elements(*columns)


def _product_rule(rules: Sequence[Rule]) -> Rule:
    """All combinations of elements, the first factor slowest; exact to the lowest degree among them."""
    places = torch.cartesian_prod(*[torch.arange(len(rule), device=rule.weights.device) for rule in rules])
    places = places.reshape(-1, len(rules))
    elements = Elements(*(rule.elements[places[:, i]] for i, rule in enumerate(rules)))
    weights = torch.stack([rule.weights[places[:, i]] for i, rule in enumerate(rules)]).prod(0)
    return Rule(elements, weights, min(rule.degree for rule in rules))


@dataclass(frozen=True)
class Power(Group):
    """One element of ``base`` for every member of the index set ``index``; elements ``(size, *base.element_shape)``.

    A field moves by the element of its own member: its index is ``index`` itself, or points into it through one or more
    declared maps (``"N -> B"``, atom to molecule to pair).
    """

    base: Group
    index: str
    size: int | None = None
    maps: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.base, (Product, Semidirect)):
            raise ContractError(
                f'({self.base}) ** "{self.index}": take the power of every factor instead, (G ** "B") * (H ** "B")'
            )

    def __str__(self) -> str:
        return f'{self.base} ** "{self.index}"'

    @property
    def element_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self._bound(), *self.base.element_shape)

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.base.dim * self._bound()

    @property
    def compact(self) -> bool:  # type: ignore[override]
        return self.base.compact

    def _bound(self) -> int:
        if self.size is None:
            raise ContractError(f"{self} is open: call bind(fields, x) so that it reads the size of {self.index!r}")
        return self.size

    def bind(self, fields, x) -> Power:
        size = fields.sizes(x).get(self.index)
        if size is None:
            raise ContractError(f"{self}: no declared field has the index {self.index!r} (fields: {fields})")
        return replace(self, size=size, maps=_paths_into(self.index, fields, x))

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        flat = self.base.sample(n * self._bound(), generator=generator, dtype=dtype, device=device)
        return flat.unflatten(0, (n, self._bound()))

    def identity(self, *, dtype=None, device=None) -> Tensor:
        unit = self.base.identity(dtype=dtype, device=device)
        return unit.expand(self._bound(), *unit.shape)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return self.base.compose(g, h)

    def inverse(self, g: Tensor) -> Tensor:
        return self.base.inverse(g)

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """Every generator of the base at every member, the identity elsewhere: ``(k * size, size, ...)``."""
        own = self.base.generators(dtype=dtype, device=device)
        out = self.identity(dtype=dtype, device=device).expand(len(own), self._bound(), *self.element_shape).clone()
        for member in range(self._bound()):
            out[:, member, member] = own
        return out.flatten(0, 1)

    def move(self, g: Tensor, field, x, given):
        maps = self.maps or {}
        outer = len(self.batch_shape(g))
        for axis, name in enumerate(field.index):
            if name == self.index:
                own = g
            elif name in maps:
                own = g.index_select(outer, maps[name])
            else:
                continue
            # bring the member's axis next to the batch axes, where the base expects one element per row
            moved = self.base.move(own, _after(field, axis), x.movedim(outer + axis, outer), given)
            return moved.movedim(outer, outer + axis)
        if field.still:
            return x
        raise ContractError(f"{self} does not know which member moves a field over {field}: index it by {self.index!r}")


def _after(field: Any, axis: int) -> Any:
    """``field`` with the index at ``axis`` moved to the front."""
    index = (field.index[axis], *field.index[:axis], *field.index[axis + 1 :])
    return replace(field, index=index)


def _paths_into(index: str, fields: Any, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For every index set that points into ``index``, directly or through others: the composed pointer."""
    maps: dict[str, Tensor] = {}
    grown = True
    while grown:
        grown = False
        for name, declared in fields:
            if declared.target is None or len(declared.index) != 1:
                continue
            source = declared.index[0]
            if source in maps or source == index:
                continue
            if declared.target == index:
                maps[source], grown = x[name], True
            elif declared.target in maps:
                maps[source], grown = maps[declared.target][x[name]], True
    return maps


@dataclass(frozen=True)
class Semidirect(Group):
    """``normal ⋊ acting``: pairs ``(n, h)`` with ``(n, h)(n', h') = (n · h(n'), h h')``.

    ``twist(h, n)`` is the automorphism of ``normal`` by which ``h`` acts; it must broadcast over batches. Example: the
    dihedral group is ``Semidirect(C(n), C(2), lambda h, r: where(h == 1, -r, r) % n)``.
    """

    normal: Group
    acting: Group
    twist: Callable[[Any, Any], Any]

    def __str__(self) -> str:
        return f"{self.normal} ⋊ {self.acting}"

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.normal.dim + self.acting.dim

    @property
    def order(self) -> float:  # type: ignore[override]
        return self.normal.order * self.acting.order

    @property
    def compact(self) -> bool:  # type: ignore[override]
        return self.normal.compact and self.acting.compact

    def _parts_batch_shape(self, g: Elements) -> tuple[int, ...]:
        return self.normal.batch_shape(g.parts[0])

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Elements:
        return Elements(
            self.normal.sample(n, generator=generator, dtype=dtype, device=device),
            self.acting.sample(n, generator=generator, dtype=dtype, device=device),
        )

    def identity(self, *, dtype=None, device=None) -> Elements:
        return Elements(self.normal.identity(dtype=dtype, device=device), self.acting.identity(dtype=dtype, device=device))

    def compose(self, g: Elements, h: Elements) -> Elements:
        (n, a), (m, b) = g.parts, h.parts
        return Elements(self.normal.compose(n, self.twist(a, m)), self.acting.compose(a, b))

    def inverse(self, g: Elements) -> Elements:
        n, a = g.parts
        back = self.acting.inverse(a)
        return Elements(self.twist(back, self.normal.inverse(n)), back)

    def equal(self, g: Elements, h: Elements, *, tolerance: float = 1e-10) -> Tensor:
        return self.normal.equal(g.parts[0], h.parts[0], tolerance=tolerance) & self.acting.equal(
            g.parts[1], h.parts[1], tolerance=tolerance
        )

    def generators(self, *, dtype=None, device=None) -> Elements:
        """Those of both groups, the identity in the other."""
        return _generators_side_by_side((self.normal, self.acting), dtype, device)

    def contains(self, g: Elements, *, tolerance: float = 1e-8) -> Tensor:
        n, a = g.parts
        return self.normal.contains(n, tolerance=tolerance) & self.acting.contains(a, tolerance=tolerance)

    def quadrature(self, degree: int, *, dtype=None, device=None) -> Rule:
        """The product of both rules, which is the Haar mean of compact groups, since automorphisms keep it."""
        return _product_rule([p.quadrature(degree, dtype=dtype, device=device) for p in (self.normal, self.acting)])

    def elements(self) -> Elements:
        """All pairs, where both factors are finite; ContractError otherwise."""
        if not (isinstance(self.normal, FiniteGroup) and isinstance(self.acting, FiniteGroup)):
            raise ContractError(f"{self} is not finite")
        n, a = self.normal.elements(), self.acting.elements()
        return Elements(n.repeat_interleave(len(a)), a.repeat(len(n)))
