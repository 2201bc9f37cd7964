"""What a comparison is to do: its rows, their recipes, and which rows share a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from coset.errors import ContractError, InputError, unknown
from coset.recipe import Data, Pairs, Recipe, Request, Size
from coset.records import slug
from coset.train.initial import Initial
from coset.train.rows import Row
from coset.train.run import EVERY

SIZES: tuple[Size, ...] = ("smoke", "cpu", "full")
Key = tuple[str, int]  #: method and seed


@dataclass
class Plan:
    """Rows of one task: all ``methods`` (:class:`coset.task.Method`) for all ``seeds``.

    ``known`` are all methods whose trained stages may be shared, chosen or not. Raises InputError for a size, a recipe
    change, a file or a device that does not exist, and for two methods that would use one folder.
    """

    task: Any
    name: str
    methods: Sequence[Any]
    known: Sequence[Any]
    size: Size = "cpu"
    seeds: Sequence[int] = (0,)
    changes: Pairs = ()
    files: tuple[tuple[str, Path], ...] = ()
    options: Pairs = ()
    device: str = "cpu"
    devices: int = 1
    logger: str = "csv"
    threads: int = 1
    every: float = EVERY  #: seconds between checkpoints within an epoch
    initial: Initial | None = None  #: what every row starts from
    _data: dict[int, Data] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise unknown("size", self.size, SIZES)
        if not self.methods:
            raise InputError(f"{self.name}: no method to compare")
        if not self.seeds or min(self.seeds) < 0:
            raise InputError(f"seeds is the number of repetitions, at least 1; got {list(self.seeds)}")
        self.device = resolve_device(self.device)
        for name, path in self.files:
            if not Path(path).exists():
                raise InputError(f"data {name}={path}: no such file")
        for name, _ in self.options:
            if name not in self.task.options:
                raise unknown("option", name, self.task.options)
        folders: dict[str, str] = {}
        for method in [*self.methods, *self.known]:
            other = folders.setdefault(slug(method.name), method.name)
            if other != method.name:
                raise InputError(f"methods {other!r} and {method.name!r} would share a folder; rename one")
        for method in self.methods:
            self.recipes(method)

    @property
    def keys(self) -> list[Key]:
        """All rows in the order of the table: by method, then seed."""
        return [(method.name, seed) for method in self.methods for seed in self.seeds]

    def by_seed(self) -> list[Key]:
        """All rows in the order in which they run: the whole table for one seed, then for the next."""
        return sorted(self.keys, key=lambda key: self.seeds.index(key[1]))

    def method(self, name: str) -> Any:
        """The chosen method of that name."""
        for method in self.methods:
            if method.name == name:
                return method
        raise unknown("method", name, [method.name for method in self.methods])

    def recipes(self, method: Any) -> tuple[Recipe, ...]:
        """One for each stage: the task's for this size, the stage's changes, the user's changes.

        At size ``smoke`` a stage may not ask for more epochs or samples than the task's smoke recipe; the user may.
        """
        if self.size not in self.task.recipe:
            raise InputError(f"{self.name} has no recipe for size {self.size!r}, only {', '.join(self.task.recipe)}")
        base: Recipe = self.task.recipe[self.size]
        found = []
        for stage in method.stages:
            recipe = base.override(stage.recipe)
            if self.size == "smoke":
                samples = min(filter(None, [recipe.samples, base.samples]), default=0)
                recipe = replace(recipe, epochs=min(recipe.epochs, base.epochs), samples=samples)
            found.append(recipe.override(self.changes))
        if not method.stages:
            base.override(self.changes)
        return tuple(found)

    def data(self, seed: int) -> Data:
        """The task's data for this seed; the last one made is remembered, for rows copy it."""
        if seed not in self._data:
            self._data.clear()
            known = self.initial.elements if self.initial else ()
            made = self.task.data(Request(self.size, seed, self.files, self.options, known))
            if made.audit is not None:
                for contract in self.task.contracts:
                    _bind(self.name, contract, made.audit)
            self._data[seed] = made
        return self._data[seed]

    def row(self, key: Key, folder: Path, deadline: float = math.inf) -> Row:
        """Everything one row needs beside its task and data; files go below the run folder ``folder``."""
        method, seed = self.method(key[0]), key[1]
        homes = (self._home(method, count) for count in range(1, len(method.stages) + 1))
        return Row(
            method,
            seed,
            self.size,
            folder / "rows" / slug(method.name) / str(seed),
            tuple(folder / "rows" / slug(home) / str(seed) for home in homes),
            self.recipes(method),
            self.device,
            self.devices,
            self.logger,
            self.threads,
            deadline,
            self.every,
            self.initial,
        )

    def _home(self, method: Any, count: int) -> str:
        """The first method whose leading ``count`` trainings are those of ``method``: where their state is kept."""
        return next((m.name for m in [*self.known, *self.methods] if _shared(m, method) >= count), method.name)

    def after(self, keys: Sequence[Key]) -> dict[Key, Key]:
        """For each row that shares trainings with an earlier one, the one with which it shares most: it waits for that."""
        waits = {}
        for index, (name, seed) in enumerate(keys):
            method = self.method(name)
            earlier = [key for key in keys[:index] if key[1] == seed]
            shared = {key: _trainings(method, _shared(self.method(key[0]), method)) for key in earlier}
            if best := max(shared.values(), default=0):
                waits[name, seed] = next(key for key in earlier if shared[key] == best)
        return waits

    def request(self) -> dict[str, Any]:
        """What decides figures, beside method and seed: a folder is continued by the same request only."""
        return {
            "task": self.name,
            "size": self.size,
            "set": [[name, value if isinstance(value, (int, float)) else str(value)] for name, value in self.changes],
            "files": [[name, str(Path(path).resolve()), Path(path).stat().st_size] for name, path in self.files],
            **({"options": [[name, str(value)] for name, value in self.options]} if self.options else {}),
            "device": self.device,
            "devices": self.devices,
            "threads": self.threads,
            **({"init": self.initial.request()} if self.initial else {}),
        }

    def about(self, description: str) -> dict[str, Any]:
        """``task.json``: what the report says about the task and its rows."""
        return {
            "title": self.name,
            "description": [" ".join(part.split()) for part in description.split("\n\n") if part.strip()],
            "contracts": [str(contract) for contract in self.task.contracts],
            "headline": next(iter(self.task.metrics), None),
            "lower_is_better": self.task.lower_is_better,
            "methods": {
                m.name: {"note": m.note, "axes": dict(m.axes), "source": m.source} for m in [*self.known, *self.methods]
            },
        }


