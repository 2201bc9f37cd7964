"""Trials: a suspected fault is taken out for the length of a block, and the error measured without it.

A :class:`Setting` is all that an error depends on, ``(f, contract, x, elements)``. A :class:`Trial` turns one setting into
another, in a context that puts everything back; trials compose. What a trial changes inside a module is changed in a copy,
and where nothing can be copied (a function that closes over a module) restored when the block ends.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.trivial import why_trivial
from coset.contract import Contract, frozen, relative
from coset.errors import CosetError
from coset.reps.action import Position
from coset.reps.fields import Field, Fields

STILL = 1e-3  #: of the motion of an output may be left where it counts as standing still

Undo = Callable[["Setting"], AbstractContextManager["Setting"]]


@dataclass(frozen=True)
class Setting:
    """What one error depends on; ``contract`` is bound to ``x``, ``g`` is a batch of a few elements that fail."""

    f: Any
    contract: Contract
    x: dict[str, Tensor]
    g: Any
    before: float = math.inf  #: its error, once known
    moves: float = 0.0  #: its motion, once known

    def error(self, *, enough: float = math.inf) -> float:
        """Mean relative error over the elements, over the first of them once one exceeds ``enough``; inf where f refuses."""
        found: list[float] = []
        try:
            with frozen(self.f):
                y = self.call()
                for i in range(len(self.g)):
                    want = self.contract.group.move_all(self.g[i], self.contract.outputs, y, self.x)
                    gap, want = self.contract.against(self.call(self.moved(i)), want)
                    found.append(max(float(relative(gap[name].detach(), want[name].detach())) for name in gap))
                    if not found[-1] <= enough:
                        break
        except Exception:  # a model may refuse what a trial makes of it
            return math.inf
        return sum(found) / len(found) if not any(map(math.isnan, found)) else math.inf

    def call(self, x: Mapping[str, Tensor] | None = None, *, seed: int = 0) -> dict[str, Tensor]:
        """Outputs by name at ``x``, by default at ``e . x``."""
        return self.contract.call(self.f, self.origin() if x is None else x, seed=seed)

    def motion(self) -> float:
        """How far the elements move the output, relative to its size; 0 for invariants."""
        with frozen(self.f):
            y = {name: value.detach() for name, value in self.call().items()}
        moved = [self.contract.group.move_all(self.g[i], self.contract.outputs, y, self.x) for i in range(len(self.g))]
        return max(float(relative(want[name] - y[name], y[name])) for want in moved for name in y)

    def origin(self) -> dict[str, Tensor]:
        """``e . x``."""
        return self.contract.inputs.pack(self.contract.origin(self.x))

    def moved(self, place: int = 0) -> dict[str, Tensor]:
        """``g . x`` at one of the elements."""
        return self.contract.inputs.pack(self.contract.act(self.g[place], self.x))

    def declare(self, side: str, name: str, declared: Field) -> Setting:
        """The same setting with one field declared otherwise."""
        fields = Fields({key: declared if key == name else value for key, value in getattr(self.contract, side)})
        new = replace(self.contract, inputs=fields) if side == "inputs" else replace(self.contract, outputs=fields)
        return replace(self, contract=new)

    @property
    def space(self) -> int:
        """The dimension of the space that the group moves linearly; 0 where it moves none."""
        try:
            return int(self.contract.group.linear(self.g[0]).shape[-1])
        except CosetError:
            return 0

    @property
    def turns(self) -> bool:
        """Whether any of the elements moves vectors."""
        if not self.space:
            return False
        matrix = torch.stack([self.contract.group.linear(self.g[i]) for i in range(len(self.g))])
        return not torch.allclose(matrix, torch.eye(self.space).to(matrix).expand_as(matrix), atol=1e-9)

    @property
    def points(self) -> tuple[str, Field] | None:
        """The first input of positions, else of vectors: what a graph is built from."""
        moving = [(name, d) for name, d in self.contract.inputs if not d.still and d.kind.axes == 1 and d.target is None]
        placed = [pair for pair in moving if isinstance(pair[1].kind, Position)]
        return next(iter(placed or moving), None)


@dataclass(frozen=True)
class Trial:
    """One suspect: how to take it out, and what to say if the error goes with it.

    ``sentence`` may hold ``{before}`` and ``{after}``, the errors with and without the suspect. Without ``undo`` the facts
    alone convict: something was measured that nothing else brings about.
    """

    name: str
    undo: Undo | None
    sentence: str
    fix: str
    layer: str = ""
    facts: dict[str, float] = field(default_factory=dict)

    def after(self, setting: Setting, limit: float) -> float:
        """The error without the suspect; inf where the model then refuses, or says nothing about symmetry any more."""
        return without([self], setting, limit)


def without(trials: Sequence[Trial], setting: Setting, limit: float) -> float:
    """The error with all these suspects taken out; inf where the model then refuses or says nothing about symmetry."""
    outputs = setting.contract.outputs
    with ExitStack() as stack:
        try:
            for trial in trials:
                setting = stack.enter_context(trial.undo(setting)) if trial.undo else setting
            error = setting.error(enough=limit)
            if error <= limit and setting.contract.outputs == outputs and setting.motion() < STILL * setting.moves:
                return math.inf  # what failed is gone, and not mended
            if error <= limit and why_trivial(setting.f, setting.contract, setting.origin()):
                return math.inf
        except Exception:  # see Setting.error
            return math.inf
        return error


def under(*modes: Callable[[], AbstractContextManager[Any]]) -> Undo:
    """A trial's ``undo``: every pass of the model runs inside fresh modes (see :mod:`coset.audits.causes_modes`)."""

    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        yield replace(setting, f=Under(setting.f, modes))

    return undo


