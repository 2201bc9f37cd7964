"""One row of a comparison, from data to result: build, measure, train stage by stage, measure, save.

Seeds: data by ``seed`` (the task's own use of it), weights by ``(seed, 0)``, stage k by ``(seed, k)``. The method's name
plays no part, so rows that share a build and leading stages share these trainings bit for bit, and a row's figures do not
depend on which rows ran before it, beside it, or in which process.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.memory import forget, high_water
from coset.contract import Contract, seeded
from coset.errors import CosetError, InputError
from coset.recipe import Data, Recipe
from coset.records import Result
from coset.train.checkpoint import save_model
from coset.train.initial import Initial
from coset.train.ranks import launched
from coset.train.run import EVERY, Progress, Run, Trace, mix, write_curve
from coset.train.state import read_state, write_state


@dataclass(frozen=True)
class Row:
    """A row and seed, with everything that is not in its task."""

    method: Any  #: a :class:`coset.task.Method`
    seed: int
    size: str
    folder: Path
    homes: tuple[Path, ...]  #: for each stage, the folder that its trained state is kept in: that of the first such row
    recipes: tuple[Recipe, ...]  #: one for each stage
    device: str = "cpu"
    devices: int = 1
    logger: str = "csv"
    threads: int = 1
    deadline: float = math.inf
    every: float = EVERY
    initial: Initial | None = None  #: a trained model to start from


@dataclass(frozen=True)
class Guest:
    """How a row is built that is a model of the user's, judged as it is."""

    model: Any

    def __call__(self, data: Data) -> Any:
        return self.model


@contextlib.contextmanager
def _answering(method: Any) -> Iterator[None]:
    """What a model of the user's raises on the data of a task is told as that; InputError."""
    try:
        yield
    except CosetError:
        raise
    except Exception as error:
        if not isinstance(method.build, Guest):
            raise
        raise InputError(f"{method.name} cannot take the data of this task: {type(error).__name__}: {error}") from error


def run_row(task: Any, data: Data, row: Row, report: Callable[[Progress], None] | None = None) -> tuple[Result, str]:
    """The result and a note (empty if there is nothing to say), with model, curve and findings in ``row.folder``.

    Of several processes that share the row, all return the same figures of training; only the first writes.
    """
    first = launched(row.devices)[0] == 0
    with _threads(row.threads):
        data = place(copy.deepcopy(data), row.device)
        with seeded(mix(row.seed, 0)):
            model = row.method.build(data)
            if row.initial is not None:
                model = row.initial.begin(model, data, tell=first)
            model = place(model, row.device)
        measurable = first and (isinstance(model, nn.Module) or not row.method.stages)
        with _answering(row.method):
            before = errors(model, task.contracts, data.audit, row.seed) if measurable else {}
        peak = PeakMemory(row.device)
        model, trace = train(model, task, data, row, report)
        memory = peak.read()
        if not first:
            return _result(task, row, model, trace, {}, {}, {}, memory), ""
        after = errors(model, task.contracts, data.audit, row.seed) if row.method.stages else before
        with seeded(row.seed), _answering(row.method):
            metrics = {name: float(metric(model, data)) for name, metric in task.metrics.items()}
        for name, finding in task.findings.items():
            with seeded(row.seed), _answering(row.method):
                found = finding(model, data)
            if found is not None:
                found.save(row.folder / f"{name}.npz")
                found.draw(row.folder / f"{name}.png")
    if trace.curve:
        write_curve(row.folder / "curve.csv", trace.curve)
    note = "; ".join(filter(None, [trace.stopped, _save(model, task, row, metrics, after)]))
    return _result(task, row, model, trace, metrics, before, after, memory), note


