"""What a row is asked to do: which data (Request), what it gets (Data), how it trains (Recipe). Plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from coset.errors import InputError, unknown

Pairs = tuple[tuple[str, Any], ...]
Size = Literal["smoke", "cpu", "full"]
LEAST, MOST = {"batch": 1, "accumulate": 1}, 2**31  #: the smallest numbers of a recipe, where they are not 0, and a bound


def pairs(given: Mapping[str, Any] | Pairs) -> Pairs:
    """A mapping kept as hashable pairs."""
    return tuple(given.items()) if isinstance(given, Mapping) else tuple(given)


@dataclass(frozen=True)
class Recipe:
    """How one stage trains. Overridden by ``--set name=value``, checked against these types."""

    epochs: int = 20
    batch: int = 64
    lr: float = 3e-3
    optimizer: str = "adamw"  #: adamw, adam, amsgrad, sgd or lars
    schedule: str = "one-cycle"  #: one-cycle, cosine, warm-up or constant; ends with the epochs, or with a budget of time
    warmup: float = 0.0  #: share of the training over which the rate first rises from 0, before any schedule
    weight_decay: float = 1e-4
    clip: float = 5.0  #: largest gradient norm; 0 switches clipping off
    precision: str = "32"  #: Lightning's: 32, 64, bf16-mixed ...; models of atoms take the first two only
    patience: int = 0  #: epochs without a better validation loss before stopping; 0 never stops early
    samples: int = 0  #: training samples used; 0 takes all
    accumulate: int = 1  #: micro-batches that a batch is worked off in, for memory; what is learned stays the same
    edges: int = 0  #: most edges in a batch, which then holds ``batch`` samples or fewer; 0 does not count them
    ema: float = 0.0  #: decay of the moving average of the weights, which is then judged and kept; 0 keeps the last weights

    def override(self, given: Mapping[str, Any] | Pairs) -> Recipe:
        """A copy with these fields; strings are converted, InputError names the field and the type expected."""
        kinds: dict[str, type] = {f.name: type(f.default) for f in fields(self)}
        values: dict[str, Any] = {}
        for name, value in pairs(given):
            if name not in kinds:
                raise unknown("recipe field", name, kinds)
            kind = kinds[name]
            try:
                values[name] = kind(float(value)) if kind is int and float(value).is_integer() else kind(value)
            except (TypeError, ValueError) as error:
                raise InputError(f"recipe field {name!r} is {kind.__name__}, got {value!r}") from error
            if kind is not str and not LEAST.get(name, 0) <= values[name] < MOST:
                raise InputError(f"recipe field {name!r} is a number from {LEAST.get(name, 0)} to {MOST - 1}, got {value!r}")
        return replace(self, **values)


@dataclass(frozen=True)
class Request:
    """What a task's data function is asked for."""

    size: Size = "cpu"
    seed: int = 0
    files: tuple[tuple[str, Path], ...] = ()  #: the user's data in place of the task's own: name and path
    options: Pairs = ()  #: what else the task can be told about its data, such as a cutoff; strings from the command line
    elements: tuple[int, ...] = ()  #: atomic numbers that the model to start from knows, beside those of the training data

    def option(self, name: str, default: Any) -> Any:
        """An option in the type of ``default``; InputError where it cannot be converted."""
        given = dict(self.options).get(name, default)
        try:
            return type(default)(given)
        except (TypeError, ValueError) as error:
            raise InputError(f"option {name!r} is {type(default).__name__}, got {given!r}") from error


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
