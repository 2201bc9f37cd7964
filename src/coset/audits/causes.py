"""Why does a contract fail? A cause is named by evidence: without it the error is gone, or nothing else could leave its mark.

Every suspect is a :class:`~coset.audits.causes_trial.Trial`: the model runs once more with that one thing otherwise (a bias
at zero, the grid continued periodically, a cast left out, an input rotated with the rest), and the error is measured again
at the same elements. The suspect that takes the error to the tolerance is the cause; where none does alone, pairs are tried.
A model that no longer varies with its input convicts nobody. Suspects, from the most specific to the least:

    training mode, random numbers, float32 cast, input not rotated, transposed rotation, parity, neighbor cap, bias in a
    non-trivial irrep, padding, stride, absolute positions, nonlinearity on vectors.

The model is not changed: trials work on a copy, and put back what they touch where there is none.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits import elements as chosen
from coset.audits import precision as dtypes
from coset.audits.causes_fields import held, parity, turned
from coset.audits.causes_graph import cap
from coset.audits.causes_grid import padding, stride
from coset.audits.causes_products import nonlinear, transposed
from coset.audits.causes_state import precision, training
from coset.audits.causes_trial import Setting, Trial, modules_within, twin, without
from coset.audits.causes_weights import bias, places
from coset.audits.members import Members
from coset.contract import Contract
from coset.errors import CosetError

SECONDS = 5.0  #: that a search may take
MEMBERS = 4  #: samples of a batch that it looks at
ELEMENTS = 3  #: elements at which errors are measured
GONE = 1e-3  #: of the error may be left without its cause
PAIRED = 8  #: suspects that are tried two by two

SUSPECTS: tuple[Callable[[Setting], Iterator[Trial]], ...] = (
    training, precision, held, turned, parity, cap, bias, padding, stride, places, transposed, nonlinear,
)  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """Why a contract fails, by what that was seen, and what to do."""

    name: str
    sentence: str
    fix: str
    layer: str
    before: float  #: error over the elements of the search
    after: float  #: the same without the cause; NaN where it could be measured but not taken out
    evidence: dict[str, float] = field(default_factory=dict)  #: further figures by name

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a finding."""
        return {
            "name": self.name, "sentence": self.sentence, "fix": self.fix, "layer": self.layer, "before": self.before,
            "after": self.after, "evidence": dict(self.evidence),
            "words": f"{self.name}, because {self.sentence}. Try: {self.fix}",
        }  # fmt: skip


def explain(
    f: Callable[..., Any], data: Any, contracts: Sequence[Contract], *, dtype: str = "float64", tolerance: float | None = None,
    seed: int = 0, seconds: float = SECONDS,
) -> list[Cause]:  # fmt: skip
    """The causes of the first of these contracts that fails and whose failure can be explained, within ``seconds``."""
    deadline = time.monotonic() + seconds
    for contract in contracts:
        left = deadline - time.monotonic()
        found = find_causes(f, data, contract, dtype=dtype, tolerance=tolerance, seed=seed, seconds=left) if left > 0 else []
        if found:
            return found
    return []


def find_causes(
    f: Callable[..., Any], data: Any, contract: Contract, *, dtype: str = "float64", tolerance: float | None = None,
    seed: int = 0, seconds: float = SECONDS,
) -> list[Cause]:  # fmt: skip
    """What breaks ``contract`` on ``data``: the cause, two where it takes two; empty if nothing fails or nobody is convicted.

    ``data`` is one sample or a list, as for :func:`coset.audits.equivariance.audit`. The factor of a product that fails worst
    is looked into. No suspect is tried after ``seconds``. Nothing is sought for statistical, learned and broken claims, nor
    where the contract holds on some members only. Raises InputError where the data do not fit the fields.
    """
    if contract.claim not in ("exact", "approximate") or contract.where is not None:
        return []
    deadline = time.monotonic() + seconds
    kind = dtypes.dtype_of(dtype)
    limit = dtypes.tolerance(dtype) if tolerance is None else tolerance
    samples = list(data[:MEMBERS]) if isinstance(data, (list, tuple)) else [data]
    with _unharmed(f):
        model = twin(dtypes.at_dtype(f, kind))
        found = []
        for part, sample in itertools.product(contract.factors(), samples):
            setting = _setting(model, part, sample, kind, limit, seed)
            before = setting.error() if setting is not None else 0.0
            if setting is not None and before > limit:
                found.append((before, setting))
            if time.monotonic() > deadline:
                break
        if not found:
            return []
        before, setting = max(found, key=lambda pair: pair[0])
        return _search(replace(setting, before=before, moves=setting.motion()), before, limit, deadline)


