"""What is compared: tasks, methods, stages, data, recipes. Frozen dataclasses without behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from coset.contract import Contract
from coset.errors import InputError, unknown

Pairs = tuple[tuple[str, Any], ...]
Size = Literal["smoke", "cpu", "full"]
Objective = Callable[[Any, Any], Mapping[str, Any]]  #: (model, batch) -> {"loss": scalar, other terms to log}
Metric = Callable[[Any, "Data"], float]  #: (model, data) -> number, in the unit that its name ends with


def pairs(given: Mapping[str, Any] | Pairs) -> Pairs:
    """A mapping kept as hashable pairs."""
    return tuple(given.items()) if isinstance(given, Mapping) else tuple(given)


@dataclass(frozen=True)
class Recipe:
    """How one stage trains. Overridden by ``--set name=value``, checked against these types."""

    epochs: int = 20
    batch: int = 64
    lr: float = 3e-3
    optimizer: str = "adamw"  #: adamw, adam or sgd
    schedule: str = "one-cycle"  #: one-cycle, cosine or constant
    weight_decay: float = 1e-4
    clip: float = 5.0  #: largest gradient norm; 0 switches clipping off
    precision: str = "32"  #: Lightning's: 32, 64, bf16-mixed ...
    patience: int = 0  #: epochs without a better validation loss before stopping; 0 never stops early
    samples: int = 0  #: training samples used; 0 takes all

    def override(self, given: Mapping[str, Any] | Pairs) -> Recipe:
        """A copy with these fields; strings are converted, InputError names the field and the type expected."""
        kinds = {f.name: type(f.default) for f in fields(self)}
        values = {}
        for name, value in pairs(given):
            if name not in kinds:
                raise unknown("recipe field", name, kinds)
            kind = kinds[name]
            try:
                values[name] = kind(float(value)) if kind is int and float(value).is_integer() else kind(value)
            except (TypeError, ValueError) as error:
                raise InputError(f"recipe field {name!r} is {kind.__name__}, got {value!r}") from error
        return replace(self, **values)


@dataclass(frozen=True)
class Request:
    """What a task's data function is asked for."""

    size: Size = "cpu"
    seed: int = 0
    files: tuple[tuple[str, Path], ...] = ()  #: the user's data in place of the task's own: name and path


@dataclass(frozen=True)
class Data:
    """What a row trains on and is judged by.

    ``train`` and ``valid`` are what the loop iterates (for ``fit``: tensors by name with one leading axis, or a
    Dataset); ``test`` is what metrics read; ``audit`` holds named tensors (or one tensor) for the task's contracts;
    ``info`` holds sizes and statistics that builders need (classes, channels, means).
    """

    train: Any
    test: Any
    audit: Any = None
    valid: Any = None
    info: Mapping[str, Any] = field(default_factory=dict)


def fit(model: Any, objective: Objective, data: Data, recipe: Recipe, run: Any = None) -> Any:
    """The default loop: :func:`coset.train.fit.fit`, imported when it runs."""
    from coset.train.fit import fit as lightning_fit

    return lightning_fit(model, objective, data, recipe, run)


@dataclass(frozen=True)
class Stage:
    """One training step of a method."""

    objective: Objective | None = None  #: None: the task's
    recipe: Pairs = ()  #: overrides of the recipe's fields (a mapping is taken and kept as pairs)
    prepare: Callable[[Any, Data], tuple[Any, Data]] | None = None  #: freeze, wrap, discover and impose, fit statistics
    loop: Callable[..., Any] | None = fit  #: (model, objective, data, recipe, run) -> model; None: nothing to train

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", pairs(self.recipe))


@dataclass(frozen=True)
class Method:
    """One row of a comparison."""

    name: str
    build: Callable[[Data], Any]  #: sizes and statistics come from the data; may return any callable
    stages: tuple[Stage, ...] = (Stage(),)  #: () for instruments, closed forms, models used as they are
    axes: Pairs = ()  #: {"model": "cnn", "symmetry": "frames"}: the report pivots on them
    reference: Pairs = ()  #: the paper's figures, under the metrics' own names
    source: str = ""  #: citation key
    note: str = ""  #: what this row teaches, in one sentence

    def __post_init__(self) -> None:
        for name in ("axes", "reference"):
            object.__setattr__(self, name, pairs(getattr(self, name)))


@dataclass(frozen=True)
class Task:
    """A comparison: data, the symmetry that is true of the problem, metrics and the rows."""

    contracts: tuple[Contract, ...]
    data: Callable[[Request], Data]
    objective: Objective | None
    metrics: Mapping[str, Metric]  #: the first is the headline; names end with their unit, as in accuracy_percent
    methods: tuple[Method, ...]  #: the first row is the unconstrained baseline
    recipe: Mapping[str, Recipe] = field(default_factory=lambda: {size: Recipe() for size in ("smoke", "cpu", "full")})
    findings: Mapping[str, Callable[[Any, Data], Any]] = field(default_factory=dict)  #: (model, data) -> Finding, kept per row
    lower_is_better: bool = False  #: of the headline metric
    citations: Pairs = ()  #: BibTeX by citation key

    def __post_init__(self) -> None:
        object.__setattr__(self, "citations", pairs(self.citations))
        names = [method.name for method in self.methods]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"method names are keys of the results; given twice: {sorted(twice)}")

    def method(self, name: str) -> Method:
        """The row called ``name``; InputError with the nearest name otherwise."""
        for method in self.methods:
            if method.name == name:
                return method
        raise unknown("method", name, [method.name for method in self.methods])


__all__ = ["Data", "Method", "Metric", "Objective", "Pairs", "Recipe", "Request", "Size", "Stage", "Task", "fit", "pairs"]
