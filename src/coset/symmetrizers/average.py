"""Averaging a model over group elements: one engine for whole groups, frames, canonical elements and orbits at test time.

For a frame that maps a sample x to weighted elements (g_i, w_i) the wrapped model is

    f(x) = sum_i w_i  g_i . phi(g_i^-1 . x),

which is equivariant whenever the frame is (F(g x) = g F(x)); the whole group with its Haar weights always is. All
elements enter one forward pass, side by side along the batch, so that batch statistics see every element alike.
Reynolds operator; Yarotsky 2018, Puny et al. 2022 (arXiv 2110.03336).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coset.contract import Contract
from coset.errors import ContractError, InputError
from coset.groups.finite import C
from coset.groups.group import Elements, Family, Group
from coset.groups.matrix import SO
from coset.groups.permutation import S
from coset.nn.draws import Draws
from coset.symmetrizers.members import Members, base
from coset.symmetrizers.pixels import promises_on_grid

Pool = Literal["outputs", "probabilities"]


@dataclass
class Seen:
    """What a frame met since it was made: samples, degenerate ones (no frame exists), ties (a sign was undecided)."""

    samples: int = 0
    degenerate: int = 0
    tied: int = 0

    def __str__(self) -> str:
        return f"{self.degenerate} degenerate and {self.tied} tied of {self.samples} samples"


class Frame(nn.Module, ABC):
    """A map from a sample to weighted group elements, ``F(g . x) = g . F(x)`` as sets.

    ``batch`` names the index that tells the members of a sample apart where :class:`Members` would not find it.
    """

    def __init__(self, *, batch: str | None = None) -> None:
        super().__init__()
        self.batch = batch
        self.seen = Seen()

    @abstractmethod
    def forward(self, x: Mapping[str, Tensor], contract: Contract) -> tuple[Any, Tensor]:
        """Elements ``(F, *element_shape)`` for the whole sample or ``(F, members, *element_shape)``, and their weights.

        Weights are ``(F,)`` or ``(F, members)`` and sum to one along F. Elements belong to :meth:`acting`.
        """

    def acting(self, contract: Contract, x: Mapping[str, Tensor]) -> Group:
        """The group that the elements belong to, bound to this sample; of ``G ** "B"`` it is ``G``."""
        group = base(contract.group)
        bound = group.bind(contract.inputs, x)
        if not isinstance(bound, Group):
            raise ContractError(f"{group} is a family without inverses; augmentation works with it, averaging does not")
        return bound

    def covers(self, contract: Contract) -> Family:
        """The group that averaging over this frame makes a model equivariant to: the contract's, or factors of it."""
        return contract.group

    def members(self, x: Mapping[str, Tensor], contract: Contract) -> Members:
        """The members of this sample."""
        return Members.of(contract, x, self.batch)

    def regular(self, x: Mapping[str, Tensor], contract: Contract) -> Any:
        """Whether the frame is well defined, for every member (bool tensor) or for all (a bool)."""
        return True


class WholeGroup(Frame):
    """All elements of a finite group, a quadrature of a compact one, or the elements given."""

    def __init__(
        self, elements: Any = None, *, weights: Tensor | None = None, degree: int | None = None, batch: str | None = None
    ) -> None:
        super().__init__(batch=batch)
        self.elements, self.weights, self.degree = elements, weights, degree

    def forward(self, x, contract):
        elements, weights = self.elements, self.weights
        if elements is None:
            elements, weights = everything(self.acting(contract, x), self.degree)
        if weights is None:
            weights = torch.full((len(elements),), 1.0 / len(elements), dtype=torch.float64)
        return elements, weights


