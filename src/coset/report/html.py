"""The report: one self-contained HTML page of a run folder, readable on a phone, in light and dark, without a network.

It reads ``results.jsonl``, ``task.json``, ``environment.json`` and, for every row, ``curve.csv`` and the saved orbits;
it computes nothing but means over seeds. Plotly draws, jinja2 lays out (extra ``report``).
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coset.errors import InputError, reason, require
from coset.records import Result, load_arrays, load_object, read_results, read_task, slug, to_json, write_atomically
from coset.report.cite import citations
from coset.report.table import Row, count, label, number, rows

#: colours that colour-blind readers tell apart on light and dark ground (Okabe and Ito, without black and yellow)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A7A7A")
SHOWN_SAMPLES = 40  #: samples whose own orbit the page can show; more would not fit its 8 MB


@dataclass
class Run:
    """All that a run folder says."""

    folder: Path
    results: list[Result]
    task: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(folder: str | Path) -> Run:
        """Read a folder; InputError if it holds no results."""
        folder = Path(folder)
        results = read_results(folder)
        if not results:
            raise InputError(f"{folder}/results.jsonl has no finished row yet")
        return Run(folder, results, read_task(folder), _environment(folder))

    def row_folder(self, method: str, seed: int) -> Path:
        """Where one row and seed keeps its files."""
        return self.folder / "rows" / slug(method) / str(seed)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into a run folder and return its path; InputError for a folder without results."""
    jinja = require("jinja2", extra="report")
    run = Run.read(folder)
    environment = jinja.Environment(
        loader=jinja.PackageLoader("coset.report", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    table = rows(run.results)
    page = environment.get_template("report.html.j2").render(
        task=run.task,
        title=(run.task.get("description") or [run.task.get("title") or run.results[0].task])[0],
        description=[_prose(paragraph) for paragraph in run.task.get("description", [])[1:]],
        name=run.results[0].task,
        size=run.results[0].size,
        seeds=sorted({result.seed for result in run.results}),
        environment=run.environment,
        command=run.results[-1].command,
        commit=run.results[-1].commit,
        table=_table(run, table),
        pictures=_pictures(run, table),
        payload=json.dumps(to_json(_payload(run, table)), separators=(",", ":")).replace("</", "<\\/"),
        plotly=require("plotly.offline", extra="report").get_plotlyjs(),
        citations=citations(run.task.get("methods", {}), [row.method for row in table]),
    )
    path = run.folder / "report.html"
    write_atomically(path, page)
    return path


def _prose(text: str) -> str:
    """A docstring's paragraph without the marks of its language."""
    return re.sub(r":[a-z]+:`([^`]*)`", r"\1", text).replace("``", "")


def _environment(folder: Path) -> dict[str, Any]:
    """What ``environment.json`` says, of which the page shows the versions."""
    found = load_object(folder / "environment.json") if (folder / "environment.json").is_file() else {}
    if not isinstance(found.get("versions", {}), dict):
        raise InputError(f"{folder}/environment.json is not as it was written: versions is no JSON object")
    return found


# ---------------------------------------------------------------------------------------------------- the table


def _table(run: Run, table: Sequence[Row]) -> dict[str, Any]:
    """Header and cells; every cell has a text, a sort key and, where a figure has one, the interval over seeds."""
    metrics = list(dict.fromkeys(name for row in table for name in row.metrics))
    contracts = list(dict.fromkeys(name for row in table for name in row.after))
    best = {name: _best(run, name, [row.metrics[name].mean for row in table if name in row.metrics]) for name in metrics}
    header = [{"text": "method", "hint": ""}]
    header += [
        {"text": label(name), "hint": "mean over the test set; ± is the standard deviation over seeds"} for name in metrics
    ]
    for name in contracts:
        header.append({"text": f"error {name}", "hint": "relative equivariance error before → after training"})
    header += [
        {"text": "parameters", "hint": "trainable numbers"},
        {"text": "ms / step", "hint": "one training step, median"},
        {"text": "train, s", "hint": "all stages"},
        {"text": "memory, MB", "hint": "peak of the row's process"},
    ]
    papers = any(row.reference for row in table)
    if papers:
        header.append({"text": "paper", "hint": "the published figure under its own setting"})
    lines = []
    for row in table:
        cells = []
        for name in metrics:
            spread = row.metrics.get(name)
            if spread is None:
                cells.append({"text": "–", "key": math.inf, "hint": "", "best": False})
                continue
            low, high = spread.interval()
            hint = f"95 % interval {number(low)} to {number(high)}, {spread.count} seeds" if spread.count > 1 else "one seed"
            cells.append({"text": str(spread), "key": spread.mean, "hint": hint, "best": spread.mean == best[name]})
        for name in contracts:
            before, after = row.before.get(name), row.after.get(name)
            text = f"{number(before.mean) if before else '–'} → {number(after.mean) if after else '–'}"
            cells.append({"text": text, "key": after.mean if after and after.count else math.inf, "hint": "", "best": False})
        for value, text in (
            (row.parameters, count(row.parameters)),
            (row.seconds_per_step.mean, number(1e3 * row.seconds_per_step.mean)),
            (row.train_seconds.mean, number(row.train_seconds.mean)),
            (row.memory.mean, number(row.memory.mean / 2**20)),
        ):
            cells.append({"text": text, "key": value, "hint": "", "best": False})
        if papers:
            text = ", ".join(f"{label(name)} {number(value)}" for name, value in row.reference.items()) or "–"
            cells.append({"text": text, "key": text, "hint": "", "best": False})
        method = run.task.get("methods", {}).get(row.method, {})
        lines.append({"method": row.method, "note": method.get("note", ""), "cells": cells})
    return {"header": header, "lines": lines}


def _best(run: Run, name: str, values: Sequence[float]) -> float:
    """The best value of a metric, or NaN where the task does not say which direction is better."""
    lower = run.task.get("lower_is_better")
    if name != run.task.get("headline") or lower is None or not values:
        return math.nan
    return min(values) if lower else max(values)


# ---------------------------------------------------------------------------------------------------- the figures


def _payload(run: Run, table: Sequence[Row]) -> dict[str, Any]:
    """What the page's script draws: traces of figures and the orbits of every method."""
    colors = _colors(run, table)
    return {
        "tradeoff": _tradeoff(run, table, colors),
        "errors": _errors(table),
        "curves": _curves(run, table, colors),
        "orbits": _orbits(run, table, colors),
    }


def _colors(run: Run, table: Sequence[Row]) -> dict[str, str]:
    """One colour per way of imposing symmetry (the axis "symmetry"), else per method."""
    groups: dict[str, str] = {}
    for row in table:
        axes = dict(run.task.get("methods", {}).get(row.method, {}).get("axes", {}))
        groups[row.method] = axes.get("symmetry", row.method)
    order = list(dict.fromkeys(groups.values()))
    return {method: COLORS[order.index(group) % len(COLORS)] for method, group in groups.items()}


def _tradeoff(run: Run, table: Sequence[Row], colors: dict[str, str]) -> dict[str, Any] | None:
    """Headline metric against the error of the first contract, one point per method."""
    contract = next((name for row in table for name in row.after), None)
    headline = run.task.get("headline") or next(iter(table[0].metrics), None)
    if contract is None or headline is None:
        return None
    points = [
        {
            "name": row.method,
            "number": place,
            "x": max(row.after[contract].mean, 1e-17),
            "y": row.metrics[headline].mean,
            "spread": row.metrics[headline].deviation,
            "color": colors[row.method],
        }
        for place, row in enumerate(table, 1)
        if headline in row.metrics and contract in row.after and not math.isnan(row.after[contract].mean)
    ]
    return {"x": f"relative equivariance error, {contract}", "y": label(headline), "points": points} if points else None


def _errors(table: Sequence[Row]) -> dict[str, Any] | None:
    contracts = list(dict.fromkeys(name for row in table for name in row.after))
    if not contracts:
        return None
    series = [
        {
            "name": f"{contract}, {side}",
            "values": [getattr(row, side)[contract].mean if contract in getattr(row, side) else None for row in table],
        }
        for contract in contracts
        for side in ("before", "after")
    ]
    return {"methods": [row.method for row in table], "series": series}


def _curves(run: Run, table: Sequence[Row], colors: dict[str, str]) -> list[dict[str, Any]]:
    """Training loss by epoch of the first seed of every method that was trained."""
    curves = []
    for row in table:
        path = run.row_folder(row.method, row.seeds[0]) / "curve.csv"
        if not path.is_file():
            continue
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                lines = [line for line in csv.DictReader(stream) if line.get("loss")]
            steps = [float(line.get("epoch") or i) for i, line in enumerate(lines)]
            losses = [float(line["loss"]) for line in lines]
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"{path} is not as it was written: {reason(error)}; remove it to draw the page without") from error
        if lines:
            curves.append({"name": row.method, "x": steps, "y": losses, "color": colors[row.method]})
    return curves


def _orbits(run: Run, table: Sequence[Row], colors: dict[str, str]) -> dict[str, Any] | None:
    """Orbits over one angle of every method that saved ``orbit.npz``, with the pictures they belong to."""
    methods: list[dict[str, Any]] = []
    shared: dict[str, Any] = {}
    for row in table:
        path = run.row_folder(row.method, row.seeds[0]) / "orbit.npz"
        if not path.is_file():
            continue
        stored = load_arrays(path)
        try:
            values = np.asarray(stored["values"], dtype=float)
            if values.ndim != 2 or "angles" not in stored:
                continue
            predicted = stored["classes"][:SHOWN_SAMPLES].astype(int).tolist() if "classes" in stored else None
            if not shared:
                shared = _samples(stored, values.shape[0])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is not as it was written: {error}; remove it to draw the page without") from error
        methods.append(
            {
                "name": row.method,
                "color": colors[row.method],
                "mean": np.round(values.mean(0), 4).tolist(),
                "values": np.round(values[:SHOWN_SAMPLES], 3).tolist(),
                "predicted": predicted,
            }
        )
    return {**shared, "methods": methods} if methods else None


def _samples(stored: Any, total: int) -> dict[str, Any]:
    """Angles in degrees, and picture and label of the samples that the page can show."""
    pictures = stored["pictures"][:SHOWN_SAMPLES] if "pictures" in stored else None
    labels = stored["labels"][:SHOWN_SAMPLES].tolist() if "labels" in stored else [None] * min(total, SHOWN_SAMPLES)
    return {
        "angles": np.asarray(stored["angles"], dtype=float).round(3).tolist(),
        "labels": labels,
        "total": total,
        "pictures": None if pictures is None else [_png(picture) for picture in pictures],
    }


def _pictures(run: Run, table: Sequence[Row]) -> list[dict[str, Any]]:
    """What the instruments drew, by instrument: a picture of every method's first seed. Orbits have a part of their own."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in table:
        for path in sorted(run.row_folder(row.method, row.seeds[0]).glob("*.png")):
            if path.stem != "orbit":
                address = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
                found.setdefault(path.stem, []).append({"method": row.method, "address": address})
    return [{"name": label(name), "shown": shown} for name, shown in found.items()]


def _png(picture: np.ndarray) -> str:
    """A grey picture (H, W) with values in 0..1 as a data address."""
    stream = io.BytesIO()
    require("matplotlib.image", extra="report").imsave(
        stream, 1.0 - np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, format="png"
    )
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
