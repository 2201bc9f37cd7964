"""The audit's finding: numbers, verdict in words, JSON of the command line, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coset.records import SCHEMA, Finding, to_json

PASS, APPROXIMATE, FAIL = "PASS", "APPROXIMATE", "FAIL"
ORDER = (PASS, APPROXIMATE, FAIL)
QUANTILES = (5, 25, 50, 75, 95)


@dataclass
class Audit(Finding):
    """How far a callable is from a contract; see :mod:`coset.audits.equivariance` for what the numbers mean."""

    contract: str
    group: str
    verdict: str  #: PASS, APPROXIMATE or FAIL
    error: float  #: mean relative error over samples and elements, the identity left out
    interval: list[float]  #: 95 %, bootstrap over samples
    tolerance: float
    floor: float  #: mean relative error of the action itself over the same elements
    dtype: str
    samples: int
    seed: int
    elements: list[str]
    element_errors: np.ndarray  #: (elements,)
    element_floors: np.ndarray  #: (elements,)
    sample_errors: np.ndarray  #: (samples,)
    worst: str  #: name of the worst element
    layers: list[dict[str, Any]] = field(default_factory=list)  #: name, error, floor, field, guessed, cause
    offender: str = ""  #: the first layer above the floor
    generators: list[dict[str, Any]] = field(default_factory=list)  #: element, error: which direction breaks
    bound: float | None = None
    trivial: bool = False
    stochastic: bool = False
    notes: list[str] = field(default_factory=list)
    by_dtype: dict[str, float] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)  #: one summary for each factor or contract
    angles: np.ndarray | None = None  #: degrees, where the elements are rotations of the plane
    #: why it fails (:class:`coset.audits.causes.Cause` as plain values), empty where none fits; None: nobody looked
    causes: list[dict[str, Any]] | None = None

    @property
    def quantiles(self) -> dict[int, float]:
        """Percentiles of the samples' errors."""
        values = self.sample_errors
        return {q: float(np.percentile(values, q)) for q in QUANTILES} if len(values) else {}

    @property
    def worst_error(self) -> float:
        """The largest mean over samples at one element."""
        return float(np.nanmax(self.element_errors)) if len(self.element_errors) else float("nan")

    def to_json(self) -> dict[str, Any]:
        """The document that ``coset audit --json`` prints."""
        return to_json({
            "schema": SCHEMA,
            "group": self.group,
            "contract": self.contract,
            "per_element": [{"element": n, "error": e} for n, e in zip(self.elements, self.element_errors, strict=True)],
            "layers": [{"name": layer["name"], "error": layer["error"]} for layer in self.layers],
            "floor": self.floor,
            "verdict": self.verdict,
            "error": self.error,
            "interval": self.interval,
            "tolerance": self.tolerance,
            "dtype": self.dtype,
            "samples": self.samples,
            "seed": self.seed,
            "causes": self.causes,
        })  # fmt: skip

    def __str__(self) -> str:
        low, high = self.interval
        lines = [
            f"{self.verdict}  {self.contract}: relative error {self.error:.2g} [{low:.2g}, {high:.2g}] ({self.dtype}), "
            f"tolerance {self.tolerance:.0e}, floor {self.floor:.2g}",
            f"worst element {self.worst}: {self.worst_error:.2g}",
        ]
        if self.offender:
            layer = next(rung for rung in self.layers if rung["name"] == self.offender)
            cause = f" ({layer['cause']})" if layer["cause"] and not self.causes else ""
            lines.append(f"first layer above the floor: {self.offender} {layer['error']:.2g}{cause}")
        lines += [f"{head}: {words}" for head, words in self.why()]
        return "\n".join(lines + self.notes)

    def why(self) -> list[tuple[str, str]]:
        """The search for causes in words: ``("cause", ...)`` and ``("try", ...)``; empty where nobody looked."""
        if self.causes is None:
            return []
        if not self.causes:
            return [("cause", "none found, no usual one explains the error" + self._begins())]
        told = [("cause", f"likely {one['name']}, because {one['sentence']}") for one in self.causes]
        return told + [("try", fix) for fix in dict.fromkeys(one["fix"] for one in self.causes)]

    def _begins(self) -> str:
        """Where the error begins, after a statement that explains nothing."""
        layer = next((rung for rung in self.layers if rung["name"] == self.offender), None) if self.offender else None
        if layer is None:
            return ""
        told = f" ({layer['cause']})" if layer["cause"] else ""
        return f"; it begins in layer {self.offender}, {layer['field']}, error {layer['error']:.2g}{told}"

    def show(self) -> None:
        """Print the finding in words."""
        print(self)

    def plot(self) -> Any:
        """Error by element (polar for rotations of the plane), as a matplotlib figure."""
        from coset.figures.bars import bars
        from coset.figures.polar import polar

        title = f"{self.verdict}: {self.contract}"
        if self.angles is not None and len(self.angles) == len(self.element_errors):
            order = np.argsort(self.angles)
            marked = np.flatnonzero(self.element_floors[order] == 0) if (self.element_floors > 0).any() else ()
            band = (0.0, self.element_floors[order]) if (self.element_floors > 0).any() else None
            top = float(np.nanmax(np.append(self.element_errors, self.element_floors)))
            return polar(
                self.angles[order], self.element_errors[order], label="relative equivariance error", title=title, band=band,
                marked=marked, limit=(0.0, top or 1.0),
            )  # fmt: skip
        shown = np.argsort(-np.nan_to_num(self.element_errors))[:32]
        return bars([self.elements[i] for i in shown], self.element_errors[shown], floor=self.floor, title=title)

    def plot_layers(self) -> Any:
        """The ladder of layers; InputError where none were measured."""
        from coset.figures.ladder import ladder

        names = [layer["name"] for layer in self.layers]
        columns = {
            d: np.array([layer["errors"][d] for layer in self.layers]) for d in (self.layers[0]["errors"] if names else {})
        }
        return ladder(
            names, columns if len(columns) > 1 else np.array([layer["error"] for layer in self.layers]), floor=self.floor,
            tolerance=self.tolerance, offender=names.index(self.offender) if self.offender else None,
            guessed=[layer["guessed"] for layer in self.layers],
        )  # fmt: skip