def train(model: Any, task: Any, data: Data, row: Row, report: Any = None) -> tuple[Any, Trace]:
    """All stages in order; those whose trained state is at home already are loaded, not trained again."""
    whole = Trace()
    for number, (stage, recipe, home) in enumerate(zip(row.method.stages, row.recipes, row.homes, strict=True), start=1):
        with seeded(mix(row.seed, number)):
            if stage.prepare is not None:
                model, data = stage.prepare(model, data)
                model = place(model, row.device)
            if stage.loop is None:
                continue
            kept = home / f"stage-{number}.safetensors"
            trace = load_stage(kept, model)
            if trace is None:
                run = Run(
                    folder=row.folder,
                    seed=mix(row.seed, number),
                    stage=number,
                    device=row.device,
                    devices=row.devices,
                    logger=row.logger,
                    deadline=_until(row, number),
                    every=row.every,
                    earlier=tuple(whole.curve),
                    report=report,
                )
                began = time.perf_counter()
                model = stage.loop(model, stage.objective or task.objective, data, recipe, run)
                trace = run.trace
                trace.total = trace.total or time.perf_counter() - began
                model = place(model, row.device)
                if launched(row.devices)[0] == 0:
                    save_stage(kept, model, trace)
                    if run.checkpoint is not None:
                        run.checkpoint.unlink(missing_ok=True)
        whole.add(trace)
    if isinstance(model, nn.Module):
        model.eval()
    return model, whole


def _until(row: Row, number: int) -> float:
    """When training ``number`` must end: of the time left it gets its part of the epochs still to come."""
    if math.isinf(row.deadline):
        return row.deadline
    epochs = [r.epochs if s.loop is not None else 0 for s, r in zip(row.method.stages, row.recipes, strict=True)][number - 1 :]
    return time.time() + max(row.deadline - time.time(), 0.0) * epochs[0] / sum(epochs)


def save_stage(path: Path, model: Any, trace: Trace) -> None:
    """A trained stage: weights and what its loop left. A model that is no torch module, or was stopped early, is not kept."""
    if isinstance(model, nn.Module) and not trace.stopped:
        write_state(path, {"weights": dict(model.state_dict()), "trace": dataclasses.asdict(trace)}, kind="stage")


def load_stage(path: Path, model: Any) -> Trace | None:
    """Put a trained stage's weights into ``model``; None if there are none that fit."""
    if not path.is_file() or not isinstance(model, nn.Module):
        return None
    stored = read_state(path, kind="stage")
    try:
        model.load_state_dict(stored["weights"])
    except RuntimeError:  # the stage's loop changed the architecture: train it again
        return None
    return Trace(**stored["trace"])


def errors(model: Any, contracts: Sequence[Contract], x: Any, seed: int) -> dict[str, float]:
    """Relative equivariance error (float64) against every factor of every contract, by its name."""
    if x is None:
        return {}
    from coset.audits.equivariance import equivariance_error

    factors = [factor for contract in contracts for factor in contract.factors()]
    return {str(factor): float(equivariance_error(model, factor, x, seed=seed)) for factor in factors}


def _result(
    task: Any, row: Row, model: Any, trace: Trace, metrics: dict, before: Mapping, after: Mapping, memory: int
) -> Result:
    return Result(
        task="",  # names, command and versions are the comparison's to fill in
        method=row.method.name,
        seed=row.seed,
        size=row.size,
        metrics=metrics,
        errors={name: {"before": before.get(name), "after": value, "dtype": "float64"} for name, value in after.items()},
        parameters=sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else 0,
        seconds_per_step=trace.seconds_per_step,
        train_seconds=trace.total,
        peak_memory_bytes=memory,
        reference={name: float(value) for name, value in row.method.reference},
    )


def _save(model: Any, task: Any, row: Row, metrics: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Keep the model; what cannot be described is said, not hidden, and its figures stand all the same."""
    if not isinstance(model, nn.Module):
        return ""
    try:
        save_model(row.folder, model, metrics=metrics, errors=after)
    except InputError as error:
        return f"model not saved: {error}"
    return ""


def place(value: Any, device: str) -> Any:
    """Tensors and modules inside ``value`` on ``device``; on the CPU everything stays as it is."""
    if device == "cpu":
        return value
    if isinstance(value, (Tensor, nn.Module)):
        return value.to(device)
    if isinstance(value, Data):
        return dataclasses.replace(value, **{f.name: place(getattr(value, f.name), device) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {name: place(part, device) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(place(part, device) for part in value)
    return value


class PeakMemory:
    """The largest memory of this process (or of its accelerator's tensors) from now on, in bytes."""

    def __init__(self, device: str) -> None:
        self.device = device
        forget()
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int:
        """The peak so far; on systems that cannot forget, that of the process's whole life."""
        return torch.cuda.max_memory_allocated(self.device) if self.device != "cpu" else high_water()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sums depend on how many threads share them, so every row uses the same number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
