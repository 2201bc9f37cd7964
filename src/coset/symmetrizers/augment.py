"""Augmentation by a contract: every member of a batch moved by a random element of its own, targets along with it.

    loss = l(f(g x), g y),   or with ``weight``:   l(f(x), y) + weight * l(f(g x), g y)

For any contract whose group can be sampled: Haar-random where it is compact, within an angle through :class:`Jitter`, image
operations through :class:`coset.symmetrizers.image_ops.ImageOps`. Targets of equivariant tasks move by the output action.
In a batch of graphs, where members share an axis, every node moves with the graph that it points to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.group import Family, FiniteGroup, LieGroup
from coset.groups.product import Power, Product
from coset.nn.draws import Draws
from coset.reps.fields import Field, Fields
from coset.symmetrizers.members import Members


@dataclass(frozen=True)
class Jitter(Family):
    """Elements near the identity: coordinates uniform in a ball of ``radius`` in the Lie algebra (radians for rotations)."""

    group: LieGroup
    radius: float
    element_shape: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.group, LieGroup):
            raise InputError(f"Jitter: a Lie group such as SO(2), got {self.group}")
        if not 0 < self.radius < math.inf:
            raise InputError(f"Jitter: radius > 0 in the units of the algebra (radians for rotations), got {self.radius}")
        object.__setattr__(self, "element_shape", self.group.element_shape)

    def __str__(self) -> str:
        return f"{self.group} within {self.radius:.4g}"

    def sample(self, n, *, generator=None, dtype=None, device=None) -> Tensor:
        """Uniform in the ball: a normal direction, a length of density r^(dim - 1)."""
        way = torch.randn(n, self.group.dim, generator=generator, dtype=torch.float64)
        length = torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1 / self.group.dim)
        g = self.group.exp(self.radius * length * way / way.norm(dim=1, keepdim=True))
        return g.to(dtype=dtype or g.dtype, device=device)

    def move(self, g, field, x, given):
        return self.group.move(g, field, x, given)

    def linear(self, g):
        return self.group.linear(g)

    def shift(self, g):
        return self.group.shift(g)


class AugmentationSpace:
    """The transformations of ``contract``, drawn from ``family`` (its own group if None), for batches by name.

    ``inputs`` and ``target`` are the batch's names for an unnamed input and output, as in ``Supervised``. Raises
    ContractError for an equivariant contract whose batches carry no target of the output's shape.
    """

    def __init__(
        self, contract: Contract, *, family: Family | None = None, inputs: Sequence[str] = ("x",), target: str = "y"
    ) -> None:
        if family is not None and not isinstance(family, Family):
            raise InputError(f"AugmentationSpace: family is a group or family such as Jitter(SO(2), 0.4), got {family!r}")
        self.contract = contract if family is None else replace(contract, group=family)
        self.reference, self.inputs, self.target = contract, tuple(inputs), target
        self.name = str(family or contract)

    @property
    def labels(self) -> tuple[str, ...]:
        """What accepted transformations are counted by: elements, operations, or bins of the rotation angle."""
        family = self.contract.group
        if (own := getattr(family, "labels", None)) is not None:
            return own
        if isinstance(family, FiniteGroup):
            return tuple(f"{family}[{i}]" for i in range(int(family.order)))
        if _planar(family):
            return tuple(f"{30 * i - 180}..{30 * i - 150} degrees" for i in range(12))
        return (str(family),)

    def label(self, g: Any) -> Tensor:
        """The index into ``labels`` of every element of a batch."""
        family = self.contract.group
        if (own := getattr(family, "label", None)) is not None:
            return own(g)
        if isinstance(family, FiniteGroup):
            return g
        if _planar(family):
            matrix = family.linear(g)
            angle = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
            return ((angle / math.pi * 6).floor().to(torch.int64) + 6).clamp(0, 11)
        return torch.zeros(family.batch_shape(g)[:1], dtype=torch.int64)

    def draw(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Any:
        """One random element for every member of the batch."""
        x, bound = self._bound(batch)
        if _powers(bound.group):  # an element of a power already holds one for every member
            return bound.group.sample(1, generator=generator)[0]
        return bound.group.sample(_members(bound, x), generator=generator)

    def apply(self, batch: Mapping[str, Tensor], g: Any) -> dict[str, Tensor]:
        """The batch with inputs, and targets that the group moves, moved."""
        out = self.apply_inputs(batch, g)
        family, outputs = self._bound(batch)[1].group, self.contract.outputs
        keys = {name: name or self.target for name in outputs.names()}
        moving = [name for name, declared in outputs if not declared.still or _permutes(family, declared)]
        for name in moving:
            declared, y = outputs.of(name), batch.get(keys[name])
            if y is None or y.ndim < declared.kind.axes + 1 or not y.is_floating_point():
                raise ContractError(
                    f"{self.reference}: the output is {declared}, which {family} moves, but the batch has no target "
                    f"{keys[name]!r} of that shape; augmenting an equivariant task needs targets to act on"
                )
        if moving or type(family).move_all is not Family.move_all:  # an exchange moves nothing but swaps
            present = {name: batch[key] for name, key in keys.items() if key in batch}
            moved = self.apply_outputs(present, g, batch)
            out |= {keys[name]: value for name, value in moved.items()}
        return out

    def apply_inputs(self, batch: Mapping[str, Tensor], g: Any) -> dict[str, Tensor]:
        """The batch with its inputs moved and its targets left as they are."""
        x, bound = self._bound(batch)
        moved = move_members(bound, g, bound.inputs, x, x)
        return {**batch, **(moved if not bound.inputs.unnamed else {self.inputs[0]: moved[""]})}

    def apply_outputs(self, y: Mapping[str, Tensor], g: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, as :meth:`Contract.look` gives them, moved like the members that they belong to."""
        x, bound = self._bound(batch)
        return move_members(bound, g, Fields({n: d for n, d in bound.outputs if n in y}), y, x)

    def _bound(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Contract]:
        """The inputs of a batch, and the contract closed on them."""
        x = self._inputs(batch)
        return x, replace(self.contract, group=self.contract.group.bind(self.contract.inputs, x))

    def origin(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch at the identity: resampled like its moved copies, untouched for other actions."""
        x = self._inputs(batch)
        bound = replace(self.reference, group=self.reference.group.bind(self.reference.inputs, x))
        still = bound.origin(self.reference.inputs.unpack(x))
        return {**batch, **({self.inputs[0]: still} if self.reference.inputs.unnamed else still)}

    def _inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.contract.inputs.unnamed:
            names: Sequence[str] = self.inputs[:1]
        else:
            names = self.contract.inputs.names()
        if missing := [name for name in names if name not in batch]:
            raise InputError(f"{self.reference}: the batch has no {missing[0]!r}; it holds {sorted(batch)}")
        return {"": batch[names[0]]} if self.contract.inputs.unnamed else {name: batch[name] for name in names}


class Augmented(nn.Module):
    """``base`` on moved batches; with ``weight`` on the clean batch plus ``weight`` times the moved one.

    ``space`` is a contract or an :class:`AugmentationSpace`; ``family`` restricts it (jitter). The clean term with a fixed
    weight is the control for constrained learning, which tunes that weight. Augmentation is for training: in eval mode the
    base sees the batch at the identity.
    """

    def __init__(
        self, base: Any, space: Contract | AugmentationSpace, *, family: Family | None = None, weight: float | None = None,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if weight is not None and not 0 <= weight < math.inf:
            raise InputError(f"Augmented: weight >= 0 and finite, got {weight}")
        if isinstance(space, Contract):
            space = AugmentationSpace(
                space, family=family, inputs=getattr(base, "inputs", ("x",)), target=getattr(base, "target", "y")
            )
        elif family is not None:
            raise InputError("Augmented: give the family to the AugmentationSpace, or a contract and the family here")
        self.base, self.space, self.weight, self.draws = base, space, weight, Draws(seed)

    def forward(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The base's loss and terms; with a weight also both losses by name."""
        if not getattr(model, "training", True):
            return self._alone(model, self.space.origin(batch))
        generator = self.draws.next()
        moved = self.space.apply(batch, self.space.draw(batch, generator))
        if self.weight is None:
            return self._alone(model, moved)
        clean = self.space.origin(batch)
        if hasattr(self.base, "predictions"):  # one pass, so that batch norm sees both together
            first, second = self.base.predictions(model, clean, moved)
            terms = self.base.losses(first, clean).mean(), self.base.losses(second, moved).mean()
        else:
            terms = self.base(model, clean)["loss"], self.base(model, moved)["loss"]
        return {"loss": terms[0] + self.weight * terms[1], "clean": terms[0].detach(), "moved": terms[1].detach()}

    def _alone(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The base on a batch that has been moved already, so that it is not presented at the identity once more."""
        if not hasattr(self.base, "predictions"):
            return dict(self.base(model, batch))
        return {"loss": self.base.losses(self.base.predict(model, batch), batch).mean()}

    def after_step(self, model: Any, step: int) -> None:
        """Passed on to the base."""
        if (inner := getattr(self.base, "after_step", None)) is not None:
            inner(model, step)


def move_members(
    bound: Contract, g: Any, fields: Fields, y: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """``g . y`` for one element per member of a batch (or one element of a power for all of them).

    ``bound`` is the contract closed on the input ``given``; ``fields`` declare ``y``, an input or an output.
    """
    family = bound.group
    if _powers(family):
        return family.move_all(g, fields, y, given)
    if _pointers(bound):  # members share an axis: every entry moves with the member that it points to
        lead = {name: value.unsqueeze(0) for name, value in y.items()}
        moved = Members.of(bound, given).move_all(family, g[None], fields, lead, given)
        return {name: value[0] for name, value in moved.items()}
    return family.move_all(g, Fields({name: _inside(declared, y[name]) for name, declared in fields}), y, given)


def _inside(declared: Field, x: Tensor) -> Field:
    """The field of one member: without the batch's own index, whose place the batch of elements takes."""
    if declared.ragged:
        return declared if len(declared.index) == 1 else replace(declared, index=declared.index[1:])
    return replace(declared, index=declared.index[1:]) if x.ndim == len(declared.index) + declared.kind.axes else declared


def _pointers(bound: Contract) -> bool:
    return any(declared.target is not None for _, declared in bound.inputs)


def _members(bound: Contract, x: Mapping[str, Tensor]) -> int:
    """How many members a batch has: the leading axis, which all inputs share, or what the points point into."""
    if _pointers(bound):
        members = Members.of(bound, x)
        if members.index is None:
            raise ContractError(f"{bound}: cannot tell the members of this batch apart; declare a pointer such as 'N -> B'")
        return members.size
    sizes = {name: len(value) if value.ndim else 0 for name, value in x.items()}
    if len(set(sizes.values())) != 1:
        raise ContractError(f"inputs of a batch have one leading axis for its members, got lengths {sizes}")
    return next(iter(sizes.values()))


def _powers(family: Family) -> bool:
    if isinstance(family, Product):
        return any(_powers(part) for part in family.parts)
    return isinstance(family, Power)


def _permutes(family: Family, declared: Field) -> bool:
    """Whether an index permutation touches this field."""
    parts = family.factors() if isinstance(family, Product) else (family,)
    return any(getattr(part, "index", None) in declared.index for part in parts if not isinstance(part, Power))


def _planar(family: Any) -> bool:
    """Whether elements turn the plane, so that they have an angle."""
    base = getattr(family, "group", family)
    return isinstance(base, LieGroup) and tuple(getattr(base, "element_shape", ())) == (2, 2) and base.compact
