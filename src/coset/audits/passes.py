"""Orbits in few forward passes: copies of a sample side by side, in batches of bounded size.

A model that treats the members of a batch independently can see ``k`` transformed copies at once. Whether it does is
verified once, on the first elements; else, and for models that draw random numbers, every element has a pass of its own
with the same seed on both sides (the noise is coupled). The choice is told in ``Plan.notes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from coset.audits.elements import take
from coset.audits.members import Members, open_shape
from coset.audits.precision import TOLERANCES
from coset.contract import Contract, frozen
from coset.errors import CosetError, InputError
from coset.groups.product import Power

BATCH = 1024  #: members in one forward pass
PROBED = 3  #: members on which independence is verified


@dataclass
class Plan:
    """How a model is evaluated on orbits of one sample."""

    f: Callable[..., Any]
    contract: Contract  #: bound to the sample
    x: dict[str, Tensor]
    members: Members
    batch: int = BATCH
    seed: int = 0
    folded: bool = False  #: whether copies stand side by side in one pass
    independent: bool = False  #: whether members may be taken apart
    stochastic: bool = False
    repeatable: bool = True
    notes: list[str] = field(default_factory=list)

    @staticmethod
    def make(f: Callable[..., Any], contract: Contract, x: Any, g: Any, *, batch: int = BATCH, seed: int = 0) -> Plan:
        """Bind the contract, look at the members and try out what the model allows; ``g`` is a batch of elements.

        InputError for an empty orbit, an empty sample, or an output that does not match the declared fields.
        """
        if not len(g):
            raise InputError(f"{contract}: the orbit is empty, pass at least one group element")
        packed = contract.inputs.pack(x)
        bound = contract.bind(x)
        plan = Plan(f, bound, packed, Members.of(bound, packed), batch, seed)
        if not plan.members.count or any(not value.numel() for value in packed.values()):
            raise InputError(f"{contract}: the sample is empty ({ {n or 'input': tuple(v.shape) for n, v in packed.items()} })")
        plan._try(g)
        return plan

    def _try(self, g: Any) -> None:
        small = self._probe()
        start = small.origin(small.x)
        first = small.call(start)
        again, other = small.call(start), small.call(start, seed=self.seed + 1)
        self.repeatable = _same(first, again, 0.0)
        self.stochastic = not (self.repeatable and _same(first, other, 0.0))
        if not self.repeatable:
            self.notes.append("the model draws random numbers outside torch's seed: its own noise is part of the error")
        elif self.stochastic:
            self.notes.append("the model draws random numbers: both sides share a seed, one element at a time")
        if self.stochastic:
            return
        each = any(isinstance(part, Power) for part in self.contract.group.factors())  # one element per member
        apart = self._takes_members_apart(small) if self.members.dense and not each else None
        self.independent = bool(apart)
        if apart is False:  # what was taken for members is one sample
            self.members = small.members = Members()
        reason = (self if each else small)._cannot_fold(g[: min(len(g), 2)])
        self.folded = not reason
        if reason:
            self.notes.append(f"one element at a time: {reason}")

    def _probe(self) -> Plan:
        """The same plan on the first few members where they can be taken by themselves."""
        if not self.members.dense or self.members.count <= PROBED:
            return self
        rows = torch.arange(PROBED)
        x = self.members.take(self.contract.inputs, self.x, rows)
        try:
            bound = self.contract.bind(x)
            probe = replace(self, contract=bound, x=x, members=Members.of(bound, x), notes=[])
            probe.call(probe.origin(x))
        except Exception:  # not every model takes fewer members; then the whole sample is the probe
            return self
        return probe

    def _takes_members_apart(self, small: Plan) -> bool | None:
        """Whether the last members alone give what they give among others; None where that cannot be tried."""
        if small.members.count < 2:
            return True
        # two of three rather than one: some models drop the axis of a batch of one
        rows = torch.arange(small.members.count)[-2 if small.members.count > 2 else -1 :]
        try:
            whole = small.members.take(self.contract.outputs, self._outputs_of(small, torch.arange(small.members.count)), rows)
            alone = self._outputs_of(small, rows)
        except Exception:  # a model that needs its own batch size is no error, only slower
            return None
        if any(whole[name].shape[1:] != alone[name].shape[1:] for name in whole):
            return None
        return _same(whole, alone, _slack(whole))

    def _outputs_of(self, small: Plan, rows: Tensor) -> dict[str, Tensor]:
        return small.call(small.origin(small.members.take(self.contract.inputs, small.x, rows)))

    def _cannot_fold(self, g: Any) -> str:
        """Why copies cannot stand side by side, empty if they can."""
        try:
            folded = self._fold(g)
            apart = [self.one(g[i]) for i in range(len(g))]
        except CosetError as error:
            return str(error).rstrip(".")
        except Exception as error:
            return f"the model refuses a longer batch ({type(error).__name__})"
        for i, single in enumerate(apart):
            if not _same({name: value[i] for name, value in folded.items()}, single, _slack(single)):
                return "the model mixes the members of a batch"
        return ""

    # ------------------------------------------------------------------ evaluating

    def call(self, x: Mapping[str, Tensor], *, seed: int | None = None) -> dict[str, Tensor]:
        """Outputs by name, detached, the weights frozen."""
        with frozen(self.f):
            y = self.contract.call(self.f, x, seed=self.seed if seed is None else seed)
        return {name: value.detach() for name, value in y.items()}

    def origin(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``e . x``: the sample as the model takes it, which may be resampled from a larger source."""
        return self.contract.inputs.pack(self.contract.origin(x))

    def one(self, g: Any) -> dict[str, Tensor]:
        """``f(g . x)`` for one element."""
        return self.call(self.contract.inputs.pack(self.contract.act(g, self.x)))

    def plain(self) -> dict[str, Tensor]:
        """``f(e . x)``."""
        return self.call(self.contract.inputs.pack(self.contract.origin(self.x)))

    def chunks(self) -> Iterator[tuple[Tensor, Plan]]:
        """Members in parts that fit a pass, each with a plan of its own; the whole sample where they cannot be parted."""
        if not self.independent or self.members.count <= self.batch:
            yield torch.arange(self.members.count), self
            return
        for rows in torch.arange(self.members.count).split(self.batch):
            x = self.members.take(self.contract.inputs, self.x, rows)
            bound = self.contract.bind(x)
            yield rows, replace(self, contract=bound, x=x, members=Members.of(bound, x))

    def orbit(self, g: Any) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """``(start, stop, outputs)``: ``f(g . x)`` of these elements, tensors with a leading axis of elements."""
        step = max(1, self.batch // max(self.members.count, 1)) if self.folded else 1
        for start in range(0, len(g), step):
            stop = min(start + step, len(g))
            if not self.folded:
                yield start, stop, {name: value.unsqueeze(0) for name, value in self.one(g[start]).items()}
            else:
                yield start, stop, self._fold(take(g, start, stop))

    def _fold(self, g: Any) -> dict[str, Tensor]:
        """``f`` on copies side by side, taken apart again: ``(k, ...)``."""
        fields = self.contract.inputs
        lone = {name for name, d in fields if d.ragged and not open_shape(d, self.x[name])}
        if lone and lone == {name for name, d in fields if d.ragged}:  # one image, not a batch of images
            x = {name: value.unsqueeze(0) if name in lone else value for name, value in self.x.items()}
            y = self._unfold(self.call(self.contract.orbit(g, x)), len(g))
            return {name: value.squeeze(1) if value.shape[1] == 1 else value for name, value in y.items()}
        return self._unfold(self.call(self.contract.orbit(g, self.x)), len(g))

    def _unfold(self, y: Mapping[str, Tensor], copies: int) -> dict[str, Tensor]:
        return self.contract.outputs.unfold(y, copies)

    def want(self, y: Mapping[str, Tensor], g: Any) -> dict[str, Tensor]:
        """``g . y`` for a batch of elements: ``(k, ...)``."""
        lead = {name: value.unsqueeze(0) for name, value in y.items()}
        return self.contract.group.move_all(g, self.contract.outputs, lead, self.x)


def _slack(y: Mapping[str, Tensor]) -> float:
    """What two orders of summation may differ by."""
    return max(10 * TOLERANCES.get(value.dtype, 0.0) for value in y.values())


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor], slack: float) -> bool:
    for name, value in a.items():
        if value.shape != b[name].shape:
            return False
        gap, size = (value - b[name]).abs().double().norm(), b[name].abs().double().norm()
        if not gap <= slack * size:
            return False
    return True