def _shared(first: Any, second: Any) -> int:
    """How many leading stages two methods have in common; none unless they build the same model."""
    if first.build is not second.build:
        return 0
    count = 0
    for a, b in zip(first.stages, second.stages, strict=False):
        if a is not b and a != b:
            break
        count += 1
    return count


def _trainings(method: Any, count: int) -> int:
    return sum(stage.loop is not None for stage in method.stages[:count])


def _bind(name: str, contract: Any, x: Any) -> None:
    try:
        contract.bind(x)
    except (InputError, ContractError) as error:
        raise type(error)(f"{name}: the audit data do not fit the task's contract {contract}: {error}") from error


def resolve_device(device: str) -> str:
    """``auto`` becomes cuda where there is one; InputError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device is cpu, cuda, cuda:1 or auto, got {device!r}") from error
    if kind.type not in ("cpu", "cuda"):
        raise InputError(f"device is cpu, cuda, cuda:1 or auto, got {device!r}")
    if kind.type == "cuda" and (not torch.cuda.is_available() or (kind.index or 0) >= torch.cuda.device_count()):
        raise InputError(
            f"device {device!r} asked for, but torch sees {torch.cuda.device_count()} of that kind; use --device cpu"
        )
    return device


def named(given: Mapping[str, Any] | Sequence[Any], what: str) -> tuple[tuple[str, Any], ...]:
    """A mapping, pairs, or strings ``name=value`` as pairs; InputError for anything else."""
    found = []
    for item in given.items() if isinstance(given, Mapping) else [given] if isinstance(given, str) else given:
        if isinstance(item, str):
            name, equals, value = item.partition("=")
            if not equals or not name or not value:
                raise InputError(f"{what} is written name=value, got {item!r}")
            found.append((name.strip(), value.strip()))
        else:
            name, value = item
            found.append((str(name), value))
    return tuple(found)
