"""Suspects in the arithmetic: a rotation applied as its transpose, a nonlinearity applied to components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from coset.audits.causes_fields import TURNED
from coset.audits.causes_modes import POINTWISE, PRODUCTS, Instead, Rule
from coset.audits.causes_trial import Setting, Trial, Where, under
from coset.contract import frozen
from coset.reps.action import Fibre
from coset.reps.fields import ANY, Field
from coset.reps.image import Image

NONLINEAR = "nonlinearity on vectors"

SITES = 24  #: calls of one sort that are tried one by one
LAYERS = 8  #: of nonlinearities that are taken out together
WIDEST = 64  #: components among which a linear action is looked for
DRAWS = 12  #: inputs near the sample from which that action is fitted


# ---------------------------------------------------------------------------------------------------- rotations in products


def transposed(setting: Setting) -> Iterator[Trial]:
    """Products with a rotation matrix, each with the transpose instead."""
    if not setting.turns:
        return
    sites: list[tuple[int, int, str]] = []
    with Where(setting.f) as where:

        def note(count: int, place: int) -> bool:
            sites.append((count, place, where.name))
            return False

        with products(setting.space, note):
            setting.call()
    for count, place, layer in sites[:SITES]:
        inside = f" in {layer}" if layer else ""
        yield Trial(
            TURNED, under(partial(products, setting.space, partial(_same_place, (count, place)))),
            f"product {count + 1} of the model{inside} has a rotation as a factor; with its transpose the error falls from "
            "{before} to {after}",
            "apply the inverse on one side: R @ v for columns, v @ R.mT for rows", layer=layer,
            facts={"product": float(count + 1)},
        )  # fmt: skip


def _same_place(at: tuple[int, int], count: int, place: int) -> bool:
    return at == (count, place)


def products(space: int, swap: Callable[[int, int], bool]) -> Instead:
    """Matrix products in which factors that are rotations are transposed where ``swap(product, factor)`` says so."""
    counts = [-1]

    def rule(func: Any, *args: Any, **kwargs: Any) -> Any:
        counts[0] += 1
        new = list(args)
        for place, value in enumerate(args):
            if isinstance(value, Tensor) and orthogonal(value, space) and swap(counts[0], place):
                new[place] = value.mT
        return func(*new, **kwargs)

    return Instead(dict.fromkeys(PRODUCTS, rule))


def orthogonal(x: Tensor, space: int) -> bool:
    """Whether the last two axes hold orthogonal matrices of the space, and not only the identity."""
    if x.ndim < 2 or x.shape[-2:] != (space, space) or not x.is_floating_point():
        return False
    eye = torch.eye(space, dtype=x.dtype, device=x.device).expand_as(x)
    return torch.allclose(x @ x.mT, eye, atol=1e-5) and not torch.allclose(x, eye, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- nonlinearities


def nonlinear(setting: Setting) -> Iterator[Trial]:
    """Pointwise functions of components that a linear action mixes before them and none does after them.

    They are taken out one behind the other, the first first: what comes after it can only be judged without it.
    """
    sites: list[tuple[str, str]] = []
    with Where(setting.f) as where, frozen(setting.f), pointwise(lambda name, _x, _y: sites.append((name, where.name))):
        setting.call()
    out: list[int] = []
    for _ in range(LAYERS):
        here, there = _recorded(setting, frozenset(out))
        suspect = next((i for i in range(len(sites[:SITES])) if i in here and _breaks(here[i], there[i])), None)
        if suspect is None:
            return
        out.append(suspect)
        name, layer = sites[out[0]]
        others = f" and {len(out) - 1} more" if len(out) > 1 else ""
        yield Trial(
            NONLINEAR, under(partial(pointwise, instead=frozenset(out))),
            f"{name}{others} in {layer or 'the model'} acts on components that the group mixes: a linear action fits what goes "
            "in and none fits what comes out; without it the error falls from {before} to {after}",
            "let norms gate (v * sigmoid(|v|)), or act on invariant (l = 0) channels only",
            layer=layer, facts={"call": float(out[0] + 1)},
        )  # fmt: skip


def pointwise(note: Callable[[str, Tensor, Tensor], Any] | None = None, instead: frozenset[int] = frozenset()) -> Instead:
    """Pointwise functions, told to ``note`` as name, input and output; those in ``instead`` return their input."""
    counts = [-1]

    def rule(func: Any, *args: Any, **kwargs: Any) -> Any:
        counts[0] += 1
        x = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("input")
        if counts[0] in instead:
            return x
        kept = x.detach().clone() if note is not None and isinstance(x, Tensor) else None
        out = func(*args, **kwargs)
        if note is not None and kept is not None:
            note(func.__name__.strip("_"), kept, out.detach())
        return out

    rules: dict[str, Rule] = dict.fromkeys(POINTWISE, rule)
    return Instead(rules)


Pairs = dict[int, tuple[list[Tensor], list[Tensor]]]


def _recorded(setting: Setting, instead: frozenset[int]) -> tuple[Pairs, Pairs]:
    """Inputs and outputs of every pointwise call at inputs near the sample, and at the same inputs moved by one element."""
    here: Pairs = {}
    there: Pairs = {}
    generator = torch.Generator().manual_seed(0)
    for _ in range(DRAWS):
        x = {
            name: value + 0.3 * value.std() * torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
            if value.is_floating_point() and value.numel() > 1 and not setting.contract.inputs.of(name).still
            else value
            for name, value in setting.x.items()
        }
        _record(setting, setting.contract.inputs.pack(setting.contract.origin(x)), here, lambda value: value, instead)
        _record(setting, setting.contract.inputs.pack(setting.contract.act(setting.g[0], x)), there, _back(setting), instead)
    return here, there


def _record(
    setting: Setting, x: dict[str, Tensor], store: Pairs, back: Callable[[Tensor], Tensor], instead: frozenset[int]
) -> None:
    place = iter(i for i in range(10**6) if i not in instead)

    def note(_name: str, before: Tensor, after: Tensor) -> None:
        pair = store.setdefault(next(place), ([], []))
        pair[0].append(back(before))
        pair[1].append(back(after))

    with frozen(setting.f), pointwise(note, instead):
        setting.call(x)


def _back(setting: Setting) -> Callable[[Tensor], Tensor]:
    """Pixels of hidden images put back to where they were before the element moved them; other tensors as they are."""
    group = setting.contract.group
    if not any(d.kind.axes >= 2 and isinstance(d.kind, (Image, Fibre)) for _, d in setting.contract.inputs):
        return lambda value: value
    inverse = group.inverse(setting.g[0])  # type: ignore[attr-defined]
    return lambda value: group.move(inverse, Field((ANY,), Image()), value, setting.x) if value.ndim >= 4 else value


def _breaks(here: tuple[list[Tensor], list[Tensor]], there: tuple[list[Tensor], list[Tensor]]) -> bool:
    """Whether some linear action takes the inputs at x to those at g x, not the identity, and none takes the outputs."""
    for axis in (-1, -2, -3):
        rows = [_rows(values, axis) for values in (*here, *there)]
        before, after, moved_before, moved_after = rows
        if before is None or after is None or moved_before is None or moved_after is None:
            continue
        if before.shape == moved_before.shape and _size(before - moved_before, before) < 1e-6:
            return False  # invariant: a pointwise function is welcome
        if _misfit(before, moved_before) < 1e-6 and _misfit(after, moved_after) > 1e-4:
            return True
    return False


def _rows(values: list[Tensor], axis: int) -> Tensor | None:
    """All vectors along one axis, ``(rows, components)``; None where there are too few of them, or too many components."""
    if any(value.shape != values[0].shape for value in values) or values[0].ndim < -axis:
        return None
    stacked = torch.stack(values).movedim(axis, -1)
    rows = stacked.reshape(-1, stacked.shape[-1]).double()
    return rows if 2 <= rows.shape[1] <= WIDEST and len(rows) >= 3 * rows.shape[1] else None


def _misfit(x: Tensor, y: Tensor) -> float:
    """Relative error, on a third of the rows, of the linear map fitted on the others."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(x.device)
    train, test = order[: 2 * len(x) // 3], order[2 * len(x) // 3 :]
    try:
        fitted = x[test] @ torch.linalg.lstsq(x[train], y[train], driver="gelsd").solution
    except RuntimeError:
        return float("inf")
    return _size(fitted - y[test], y[test])


def _size(gap: Tensor, of: Tensor) -> float:
    whole = float(of.norm())
    return float(gap.norm()) / whole if whole else 0.0