def judge(
    errors: np.ndarray,
    floors: np.ndarray,
    interval: tuple[float, float],
    tolerance: float,
    bound: float | None,
    trivial: str = "",
) -> str:
    """PASS, APPROXIMATE or FAIL from the errors and floors of the counted elements; NaN fails.

    An error hides behind the floor only where there is one: elements that keep the grid have to meet the tolerance.
    """
    if trivial:
        return FAIL
    error = float(errors.mean()) if len(errors) else float("nan")
    if error <= tolerance:
        return PASS
    exact = floors == 0
    hidden = interval[0] <= floors.mean() and not exact.all() and bool((errors[exact] <= tolerance).all())
    return APPROXIMATE if (bound is not None and error <= bound) or hidden else FAIL


def bootstrap(values: np.ndarray, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean, by resampling with replacement."""
    if len(values) < 2:
        only = float(values[0]) if len(values) else float("nan")
        return only, only
    if not np.isfinite(values).all():
        return float(values.mean()), float(values.mean())
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return float(low), float(high)


def across_dtypes(found: Sequence[Audit]) -> Audit:
    """The finding in the finest dtype (the first), with the others' errors and whether rounding explains the error."""
    finest = found[0]
    finest.by_dtype = {one.dtype: one.error for one in found}
    for rung in finest.layers:
        same = {one.dtype: next((r["error"] for r in one.layers if r["name"] == rung["name"]), rung["error"]) for one in found}
        rung["errors"] = same
    if len(found) > 1:
        coarse = found[-1]
        told = ", ".join(f"{error:.2g} in {name}" for name, error in finest.by_dtype.items())
        if finest.error <= finest.tolerance:
            finest.notes.append(f"error {told}: rounding")
        elif finest.error > 0.1 * coarse.error:
            finest.notes.append(f"error {told}: it does not drop with the dtype, so it is not rounding")
        else:
            finest.notes.append(f"error {told}: part of it is rounding")
    return finest


def join_audits(parts: Sequence[Audit], contract: str, group: str) -> Audit:
    """One finding for the factors of a product, or for several contracts: the worst decides."""
    worst = max(parts, key=lambda part: (ORDER.index(part.verdict), np.nan_to_num(part.error, nan=np.inf)))
    summaries = [
        {"contract": p.contract, "group": p.group, "verdict": p.verdict, "error": p.error, "interval": p.interval,
         "floor": p.floor, "worst": p.worst}
        for p in parts
    ]  # fmt: skip
    return Audit(
        contract=contract, group=group or ", ".join(dict.fromkeys(p.group for p in parts)), verdict=worst.verdict,
        error=worst.error, interval=worst.interval, tolerance=worst.tolerance, floor=worst.floor, dtype=worst.dtype,
        samples=worst.samples, seed=worst.seed,
        elements=[f"{p.contract}: {name}" for p in parts for name in p.elements],
        element_errors=np.concatenate([p.element_errors for p in parts]),
        element_floors=np.concatenate([p.element_floors for p in parts]),
        sample_errors=worst.sample_errors, worst=f"{worst.contract}: {worst.worst}", layers=worst.layers,
        offender=worst.offender,
        generators=[{**g, "element": f"{p.contract}: {g['element']}"} for p in parts for g in p.generators],
        bound=worst.bound, trivial=any(p.trivial for p in parts), stochastic=any(p.stochastic for p in parts),
        notes=[f"{p.contract}: {note}" for p in parts for note in p.notes], by_dtype=worst.by_dtype, parts=summaries,
    )  # fmt: skip
