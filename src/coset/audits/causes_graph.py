"""Suspect: a graph built with a cap on neighbors. Which of the neighbors are dropped depends on their order, or on an axis.

The graph builder is audited as a layer of its own: every neighbor list that appears on the way (edges ``(2, E)``, indices
``(N, k)``, masks ``(N, N)``) is recorded at ``x`` and at ``g . x``, and the two sets of edges compared.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from coset.audits.causes_modes import Instead
from coset.audits.causes_trial import Setting, Trial, changed, modules_within
from coset.contract import frozen
from coset.groups.permutation import S
from coset.reps.action import Scalar
from coset.reps.fields import Field

CAP = "neighbor cap"

NAMES = re.compile(r"neigh|nbr|degree|^k$|^cap$|max_edges|^knn", re.IGNORECASE)
SHARE = 0.2  #: of the nodes that stand at the highest degree where a cap is at work
LISTS = 64  #: neighbor lists that are recorded in one pass


@dataclass(frozen=True)
class Builder:
    """One neighbor list that does not move with the input."""

    differ: float  #: share of edges that are in one of the two sets only
    degree: int  #: the highest
    full: float  #: share of nodes that have it
    missed: int  #: pairs no longer than the longest edge that are no edge


def cap(setting: Setting) -> Iterator[Trial]:
    """Limits by their names, lifted; then neighbor lists that change under the group and are full."""
    count = _nodes(setting)
    if not count:
        return
    lists = [b for b in builders(setting) if b.full >= SHARE and b.missed and b.degree < count - 1]
    built = lists[-1] if lists else None  # the last is the one that is used
    told = _told(built) if built else ""
    facts = {"edges that differ": built.differ, "highest degree": float(built.degree)} if built else {}
    fix = "take every neighbor inside the cutoff, and make the cutoff smaller where there are too many"
    for owner, name, value in _limits(setting.f):
        for lifted in dict.fromkeys((count, count - 1, 1_000_000)):
            if lifted > value:
                yield Trial(
                    CAP, _lift(owner, name, lifted),
                    f"{name} = {value} drops neighbors{told}: with {lifted} the error falls from {{before}} to {{after}}",
                    fix, layer=type(owner).__name__ if isinstance(owner, nn.Module) else "",
                    facts={**facts, "cap": float(value)},
                )  # fmt: skip
    if built is None:
        return
    thinned = _thinned(setting, built.degree + 1)
    if thinned is None:
        yield Trial(CAP, None, f"the graph is cut off{told}; the error is {{before}}", fix, facts=facts)
        return

    @contextmanager
    def undo(_: Setting) -> Iterator[Setting]:
        yield thinned

    yield Trial(
        CAP, undo,
        f"the graph is cut off{told}: on the {built.degree + 1} points around one, where nothing is dropped, the error falls "
        "from {before} to {after}",
        fix, facts=facts,
    )  # fmt: skip


def _told(built: Builder) -> str:
    return (
        f" ({built.full:.0%} of the nodes have exactly {built.degree}, {built.missed} pairs as near are no edge, and "
        f"{built.differ:.0%} of the edges change under the group)"
    )


# ---------------------------------------------------------------------------------------------------- the graph as a layer


def builders(setting: Setting) -> Iterator[Builder]:
    """Neighbor lists that appear at ``x`` and at ``g . x`` and hold different edges."""
    count = _nodes(setting)
    name, declared = setting.points or ("", None)
    if declared is None or not count:
        return
    labels = setting.contract.group.move(
        setting.g[0], Field(declared.index, Scalar()), torch.arange(count).double().view(setting.x[name].shape[:-1]), setting.x
    )
    order = labels.flatten().long()  # where the nodes of g . x come from
    here, there = (_lists(setting, x, count) for x in (setting.origin(), setting.moved()))
    places = setting.origin()[name].detach().flatten(0, -2)
    for a, b in zip(here, there, strict=False):
        one, other = _keys(a, count), _keys(order[b], count)
        common = torch.isin(one, other).sum()
        differ = 1 - float(common) / max(len(one), len(other), 1)
        if differ <= 0 or not len(one):
            continue
        degrees = max((a[row].bincount(minlength=count) for row in (0, 1)), key=lambda d: float((d == d.max()).double().mean()))
        yield Builder(
            differ, int(degrees.max()), float((degrees == degrees.max()).double().mean()), _missed(places, one, count)
        )


def _lists(setting: Setting, x: Mapping[str, Tensor], count: int) -> list[Tensor]:
    """Every neighbor list of one pass as edges ``(2, E)``."""
    found: list[Tensor] = []

    def seen(_name: str, out: Any) -> None:
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, Tensor) and len(found) < LISTS and (edges := _edges(value.detach(), count)) is not None:
                found.append(edges)

    with frozen(setting.f), Instead({}, seen):
        setting.call(x)
    return found


def _edges(value: Tensor, count: int) -> Tensor | None:
    """A tensor as edges, where it can be read so; None for all others."""
    if value.dtype is torch.bool and value.ndim >= 2 and value.shape[-1] == value.shape[-2] and value.shape[-1] > 2:
        blocks = value.reshape(-1, *value.shape[-2:])
        if len(blocks) * value.shape[-1] != count:
            return None
        block, i, j = blocks.nonzero().unbind(-1)
        return torch.stack([i, j]) + block * value.shape[-1]
    if value.dtype is not torch.int64 or value.ndim < 2 or not value.numel():
        return None
    if value.shape[0] == 2 and value.ndim == 2 and value.shape[1] > 2:
        return value if 0 <= int(value.min()) <= int(value.max()) < count else None
    rows, each = value.shape[:-1].numel(), value.shape[-1]
    size = value.shape[-2]
    if rows != count or not 1 < each < size or not 0 <= int(value.min()) <= int(value.max()) < size:
        return None
    start = torch.arange(rows, device=value.device) // size * size
    ends = value.reshape(rows, each) + start.unsqueeze(1)
    return torch.stack([torch.arange(rows, device=value.device).repeat_interleave(each), ends.flatten()])


def _keys(edges: Tensor, count: int) -> Tensor:
    return (edges[0] * count + edges[1]).unique()


def _missed(places: Tensor, keys: Tensor, count: int) -> int:
    """Pairs no longer than the longest edge that are no edge."""
    distance = torch.cdist(places, places).flatten()
    near = (distance > 0) & (distance <= distance[keys].max() * (1 + 1e-9))
    near[keys] = False
    return int(near.sum()) if len(distance) == count**2 else 0


def _nodes(setting: Setting) -> int:
    """Points in the sample; 0 where there are none."""
    return setting.x[setting.points[0]].shape[:-1].numel() if setting.points else 0


# ---------------------------------------------------------------------------------------------------- without the cap


def _limits(f: Any) -> Iterator[tuple[Any, str, int]]:
    """Numbers that limit neighbors, by name: attributes of modules, arguments bound by ``partial``, defaults."""
    owners: list[Any] = [module for root in modules_within(f) for module in root.modules()]
    if not isinstance(f, nn.Module):
        owners.append(f)
    owners += [value for owner in list(owners) for value in getattr(owner, "__dict__", {}).values() if callable(value)]
    for owner in owners:
        store = _store(owner)
        for name, value in store.items():
            if isinstance(value, int) and not isinstance(value, bool) and value > 0 and NAMES.search(str(name)):
                yield owner, str(name), value


def _store(owner: Any) -> Mapping[str, Any]:
    """Where a callable keeps its numbers."""
    if isinstance(owner, functools.partial):
        return owner.keywords
    if hasattr(owner, "__kwdefaults__"):
        return owner.__kwdefaults__ or {}
    return vars(owner) if hasattr(owner, "__dict__") else {}


def _lift(owner: Any, name: str, value: int) -> Any:
    @contextmanager
    def undo(setting: Setting) -> Iterator[Setting]:
        with ExitStack() as stack:
            if isinstance(owner, functools.partial) or hasattr(owner, "__kwdefaults__"):
                bound: dict[str, Any] = owner.keywords if isinstance(owner, functools.partial) else owner.__kwdefaults__
                stack.callback(bound.__setitem__, name, bound[name])
                bound[name] = value
            else:
                stack.enter_context(changed(owner, name, value))
            yield setting

    return undo


def _thinned(setting: Setting, most: int) -> Setting | None:
    """The sample cut down to the ``most`` points around the first; None where pointers or batches forbid it."""
    name, declared = setting.points or ("", None)
    if declared is None or len(declared.index) != 1 or any(d.target is not None for _, d in setting.contract.inputs):
        return None
    index, places = declared.index[0], setting.x[name]
    if places.ndim != 2 or most >= len(places) or most < 3:
        return None
    rows = (places - places[0]).norm(dim=-1).argsort()[:most].sort().values
    x = {key: v[rows] if setting.contract.inputs.of(key).index[:1] == (index,) else v for key, v in setting.x.items()}
    return _rebound(setting, x, most)


def _rebound(setting: Setting, x: dict[str, Tensor], count: int) -> Setting:
    """The setting for fewer points: a group that permutes them is made smaller, with elements of its own."""
    group = setting.contract.group
    if not isinstance(group, S):
        return replace(setting, x=x)
    smaller = replace(group, size=count, fibre=None)
    drawn = smaller.sample(len(setting.g), generator=torch.Generator().manual_seed(0))
    return replace(setting, contract=replace(setting.contract, group=smaller), x=x, g=drawn)