class Subset(Frame):
    """Stochastic averaging: ``n`` random elements of ``frame`` for every member in training, all of them at test.

    Unbiased for whatever is linear in the average. How many draws were made is a buffer: a resumed run draws what an
    unbroken one would have drawn.
    """

    def __init__(self, frame: Frame, n: int = 1, *, seed: int = 0) -> None:
        super().__init__(batch=frame.batch)
        if n < 1:
            raise InputError(f"Subset: n is a number of elements >= 1, got {n}")
        self.frame, self.n, self.seed, self.seen, self.draws = frame, n, seed, frame.seen, Draws(seed)

    def forward(self, x, contract):
        elements, weights = self.frame(x, contract)
        if not self.training or self.n >= len(weights):
            return elements, weights
        members = self.frame.acting(contract, x).batch_shape(elements)[1:]
        law = weights.double().cpu().view(len(weights), -1).expand(-1, *(members or (1,))).T
        uniform = bool((law == law[:, :1]).all())
        drawn = torch.multinomial(law, self.n, replacement=not uniform, generator=self.draws.next()).T.to(weights.device)
        chosen = elements[drawn, torch.arange(members[0], device=drawn.device)] if members else elements[drawn[:, 0]]
        return chosen, weights.new_full((self.n,), 1.0 / self.n)

    def acting(self, contract, x):
        return self.frame.acting(contract, x)

    def covers(self, contract):
        return self.frame.covers(contract)

    def regular(self, x, contract):
        return self.frame.regular(x, contract)


class Average(nn.Module):
    """``model`` averaged over ``frame``: takes and returns what the contract declares.

    ``pool="probabilities"`` takes the log of the mean of softmax over the last axis of scalar outputs
    instead of the mean. A sample that is one lone cloud is averaged by one pass per element.

    Raises ContractError for outputs that the group cannot move or that are not as declared, InputError for inputs that
    are missing or do not fit.
    """

    def __init__(self, model: Any, contract: Contract, frame: Frame, *, pool: Pool = "outputs") -> None:
        super().__init__()
        if pool not in ("outputs", "probabilities"):
            raise InputError(f"pool is 'outputs' or 'probabilities', got {pool!r}")
        check_kinds(contract)
        if pool == "probabilities" and not all(declared.still for _, declared in contract.outputs):
            raise ContractError(f"probabilities are pooled for scalar outputs (logits), got {contract.outputs}")
        self.model, self.contract, self.frame, self.pool = model, contract, frame, pool
        self.config: dict[str, Any] = {"batch": frame.batch, "pool": pool}
        self._plain = replace(contract, view=None)
        *kept, self.promised = self.promises()
        self.contracts: tuple[Contract, ...] = (*kept, self.promised, *_inherited(model, self.promised))

    def promises(self) -> tuple[Contract, ...]:
        """What the wrapped model promises; the last one speaks of the whole group."""
        group = self.frame.covers(self.contract)
        return promises_on_grid(replace(self.contract, group=group, claim="exact", bound=None, where=self.frame_holds))

    def frame_holds(self, x: Any) -> Any:
        """On which members of a sample the promise holds: those with a well-defined frame."""
        return self.frame.regular(self.contract.inputs.pack(x), self.contract)

    def forward(self, x: Any = None, /, **named: Tensor) -> Any:
        """Outputs as the contract declares them, from inputs as it declares them."""
        if x is None and not named:
            raise InputError(f"expected inputs {self.contract.inputs}")
        packed = self.contract.inputs.pack(named if x is None else x)
        sizes = self.contract.inputs.sizes(packed)
        elements, weights = self.frame(packed, self.contract)
        out = self.combine(packed, sizes, elements, weights)
        return self.contract.outputs.unpack(out)

    def combine(
        self, x: Mapping[str, Tensor], sizes: Mapping[str, int], elements: Any, weights: Tensor, group: Group | None = None
    ) -> dict[str, Tensor]:
        """The weighted mean over ``elements`` of the model's outputs, moved back, by name."""
        group = group or self.frame.acting(self.contract, x)
        members = self.frame.members(x, self.contract)
        lead = {name: value.unsqueeze(0) for name, value in x.items()}
        back = group.inverse(elements)
        seen = members.move_all(group, back, self.contract.inputs, lead, x)
        count = group.batch_shape(elements)[0]
        seen = {name: value.expand(count, *value.shape[1:]) for name, value in seen.items()}
        y = self._run(seen, sizes, members, count)
        moved = self.move_back(members, group, elements, y, x)
        return {
            name: self._pool(moved[name], members.spread(weights, declared, moved[name]))
            for name, declared in self.contract.outputs
        }

    def move_back(
        self, members: Members, group: Group, g: Any, y: dict[str, Tensor], x: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """``g_i . y_i`` for outputs ``y`` ``(F, ...)`` of the moved inputs."""
        return members.move_all(group, g, self.contract.outputs, y, x)

    def _run(self, x: dict[str, Tensor], sizes: Mapping[str, int], members: Members, count: int) -> dict[str, Tensor]:
        """The model on ``count`` copies: side by side in one pass, or one after the other where no batch tells them apart."""
        inputs, outputs = self.contract.inputs, self.contract.outputs
        if count == 1:
            return {
                name: value.unsqueeze(0) for name, value in self._call({n: v[0] for n, v in x.items()}, sizes, "", 1).items()
            }
        if members.foldable(inputs) and members.foldable(outputs):
            y = self._call(inputs.fold(x, sizes), sizes, members.index or "", count)
            return outputs.unfold(y, count)
        if self.training and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules()):
            raise InputError(
                "batch normalization must see all elements of a frame in one pass, but nothing tells the copies of this "
                f"sample apart ({inputs}); add a batch index, as in 'B x N x position' or 'N -> B'"
            )
        passes = [self._call({name: value[i] for name, value in x.items()}, sizes, "", 1) for i in range(count)]
        return {name: torch.stack([y[name] for y in passes]) for name in outputs.names()}

    def _call(self, x: dict[str, Tensor], sizes: Mapping[str, int], index: str, count: int) -> dict[str, Tensor]:
        """One forward pass, its outputs checked: declared, of the declared axes, one row for every declared member."""
        y = self._plain.look(self.model(x[""]) if self.contract.inputs.unnamed else self.model(**x))
        for name, declared in self.contract.outputs:
            if declared.ragged:
                continue
            for axis, label in enumerate(declared.index):
                want = int(label) if label.isdigit() else sizes.get(label)
                if want is not None and not label.isdigit() and axis == declared.axis():
                    want *= count
                if want is not None and y[name].shape[axis] != want:
                    raise ContractError(
                        f"output {name or 'tensor'!r} is declared {declared}: expected {want} along {label}, the model "
                        f"returned shape {tuple(y[name].shape)}; an output per {label} needs as many rows as its input"
                    )
        return y

    def _pool(self, y: Tensor, weights: Tensor) -> Tensor:
        if self.pool == "probabilities":
            return torch.logsumexp(torch.log_softmax(y, -1) + weights.log(), 0)
        return (y * weights).sum(0)

    def extra_repr(self) -> str:
        """The contract, in the printed module."""
        return str(self.contract)


