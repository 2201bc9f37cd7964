"""Suspects in what is declared: an input that stays behind, a field turned the other way, a constant that should turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.causes_trial import Setting, Trial, changed, named
from coset.reps.action import Kind, Scalar, Tensorial, apply_matrix
from coset.reps.fields import ANY, Field, Fields

HELD, STILL, TURNED, PARITY = "input not rotated", "output not rotated", "transposed rotation", "parity"

WIDEST = 16  #: columns in which a vector beside other numbers is looked for


@dataclass(frozen=True)
class Backwards(Kind):
    """``kind`` moved by the inverse element."""

    kind: Kind

    @property
    def axes(self) -> int:  # type: ignore[override]
        return self.kind.axes

    def move(self, group, g, x, given):
        return self.kind.move(group, group.inverse(g), x, given)


@dataclass(frozen=True)
class Columns(Kind):
    """A matrix whose columns are vectors."""

    axes = 2

    def move(self, group, g, x, given):
        return apply_matrix(group.linear(g), x, x.ndim - 2)


@dataclass(frozen=True)
class Among(Kind):
    """A row of numbers of which those from ``start`` on are a vector."""

    start: int
    space: int

    axes = 1

    def move(self, group, g, x, given):
        moved = apply_matrix(group.linear(g), x[..., self.start : self.start + self.space], x.ndim - 1)
        rest = x.expand(*moved.shape[:-1], x.shape[-1])
        return torch.cat([rest[..., : self.start], moved, rest[..., self.start + self.space :]], -1)


def held(setting: Setting) -> Iterator[Trial]:
    """Inputs that stand still although they could hold vectors: a cell, edge vectors, velocities."""
    if not setting.turns:
        return
    for side, cause in (("inputs", HELD), ("outputs", STILL)):
        values = setting.x if side == "inputs" else setting.call()
        for name, declared in getattr(setting.contract, side):
            if not declared.still or declared.target is not None or not values[name].is_floating_point():
                continue
            for other, words in _readings(declared, values[name], setting.space):
                yield Trial(
                    cause, _declared(side, name, other),
                    f"{_shown(side[:-1], name)} ({declared}) stays as it is while the input turns; moved as {words} the error "
                    "falls from {before} to {after}",
                    f"declare it as {words} in the contract" + " and rotate it with the rest" * (side == "inputs"), layer=name,
                )  # fmt: skip
    for layer, module, name, value in _constants(setting.f, setting.space):
        yield Trial(
            HELD, _with_constant(module, name, value),
            f"the stored tensor {name!r} of {layer} {tuple(value.shape)} does not turn with the input; turned, the error falls "
            "from {before} to {after}",
            f"pass {name!r} as an input of the contract, declared as vectors", layer=layer,
        )  # fmt: skip


def turned(setting: Setting) -> Iterator[Trial]:
    """A field that moves by the inverse element, or a matrix that is the transpose of what was declared."""
    if not hasattr(setting.contract.group, "inverse"):
        return
    for side, noun in (("outputs", "output"), ("inputs", "input")):
        for name, declared in getattr(setting.contract, side):
            if declared.still:
                continue
            shown = _shown(noun, name)
            ways: list[tuple[Kind, str]] = [(Backwards(declared.kind), "by the inverse of the element")]
            if isinstance(declared.kind, Tensorial) and declared.kind.rank == 1 and _square(setting, side, name):
                ways.append((Columns(), "as a matrix whose columns, not rows, are vectors"))
            for kind, words in ways:
                index = declared.index[:-1] or (ANY,) if isinstance(kind, Columns) else declared.index
                yield Trial(
                    TURNED, _declared(side, name, Field(index, kind)),
                    f"{shown} turns the other way: moved {words} the error falls from {{before}} to {{after}}",
                    "a rotation is applied as its transpose: write R @ v, or v @ R.mT for rows, on that side; check the sign "
                    "of y in images and the order of axes",
                    layer=name,
                )  # fmt: skip


def parity(setting: Setting) -> Iterator[Trial]:
    """A field that misses, or has too many, the sign of reflections."""
    group = setting.contract.group
    if not setting.turns or not any(bool(torch.linalg.det(group.linear(setting.g[i])) < 0) for i in range(len(setting.g))):
        return
    for side, noun in (("outputs", "output"), ("inputs", "input")):
        for name, declared in getattr(setting.contract, side):
            kind = declared.kind
            if isinstance(kind, Tensorial):
                other: Kind = replace(kind, parity=not kind.parity) if kind.rank or not kind.parity else Scalar()
            elif type(kind) is Scalar and declared.target is None and side == "outputs":
                other = Tensorial(0, parity=True)
            else:
                continue
            yield Trial(
                PARITY, _declared(side, name, Field(declared.index, other)),
                f"{_shown(noun, name)} ({declared}) has the other sign under reflections: as {other} the error falls from "
                "{before} to {after}",
                f"declare it as {other}, or claim SO instead of O", layer=name,
            )  # fmt: skip


def _shown(noun: str, name: str) -> str:
    return f"{noun} {name!r}" if name else f"the {noun}"


def _declared(side: str, name: str, declared: Field) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        yield setting.declare(side, name, declared)

    return undo


def _readings(declared: Field, value: Tensor, space: int) -> list[tuple[Field, str]]:
    """Ways to read a tensor that was declared to stand still."""
    out: list[tuple[Field, str]] = []
    lead = declared.index
    if value.ndim >= 1 and value.shape[-1] == space:
        out.append((Field(lead[:-1] if len(lead) > 1 else (ANY,), Tensorial(1)), "vectors"))
    if value.ndim >= 2 and value.shape[-2] == space:
        out.append((Field(lead[:-2] if len(lead) > 2 else (ANY,), Columns()), "vectors in its columns"))
    if value.ndim >= 2 and value.shape[-2:] == (space, space):
        out.append((Field(lead[:-2] if len(lead) > 2 else (ANY,), Tensorial(2)), "a tensor of rank 2"))
    width = value.shape[-1] if value.ndim and len(lead) > 1 else 0
    for start in range(width - space + 1 if space < width <= WIDEST else 0):
        words = f"vectors in its columns {start} to {start + space - 1} (counted from 0)"
        out.append((Field(lead[:-1], Among(start, space)), words))
    return out


def _square(setting: Setting, side: str, name: str) -> bool:
    value = setting.call()[name] if side == "outputs" else setting.x[name]
    return value.ndim >= 2 and value.shape[-1] == value.shape[-2] == setting.space


# ---------------------------------------------------------------------------------------------------- stored constants


class WithInput(nn.Module):
    """A callable with one more input, ``held``, that stands in for a tensor stored in it."""

    def __init__(self, f: Any, owner: nn.Module, name: str, unnamed: bool) -> None:
        super().__init__()
        self.f, self.name, self.unnamed = f, name, unnamed
        self.owner = [owner]  # not a submodule of its own

    def forward(self, **x: Tensor) -> Any:
        """``f`` of the other inputs, the stored tensor replaced."""
        with changed(self.owner[0], self.name, x.pop("held")):
            return self.f(x["x"]) if self.unnamed else self.f(**x)


def _constants(f: Any, space: int) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Tensors of a module that are no weights and whose last axis could hold vectors."""
    for layer, module in named(f):
        stored = {
            **dict(module.named_buffers(recurse=False)),
            **{k: v for k, v in vars(module).items() if isinstance(v, Tensor)},
        }
        for name, value in stored.items():
            if value.is_floating_point() and value.ndim and value.shape[-1] == space:
                yield layer, module, name, value


def _with_constant(module: nn.Module, name: str, value: Tensor) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        contract = setting.contract
        inputs = {key or "x": declared for key, declared in contract.inputs}
        lead = tuple(str(size) for size in value.shape[:-1]) or (ANY,)
        fields = Fields({**inputs, "held": Field(lead, Tensorial(1))})
        x = {**{key or "x": v for key, v in setting.x.items()}, "held": value.detach().clone()}
        f = WithInput(setting.f, module, name, contract.inputs.unnamed)
        yield replace(setting, f=f, contract=replace(contract, inputs=fields), x=x)

    return undo
