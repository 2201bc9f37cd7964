"""Suspects among the weights: a bias where nothing invariant lives, an embedding of places; and places that leak otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.causes_modes import without_coordinates
from coset.audits.causes_trial import Setting, Trial, named, replaced, under
from coset.contract import relative
from coset.errors import CosetError
from coset.reps.action import Position

BIAS, PLACES = "bias in a non-trivial irrep", "absolute positions"

PATCHES = (1, 2, 4, 7, 8, 14, 16)  #: sizes of patches whose embeddings are recognized by their number
MOST = 12  #: tensors of one sort that are tried one by one


def bias(setting: Setting) -> Iterator[Trial]:
    """Additive weights that a group moves: taken out together, then one by one to find which."""
    f = setting.f
    plain = [(layer, name, p) for layer, name, p in _weights(f) if "bias" in name]
    own = [(layer, name, p) for layer, name, p in _weights(f) if "bias" not in name and _raw(f, layer, p)]
    shown, offset = _offset(setting)
    groups = [plain] if plain else []
    own = [one for one in own[:MOST] if not _of_places(setting, one[1], one[2])]
    groups += [[one] for one in own if offset > 0 or _adds(setting, one[2])]
    for group in groups:
        for few in [_alone(setting, group), group] if len(group) > 1 else [group]:
            if few:
                label = f"{few[0][0]}.{few[0][1]}" + " and others" * (len(few) > 1)
                yield Trial(
                    BIAS, _zero([p for _, _, p in few]),
                    f"{label} adds a constant to components that the group moves{shown}: at zero the error falls from "
                    "{before} to {after}",
                    "a bias only on invariant (l = 0) channels: bias=False elsewhere, or gate by norms",
                    layer=few[0][0], facts={"f(0) moves by": offset} if offset else {},
                )  # fmt: skip


def places(setting: Setting) -> Iterator[Trial]:
    """Learned embeddings of places, coordinates made on the way, raw coordinates of points."""
    for layer, name, value, axes in _embeddings(setting)[:MOST]:
        yield Trial(
            PLACES, _alike(value, axes),
            f"{layer}.{name} {tuple(value.shape)} gives every place numbers of its own: with their mean everywhere the error "
            "falls from {before} to {after}",
            "use relative positions (differences, distances, a rotary or relative bias) instead of an embedding of places",
            layer=layer,
        )  # fmt: skip
    yield Trial(
        PLACES,
        under(without_coordinates),
        "coordinates made on the way (linspace, arange) tell the places apart: with all of them zero the error falls from "
        "{before} to {after}",
        "leave the coordinates out, or make them an input that the group moves",
    )
    if setting.points and isinstance(setting.points[1].kind, Position) and _shifts(setting):
        name = setting.points[0]
        yield Trial(
            PLACES,
            _centered(name),
            f"raw coordinates{f' of {name!r}' if name else ''} enter: with the center of the points taken off first the error "
            "falls from {before} to {after}",
            "use differences of positions, or subtract their mean at the entrance",
        )


# ---------------------------------------------------------------------------------------------------- which weights


def _weights(f: Any) -> list[tuple[str, str, Tensor]]:
    """Floating weights: name of the module, name in it, tensor."""
    found: list[tuple[str, str, Tensor]] = []
    seen: set[int] = set()
    for layer, module in named(f):
        for name, p in module.named_parameters(recurse=False):
            if id(p) not in seen and p.is_floating_point():
                seen.add(id(p))
                found.append((layer, name, p))
    return found


def _raw(f: Any, layer: str, p: Tensor) -> bool:
    """Whether a weight stands in a module of the user's own, not in one of torch's layers."""
    module = next(module for name, module in named(f) if name == layer and any(p is q for q in module.parameters(False)))
    return not type(module).__module__.startswith("torch.nn.modules")


def _adds(setting: Setting, p: Tensor) -> bool:
    """Whether a weight adds the same to the output of its module whatever goes in, and that output is no invariant."""
    owner = next(module for _, module in named(setting.f) if any(p is q for q in module.parameters(False)))
    x = setting.origin()
    seen: list[Tensor] = []
    handle = owner.register_forward_hook(lambda _m, _x, y: seen.append(y.detach()) if isinstance(y, Tensor) else None)
    try:
        for inputs in (
            x,
            {k: 1.3 * v if v.is_floating_point() and not setting.contract.inputs.of(k).still else v for k, v in x.items()},
        ):
            setting.call(inputs)
            with replaced([p], [torch.zeros_like(p)]):
                setting.call(inputs)
        setting.call(setting.moved())
    finally:
        handle.remove()
    if len(seen) != 5 or any(y.shape != seen[0].shape for y in seen) or torch.allclose(seen[0], seen[4], rtol=1e-9, atol=0):
        return False
    here, there = seen[0] - seen[1], seen[2] - seen[3]
    return bool(here.abs().max() > 0) and torch.allclose(here, there, rtol=1e-6, atol=1e-9 * float(here.abs().max()))


def _of_places(setting: Setting, name: str, p: Tensor) -> list[int]:
    """The axes along which a tensor has an entry for every place, by size; all but the last where only its name says so."""
    order = getattr(setting.contract.group, "order", 1)  # of a fibre, where it is no number of pixels
    sizes = _sizes(setting) - {setting.space, 1} - ({int(order)} if order < PATCHES[-1] ** 2 else set())
    axes = [i for i, size in enumerate(p.shape) if size in sizes]
    told = "pos" in name.lower() or "coord" in name.lower()
    return axes or ([i for i in range(p.ndim - 1) if p.shape[i] > 1] if told else [])


def _sizes(setting: Setting) -> set[int]:
    """How many places there are: members of index sets, pixels along and over the axes of images."""
    out: set[int] = set()
    for name, declared in setting.contract.inputs:
        value, axes = setting.x[name], declared.kind.axes
        tail = tuple(value.shape[value.ndim - axes :]) if axes >= 1 and not declared.still else ()
        if len(tail) == 2:
            patches = {(tail[0] // s) * (tail[1] // s) for s in PATCHES if tail[0] % s == tail[1] % s == 0}
            out |= {*tail, *patches, *(count + 1 for count in patches)}  # one more for the token of a class
        lead = value.shape[: value.ndim - axes]
        out |= {size for i, size in enumerate(lead) if i or len(lead) == 1 or declared.index[0] != "B"}
    return out


def _embeddings(setting: Setting) -> list[tuple[str, str, Tensor, list[int]]]:
    """Tables and stored tensors that may be embeddings of places, with the axes of the places."""
    found = []
    for layer, module in named(setting.f):
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            axes = [0] if isinstance(module, nn.Embedding) else _of_places(setting, name, value)
            torchs = type(module).__module__.startswith("torch.nn.modules") and not isinstance(module, nn.Embedding)
            if value.is_floating_point() and axes and not torchs:
                found.append((layer, name, value, axes))
    return found


def _alone(setting: Setting, group: Sequence[tuple[str, str, Tensor]]) -> list[tuple[str, str, Tensor]]:
    """The one weight of a group that carries the whole error; empty where none does alone."""
    whole = Trial(BIAS, _zero([p for _, _, p in group]), "", "").after(setting, 0.0)
    if not whole <= 0.1 * setting.before:
        return []
    for one in group[: 2 * MOST]:
        if Trial(BIAS, _zero([one[2]]), "", "").after(setting, 0.0) <= max(2 * whole, 1e-3 * setting.before):
            return [one]
    return []


def _alike(value: Tensor, axes: Sequence[int]) -> Any:
    mean = value.detach().mean(tuple(axes), keepdim=True).expand_as(value).clone()

    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        with replaced([value], [mean]):
            yield setting

    return undo


def _zero(tensors: Sequence[Tensor]) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        with replaced(tensors, [torch.zeros_like(tensor) for tensor in tensors]):
            yield setting

    return undo


def _offset(setting: Setting) -> tuple[str, float]:
    """How much the answer to a zero input moves under the group, relative: a constant should not move."""
    x = {
        name: torch.zeros_like(value) if value.is_floating_point() and not setting.contract.inputs.of(name).still else value
        for name, value in setting.x.items()
    }
    try:
        y = setting.contract.outputs.pack(setting.call(x))
        moved = setting.contract.act(setting.g[0], setting.contract.outputs.unpack(y), on="outputs", given=x)
        packed = setting.contract.outputs.pack(moved)
        found = max(float(relative((packed[name] - y[name]).detach(), y[name].detach())) for name in y)
    except Exception:  # zero may lie outside the model's domain
        return "", 0.0
    return (f" (f(0) differs from g f(0) by {found:.2g})", found) if 0 < found < float("inf") else ("", 0.0)


# ---------------------------------------------------------------------------------------------------- raw coordinates


def _shifts(setting: Setting) -> bool:
    try:
        shifts = torch.stack([setting.contract.group.shift(setting.g[i]) for i in range(len(setting.g))])
    except CosetError:
        return False
    return bool(shifts.abs().max() > 0)


class Centered(nn.Module):
    """A callable that sees positions relative to the center of one field; positions that it returns are put back."""

    def __init__(self, setting: Setting, name: str) -> None:
        super().__init__()
        self.f, self.contract, self.name = setting.f, setting.contract, name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """``c + f(x - c)``."""
        x = self.contract.inputs.pack(args[0] if args else kwargs)
        center = x[self.name].flatten(0, -2).mean(0)
        placed = {name for name, d in self.contract.inputs if isinstance(d.kind, Position)}
        x = {name: value - center if name in placed else value for name, value in x.items()}
        y = self.contract.outputs.pack(self.f(x[""]) if self.contract.inputs.unnamed else self.f(**x))
        out = {name for name, d in self.contract.outputs if isinstance(d.kind, Position)}
        return self.contract.outputs.unpack({name: value + center if name in out else value for name, value in y.items()})


def _centered(name: str) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        yield replace(setting, f=Centered(setting, name))

    return undo
