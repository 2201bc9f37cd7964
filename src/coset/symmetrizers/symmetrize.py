"""Impose a symmetry on any model: one verb that chooses the wrapper for the contract and says what it did.

    average        the mean over a finite group (exact), or over a grid of a compact one (approximate)
    frames         the mean over a few elements that the input itself determines: exact where they are well defined
    canonicalize   one element: the input is brought into a standard pose, the output moved back
    augment        training on moved copies; without an objective, on what the model itself says of unmoved ones
    regularize     training with the equivariance error of the output as a penalty

The first three need no training and work on frozen models; the last two change the model's weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from coset.contract import Contract, attach, contracts_of, evaluating
from coset.errors import ContractError, InputError
from coset.groups.group import Group
from coset.nn.draws import Draws
from coset.recipe import Data, Recipe, Size
from coset.records import Finding
from coset.symmetrizers.augment import Augmented
from coset.symmetrizers.average import Average, GroupAverage, OrbitAverage, listable
from coset.symmetrizers.canonical import Canonicalize, canonicalizer_for
from coset.symmetrizers.frames import FrameAverage, frame_for
from coset.symmetrizers.members import base
from coset.symmetrizers.regularize import OutputRegularizer

How = Literal["average", "frames", "canonicalize", "augment", "regularize"]
Train = Callable[[Any, Any, Data, Recipe], Any]  #: (model, objective, data, recipe) -> model
EPOCHS: dict[str, int] = {"smoke": 1, "cpu": 5, "full": 20}  #: of fine-tuning, where no recipe is given


@dataclass
class Bought(Finding):
    """What :func:`symmetrize` did and what it bought."""

    how: str
    group: str
    claim: str  #: of the result: exact, approximate or learned
    passes: int  #: copies of a sample that enter the model at test time; 0 where the sample decides
    trained: bool
    note: str
    before: float | None = None  #: relative equivariance error on the data given, mean over elements
    after: float | None = None


def symmetrize(
    model: Any,
    contract: Contract,
    how: How = "average",
    *,
    data: Any = None,
    size: Size = "cpu",
    recipe: Recipe | None = None,
    objective: Any = None,
    train: Train | None = None,
    elements: int = 8,
    strength: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """``model`` made symmetric as ``how`` says; the result has the attribute ``bought``, a :class:`Bought`.

    ``data`` (a ``Data``, tensors by name, or one tensor) is what ``before`` and ``after`` are measured on, and what
    ``augment`` and ``regularize`` train on, by ``train`` (``coset.train.fit.fit``, say) with ``recipe``, or with the epochs
    that go with ``size``. They minimise ``objective``; without one the model is held to its own outputs on unmoved inputs,
    so that no labels are needed. ``elements`` is the size of the grid for ``average`` over a group that is not finite,
    ``strength`` the weight of the penalty.

    Raises InputError for an unknown ``how`` and for training without data or loop, ContractError, naming the ways that
    there are, for one that this group and these fields do not have.
    """
    ways = hows(contract)
    if how not in get_args(How):
        raise InputError(f"how is one of {', '.join(get_args(How))}; got {how!r}")
    if how not in ways:
        raise ContractError(
            f"{how!r} is not possible for {contract.group} on {contract.inputs} ({_why_not(contract, how)}); "
            f"possible: {', '.join(ways)}"
        )
    audited = _audited(data, contract)
    before = None if audited is None else measured(model, contract, audited, seed=seed)
    if how in ("augment", "regularize"):
        out = _trained(model, contract, how, _data(data, contract), train, recipe, objective, strength, size, seed)
    else:
        out = _wrapped(model, contract, how, elements, seed)
    promised: Contract = out.promised if isinstance(out, Average) else contracts_of(out)[-1]
    after = None if audited is None else measured(out, promised, audited, seed=seed)
    out.bought = Bought(  # type: ignore[assignment]
        how, str(promised.group), promised.claim, _passes(out), how in ("augment", "regularize"), _note(out, how), before, after
    )
    return out


def hows(contract: Contract) -> tuple[str, ...]:
    """The ways that this group and these fields have."""
    return tuple(how for how in get_args(How) if _why_not(contract, how) is None)


def measured(f: Any, contract: Contract, x: Any, *, samples: int = 8, seed: int = 0) -> float:
    """Mean relative error over ``samples`` elements of every factor, the largest over factors."""
    worst = 0.0
    for part in contract.bind(x).factors():
        drawn = part.group.sample(samples, generator=torch.Generator().manual_seed(seed))
        worst = max(worst, sum(part.error(f, x, drawn[i]) for i in range(samples)) / samples)
    return worst


def _why_not(contract: Contract, how: str) -> str | None:
    """Why a way does not exist, None if it does."""
    group = base(contract.group)
    try:
        if how == "average" and not listable(group):
            if not isinstance(group, Group):
                return "the family has no inverses"
            if not group.compact:
                return "the group is not compact: it has no mean"
            group.grid(1)
        elif how == "frames":
            frame_for(contract)
        elif how == "canonicalize":
            canonicalizer_for(contract)
    except ContractError as error:
        return str(error)
    return None


def _wrapped(model: Any, contract: Contract, how: str, elements: int, seed: int) -> Average:
    if how == "frames":
        return FrameAverage(model, contract, seed=seed)
    if how == "canonicalize":
        return Canonicalize(model, contract)
    if listable(base(contract.group)):
        return GroupAverage(model, contract)
    return OrbitAverage(model, contract, n=elements, through=True)


def _trained(
    model: Any, contract: Contract, how: str, data: Data | None, train: Train | None, recipe: Recipe | None,
    objective: Any, strength: float, size: str, seed: int,
) -> nn.Module:  # fmt: skip
    if data is None or train is None:
        missing = "data" if data is None else "a training loop (train=coset.train.fit.fit)"
        raise InputError(f"{how!r} trains the model and needs {missing}; without it use frames, canonicalize or average")
    if not isinstance(model, nn.Module):
        raise InputError(f"{how!r} trains a torch module, got {type(model).__name__}; wrap it by frames or average instead")
    if size not in EPOCHS:
        raise InputError(f"size is one of {', '.join(EPOCHS)}; got {size!r}")
    goal: Any = objective if objective is not None else Match(contract)
    if how == "augment":
        goal = Augmented(goal, contract, seed=seed)
    else:
        goal = Pulled(goal, OutputRegularizer(contract, strength, inputs=getattr(goal, "inputs", ("x",))), seed)
    if objective is None:
        goal = Taught(goal, model, contract)
    model = train(model, goal, data, recipe or Recipe(epochs=EPOCHS[size], lr=1e-3))
    return attach(model, replace(contract, claim="learned", bound=None))


# ---------------------------------------------------------------------- objectives of fine-tuning


class Match:
    """Squared error between outputs and the targets of the same names (``y`` for an unnamed output)."""

    def __init__(self, contract: Contract) -> None:
        self.contract, self.target = contract, "y"
        self.inputs = ("x",) if contract.inputs.unnamed else contract.inputs.names()

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        y = self.answer(model, batch)
        return {"loss": torch.stack([(value - batch[name]).square().mean() for name, value in y.items()]).sum()}

    def answer(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs under the names of their targets."""
        fields = self.contract.inputs
        y = model(batch["x"]) if fields.unnamed else model(**{name: batch[name] for name in fields.names()})
        packed = self.contract.outputs.pack(y)
        return {name or self.target: packed[name] for name in self.contract.outputs.names()}


