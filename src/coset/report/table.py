"""From results to rows of a table: means and spreads over seeds, labels with units. No computation beyond that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coset.records import Result

#: unit suffixes of metric names and how a reader writes them
UNITS = {
    "percent": "%",
    "points": "points",
    "seconds": "s",
    "ms": "ms",
    "degrees": "°",
    "meV": "meV",
    "meV_per_A": "meV/Å",
    "samples": "samples",
}


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: mean, standard deviation (0 for one seed) and how many."""

    mean: float
    deviation: float
    count: int

    @staticmethod
    def of(values: Iterable[float]) -> Spread:
        """Mean and sample standard deviation; NaN for no values."""
        numbers = [float(v) for v in values]
        if not numbers:
            return Spread(math.nan, 0.0, 0)
        mean = sum(numbers) / len(numbers)
        square = sum((v - mean) ** 2 for v in numbers)
        return Spread(mean, math.sqrt(square / (len(numbers) - 1)) if len(numbers) > 1 else 0.0, len(numbers))

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean by Student's t; equal to the mean for one seed."""
        if self.count < 2:
            return self.mean, self.mean
        from scipy.stats import t

        half = float(t.ppf(0.975, self.count - 1)) * self.deviation / math.sqrt(self.count)
        return self.mean - half, self.mean + half

    def __str__(self) -> str:
        text = number(self.mean)
        if self.count < 2 or "e" in text:
            return text if self.count < 2 else f"{text} ± {number(self.deviation)}"
        digits = len(text.partition(".")[2])  # the spread in the places of the mean
        return f"{text} ± {self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One method of a comparison, over its seeds."""

    method: str
    seeds: tuple[int, ...]
    metrics: dict[str, Spread]
    before: dict[str, Spread]
    after: dict[str, Spread]
    parameters: int
    seconds_per_step: Spread
    train_seconds: Spread
    memory: Spread  #: bytes
    reference: dict[str, float]


def rows(results: Sequence[Result]) -> list[Row]:
    """Results grouped by method, in the order in which the methods first appear."""
    out = []
    for method in dict.fromkeys(result.method for result in results):
        own = [result for result in results if result.method == method]
        contracts = list(dict.fromkeys(name for result in own for name in result.errors))
        out.append(
            Row(
                method,
                tuple(result.seed for result in own),
                {name: Spread.of(r.metrics[name] for r in own if name in r.metrics) for name in own[0].metrics},
                {name: Spread.of(_numbers(own, name, "before")) for name in contracts},
                {name: Spread.of(_numbers(own, name, "after")) for name in contracts},
                own[0].parameters,
                Spread.of(r.seconds_per_step for r in own),
                Spread.of(r.train_seconds for r in own),
                Spread.of(r.peak_memory_bytes for r in own),
                own[0].reference,
            )
        )
    return out


def _numbers(results: Sequence[Result], contract: str, side: str) -> list[float]:
    values = (result.errors.get(contract, {}).get(side) for result in results)
    return [float(value) for value in values if value is not None]


def label(name: str) -> str:
    """``orbit_accuracy_percent`` as a reader writes it: ``orbit accuracy, %``."""
    for suffix in sorted(UNITS, key=len, reverse=True):
        if name.endswith(f"_{suffix}"):
            return f"{name[: -len(suffix) - 1].replace('_', ' ')}, {UNITS[suffix]}"
    return name.replace("_", " ")


def number(value: float) -> str:
    """Three figures that can be read: ``98.3``, ``0.21``, ``6e-07``, ``–`` for NaN."""
    if math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    size = abs(value)
    if size < 1e-3:
        return f"{value:.0e}"
    if size < 0.1 or size >= 1e6:
        return f"{value:.2g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if size < 10 else f"{value:.1f}"


def count(value: float) -> str:
    """Counts in thousands and millions: ``33.9k``."""
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{sign}"
    return f"{value:.0f}"


def text_table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Header and lines for a terminal: the metrics, the error per contract, parameters, time and memory."""
    table = rows(results)
    metrics = list(dict.fromkeys(name for row in table for name in row.metrics))
    contracts = list(dict.fromkeys(name for row in table for name in row.after))
    header = ["method", *map(label, metrics), *(f"error {name}" for name in contracts), "parameters", "ms/step", "MB"]
    lines = [
        [
            row.method,
            *(str(row.metrics[name]) if name in row.metrics else "–" for name in metrics),
            *(str(row.after[name]) if name in row.after else "–" for name in contracts),
            count(row.parameters),
            number(1e3 * row.seconds_per_step.mean),
            number(row.memory.mean / 2**20),
        ]
        for row in table
    ]
    return header, lines
