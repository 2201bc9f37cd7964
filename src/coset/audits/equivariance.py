"""How far is a callable from a contract? Error per element and per sample, floor, layers, and a verdict.

With ``residual(f, x, g) = f(g . x) - g . f(e . x)``, the error of one sample at one element is

    error(x, g) = max over outputs of |residual| / |g . f(e . x)|,

where the denominator is at least 1 % of its root mean square over samples and elements, so that an output which vanishes
by symmetry does not turn rounding into failure. ``Audit.error`` is the mean over samples and over all elements but the
identity, with a bootstrap interval over samples. Verdicts:

- PASS: the error is at most the tolerance (what the dtype can hold, unless one is given);
- APPROXIMATE: above it, but within the bound that the contract promises, or not to be told from the floor, the error
  that the action itself makes by resampling;
- FAIL: otherwise, and for a trivial model, whose error says nothing.

Orbits are folded into forward passes of bounded size (:mod:`coset.audits.passes`); a product group is audited factor by
factor, which is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits import elements as chosen
from coset.audits import precision
from coset.audits.causes import explain
from coset.audits.layers import layer_errors
from coset.audits.members import Members
from coset.audits.passes import BATCH, Plan
from coset.audits.trivial import why_trivial
from coset.audits.verdict import FAIL, Audit, across_dtypes, bootstrap, join_audits, judge
from coset.contract import Contract, contracts_of
from coset.errors import CosetError, InputError
from coset.groups.rotations import planar_angle

FLOOR_MEMBERS = 8  #: samples on which the floor of an action is measured
LAYER_MEMBERS = 32  #: samples that the layers are measured on


@dataclass
class Measured:
    """Errors of one or several samples against one factor."""

    elements: Any
    names: list[str]
    identity: np.ndarray  #: (elements,) bool
    errors: np.ndarray  #: (elements, members); NaN for members where the contract promises nothing
    floors: np.ndarray  #: (elements,)
    plan: Plan
    notes: list[str] = field(default_factory=list)

    @property
    def counted(self) -> np.ndarray:
        """Elements that the mean runs over: all but the identity, unless there is nothing else."""
        return ~self.identity if (~self.identity).any() else np.ones_like(self.identity)

    @property
    def by_member(self) -> np.ndarray:
        """Mean over elements, ``(members,)``, of those where the contract promises something."""
        mean = self.errors[self.counted].mean(0)
        return mean[~np.isnan(mean)]

    @property
    def by_element(self) -> np.ndarray:
        """Mean over members, ``(elements,)``."""
        kept = self.errors[:, ~np.isnan(self.errors).all(0)]
        return kept.mean(1) if kept.shape[1] else np.full(len(self.errors), np.nan)


def equivariance_error(
    f: Callable[..., Any], contract: Contract, x: Any, *, samples: int = 16, seed: int = 0, dtype: str = "float64"
) -> float:
    """Mean relative error over samples and group elements (identity left out); of a product, the largest of its factors.

    ``x`` is a sample or a list of them, ``samples`` the number of elements visited. Raises as :func:`audit`.
    """
    parts = [measure(f, part, x, samples=samples, seed=seed, dtype=dtype) for part in contract.factors()]
    return max(_mean(part.by_member) for part in parts)


def audit(
    f: Callable[..., Any], data: Any, contract: Contract | None = None, *, elements: Any = None, samples: int = 64,
    dtype: str | Sequence[str] = "float64", tolerance: float | None = None, seed: int = 0, layers: bool = True,
    batch: int = BATCH, causes: float = 0.0,
) -> Audit:  # fmt: skip
    """Measure ``f`` on ``data`` against ``contract`` (by default those that ``f`` carries).

    ``data`` is one sample of the contract's inputs (which may hold many members, as a batch of images does) or a list of
    samples. At most ``samples`` members (drawn with ``seed``) and ``samples`` group elements are visited; ``elements``, a
    batch of them, says which. With several dtypes the verdict is that of the finest one, and an error that does not drop
    with the dtype is said not to be rounding. A failure is looked into for at most ``causes`` seconds
    (:mod:`coset.audits.causes`). Raises InputError for data that do not fit the fields, an empty orbit, outputs that are not
    the declared ones (ContractError).
    """
    names = [dtype] if isinstance(dtype, str) else list(dtype)
    if not names:
        raise InputError("audit: name at least one dtype, such as 'float64'")
    promised = (contract,) if contract is not None else contracts_of(f)
    if elements is not None and len(promised[0].factors()) * len(promised) > 1:
        raise InputError("audit: elements are of one group; audit the factors of a product one by one to choose them")
    parts = []
    for one in promised:
        for part in one.factors():
            measured = [
                _audit(f, data, part, elements=elements, samples=samples, dtype=name, tolerance=tolerance, seed=seed,
                       layers=layers, batch=batch)
                for name in sorted(names, key=precision.tolerance)
            ]  # fmt: skip
            parts.append(across_dtypes(measured))
    whole = promised[0] if len(promised) == 1 else None
    told = parts[0]
    if len(parts) > 1:
        told = join_audits(parts, str(whole or "all contracts"), str(whole.group if whole else ""))
    if causes > 0 and told.verdict == FAIL and not told.trivial:
        start = time.monotonic()
        found = explain(f, data, promised, dtype=told.dtype, tolerance=tolerance, seed=seed, seconds=causes)
        told.causes = [cause.to_dict() for cause in found]
        coarse = "" if found else precision.born_coarser(f, precision.dtype_of(told.dtype), told.error)
        told.notes += [coarse] * bool(coarse)
        if not found and time.monotonic() - start > causes:
            told.notes.append(f"the search for a cause stopped after {causes:g} s; audit(..., causes=60) searches longer")
    return told


def _audit(
    f: Callable[..., Any], data: Any, contract: Contract, *, elements: Any, samples: int, dtype: str, tolerance: float | None,
    seed: int, layers: bool, batch: int,
) -> Audit:  # fmt: skip
    model = precision.at_dtype(f, precision.dtype_of(dtype))
    found = measure(
        model, contract, data, elements=elements, samples=samples, seed=seed, dtype=dtype, batch=batch, most=samples
    )
    plan, counted = found.plan, found.counted
    by_member, by_element = found.by_member, found.by_element
    error = _mean(by_member)
    interval = bootstrap(by_member if len(by_member) > 1 else by_element[counted], seed)
    limit = precision.tolerance(dtype) if tolerance is None else tolerance
    floor = float(found.floors[counted].mean())
    trivial = why_trivial(model, plan.contract, plan.origin(plan.x), seed=seed)
    worst = int(np.nanargmax(by_element)) if not np.isnan(by_element).all() else 0
    excluded = int(np.isnan(found.errors[0]).sum())
    notes = [trivial] * bool(trivial) + found.notes
    if excluded:
        notes.append(f"{excluded} of {found.errors.shape[1]} samples lie where the contract promises nothing and were left out")
    exact = counted & (found.floors == 0)
    if exact.any() and not exact[counted].all():
        kept = float(by_element[exact].mean())
        notes.append(
            f"{int(exact.sum())} elements keep the grid: error {kept:.2g} there; the rest is resampled, floor {floor:.2g}"
        )
    rungs = layer_errors(model, plan, _few(found), seed=seed) if layers and isinstance(model, torch.nn.Module) else []
    limits = max(limit, floor)
    offender = next((rung.name for rung in rungs if rung.error > max(limits, rung.floor)), "")
    return Audit(
        contract=str(contract), group=str(contract.group),
        verdict=judge(by_element[counted], found.floors[counted], interval, limit, contract.bound, trivial),
        error=error, interval=list(interval), tolerance=limit, floor=floor, dtype=dtype, samples=samples, seed=seed,
        elements=found.names, element_errors=by_element, element_floors=found.floors, sample_errors=by_member,
        worst=found.names[worst], layers=[rung.to_dict() for rung in rungs], offender=offender,
        generators=_generators(plan, seed), bound=contract.bound, trivial=bool(trivial), stochastic=plan.stochastic,
        notes=notes, angles=_angles(plan, found),
    )  # fmt: skip


def _few(found: Measured, most: int = 3) -> Any:
    """Elements for the layers: the worst one and some others, never the identity (where there is another)."""
    order = [i for i in np.argsort(-np.nan_to_num(found.by_element)) if found.counted[i]][:most]
    return chosen.join(*(chosen.lift(found.elements[int(i)]) for i in order))


def _generators(plan: Plan, seed: int) -> list[dict[str, Any]]:
    """Error at each generator and along each direction of the algebra: which of them breaks."""
    g, names = chosen.steps(plan.contract.group)
    if g is None or len(names) > 16:
        return []
    rows = torch.arange(min(plan.members.count, LAYER_MEMBERS))
    x = plan.members.take(plan.contract.inputs, plan.x, rows) if plan.independent else plan.x
    found = _measure(plan.f, plan.contract, x, g, plan.batch, seed, None)
    return [{"element": name, "error": float(error)} for name, error in zip(names, found.by_element, strict=True)]


def _angles(plan: Plan, found: Measured) -> np.ndarray | None:
    """Degrees of planar rotations, for a polar plot; None for anything else."""
    try:
        matrix, shift = plan.contract.group.linear(found.elements), plan.contract.group.shift(found.elements)
    except CosetError:
        return None
    if matrix.shape[-1] != 2 or len(matrix) < 3 or bool(shift.abs().max() > 0):
        return None
    if not torch.allclose(torch.linalg.det(matrix), torch.ones(len(matrix), dtype=matrix.dtype), atol=1e-6):
        return None
    angles = np.rad2deg(planar_angle(matrix).cpu().numpy()) % 360
    return np.where(angles > 360 - 1e-9, 0.0, angles)


def _draw(count: int, most: int | None, seed: int) -> list[int]:
    """At most ``most`` of ``count`` places, in order."""
    if most is None or count <= most:
        return list(range(count))
    generator = torch.Generator().manual_seed(seed)
    return sorted(torch.randperm(count, generator=generator)[:most].tolist())


def measure(
    f: Callable[..., Any], contract: Contract, x: Any, *, elements: Any = None, samples: int = 16, seed: int = 0,
    dtype: str = "float64", batch: int = BATCH, most: int | None = None,
) -> Measured:  # fmt: skip
    """Errors per element and member of ``f`` on one sample or a list of samples, for a contract over one factor.

    At most ``most`` samples, or members that a model takes one by one, are used, drawn with ``seed``.
    """
    torch_dtype = precision.dtype_of(dtype)
    f = precision.at_dtype(f, torch_dtype)
    several = isinstance(x, (list, tuple))
    if several and not len(x):
        raise InputError(f"{contract}: no samples to audit")
    parts = []
    drawn = [x[i] for i in _draw(len(x), most, seed)] if several else [x]
    for one in drawn:
        packed = contract.inputs.pack(one)
        contract.inputs.check(packed)
        packed = precision.cast(contract.inputs, packed, torch_dtype)
        bound = contract.bind(packed)
        g = elements if elements is not None else chosen.choose(bound.group, samples, seed)
        g = chosen.on_device(g, next(iter(packed.values())).device)
        parts.append(_measure(f, contract, packed, g, batch, seed, most))
    if len(parts) == 1:
        return parts[0]
    return _pool(parts)


def _measure(
    f: Callable[..., Any], contract: Contract, x: dict[str, Tensor], g: Any, batch: int, seed: int, most: int | None
) -> Measured:
    plan = Plan.make(f, contract, x, g, batch=batch, seed=seed)
    if most is not None and plan.independent and plan.members.count > most:
        x = plan.members.take(contract.inputs, x, torch.tensor(_draw(plan.members.count, most, seed)))
        plan = Plan.make(f, contract, x, g, batch=batch, seed=seed)
    outputs = plan.contract.outputs
    gaps = {name: torch.empty(len(g), plan.members.count, dtype=torch.float64) for name in outputs.names()}
    sizes = {name: torch.empty_like(gaps[name]) for name in gaps}
    for rows, part in plan.chunks():
        y = part.plain()
        for start, stop, gy in part.orbit(g):
            gap, want = plan.contract.against(_doubled(gy), _doubled(part.want(y, chosen.take(g, start, stop))))
            for name, declared in outputs:
                at = (slice(start, stop), slice(int(rows[0]), int(rows[-1]) + 1))
                gaps[name][at] = part.members.squares(declared, gap[name]).sqrt().cpu()
                sizes[name][at] = part.members.squares(declared, want[name]).sqrt().cpu()
    errors = torch.stack([relative_by_member(gaps[name], sizes[name]) for name in gaps]).amax(0)
    errors[:, ~_holds(contract, plan.members, x)] = torch.nan
    group = plan.contract.group
    return Measured(
        g,
        chosen.element_names(group, g),
        chosen.is_identity(group, g).numpy(),
        errors.numpy(),
        floors(plan, g),
        plan,
        plan.notes,
    )


def relative_by_member(gap: Tensor, size: Tensor) -> Tensor:
    """``gap / size`` ``(elements, members)``, the size at least 1 % of its root mean square; 0/0 is 0."""
    least = 0.01 * size.square().mean().sqrt()
    return torch.where(gap == 0, torch.zeros_like(gap), gap / torch.maximum(size, least))


def floors(plan: Plan, g: Any) -> np.ndarray:
    """The largest relative error that the actions on the fields make at each element, ``(elements,)``."""
    out = torch.zeros(len(g), dtype=torch.float64)
    rows = torch.arange(min(plan.members.count, FLOOR_MEMBERS))
    x = plan.members.take(plan.contract.inputs, plan.x, rows) if plan.members.dense else plan.x
    y = plan.plain() if any(not d.still for _, d in plan.contract.outputs) else {}
    y = replace_members(plan.members, plan.contract.outputs, y, rows) if y else y
    for fields, values in ((plan.contract.inputs, x), (plan.contract.outputs, y)):
        for name, declared in fields:
            if declared.still or name not in values:
                continue
            for start in range(0, len(g), 16):
                stop = min(start + 16, len(g))
                try:
                    found = declared.kind.floor(plan.contract.group, chosen.take(g, start, stop), values[name].unsqueeze(0))
                except CosetError:  # the group permutes this field or moves it by a rule of its own
                    break
                out[start:stop] = torch.maximum(out[start:stop], found.reshape(-1).double().cpu().nan_to_num())
    return out.numpy()


def replace_members(members: Members, fields: Any, y: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The first members of outputs, where members are slices."""
    return members.take(fields, y, rows) if members.dense else y