class Taught(nn.Module):
    """``goal`` with the outputs of a frozen copy of the model on unmoved inputs as targets."""

    def __init__(self, goal: Any, model: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.goal, self.match, self.contract = goal, Match(contract), contract
        # kept out of this module's parameters, which the training loop trains along
        self.__dict__["teacher"] = copy.deepcopy(model).requires_grad_(False)

    def forward(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The goal's loss and terms."""
        self.teacher.to(next(iter(batch.values())).device)
        fields = self.contract.inputs
        still = self.contract.origin(batch["x"] if fields.unnamed else {name: batch[name] for name in fields.names()})
        with torch.no_grad(), evaluating(self.teacher):
            targets = self.match.answer(self.teacher, {"x": still} if fields.unnamed else still)
        return dict(self.goal(model, {**batch, **targets}))


class Pulled(nn.Module):
    """``goal + strength * penalty`` with new random elements for the penalty at every step."""

    def __init__(self, goal: Any, penalty: OutputRegularizer, seed: int) -> None:
        super().__init__()
        self.goal, self.penalty, self.draws = goal, penalty, Draws(seed)

    def forward(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss, and both parts by name."""
        main = self.goal(model, self.penalty.origin(batch))["loss"]
        pull = self.penalty(model, batch, self.draws.next(advance=model.training))
        return {"loss": main + self.penalty.strength * pull, "goal": main.detach(), "penalty": pull.detach()}


# ---------------------------------------------------------------------- data and words


def _data(data: Any, contract: Contract) -> Data | None:
    if data is None or isinstance(data, Data):
        return data
    named = dict(data) if isinstance(data, Mapping) else {"x": data}
    return Data(named, named, _audited(data, contract))


def _audited(data: Any, contract: Contract) -> Any:
    """The inputs to measure on, at most 64 of them; None where there are none."""
    if data is None:
        return None
    found = (data.audit if data.audit is not None else data.test) if isinstance(data, Data) else data
    fields = contract.inputs
    if isinstance(found, Mapping) and fields.unnamed:
        found = found.get("x")
    elif isinstance(found, Mapping):
        found = {name: found[name] for name in fields.names() if name in found}
    if isinstance(found, Tensor) and fields[0][1].axis() == 0:
        return found[:64]
    return found


def _passes(out: nn.Module) -> int:
    if isinstance(out, (GroupAverage, OrbitAverage)):
        known = getattr(out.frame, "elements", None)
        return len(known) if known is not None else int(min(getattr(base(out.contract.group), "order", 0), 1e9))
    return 1 if isinstance(out, Canonicalize) or not isinstance(out, Average) else 0


def _note(out: nn.Module, how: str) -> str:
    return {
        "average": "the mean over group elements, all in one forward pass; no weights changed",
        "frames": "the mean over the frame of each input; samples without a well-defined frame are counted in .seen",
        "canonicalize": "each input in its own standard pose; samples without one are counted in .seen",
        "augment": "trained on moved copies; symmetric as far as it learned to be",
        "regularize": "trained with its equivariance error as a penalty; symmetric as far as it learned to be",
    }[how]
