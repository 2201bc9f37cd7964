"""Which symmetries does this model, or this data set, have, and how well? A scan of candidates, each with its evidence.

For a *model* every candidate's functional error is measured as in an audit: it *holds* within tolerance or floor, holds
*approximately* if the output changes by less than 5 % of what it changes between samples. For a *data set* the law of labels
along the orbit decides (of inputs, where there are no labels), see :mod:`coset.audits.dataset`; p-values are corrected for the
number of candidates (Holm), so that one false alarm in the whole scan is as rare as ``level`` says. Of candidates that hold,
those contained in a larger one that holds are reported with it: ``found`` names the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.dataset import LEAST, LabelLaw, can_have_law, input_law
from coset.audits.elements import join, steps
from coset.audits.equivariance import measure
from coset.audits.precision import cast, tolerance
from coset.audits.trivial import why_trivial
from coset.audits.twosample import holm
from coset.contract import Contract
from coset.errors import CosetError, InputError
from coset.groups.euclidean import Scale
from coset.groups.group import Family, FiniteGroup, Group
from coset.records import SCHEMA, Finding, to_json

HOLDS, APPROXIMATE, BROKEN, UNDECIDED = "holds", "approximate", "broken", "undecided"
NEARLY = 0.05  #: share of the output's variation below which a model's symmetry is called approximate
LEVEL = 1e-3  #: chance of a false alarm in a whole scan of a data set


@dataclass
class Scan(Finding):
    """What was found for every candidate; ``found`` names the largest that hold."""

    of: str  #: "model", "labels" or "inputs"
    candidates: list[dict[str, Any]]  #: name, group, status, error, low, high, p_value, within, note
    found: list[str]
    undecided: list[str]
    samples: int
    seed: int
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return to_json({"schema": SCHEMA, **dict(self._items())})

    def __str__(self) -> str:
        what = {"model": "relative change", "labels": "excess error", "inputs": "distance of laws"}[self.of]
        width = max(len(c["name"]) for c in self.candidates)
        lines = [f"found: {', '.join(self.found) or 'none of the candidates'}"]
        for c in self.candidates:
            inside = f"  (inside {', '.join(c['within'])})" if c["within"] else ""
            chance = "" if c["p_value"] is None else f"  p {c['p_value']:.2g}"
            note = f"  {c['note']}" if c["note"] else ""
            lines.append(f"  {c['name']:<{width}}  {c['status']:<11} {what} {c['error']:.2g}{chance}{inside}{note}")
        return "\n".join(lines + self.notes)

    def plot(self) -> Any:
        """One bar per candidate with its interval; those that were refuted in the second color."""
        from coset.figures.bars import bars

        refuted = [i for i, c in enumerate(self.candidates) if c["status"] == BROKEN]
        values = np.array([max(c["error"], 0.0) if c["error"] == c["error"] else 0.0 for c in self.candidates])
        low = np.array([v if c["low"] is None else max(c["low"], 0.0) for c, v in zip(self.candidates, values, strict=True)])
        high = np.array([v if c["high"] is None else max(c["high"], 0.0) for c, v in zip(self.candidates, values, strict=True)])
        label = {"model": "share of the output's variation", "labels": "excess error of labels", "inputs": "energy distance"}[
            self.of
        ]
        title = f"found: {', '.join(self.found) or 'none'} (orange: refuted)"
        return bars([c["name"] for c in self.candidates], values, low=low, high=high, marked=refuted, label=label, title=title)


def scan(
    what: Any, candidates: Mapping[str, Contract | Family] | Sequence[Contract | Family], *, x: Any = None, inputs: Any = None,
    outputs: Any = None, samples: int = 16, level: float = LEVEL, seed: int = 0,
) -> Scan:  # fmt: skip
    """Scan a callable (on the sample ``x``; random if there is none) or a data set ``(X, y)`` or ``X``.

    Candidates are contracts, or groups that act on the fields ``inputs`` (default ``"B x vector"``) and ``outputs`` (default
    ``"B x scalar"``); in a data set the first axis of every tensor counts samples. ``samples`` is the number of elements at
    which a model is measured. Raises InputError for no candidates, data that do not fit the fields, labels of another
    length, fewer than 40 samples.
    """
    named = _named(candidates, inputs, outputs)
    return _scan_model(what, named, x, samples, seed) if callable(what) else _scan_data(what, named, level, seed)


def _named(candidates: Any, inputs: Any, outputs: Any) -> dict[str, Contract]:
    pairs = candidates.items() if isinstance(candidates, Mapping) else [(str(c), c) for c in candidates]
    named: dict[str, Contract] = {}
    for name, candidate in pairs:
        if not isinstance(candidate, (Contract, Family)):
            raise InputError(f"scan: candidates are contracts or groups, got {candidate!r} for {name!r}")
        if name in named:
            raise InputError(f"scan: two candidates are called {name!r}; pass a mapping from names to candidates")
        own = (
            candidate
            if isinstance(candidate, Contract)
            else Contract(candidate, inputs or "B x vector", outputs or "B x scalar")
        )
        named[name] = own
    if not named:
        raise InputError("scan: no candidates; name at least one group or contract")
    return named


# ---------------------------------------------------------------------------------------------------- models


def _scan_model(f: Callable[..., Any], named: dict[str, Contract], x: Any, samples: int, seed: int) -> Scan:
    entries: list[dict[str, Any]] = []
    notes: list[str] = []
    for name, contract in named.items():
        sample = x if x is not None else contract.inputs.unpack(
            contract.inputs.example({"B": 64}, generator=torch.Generator().manual_seed(seed))
        )  # fmt: skip
        parts = [measure(f, part, sample, samples=samples, seed=seed) for part in contract.factors()]
        found = max(parts, key=lambda part: float(np.nanmean(part.by_member)))
        error = float(np.nanmean(found.by_member))
        floor = float(found.floors[found.counted].mean())
        share = error * _relative_size(found)
        limit = max(tolerance("float64"), floor)
        status = HOLDS if error <= limit else APPROXIMATE if share <= NEARLY else BROKEN
        note = f"floor {floor:.2g}" if floor > 0 else ""
        entries.append(_entry(name, contract, status, share if error > limit else error, note=note))
        if not notes and (why := why_trivial(found.plan.f, found.plan.contract, found.plan.origin(found.plan.x), seed=seed)):
            notes.append(why)
    return _finish("model", entries, named, samples, seed, notes)


def _relative_size(found: Any) -> float:
    """How a relative error is turned into a share of the variation between samples: size of the output over its spread."""
    y = torch.cat([v.double().reshape(found.plan.members.count, -1) for v in found.plan.plain().values()], 1)
    if len(y) < 2:
        return 1.0
    spread = float(y.var(0).sum().sqrt()) * math.sqrt(2)
    size = float(y.square().sum(1).mean().sqrt())
    return size / spread if spread > 1e-12 * size else math.inf


# ---------------------------------------------------------------------------------------------------- data


def _scan_data(data: Any, named: dict[str, Contract], level: float, seed: int) -> Scan:
    given, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    entries: list[dict[str, Any]] = []
    laws: dict[Any, LabelLaw] = {}
    count = 0
    for name, contract in named.items():
        x = _checked(contract, given)
        contract = contract.bind(x)
        count = len(next(iter(x.values())))
        if labels is None:
            if not can_have_law(contract.group):
                note = "no distribution is invariant under a group that is not compact"
                entries.append(_entry(name, contract, BROKEN, math.nan, p=0.0, note=note))
                continue
            law = input_law(contract, x, seed=seed)
            entries.append(_entry(name, contract, UNDECIDED, law.statistic, p=law.p_value))
            continue
        y = {key: torch.as_tensor(value) for key, value in contract.outputs.pack(_tensor(labels)).items()}
        if any(len(value) != count for value in y.values()):
            raise InputError(f"scan: {count} inputs, but labels of shape { {k or 'y': tuple(v.shape) for k, v in y.items()} }")
        fields = (contract.inputs, contract.outputs)
        if fields not in laws:
            laws[fields] = LabelLaw(*fields, x, cast(contract.outputs, y, torch.float64), seed=seed)
        found = laws[fields].test(contract)
        note = "" if found.decisive else f"own error {found.own:.2g}, {100 * found.supported:.0f} % of the orbit where data are"
        entry = _entry(name, contract, UNDECIDED, found.excess, p=found.p_value, note=note, spread=found.error)
        entries.append({**entry, "decisive": found.decisive})
    for entry, p in zip(entries, holm([entry["p_value"] for entry in entries]), strict=True):
        entry["p_value"] = p
        entry["status"] = BROKEN if p < level else HOLDS if entry.pop("decisive", True) else UNDECIDED
        entry.pop("decisive", None)
    return _finish("inputs" if labels is None else "labels", entries, named, count, seed, [])


def _checked(contract: Contract, given: Any) -> dict[str, Tensor]:
    packed = contract.inputs.pack(_tensor(given))
    contract.inputs.check(packed)
    counts = {len(value) for value in packed.values() if value.ndim}
    if len(counts) != 1 or min(counts) < LEAST:
        raise InputError(f"scan: a data set has one first axis of at least {LEAST} samples, got lengths {sorted(counts)}")
    return cast(contract.inputs, packed, torch.float64)


def _tensor(data: Any) -> Any:
    """Arrays as tensors, mappings of them too."""
    if isinstance(data, Mapping):
        return {name: torch.as_tensor(value) for name, value in data.items()}
    return torch.as_tensor(data)


# ---------------------------------------------------------------------------------------------------- lattice


def _entry(
    name: str,
    contract: Contract,
    status: str,
    error: float,
    *,
    p: float | None = None,
    note: str = "",
    spread: float | None = None,
) -> dict[str, Any]:
    low, high = (None, None) if spread is None else (error - 1.96 * spread, error + 1.96 * spread)
    return {
        "name": name, "group": str(contract.group), "status": status, "error": error, "low": low, "high": high, "p_value": p,
        "within": [], "note": note,
    }  # fmt: skip


def _finish(
    of: str, entries: list[dict[str, Any]], named: dict[str, Contract], samples: int, seed: int, notes: list[str]
) -> Scan:
    held = [entry for entry in entries if entry["status"] in (HOLDS, APPROXIMATE)]
    for entry in held:
        entry["within"] = [
            other["name"]
            for other in held
            if other is not entry
            and contained(named[entry["name"]].group, named[other["name"]].group)
            and not (contained(named[other["name"]].group, named[entry["name"]].group) and other["name"] > entry["name"])
        ]
    found = [entry["name"] for entry in held if not entry["within"]]
    undecided = [entry["name"] for entry in entries if entry["status"] == UNDECIDED]
    return Scan(of, entries, found, undecided, samples, seed, notes)


def contained(small: Family, large: Family, *, tolerance: float = 1e-6) -> bool:
    """Whether every element of ``small`` moves space as some element of ``large`` does; False where that cannot be told."""
    if small == large:
        return True
    try:
        elements = small.sample(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        own, _ = steps(small)
        elements = join(elements, own) if own is not None else elements
        matrix, shift = small.linear(elements), small.shift(elements)
        return bool(_holds_all(matrix.double(), shift.double(), large, tolerance))
    except (CosetError, RuntimeError, IndexError):
        return False


def _holds_all(matrix: Tensor, shift: Tensor, large: Family, tolerance: float) -> bool:
    size = matrix.shape[-1]
    still = not bool(shift.abs().max() > tolerance)
    if isinstance(large, FiniteGroup):
        others = large.linear(large.elements()).double()
        return still and bool(((matrix[:, None] - others).abs().amax((-1, -2)) <= tolerance).any(1).all())
    if not isinstance(large, Group):
        return False
    if large.element_shape == (size, size):
        return still and bool(large.contains(matrix, tolerance=tolerance).all())
    if large.element_shape == (size + 1, size + 1):
        whole = torch.eye(size + 1, dtype=torch.float64).repeat(len(matrix), 1, 1)
        whole[:, :size, :size], whole[:, :size, size] = matrix, shift
        return bool(large.contains(whole, tolerance=tolerance).all())
    if isinstance(large, Scale):
        unit = torch.eye(size, dtype=torch.float64)
        return still and torch.allclose(matrix, matrix[:, :1, :1] * unit, atol=tolerance) and bool((matrix[:, 0, 0] > 0).all())
    return False
