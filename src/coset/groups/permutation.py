"""S("N"): permutations of an index set whose size the sample decides.

A permutation is an int64 tensor ``p`` with ``p[i]`` the *old* place of what stands at ``i`` afterwards, so it moves a
field by ``x[p]`` and relabels what points into the index by ``argsort(p)``; ``compose(p, q)`` is ``q[p]``, first ``q``
then ``p``.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from coset.errors import ContractError, InputError
from coset.groups.group import Group, Rule, natural


@dataclass(frozen=True)
class S(Group):
    """The symmetric group on the index set ``index``; ``within="B"`` keeps members inside the fibres of ``index -> B``.

    ``S(5)`` is the symmetric group on five letters, for use without fields. An open group (``S("N")``) is bound to a
    sample by ``bind``, which reads the size of ``N`` and, for ``within``, the pointer ``N -> B``.
    """

    index: str | int
    within: str | None = None
    size: int | None = None
    fibre: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in (self.index, self.within):
            if isinstance(name, str) and not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
                raise InputError(f'S: an index is a name such as "N", got {name!r}')
        if self.within is not None and not (isinstance(self.index, str) and isinstance(self.within, str)):
            raise InputError(f'S: within is for open groups, as in S("N", within="B"); got S({self.index!r}, {self.within!r})')
        if not isinstance(self.index, str):
            natural("S", self.index)
            object.__setattr__(self, "size", self.index)

    def __str__(self) -> str:
        name = f'"{self.index}"' if isinstance(self.index, str) else str(self.index)
        return f'S({name}, within="{self.within}")' if self.within else f"S({name})"

    @property
    def n(self) -> int:
        """The number of letters; ContractError while the group is open."""
        if self.size is None:
            raise ContractError(f"{self} is open: call bind(fields, x) so that it reads the size of {self.index!r}")
        return self.size

    @property
    def element_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.n,)

    @property
    def order(self) -> float:  # type: ignore[override]
        if self.fibre is None:
            return float(math.factorial(self.n)) if self.n < 171 else math.inf
        counts = torch.bincount(self.fibre).tolist()
        return math.prod(float(math.factorial(c)) if c < 171 else math.inf for c in counts)

    def bind(self, fields, x) -> S:
        if isinstance(self.index, int):
            return self
        size = fields.sizes(x).get(self.index)
        if size is None:
            raise ContractError(f"{self}: no declared field has the index {self.index!r} (fields: {fields})")
        if self.within is None:
            return replace(self, size=size)
        for name, declared in fields:
            if declared.target == self.within and declared.index == (self.index,):
                return replace(self, size=size, fibre=x[name])
        raise ContractError(f'{self}: declare the pointer, for example "batch": "{self.index} -> {self.within}"')

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        keys = torch.rand(n, self.n, generator=generator, dtype=torch.float64)
        if self.fibre is not None:
            # sort by fibre first, at random inside; then put the k-th member of a fibre where its k-th place was
            places = torch.argsort(self.fibre.cpu(), stable=True)
            drawn = torch.argsort(self.fibre.cpu() + keys * 0.999, dim=-1)
            return torch.empty_like(drawn).scatter_(-1, places.expand_as(drawn), drawn).to(device)
        return torch.argsort(keys, dim=-1).to(device)

    def identity(self, *, dtype=None, device=None) -> Tensor:
        return torch.arange(self.n, device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        g, h = torch.broadcast_tensors(g, h)
        return h.gather(-1, g)

    def inverse(self, g: Tensor) -> Tensor:
        return torch.argsort(g, dim=-1)

    def generators(self, *, dtype=None, device=None) -> Tensor:
        """Swaps of neighbours (inside fibres): at most ``n - 1`` of them."""
        unit = self.identity(device=device)
        if self.fibre is None:
            pairs = [(i, i + 1) for i in range(self.n - 1)]
        else:
            order = torch.argsort(self.fibre, stable=True).tolist()
            labels = self.fibre.tolist()
            pairs = [(i, j) for i, j in itertools.pairwise(order) if labels[i] == labels[j]]
        out = unit.expand(len(pairs), self.n).clone()
        for row, (i, j) in enumerate(pairs):
            out[row, i], out[row, j] = j, i
        return out

    def contains(self, g: Tensor, *, tolerance: float = 0.0) -> Tensor:
        inside = (torch.sort(g, dim=-1).values == self.identity(device=g.device)).all(-1)
        return inside if self.fibre is None else inside & (self.fibre[g] == self.fibre).all(-1)

    def elements(self) -> Tensor:
        """All ``n!`` permutations for ``n <= 8``, the identity first."""
        if self.fibre is not None or self.n > 8:
            raise InputError(f"{self}: listing all elements is for at most 8 letters without fibres; sample instead")
        return torch.tensor(list(itertools.permutations(range(self.n))))

    def quadrature(self, degree: int = 0, *, dtype=None, device=None) -> Rule:
        """The sum over all elements, for at most 8 letters."""
        everyone = self.elements().to(device)
        return Rule(everyone, torch.full((len(everyone),), 1 / len(everyone), dtype=torch.float64, device=device), math.inf)

    def move(self, g, field, x, given):
        """Permute every axis indexed by ``index`` and relabel what points into it."""
        outer = len(self.batch_shape(g))
        for axis, name in enumerate(field.index):
            if name == self.index:
                x = _take(x, g, outer, outer + axis)
        if field.target == self.index:
            back = torch.argsort(g, dim=-1)
            flat = x.expand(*g.shape[:-1], *x.shape[outer:]).flatten(outer)
            x = back.gather(-1, flat).view(*g.shape[:-1], *x.shape[outer:])
        # a kind that belongs to this group (a representation of S(5)) moves its own axes
        return x if field.kind.still or getattr(field.kind, "group", None) != self else field.kind.move(self, g, x, given)


def _take(x: Tensor, g: Tensor, outer: int, axis: int) -> Tensor:
    """``x`` with the entries along ``axis`` taken at ``g``; the first ``outer`` axes of ``x`` are those of ``g``."""
    if not outer:
        return x.index_select(axis, g)
    x = x.expand(*g.shape[:-1], *x.shape[outer:])
    shape = [1] * x.ndim
    shape[:outer], shape[axis] = g.shape[:-1], g.shape[-1]
    size = [*x.shape]
    size[axis] = g.shape[-1]
    return x.gather(axis, g.view(shape).expand(size))
