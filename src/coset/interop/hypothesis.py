"""Property tests of symmetry: Hypothesis strategies for the elements of every group, and for input of declared fields.

    @given(moves(Contract(SO(3), {"pos": "N x vector"}, "N x scalar")))
    def test_layer(move):
        x, g, contract = move
        assert contract.error(layer, x, g) < 1e-10

A counterexample shrinks: elements toward the identity (fewer and smaller coordinates, lower powers of generators, shorter
permutations), index sets toward one member, groups toward the first of the list.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coset.contract import Contract, FieldsLike
from coset.errors import CosetError, InputError, require
from coset.groups.euclidean import SE, E, T
from coset.groups.finite import C, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.group import Elements, Family, FiniteGroup, Group, LieGroup
from coset.groups.matrix import SO, O
from coset.groups.permutation import S
from coset.groups.product import Power, Product
from coset.reps.fields import SHARED, Fields

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

SEEDS = (0, 2**31 - 1)


def elements(group: Family, *, reach: float = math.pi) -> SearchStrategy[Any]:
    """One element of a group that is bound to its sample, in float64; the identity is the simplest.

    Finite groups: any index. Lie groups: ``exp`` of coordinates in ``[-reach, reach]`` times powers of the components'
    representatives. Permutations and products: of their parts. Families without identity, and groups known only by their
    samples, draw by seed. Raises InputError for an open group.
    """
    st = require("hypothesis.strategies", extra="test")
    if isinstance(group, Product):
        return st.tuples(*(elements(part, reach=reach) for part in group.parts)).map(lambda parts: Elements(*parts))
    if isinstance(group, S):
        return _permutations(group)
    if isinstance(group, Power):
        return st.lists(elements(group.base, reach=reach), min_size=(n := _bound(group)), max_size=n).map(torch.stack)
    if isinstance(group, FiniteGroup):
        return st.integers(0, int(group.order) - 1).map(torch.tensor)
    if isinstance(group, LieGroup):
        return _lie(group, reach)
    drawn = st.integers(*SEEDS).map(
        lambda seed: group.sample(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)[0]
    )
    return st.just(group.identity(dtype=torch.float64)) | drawn if isinstance(group, Group) else drawn


def _bound(group: S | Power) -> int:
    """The number of members; InputError while the group is open."""
    size = group.size
    if size is None:
        raise InputError(f"{group} is open: draw from moves(contract), or from contract.bind(x).group")
    return size


def _lie(group: LieGroup, reach: float) -> SearchStrategy[Tensor]:
    """``exp(a) c1 c2 ...`` with each representative of a component taken or left."""
    st = require("hypothesis.strategies", extra="test")
    ways: Any = getattr(group, "components", lambda **_: [])(dtype=torch.float64)
    numbers = st.floats(-reach, reach, allow_subnormal=False)

    def element(drawn: tuple[list[float], list[bool]]) -> Tensor:
        g = group.exp(torch.tensor(drawn[0], dtype=torch.float64))
        for way in itertools.compress(ways, drawn[1]):
            g = group.compose(g, way)
        return g

    taken = st.lists(st.booleans(), min_size=len(ways), max_size=len(ways))
    return st.tuples(st.lists(numbers, min_size=group.dim, max_size=group.dim), taken).map(element)


def _permutations(group: S) -> SearchStrategy[Tensor]:
    """Letters exchanged inside their fibres only."""
    st = require("hypothesis.strategies", extra="test")
    n = _bound(group)
    fibre = torch.zeros(n, dtype=torch.int64) if group.fibre is None else group.fibre.cpu()
    places = [torch.nonzero(fibre == label).flatten().tolist() for label in fibre.unique()]

    def element(drawn: Sequence[Sequence[int]]) -> Tensor:
        g = torch.arange(n)
        for own, images in zip(places, drawn, strict=True):
            g[own] = torch.tensor(images)
        return g

    return st.tuples(*(st.permutations(own) for own in places)).map(element)


def inputs(
    fields: FieldsLike, *, sizes: Mapping[str, int] | None = None, most: int = 4, space: int = 3
) -> SearchStrategy[dict[str, Tensor]]:
    """A sample of the fields by name, float64: every named index of 1 to ``most`` members, or as many as ``sizes`` says.

    Values are those of :meth:`coset.reps.fields.Fields.example` (normal, pointers as batches have them) in a space of ``space``
    dimensions, by seed; sizes shrink one by one, values do not.
    """
    st = require("hypothesis.strategies", extra="test")
    declared, known = Fields(fields), dict(sizes or {})
    pointed = {field.target for _, field in declared if field.target}
    names = dict.fromkeys(name for _, field in declared for name in field.index)
    free = [n for n in (*names, *sorted(pointed - set(names))) if n[0].isalpha() and n not in known and n not in SHARED]

    def sample(drawn: tuple[Sequence[int], int]) -> dict[str, Tensor]:
        chosen = {**known, **dict(zip(free, drawn[0], strict=True))}
        for _, field in declared:  # no index points into more members than it has
            if field.target and len(field.index) == 1 and field.index[0] in chosen and field.target in chosen:
                chosen[field.index[0]] = max(chosen[field.index[0]], chosen[field.target])
        generator = torch.Generator().manual_seed(drawn[1])
        return declared.example(chosen, space=space, generator=generator)

    return st.tuples(st.tuples(*(st.integers(1, most) for _ in free)), st.integers(*SEEDS)).map(sample)


def moves(
    contract: Contract, *, sizes: Mapping[str, int] | None = None, most: int = 4, reach: float = math.pi
) -> SearchStrategy[tuple[Any, Any, Contract]]:
    """``(x, g, contract)``: a sample as the model takes it, an element, and the contract with its group bound to the sample."""

    def beside(x: dict[str, Tensor]) -> SearchStrategy[tuple[Any, Any, Contract]]:
        bound = contract.bind(x)
        return elements(bound.group, reach=reach).map(lambda g: (contract.inputs.unpack(x), g, bound))

    return inputs(contract.inputs, sizes=sizes, most=most, space=_space(contract.group)).flatmap(beside)


def groups(space: int = 3) -> SearchStrategy[Group]:
    """Groups that move vectors of a space: rotations, reflections, motions, and the finite ones of plane and space."""
    st = require("hypothesis.strategies", extra="test")
    found: list[Group] = [SO(space), O(space), T(space), SE(space), E(space)]
    if space == 2:
        found = [*map(C, (2, 3, 4, 8)), *map(D, (1, 2, 4)), *found]
    if space == 3:
        found = [Tetrahedral(), Octahedral(), Icosahedral(), *found]
    return st.sampled_from(found)


def contracts(inputs: FieldsLike, outputs: FieldsLike, *, space: int = 3) -> SearchStrategy[Contract]:
    """The promise that these outputs move with these inputs, for any group of :func:`groups`."""
    return groups(space).map(lambda group: Contract(group, inputs, outputs))


def _space(group: Family) -> int:
    """The dimension of the space that a group acts on, 3 where it has none."""
    for part in group.factors():
        try:
            base = getattr(part, "base", None) or part
            return int(base.linear(base.sample(1, generator=torch.Generator().manual_seed(0))).shape[-1])
        except CosetError:
            continue
    return 3