def _search(setting: Setting, before: float, limit: float, deadline: float) -> list[Cause]:
    """The first suspect without whom the error is gone, else the first such pair."""
    gone = max(limit, GONE * before)
    rest: list[tuple[float, Trial]] = []
    for suspects in SUSPECTS:
        for trial in _guarded(suspects, setting):
            if time.monotonic() > deadline:
                return []
            if trial.undo is None:
                return [_cause(trial, before, float("nan"))]
            after = trial.after(setting, gone)
            if after <= gone:
                return [_cause(trial, before, after)]
            if after < before * 1.5:
                rest.append((after, trial))
    return _pair(setting, before, gone, rest, deadline)


def _pair(setting: Setting, before: float, gone: float, rest: list[tuple[float, Trial]], deadline: float) -> list[Cause]:
    rest.sort(key=lambda pair: pair[0])
    for (_, first), (_, second) in itertools.combinations(rest[:PAIRED], 2):
        if time.monotonic() > deadline:
            return []
        if first.name != second.name and (after := without([first, second], setting, gone)) <= gone:
            together = f"; it takes two: {first.name} and {second.name}"
            return [_cause(trial, before, after, together) for trial in (first, second)]
    return []


def _guarded(suspects: Callable[[Setting], Iterator[Trial]], setting: Setting) -> Iterator[Trial]:
    """Trials of one sort; a model that cannot be looked at in that way gives none."""
    try:
        yield from suspects(setting)
    except Exception:  # foreign models refuse foreign inputs in many ways; the search goes on without this suspect
        return


def _cause(trial: Trial, before: float, after: float, more: str = "") -> Cause:
    sentence = trial.sentence.replace("{before}", f"{before:.1e}").replace("{after}", f"{after:.1e}") + more
    return Cause(trial.name, sentence, trial.fix, trial.layer, before, after, dict(trial.facts))


# ---------------------------------------------------------------------------------------------------- the setting


def _setting(f: Any, contract: Contract, x: Any, kind: torch.dtype, limit: float, seed: int) -> Setting | None:
    """A few members and the elements at which they fail, those that need no resampling first; None where nothing fails."""
    packed = contract.inputs.pack(x)
    contract.inputs.check(packed)
    packed = dtypes.cast(contract.inputs, packed, kind)
    packed = _few(f, contract, packed)
    bound = contract.bind(packed)
    pool = chosen.choose(bound.group, 4 * ELEMENTS, seed)
    own, _ = chosen.steps(bound.group)
    pool = chosen.on_device(chosen.join(pool, own) if own is not None else pool, next(iter(packed.values())).device)
    errors: list[tuple[bool, float, int]] = []  # resampled, minus the error, place
    for i in range(len(pool)):
        if sum(not resampled for resampled, _, _ in errors) >= 2 * ELEMENTS:
            break
        if not bool(chosen.is_identity(bound.group, chosen.lift(pool[i]))[0]):
            error, floor = Setting(f, bound, packed, chosen.lift(pool[i])).error(), _floor(bound, packed, pool[i])
            if error > max(limit, 2 * floor) and error < float("inf"):
                errors.append((floor > 0, -error, i))
    if not errors:
        return None
    best = [i for resampled, _, i in sorted(errors) if resampled == min(errors)[0]][:ELEMENTS]
    return Setting(f, bound, packed, chosen.join(*(chosen.lift(pool[i]) for i in best)))


def _few(f: Any, contract: Contract, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first members of a batch, where the model gives them what it gives them among the others."""
    bound = contract.bind(x)
    members = Members.of(bound, x)
    if not members.dense or members.count <= MEMBERS:
        return x
    rows = torch.arange(MEMBERS)
    fewer = members.take(contract.inputs, x, rows)
    try:
        whole = members.take(contract.outputs, bound.call(f, bound.origin(bound.inputs.unpack(x))), rows)
        bound = contract.bind(fewer)
        alone = bound.call(f, bound.origin(bound.inputs.unpack(fewer)))
        same = all(torch.allclose(whole[name], alone[name], rtol=1e-4, atol=1e-6) for name in whole)
    except Exception:  # not every model takes fewer
        return x
    return fewer if same else x


def _floor(contract: Contract, x: dict[str, Tensor], g: Any) -> float:
    """The largest relative error that resampling the inputs makes at one element."""
    found = 0.0
    for name, declared in contract.inputs:
        if not declared.still:
            try:
                lifted = declared.kind.floor(contract.group, chosen.lift(g), x[name].unsqueeze(0))
            except CosetError:
                continue
            found = max(found, float(lifted.reshape(-1).double().nan_to_num().max()))
    return found


@contextmanager
def _unharmed(f: Any) -> Iterator[None]:
    """Modules that are reached through a function and cannot be copied: buffers and modes as before when the block ends."""
    roots = [] if isinstance(f, nn.Module) else modules_within(f)
    modes = [(module, module.training) for root in roots for module in root.modules()]
    kept = [(tensor, tensor.detach().clone()) for root in roots for tensor in (*root.parameters(), *root.buffers())]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for tensor, value in kept:
            tensor.data.copy_(value)
