"""Does a model keep its promises? ``check`` asserts what its contracts claim; for our tests and for other packages.

>>> import torch
>>> from coset.contract import Contract
>>> from coset.groups.matrix import SO
>>> from coset.testing import assert_equivariant
>>> lengths = assert_equivariant(lambda x: x.norm(dim=-1), Contract(SO(3), "N x vector", "N x scalar"))
>>> lengths.error < 1e-10
True

For each contract: equivariance at the identity, the generators and seeded elements; inputs not mutated; a batch equals its
members; dtype and device kept; finite gradients; and the model is not trivial. Judged in float64 on the CPU.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.claims import Verdict, judge_claim
from coset.audits.elements import element_name, join, lift, steps
from coset.audits.members import Members
from coset.audits.precision import at_dtype, cast, dtype_of, tolerance
from coset.audits.trivial import why_trivial
from coset.contract import Contract, contracts_of
from coset.errors import CosetError, InputError
from coset.groups.group import Group
from coset.reps.action import Recorded
from coset.reps.fields import ANY, Fields

__all__ = ["Broken", "Checked", "Report", "assert_equivariant", "cases", "check", "sample_for", "tolerance"]

ELEMENTS = 8  #: random elements that check visits


class Broken(AssertionError):
    """A promise that does not hold: says which, where, and by how much (``error``, where it is a matter of size).

    ``contract`` is the one over the factor that fails, bound to the sample, and ``element`` the worst element, where known.
    """

    def __init__(self, message: str, error: float = math.nan, *, contract: Contract | None = None, element: Any = None) -> None:
        super().__init__(message)
        self.error, self.contract, self.element = error, contract, element


@dataclass
class Checked:
    """What was found for one contract over one factor."""

    contract: str
    claim: str
    error: float  #: the largest over the elements visited; of ``mean`` and ``law``, the statistic
    limit: float
    worst: str  #: the element of the largest error
    p_value: float | None = None
    skipped: list[str] = field(default_factory=list)  #: checks that do not apply, with the reason


@dataclass
class Report:
    """What ``check`` found; ``errors`` by contract."""

    checked: list[Checked]

    @property
    def errors(self) -> dict[str, float]:
        """The largest error of each contract."""
        return {one.contract: one.error for one in self.checked}

    @property
    def skipped(self) -> list[str]:
        """Checks that did not apply, each with its reason."""
        return list(dict.fromkeys(reason for one in self.checked for reason in one.skipped))

    def __str__(self) -> str:
        lines = [f"{one.contract}: {one.claim}, error {one.error:.2g} (limit {one.limit:.0e})" for one in self.checked]
        return "\n".join([*lines, *(f"skipped {reason}" for reason in self.skipped)])


def check(model: Callable[..., Any], x: Any = None, contracts: Contract | Sequence[Contract] | None = None) -> Report:
    """Assert every promise of ``model`` on the sample ``x`` (random where none is given); the report of what was found.

    ``contracts`` are those that the model carries, unless given: so a foreign module or a plain function can be checked.
    Raises :class:`Broken` with a full sentence for the first promise that does not hold, InputError where there is none
    or where ``x`` does not fit.
    """
    promised = (
        contracts_of(model) if contracts is None else (contracts,) if isinstance(contracts, Contract) else tuple(contracts)
    )
    if not promised:
        raise InputError("check: no contract to check; pass contracts=Contract(...) or attach one")
    f = at_dtype(model, torch.float64)
    name = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", type(model).__name__)
    checked = []
    for contract in promised:
        sample = sample_for(contract, x, model)
        recorded = contract.claim == "learned" and any(isinstance(declared.kind, Recorded) for _, declared in contract.inputs)
        # as the model sees it
        start = sample if recorded else contract.inputs.pack(contract.bind(sample).origin(contract.inputs.unpack(sample)))
        skipped = [] if contract.claim == "broken" else _plumbing(f, contract, start, name)
        if recorded:
            skipped.append(f"equivariance ({contract}): nobody can move a recorded input; compare pairs by Contract.gap")
            checked.append(Checked(str(contract), contract.claim, math.nan, math.inf, "", None, skipped))
            continue
        checked += [_judge(f, part, sample, name, ELEMENTS, skipped) for part in contract.factors()]
    return Report(checked)


def assert_equivariant(
    f: Callable[..., Any], contract: Contract, x: Any = None, samples: int = 64, *, seed: int = 0, dtype: str = "float64"
) -> Checked:
    """Assert the contract alone, at the identity, the generators and ``samples`` seeded elements of every factor.

    ``f`` computes in ``dtype``, which says what rounding explains. Raises Broken where the contract does not hold.
    """
    if samples < 1:
        raise InputError(f"assert_equivariant: samples is at least 1, got {samples}")
    kind = dtype_of(dtype)
    sample = cast(contract.inputs, sample_for(contract, x, f), kind)
    f = at_dtype(f, kind)
    name = type(f).__name__ if isinstance(f, nn.Module) else getattr(f, "__name__", type(f).__name__)
    found = [_judge(f, part, sample, name, samples, [], seed=seed, dtype=kind) for part in contract.factors()]
    return max(found, key=lambda one: one.error)


def cases(*modules: ModuleType) -> Iterator[tuple[str, type[nn.Module]]]:
    """Module classes that these Python modules define and that can be built without arguments: name and class.

    What they promise is known once they are built: ``check(kind())``. For tests parametrized over a package.
    """
    for module in modules:
        for name, kind in sorted(vars(module).items()):
            if not (inspect.isclass(kind) and issubclass(kind, nn.Module)) or kind.__module__ != module.__name__:
                continue
            parameters = list(inspect.signature(kind).parameters.values())
            if all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
                yield f"{module.__name__}.{name}", kind


# ---------------------------------------------------------------------------------------------------- equivariance


def sample_for(contract: Contract, x: Any = None, model: Any = None) -> dict[str, Tensor]:
    """``x`` by name and in float64, checked against the contract's inputs; random, always the same, where none is given.

    A ``model`` that knows better than its fields what it is made for says so by ``example(generator)``.
    """
    if x is None:
        generator = torch.Generator().manual_seed(0)
        if callable(own := getattr(model, "example", None)):
            drawn = own(generator)
            if set(drawn) == set(contract.inputs.names()):
                return sample_for(contract, drawn)
        return contract.inputs.example(space=_space(contract), generator=generator)
    packed = contract.inputs.pack(x)
    contract.inputs.check(packed)
    return {name: value.cpu() for name, value in cast(contract.inputs, packed, torch.float64).items()}


def _space(contract: Contract) -> int:
    """The dimension of the space on which the group acts, 3 where it has none."""
    for part in contract.group.factors():
        base = getattr(part, "base", None) or part  # T(n) has a base, which is None
        try:
            return int(base.linear(base.sample(1, generator=torch.Generator().manual_seed(0))).shape[-1])
        except CosetError:
            continue
    return 3


def _judge(
    f: Any, contract: Contract, x: dict[str, Tensor], name: str, samples: int, skipped: list[str], *, seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Checked:  # fmt: skip
    bound = contract.bind(x)
    sampled = bound.group.sample(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = sampled
    if isinstance(bound.group, Group):
        own, _ = steps(bound.group)
        first = lift(bound.group.identity(dtype=torch.float64))
        g = join(first, own[: 2 * ELEMENTS], sampled) if own is not None else join(first, sampled)
    verdict = judge_claim(f, bound, x, g, limit=tolerance(dtype))
    element = g[verdict.place] if verdict.place is not None else None
    worst = element_name(bound.group, element, verdict.place) if verdict.place is not None else ""
    found = Checked(str(contract), contract.claim, verdict.error, verdict.limit, worst, verdict.p_value, skipped)
    if not verdict.holds:
        raise Broken(_sentence(name, contract, verdict, worst), verdict.error, contract=bound, element=element)
    return found


def _sentence(name: str, contract: Contract, verdict: Verdict, worst: str) -> str:
    promise = (
        f"{name} does not keep its contract {contract} ({contract.inputs} => {contract.outputs}), claimed {contract.claim}"
    )
    if verdict.p_value is not None:
        return (
            f"{promise}: {verdict.what} {verdict.error:.2e}, which chance explains with probability {verdict.p_value:.1e} only."
        )
    if contract.claim == "broken":
        return (
            f"{promise}: it must fail by more than {verdict.limit:.1e}, its largest error is {verdict.error:.1e} (at {worst})."
        )
    return f"{promise}: the relative error is {verdict.error:.2e} at {worst}, the limit {verdict.limit:.1e}."


# ---------------------------------------------------------------------------------------------------- plumbing


def _plumbing(f: Any, contract: Contract, x: dict[str, Tensor], name: str) -> list[str]:
    """All that is not symmetry; the checks that do not apply, with reasons. Raises Broken."""
    skipped = []
    kept = {key: value.clone() for key, value in x.items()}
    y = {key: value.detach() for key, value in contract.call(f, x).items()}
    for key, value in x.items():
        if not torch.equal(value, kept[key]):
            raise Broken(f"{name} changes its input {key or 'tensor'!r} in place; work on a copy.")
    if why := why_trivial(f, contract, x):
        raise Broken(f"{name} is {why} ({contract}).")
    skipped += _batch(f, contract, x, y, name)
    skipped += _dtypes(f, contract, x, y, name)
    skipped += _gradients(f, contract, x, name)
    return skipped


def _batch(f: Any, contract: Contract, x: dict[str, Tensor], y: dict[str, Tensor], name: str) -> list[str]:
    """A batch of two samples equals the samples one by one."""
    fields, index = contract.inputs, sample_index(contract.inputs, x)
    reason = f"batch equals members ({contract}): "
    if index is None:
        return [f'{reason}fields {fields} declare no sample index ("B x ...", "...", or a pointer such as "N -> B")']
    again = contract.call(f, x, seed=1)
    if any(not torch.equal(again[key], value) for key, value in y.items()):
        return [f"{reason}the model draws random numbers, which a longer batch draws differently"]
    generator = torch.Generator().manual_seed(1)
    other = {
        key: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        if value.is_floating_point() and fields.of(key).axis() is not None
        else value
        for key, value in x.items()
    }
    try:
        both = contract.call(f, fields.join([x, other]))
        alone = [y, {key: value.detach() for key, value in contract.call(f, other).items()}]
        parts = _split(contract.outputs, both, alone)
    except CosetError as error:
        return [reason + str(error)]
    for place, (part, single) in enumerate(zip(parts, alone, strict=True)):
        for key, value in single.items():
            gap, size = (part[key] - value).norm(), value.norm()
            if not gap <= tolerance(torch.float64) * max(size, 1e-300) and gap > 0:
                raise Broken(
                    f"{name}: output {key or 'tensor'!r} of member {place} of a batch differs from that of the member alone by "
                    f"{float(gap / size):.1e} (relative); members of a batch must not see each other."
                )
    return []


def _split(outputs: Fields, both: dict[str, Tensor], alone: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The outputs of a batch, member by member; open axes are split like named ones."""
    parts: list[dict[str, Tensor]] = [{} for _ in alone]
    for key, declared in outputs:
        axis = declared.axis()
        if axis is None or (declared.ragged and both[key].ndim == declared.kind.axes + len(declared.index) - 1):
            raise InputError(f"output {key or 'tensor'!r} ({declared}) has no index to split along")
        start = 0
        for part, single in zip(parts, alone, strict=True):
            part[key] = both[key].narrow(axis, start, single[key].shape[axis]).detach()
            start += single[key].shape[axis]
        if start != both[key].shape[axis]:
            raise InputError(f"output {key or 'tensor'!r} ({declared}) of a batch of two does not hold two members")
    return parts