class Under(nn.Module):
    """A callable whose passes run inside modes; eval and train reach the modules in it."""

    def __init__(self, f: Any, modes: Sequence[Callable[[], AbstractContextManager[Any]]]) -> None:
        super().__init__()
        self.f = f
        self.modes = modes

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``f(*args, **kwargs)`` inside the modes."""
        with ExitStack() as stack:
            for mode in self.modes:
                stack.enter_context(mode())
            return self.f(*args, **kwargs)


# ---------------------------------------------------------------------------------------------------- inside a model


OWN = frozenset(vars(nn.Module()))  #: attributes in which torch keeps what was registered


def modules_within(f: Any) -> list[nn.Module]:
    """Modules that a callable uses: itself, or those in its closure, its globals, its attributes and lists of such."""
    found: list[nn.Module] = []
    _collect(f, found, 3)
    return found


def _collect(thing: Any, found: list[nn.Module], depth: int) -> None:
    if isinstance(thing, nn.Module):
        if any(thing is known for root in found for known in root.modules()):
            return
        found.append(thing)
        for module in thing.modules():
            for value in (value for name, value in vars(module).items() if name not in OWN):
                if isinstance(value, (list, tuple, dict)) or (callable(value) and not isinstance(value, type)):
                    _collect(value, found, depth - 1)
        return
    if depth <= 0:
        return
    if isinstance(thing, (list, tuple, dict)):
        for value in thing.values() if isinstance(thing, dict) else thing[:64]:
            _collect(value, found, depth - 1)
    elif isinstance(thing, functools.partial):
        for value in (thing.func, *thing.args, *thing.keywords.values()):
            _collect(value, found, depth - 1)
    elif hasattr(thing, "__code__"):
        cells = [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
        named = [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__]
        for value in [*cells, *(v for v in named if isinstance(v, nn.Module))]:
            _collect(value, found, depth - 1)
    elif hasattr(thing, "__self__") and not isinstance(thing.__self__, type(torch)):
        _collect(thing.__self__, found, depth - 1)
    elif callable(thing) and hasattr(thing, "__dict__") and not isinstance(thing, type):
        for value in vars(thing).values():
            _collect(value, found, depth - 1)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def twin(f: Any) -> Any:
    """A copy of a module to experiment on; the callable itself where there is none (trials then restore what they touch)."""
    if not isinstance(f, nn.Module):
        return f
    try:
        return copy.deepcopy(f)
    except Exception:  # modules may hold what cannot be copied
        return f


def named(f: Any) -> Iterator[tuple[str, nn.Module]]:
    """Every module in a callable with its name."""
    for module in modules_within(f):
        yield from ((name or type(child).__name__, child) for name, child in module.named_modules())


@contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of a module (a buffer, a number, a tensor) set to something else inside the block."""
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


@contextmanager
def replaced(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Weights set to other values inside the block."""
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        for tensor, value in zip(tensors, values, strict=True):
            tensor.data.copy_(value)
        yield
    finally:
        for tensor, value in zip(tensors, kept, strict=True):
            tensor.data.copy_(value)


class Where:
    """Which module is running: ``with Where(f) as where: ...; where.name``. Hooks are gone after the block."""

    def __init__(self, f: Any) -> None:
        self.f, self.stack, self.handles = f, [], []  # type: ignore[var-annotated]

    @property
    def name(self) -> str:
        """The innermost module that is running, empty outside of all."""
        return self.stack[-1] if self.stack else ""

    def __enter__(self) -> Where:
        for name, module in named(self.f):
            self.handles.append(module.register_forward_pre_hook(lambda _m, _a, name=name: self.stack.append(name)))
            self.handles.append(module.register_forward_hook(lambda *_: self.stack.pop() and None, always_call=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