class GroupAverage(Average):
    """The exact mean over a finite group (or over ``elements``, or over a quadrature of ``degree``).

    A quadrature is exact for models that are polynomials of that degree in the representation; for any other model, and
    for ``elements`` that do not form the group, the claim is ``approximate``.
    """

    def __init__(
        self,
        model: Any,
        contract: Contract,
        *,
        elements: Any = None,
        degree: int | None = None,
        batch: str | None = None,
        pool: Pool = "outputs",
    ) -> None:
        group = base(contract.group)
        if elements is None and degree is None and not listable(group):
            raise ContractError(
                f"{group} is not finite, so its mean needs a rule: pass degree=... (a quadrature), elements=group.grid(n), "
                f"or use frames or a canonicalizer"
            )
        self._exact = elements is None and listable(group)
        super().__init__(model, contract, WholeGroup(elements, degree=degree, batch=batch), pool=pool)
        self.config |= {"elements": elements, "degree": degree}

    def promises(self) -> tuple[Contract, ...]:
        if self._exact:
            return promises_on_grid(replace(self.contract, claim="exact", bound=None))
        return (_approximate(self.contract),)


class OrbitAverage(Average):
    """The mean over ``n`` grid elements (C8 inside SO(2) for ``n=8``), at test time only unless ``through``.

    The promise is exact for the subgroup that the grid is, approximate for the whole group. ``pool="probabilities"``
    averages what a classifier believes (the log of the mean of softmax).
    """

    def __init__(
        self,
        model: Any,
        contract: Contract,
        *,
        n: int = 8,
        through: bool = False,
        batch: str | None = None,
        pool: Pool = "outputs",
    ) -> None:
        group = base(contract.group)
        if n < 1:
            raise InputError(f"OrbitAverage: n is a number of elements >= 1, got {n}")
        if not isinstance(group, Group):
            raise ContractError(f"{group} has no grid of elements; sample it by augmentation instead")
        self._n = n
        super().__init__(model, contract, WholeGroup(group.grid(n), batch=batch), pool=pool)
        self.through = through
        self.config |= {"n": n, "through": through}

    def promises(self) -> tuple[Contract, ...]:
        whole, exact = base(self.contract.group), replace(self.contract, claim="exact", bound=None)
        if listable(whole):
            return promises_on_grid(exact)
        grid = C(self._n) if whole == SO(2) and self.contract.group == whole else None
        kept = () if grid is None else promises_on_grid(replace(exact, group=grid))[:1]
        return (*(one for one in kept if one.claim == "exact"), _approximate(self.contract))

    def forward(self, x: Any = None, /, **named: Tensor) -> Any:
        if self.training and not self.through:
            packed = self.contract.inputs.pack(named if x is None else x)
            return self.model(packed[""]) if self.contract.inputs.unnamed else self.model(**packed)
        return super().forward(x, **named)