def sample_index(fields: Fields, x: dict[str, Tensor]) -> str | None:
    """The index along which samples stand side by side: what pointers end in, ``B``, or an open axis; else None."""
    if any(d.target is not None and len(d.index) == 1 for _, d in fields):
        ends = [d.target for _, d in fields if d.target is not None and len(d.index) == 1]
        return ends[-1]
    members = Members.of(Contract(_Still(), fields, fields), x)
    return members.index if members.index in ("B", ANY) and members.dense else None


class _Still(Group):
    """The trivial group: used where only the fields matter."""

    def identity(self, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.zeros((), device=device)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        return g

    def inverse(self, g: Tensor) -> Tensor:
        return g

    def sample(self, n: int, *, generator: Any = None, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.zeros(n, device=device)


def _dtypes(f: Any, contract: Contract, x: dict[str, Tensor], y: dict[str, Tensor], name: str) -> list[str]:
    """Outputs keep dtype and device, in float64 and in float32 (of a module)."""
    _keeps(y, torch.float64, x, name)
    if not isinstance(f, nn.Module):
        return []
    single = cast(contract.inputs, x, torch.float32)
    try:
        y32 = contract.call(at_dtype(f, torch.float32), single)
    except RuntimeError as error:
        raise Broken(f"{name} works in float64 but not in float32: {error}") from error
    _keeps(y32, torch.float32, single, name)
    return []


def _keeps(y: dict[str, Tensor], dtype: torch.dtype, x: dict[str, Tensor], name: str) -> None:
    device = next(iter(x.values())).device
    for key, value in y.items():
        if value.is_floating_point() and value.dtype != dtype:
            raise Broken(
                f"{name}: output {key or 'tensor'!r} is {value.dtype} for {dtype} inputs; keep the dtype of the input."
            )
        if value.device != device:
            raise Broken(f"{name}: output {key or 'tensor'!r} is on {value.device}, the input on {device}.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise Broken(f"{name}: output {key or 'tensor'!r} holds NaN or infinite values for finite input.")


def _gradients(f: Any, contract: Contract, x: dict[str, Tensor], name: str) -> list[str]:
    """Gradients with respect to floating inputs and weights are finite, where there are any."""
    inputs = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in x.items()}
    y = [value for value in contract.call(f, inputs).values() if value.requires_grad]
    weights = [p for p in f.parameters() if p.requires_grad] if isinstance(f, nn.Module) else []
    wanted = [v for v in inputs.values() if v.requires_grad] + weights
    if not y or not wanted:
        return [f"finite gradients ({contract}): the output has no gradient"]
    weighing = [torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).view_as(value) for value in y]
    total = torch.stack([(value * w).sum() for value, w in zip(y, weighing, strict=True)]).sum()
    for gradient in torch.autograd.grad(total.real if total.is_complex() else total, wanted, allow_unused=True):
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise Broken(
                f"{name}: a gradient holds NaN or infinite values ({contract}); guard square roots and divisions at zero."
            )
    return []