def _holds(contract: Contract, members: Members, x: dict[str, Tensor]) -> Tensor:
    """The members on which the contract promises something, bool ``(members,)``."""
    if contract.where is None:
        return torch.ones(members.count, dtype=torch.bool)
    found = torch.as_tensor(contract.where(contract.inputs.unpack(x)), dtype=torch.bool).cpu()
    if found.ndim > 1 or (found.ndim == 1 and len(found) != members.count):
        raise InputError(f"{contract}: where returns one bool or one per member ({members.count}), got {tuple(found.shape)}")
    return found.expand(members.count)


def _pool(parts: list[Measured]) -> Measured:
    """Samples side by side; elements are named only if all samples saw the same."""
    first = parts[0]
    if any(len(part.errors) != len(first.errors) for part in parts):
        raise InputError("audit: samples of different sizes gave different numbers of elements; pass elements, or one size")
    same = all(part.names == first.names for part in parts)
    names = first.names if same else [n if i else "e" for i, n in enumerate(f"draw {i}" for i in range(len(first.names)))]
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    floors = np.mean([part.floors for part in parts], 0)
    return Measured(
        first.elements, names, first.identity, np.concatenate([p.errors for p in parts], 1), floors, first.plan, notes
    )


def _doubled(y: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs in double precision, complex ones as they are: their differences are what is measured."""
    return {name: value if value.is_complex() else value.double() for name, value in y.items()}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
