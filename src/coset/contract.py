"""The promise: which group acts, how on the input, how on the output, and what is claimed about a callable.

A :class:`Contract` is data. Its :meth:`~Contract.residual` is the only definition of equivariance error in this library,

    residual(f, x, g) = f(g . x) - g . f(e . x),

with e the identity (a no-op but for actions that resample, where it is resampled like the rest): audits average it,
symmetrizers penalise it, :mod:`coset.testing` bounds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from coset.errors import ContractError, InputError
from coset.groups.group import Family, Group
from coset.reps.action import Kind
from coset.reps.fields import Field, Fields

FieldsLike = str | Kind | Field | Mapping[str, Any] | Fields  #: what Fields is made from
Claim = Literal["exact", "approximate", "learned", "mean", "law", "broken"]
#: from strong to weak: what two chained contracts promise together is the weaker of the two
CLAIMS: tuple[Claim, ...] = ("exact", "approximate", "mean", "law", "learned", "broken")


@dataclass(frozen=True)
class Contract:
    """``f(g . x) = g . f(x)`` for all ``g`` of ``group``, with the stated ``claim``.

    ``inputs`` and ``outputs`` are fields (see :mod:`coset.reps.fields`): a string for one unnamed tensor, a mapping for
    named ones. ``bound`` is the relative error promised (``approximate``) or exceeded (``broken``). ``where`` maps a
    sample to the members (bool tensor, or one bool) on which the promise holds; ``view`` maps an output to what of it is
    meant (centred logits, a Gram matrix). Raises InputError or ContractError when these do not fit together.
    """

    group: Family
    inputs: Fields
    outputs: Fields
    claim: Claim = "exact"
    bound: float | None = None
    where: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    view: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    if TYPE_CHECKING:  # sides are given as strings or mappings and kept as Fields

        def __init__(
            self,
            group: Family,
            inputs: FieldsLike,
            outputs: FieldsLike,
            claim: Claim = ...,
            bound: float | None = ...,
            *,
            where: Callable[[Any], Any] | None = ...,
            view: Callable[[Any], Any] | None = ...,
            name: str = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.group, Family):
            raise InputError(f"Contract: group is a group such as SO(3) or S('N'), got {self.group!r}")
        for side in ("inputs", "outputs"):
            object.__setattr__(self, side, Fields(getattr(self, side)))
        if self.claim not in CLAIMS:
            raise InputError(f"Contract: claim is one of {', '.join(CLAIMS)}; got {self.claim!r}")
        if self.bound is not None and not 0 <= self.bound < math.inf:
            raise InputError(f"Contract: bound is a relative error >= 0, got {self.bound}")
        if self.claim == "exact" and self.bound is not None:
            raise InputError(
                "Contract: an exact claim is judged by the dtype's tolerance; leave bound out or claim 'approximate'"
            )

    def __str__(self) -> str:
        return self.name or str(self.group)

    # ------------------------------------------------------------------ acting

    def factors(self) -> tuple[Contract, ...]:
        """One contract for each factor of a product group; this one for any other."""
        parts = self.group.factors()
        if len(parts) == 1:
            return (self,)
        return tuple(replace(self, group=part, name=f"{self.name}: {part}" if self.name else "") for part in parts)

    def bind(self, x: Any) -> Contract:
        """The contract for this sample: checks ``x`` against the fields and closes an open group.

        Raises InputError for missing, undeclared, misshapen or non-finite inputs.
        """
        x = self.inputs.pack(x)
        self.inputs.check(x)
        return replace(self, group=self.group.bind(self.inputs, x))

    def act(self, g: Any, x: Any, *, on: Literal["inputs", "outputs"] = "inputs", given: Any = None) -> Any:
        """``g . x`` for one element: a sample in the form it came in (a tensor or a mapping).

        With ``on="outputs"`` the sample is an output and ``given`` the input it belongs to (pointers, masks).
        """
        fields: Fields = getattr(self, on)
        packed = fields.pack(x)
        given = packed if given is None else self.inputs.pack(given)
        return fields.unpack(self._move(g, fields, packed, given))

    def _move(self, g: Any, fields: Fields, x: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.group.move_all(g, fields, x, given)

    def origin(self, x: Any) -> Any:
        """``e . x``: the sample as the model sees it untransformed; ``x`` itself for a family without identity."""
        packed = self.inputs.pack(x)
        group = self.group.bind(self.inputs, packed)
        if not isinstance(group, Group):
            return x
        return self.inputs.unpack(group.move_all(group.identity(dtype=torch.float64), self.inputs, packed, packed))

    def orbit(self, g: Any, x: Any) -> dict[str, Tensor]:
        """The batch ``g`` of K elements acting on one sample, as one sample of K copies side by side, by name.

        ``contract.outputs.unfold(out, K)`` takes the outputs apart again. Raises ContractError where a field has no
        index along which copies can stand.
        """
        packed = self.inputs.pack(x)
        lead = {name: value.unsqueeze(0) for name, value in packed.items()}
        moved = self._move(g, self.inputs, lead, packed)
        copies = {name: value.expand(len(g), *value.shape[1:]) for name, value in moved.items()}
        return self.inputs.fold(copies, self.inputs.sizes(packed))

    # ------------------------------------------------------------------ comparing

    def call(self, f: Callable[..., Any], x: Any, *, seed: int = 0) -> dict[str, Tensor]:
        """``f`` on a sample, in eval mode and with this seed: outputs by name, ``view`` applied.

        Raises ContractError when the outputs are not the declared ones.
        """
        packed = self.inputs.pack(x)
        with seeded(seed), evaluating(f):
            y = f(packed[""]) if self.inputs.unnamed else f(**packed)
        return self.look(y)

    def look(self, y: Any) -> dict[str, Tensor]:
        """An output by name, ``view`` applied, checked against the declared outputs."""
        y = self.view(y) if self.view else y
        if not isinstance(y, (Tensor, Mapping)):
            raise ContractError(
                f"{self}: expected outputs {self.outputs}, got {type(y).__name__}; wrap the model so that it returns these"
            )
        out = self.outputs.pack(y)
        for name, declared in self.outputs:
            if name not in out:
                raise ContractError(f"{self}: output {name!r} ({declared}) is declared but the model returned {sorted(out)}")
            need, have = len(declared.index) - declared.ragged + declared.kind.axes, out[name].ndim
            if have < need or (have > need and not declared.ragged):
                raise ContractError(
                    f"{self}: output {name or 'tensor'!r} is declared {declared}, got shape {tuple(out[name].shape)}"
                )
        return {name: out[name] for name in self.outputs.names()}

    def gap(self, y: Any, gy: Any, g: Any, *, given: Any = None) -> dict[str, Tensor]:
        """``gy - g . y`` by name; all that is needed for recorded pairs, where nobody can act on the input."""
        y, gy = self.outputs.pack(y), self.outputs.pack(gy)
        given = {} if given is None else self.inputs.pack(given)
        return self.against(gy, self._move(g, self.outputs, y, given))[0]

    def against(self, got: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``got - want`` and ``want`` by name, both 0 where the action of a partial kind is not defined (see ``Kind``)."""
        gap, known = {}, {}
        for name, declared in self.outputs:
            if name in want:
                outside = torch.isnan(want[name]) if declared.kind.partial else None
                gap[name] = got[name] - want[name] if outside is None else (got[name] - want[name]).masked_fill(outside, 0)
                known[name] = want[name] if outside is None else want[name].masked_fill(outside, 0)
        return gap, known

    def residual(self, f: Callable[..., Any], x: Any, g: Any, *, seed: int = 0) -> dict[str, Tensor]:
        """``f(g . x) - g . f(e . x)`` by name of output, for one element ``g``; differentiable in ``f``'s weights."""
        return self.compare(f, x, g, seed=seed)[0]

    def compare(self, f: Callable[..., Any], x: Any, g: Any, *, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The residual and, beside it, ``g . f(e . x)``, by which it is made relative."""
        if self.group.batch_shape(g):
            raise InputError(
                f"{self}: residual takes one element (g[i] of a batch), got a batch of {self.group.batch_shape(g)}"
            )
        y = self.call(f, self.origin(x), seed=seed)
        gy = self.call(f, self.act(g, x), seed=seed)
        return self.against(gy, self._move(g, self.outputs, y, self.inputs.pack(x)))

    def error(self, f: Callable[..., Any], x: Any, g: Any, *, seed: int = 0) -> float:
        """Relative error at one element: the largest over outputs of ``|residual| / |g . f(x)|`` (0/0 is 0)."""
        with frozen(f):
            gap, want = self.compare(f, x, g, seed=seed)
        return max(relative(gap[name].detach(), want[name].detach()).item() for name in gap)

    # ------------------------------------------------------------------ algebra

    def then(self, after: Contract) -> Contract:
        """The contract of ``after`` applied to the output of this; the weaker claim survives, bounds add.

        Raises ContractError when the groups or the fields in the middle differ.
        """
        if self.group != after.group:
            raise ContractError(f"Contract: {self.group} followed by {after.group}; restrict both to a common group first")
        if self.outputs != after.inputs:
            raise ContractError(
                f"Contract: the output is {self.outputs}, what follows expects {after.inputs}; take norms or change the head"
            )
        claim = max(self.claim, after.claim, key=CLAIMS.index)
        bounds = [c.bound for c in (self, after) if c.bound is not None]
        bound = sum(bounds) if bounds and claim != "exact" else None
        return Contract(self.group, self.inputs, after.outputs, claim, bound, where=self.where, view=after.view)

    def attach(self, f: Callable[..., Any]) -> Attached:
        """Give this promise to a model that we did not write."""
        return Attached(f, (self,))


class Attached(nn.Module):
    """A foreign callable together with its contracts; calls pass through unchanged."""

    def __init__(self, f: Callable[..., Any], contracts: tuple[Contract, ...]) -> None:
        super().__init__()
        self.f = f
        self.contracts = contracts

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``f(*args, **kwargs)``."""
        return self.f(*args, **kwargs)


def attach(f: Callable[..., Any], *contracts: Contract) -> Attached:
    """Give contracts to a model that we did not write: ``attach(net, Contract(SO(3), ...))``."""
    return Attached(f, tuple(contracts))


def contracts_of(f: Any) -> tuple[Contract, ...]:
    """The contracts that a model carries; InputError if it carries none."""
    found = tuple(getattr(f, "contracts", ()))
    if not found:
        raise InputError(f"{type(f).__name__} states no contract; give it one with coset.contract.attach(model, Contract(...))")
    return found


def relative(gap: Tensor, want: Tensor) -> Tensor:
    """``|gap| / |want|`` over whole tensors, in float64; 0 where both vanish, inf where only ``want`` does."""
    top, bottom = (value.abs().double().norm() for value in (gap, want))  # abs: of complex outputs, too
    return torch.where(top == 0, torch.zeros_like(top), top / bottom)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global random state fixed inside the block and restored after it."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else []):
        if torch.cuda.is_available() or torch.backends.mps.is_available():
            torch.manual_seed(seed)
        else:  # the same numbers, without loading torch's compiler (seconds) and asking for every sort of device (6 ms a call)
            torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def frozen(f: Any) -> Iterator[None]:
    """A module whose weights ask for no gradient inside the block.

    No graph is built for a plain forward pass, while a model that differentiates with respect to its own inputs (forces)
    still can; ``torch.no_grad`` would break it.
    """
    weights = [p for p in f.parameters() if p.requires_grad] if isinstance(f, nn.Module) else []
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)


@contextmanager
def evaluating(f: Any) -> Iterator[None]:
    """A module in eval mode inside the block, every submodule back to its own mode after it."""
    if not isinstance(f, nn.Module):
        yield
        return
    modes = [(module, module.training) for module in f.modules() if module.training]
    f.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
