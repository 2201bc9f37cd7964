"""A task in one picture: its sample, and the same sample moved by its symmetry.

What is drawn follows from the declared fields: images and frames as pictures, positions as points and paths, edges as graphs,
everything else as a matrix. So every task has a portrait without a line of code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.contract import Contract
from coset.errors import CosetError, InputError
from coset.figures.panels import graph_panels, matrix_panels, picture_rows, point_panels
from coset.groups.flows import Flow
from coset.groups.group import Group
from coset.reps.action import Fibre, Position, Recorded, Tensorial
from coset.reps.fields import Field
from coset.reps.frames import Frames
from coset.reps.image import Image
from coset.reps.torus import PeriodicImage

TIMES = ("T", "F", "Tc", "Tf")  #: names of indices along which a point draws a path
MOVES = 2  #: moved copies beside the sample itself
Versions = list[tuple[str, dict[str, Tensor]]]


def portrait(contracts: tuple[Contract, ...], sample: Any, *, title: str = "", seed: int = 0) -> Any:
    """A figure of ``sample`` and of two elements of the first contract acting on it; InputError without sample or contract.

    A recorded input cannot be moved and is shown as it is.
    """
    if not contracts or sample is None:
        raise InputError("portrait: the task keeps no sample for audits or states no contract")
    best = min(contracts, key=lambda one: _rank(one))
    versions = moved(best, sample, seed=seed)
    title = f"{title}: {best.group}" if title and len(versions) > 1 else title
    fields = dict(best.inputs)
    for draw in (_pictures, _points, _graphs, _matrices):
        made = draw(fields, versions, title)
        if made is not None:
            return made
    raise InputError(f"portrait: nothing in {best.inputs} can be drawn")


def plain_portrait(tensors: Mapping[str, Tensor], *, title: str = "") -> Any:
    """The first samples of a table without a contract: its pictures, else its numbers. InputError where there are neither."""
    shown = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
    for name, value in shown.items():
        if value.ndim == 4:
            return picture_rows([(name, _numpy(value[:8]))], title=title)
        if value.ndim == 5:
            return picture_rows([(f"{name} {i}", _numpy(member[:8])) for i, member in enumerate(value[:3])], title=title)
    made = _matrices({}, [("", shown)], title) if shown else None
    if made is None:
        raise InputError(f"plain_portrait: expected floating tensors, got {', '.join(tensors)}")
    return made


def _rank(contract: Contract) -> tuple[bool, bool, bool]:
    """Flows before groups that move space, these before permutations, which change no picture; recorded inputs last."""
    recorded = any(isinstance(declared.kind, Recorded) for _, declared in contract.inputs)
    return (recorded, str(contract.group).startswith("S("), not isinstance(contract.group, Flow))


def moved(contract: Contract, sample: Any, *, seed: int = 0) -> Versions:
    """The sample and its moved copies by name, as the model sees them."""
    packed = {
        name: value.double() if value.is_floating_point() else value for name, value in contract.inputs.pack(sample).items()
    }
    try:
        bound = contract.bind(contract.inputs.unpack(packed))
        x = contract.inputs.unpack(packed)
        drawn = _distinct(
            bound.group, bound.group.sample(16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )
        found = [("as it is", contract.inputs.pack(bound.origin(x)))]
        return found + [("moved", contract.inputs.pack(bound.act(g, x))) for g in drawn]
    except CosetError:
        return [("as recorded", packed)]


def _distinct(group: Any, drawn: Any) -> list[Any]:
    """The first elements that are neither the identity nor equal to one before."""
    if not isinstance(group, Group):
        return [drawn[i] for i in range(MOVES)]
    chosen = [group.identity(dtype=torch.float64)]
    for i in range(len(drawn)):
        if len(chosen) <= MOVES and not any(bool(group.equal(drawn[i], g).all()) for g in chosen):
            chosen.append(drawn[i])
    return chosen[1:]


def _of_kind(fields: Mapping[str, Field], *kinds: type) -> str | None:
    return next((name for name, declared in fields.items() if isinstance(declared.kind, kinds)), None)


def _pictures(fields: Mapping[str, Field], versions: Versions, title: str) -> Any:
    name = _of_kind(fields, Image, PeriodicImage, Frames)
    if name is None:
        name = next((n for n, d in fields.items() if isinstance(d.kind, (Recorded, Fibre)) and d.kind.axes >= 3), None)
    if name is None:
        return None
    rows = []
    for label, x in versions:
        value = x[name]
        if isinstance(fields[name].kind, Frames):
            value = value.reshape(-1, *value.shape[-4:])[0][:8]
        while value.ndim > 4:
            value = value.flatten(0, 1) if value.ndim > 5 else value[:, 0]
        value = value.unsqueeze(1) if value.ndim == 3 else value
        rows.append((label, _numpy(value[: 6 if not isinstance(fields[name].kind, Frames) else 8])))
    return picture_rows([(label, array if array.shape[1] == 3 else array[:, :1]) for label, array in rows], title=title)


def _points(fields: Mapping[str, Field], versions: Versions, title: str) -> Any:
    name = _of_kind(fields, Position)
    if name is None:
        arrows = [n for n, d in fields.items() if isinstance(d.kind, Tensorial) and d.kind.rank == 1 and not d.kind.parity]
        name = max(arrows, key=lambda n: versions[0][1][n].numel(), default=None)
    if name is None:
        return None
    declared = fields[name]
    panels, labels, edges = [], None, None
    for label, x in versions:
        value, keep = _first_member(declared, fields, x, x[name])
        inside = [axis for axis in declared.index if axis not in ("...", "B", "S")]
        value = value if len(inside) > 1 and inside[-1] in TIMES else value.reshape(-1, value.shape[-1])
        panels.append((label, _numpy(value)))
        part = next((n for n, d in fields.items() if d.target and d.target != "B" and d.index == declared.index), None)
        labels = _numpy(x[part] if keep is None else x[part][keep]).astype(int) if part else None
    pointer = next((n for n, d in fields.items() if d.target and d.index[:1] == ("2",)), None)
    if pointer is not None and panels[0][1].ndim == 2:
        edges = _numpy(versions[0][1][pointer]).astype(int)
        edges = edges[:, (edges < len(panels[0][1])).all(0)]
    if any(array.ndim not in (2, 3) or array.shape[-1] not in (2, 3) for _, array in panels):
        return None
    return point_panels(panels, labels=labels, edges=edges, title=title)


def _first_member(declared: Field, fields: Mapping[str, Field], x: Mapping[str, Tensor], value: Tensor) -> tuple[Tensor, Any]:
    """The first sample of a batch: the first slice along ``B``, or the entries that point to 0."""
    if declared.index[:1] in (("B",), ("...",)) and value.ndim >= 3:
        return value[0], None
    if declared.index[:1] == ("S",):
        value = value[0]
    owner = next((n for n, d in fields.items() if d.target == "B" and d.index == declared.index[-1:][:1]), None)
    owner = owner or next((n for n, d in fields.items() if d.target == "B" and d.index[:1] == declared.index[:1]), None)
    if owner is None:
        return value, None
    keep = x[owner] == 0
    return value[keep], keep


def _graphs(fields: Mapping[str, Field], versions: Versions, title: str) -> Any:
    pointer = next((n for n, d in fields.items() if d.target and d.index[:1] == ("2",)), None)
    if pointer is None:
        return None
    owner = next((n for n, d in fields.items() if d.target == "B" and d.index == (fields[pointer].target,)), None)
    panels = []
    for label, x in versions:
        edges = _numpy(x[pointer]).astype(int)
        if owner is None:
            panels.append((label, int(edges.max()) + 1, edges))
            continue
        nodes = np.flatnonzero(_numpy(x[owner]) == 0)
        place = {int(node): i for i, node in enumerate(nodes)}
        mine = [(place[a], place[b]) for a, b in edges.T.tolist() if a in place and b in place]
        panels.append((label, len(nodes), np.array(mine, dtype=int).reshape(-1, 2).T))
    return graph_panels(panels, title=title)


def _matrices(fields: Mapping[str, Field], versions: Versions, title: str) -> Any:
    name = next((n for n, x in versions[0][1].items() if x.is_floating_point() and x.ndim >= 2), None)
    if name is None:
        return None
    panels = [(label, _numpy(x[name] if x[name].ndim == 2 else x[name][0])) for label, x in versions]
    return matrix_panels([(label, array.reshape(-1, array.shape[-1])) for label, array in panels], title=title)


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()