def _approximate(contract: Contract) -> Contract:
    return replace(contract, claim="approximate", bound=contract.bound if contract.claim == "approximate" else None)


def listable(group: Family) -> bool:
    """Whether all elements can be written down."""
    parts = group.factors()
    if len(parts) > 1:
        return all(map(listable, parts))
    return isinstance(group, S) or hasattr(group, "elements")


def everything(group: Group, degree: int | None = None) -> tuple[Any, Tensor]:
    """All elements of a listable group or a quadrature of ``degree``, with weights that sum to one (float64)."""
    if len(group.factors()) > 1:
        parts = [everything(part, degree) for part in group.factors()]  # type: ignore[arg-type]
        places = torch.cartesian_prod(*[torch.arange(len(w)) for _, w in parts])
        weights = reduce(lambda a, b: a * b, [w[places[:, i]] for i, (_, w) in enumerate(parts)])
        return Elements(*(g[places[:, i]] for i, (g, _) in enumerate(parts))), weights
    if listable(group):
        elements = group.elements()  # type: ignore[attr-defined]
        return elements, torch.full((len(elements),), 1.0 / len(elements), dtype=torch.float64)
    if degree is None:
        raise ContractError(f"{group} is not finite: pass the degree of a quadrature")
    rule = group.quadrature(degree)
    return rule.elements, rule.weights


def check_kinds(contract: Contract) -> None:
    """ContractError where the group has no action on a declared output (an image under O(3), say)."""
    group = base(contract.group)
    for part in group.factors():
        if not isinstance(part, Group) or isinstance(part, S):
            continue
        try:
            unit = part.identity(dtype=torch.float64)
            space = 0 if all(d.still for _, d in contract.outputs) else part.linear(unit).shape[-1]
        except ContractError:
            continue
        for name, declared in contract.outputs:
            if declared.still:
                continue
            try:
                part.move(unit, replace(declared, index=()), torch.zeros(declared.kind.shape(space), dtype=torch.float64), {})
            except ContractError as error:
                raise ContractError(
                    f"output {name or 'tensor'!r} is declared {declared}, which {part} cannot move: {error}; "
                    f"declare scalars or change the group"
                ) from error


def _inherited(model: Any, contract: Contract) -> tuple[Contract, ...]:
    """Promises about permutations that the model made for the same fields: a mean over motions of space keeps them."""
    own = contract.group.factors()
    found = []
    for promised in getattr(model, "contracts", ()):
        same = promised.inputs == contract.inputs and promised.outputs == contract.outputs
        if same and isinstance(promised.group, S) and promised.group not in own:
            found.append(promised)
    return tuple(found)


__all__ = ["Average", "Frame", "GroupAverage", "OrbitAverage", "Seen", "Subset", "WholeGroup", "everything"]
