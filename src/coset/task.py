"""What is compared: tasks, methods, stages, data, recipes. Frozen dataclasses without behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coset.contract import Contract
from coset.errors import InputError, unknown
from coset.recipe import Data, Pairs, Recipe, Request, Size, pairs

Objective = Callable[[Any, Any], Mapping[str, Any]]  #: (model, batch) -> {"loss": scalar, other terms to log}
Metric = Callable[[Any, "Data"], float]  #: (model, data) -> number, in the unit that its name ends with


def fit(model: Any, objective: Objective, data: Data, recipe: Recipe, run: Any = None) -> Any:
    """The default loop: :func:`coset.train.fit.fit`, imported when it runs."""
    from coset.train.fit import fit as lightning_fit

    return lightning_fit(model, objective, data, recipe, run)


@dataclass(frozen=True)
class Stage:
    """One training step of a method."""

    objective: Objective | None = None  #: None: the task's
    recipe: Pairs | Mapping[str, Any] = ()  #: overrides of the recipe's fields (a mapping is taken and kept as pairs)
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
    axes: Pairs | Mapping[str, Any] = ()  #: {"model": "cnn", "symmetry": "frames"}: the report pivots on them
    reference: Pairs | Mapping[str, Any] = ()  #: the paper's figures, under the metrics' own names
    source: str = ""  #: key of coset/references.bib; several by comma
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
    options: tuple[str, ...] = ()  #: names that ``Request.options`` may hold

    def __post_init__(self) -> None:
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
