"""How a page moves a tensor by itself: the action of every element of a grid, as steps that its script carries out.

Five steps are enough for the kinds of the field language, one after the other:

- ``image``: one resampling of the last two axes by a matrix and a shift (:func:`coset.reps.image.resample`);
- ``roll``: circular shifts of the last two axes; ``sequence``: shifts and reversals of the last one;
- ``linear``: a matrix, and a vector for points, on the axes of the kind, flattened: vectors, tensors, points, irreps;
- ``permute``: an axis taken at ``p``, or entries that point into it relabelled.

Any other action has no steps; the page then shows what Python has moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.elements import on_device
from coset.errors import CosetError
from coset.groups.group import Family
from coset.groups.permutation import S
from coset.reps.action import Fibre, Kind
from coset.reps.fields import Field
from coset.reps.image import Image
from coset.reps.sequence import Sequence
from coset.reps.torus import PeriodicImage

WIDEST = 64  #: entries that a matrix may mix
Steps = list[dict[str, Any]]


def steps_of(group: Family, declared: Field, value: Tensor, elements: Any, given: Mapping[str, Tensor]) -> Steps | None:
    """The steps by which ``elements`` move ``value``, a tensor of this field; None where there are none that a page knows.

    Arrays have a leading axis of elements: ``A`` (k, d, d), ``b`` (k, d), ``steps`` (k, 2), ``p`` (k, n).
    """
    try:
        if isinstance(group, S):
            return _permute(group, declared, value, elements)
        if declared.still:
            return [] if type(group).move is Family.move and type(group).move_all is Family.move_all else None
        if type(group).move is not Family.move or type(group).move_all is not Family.move_all or value.is_complex():
            return None
        return _kind(group, declared.kind, value, elements, given)
    except (CosetError, RuntimeError, IndexError, TypeError):
        return None


def _permute(group: S, declared: Field, value: Tensor, elements: Tensor) -> Steps | None:
    if not declared.still and getattr(declared.kind, "group", None) == group:
        return None
    p = elements.cpu().numpy().astype(np.int32)
    # counted from behind, so that taking a member off the front changes nothing
    steps: Steps = [
        {"type": "permute", "p": p, "axis": axis - len(declared.index) - declared.kind.axes, "relabel": False}
        for axis, name in enumerate(declared.index)
        if name == group.index
    ]
    if declared.target == group.index:
        steps.append({"type": "permute", "p": np.argsort(p, 1).astype(np.int32), "axis": 0, "relabel": True})
    return steps


def _kind(group: Family, kind: Kind, value: Tensor, elements: Any, given: Mapping[str, Tensor]) -> Steps | None:
    if isinstance(kind, Image):
        matrix, shift = kind._matrix(group, elements), group.shift(elements)
        size = (kind.size, kind.size) if isinstance(kind.size, int) else kind.size
        return [
            {"type": "image", "A": _wide(matrix), "b": _wide(shift), "mode": kind.mode, "disc": kind.disc,
             "size": list(size) if size else None}
        ]  # fmt: skip
    if isinstance(kind, PeriodicImage):
        return [{"type": "roll", "steps": _wide(kind._steps(group, elements, value))}]
    if isinstance(kind, Sequence):
        steps, back = kind._steps(group, elements, value.shape[-1])
        return [{"type": "sequence", "steps": _wide(steps), "back": _wide(back), "periodic": kind.periodic}]
    if isinstance(kind, Fibre):
        base = _kind(group, kind.base, value, elements, given)
        inner = kind.base.axes
        shape = value.shape[value.ndim - kind.axes : value.ndim - inner]
        fibre = _linear(group, kind.fibre, tuple(shape), elements, given)
        return None if base is None or fibre is None else [*base, {**fibre, "inner": inner}]
    own = tuple(value.shape[value.ndim - kind.axes :]) if kind.axes else ()
    found = _linear(group, kind, own, elements, given)
    return None if found is None else [{**found, "inner": 0}]


def _linear(
    group: Family, kind: Kind, shape: tuple[int, ...], elements: Any, given: Mapping[str, Tensor]
) -> dict[str, Any] | None:
    """The matrix and the vector of an affine action on trailing axes of this shape; None where it is no such thing."""
    width = math.prod(shape)
    if width > WIDEST:
        return None
    if kind.still:
        return {"type": "linear", "A": np.ones((len(elements), 1, 1)), "b": None, "axes": 0}
    elements = on_device(elements, "cpu")
    random = torch.randn(3, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probes = torch.cat([torch.zeros(1, width, dtype=torch.float64), torch.eye(width, dtype=torch.float64), random])
    moved = kind.move(group, elements, probes.view(1, -1, *shape), given)
    moved = moved.expand(len(elements), *moved.shape[1:]).reshape(len(elements), len(probes), -1)
    if moved.shape[-1] != width:
        return None
    start = moved[:, 0]
    matrix = (moved[:, 1 : width + 1] - start.unsqueeze(1)).mT
    want = torch.einsum("kij,nj->kni", matrix, random) + start.unsqueeze(1)
    if not torch.allclose(want, moved[:, width + 1 :], atol=1e-9, rtol=1e-9):
        return None
    still = bool((start == 0).all())
    return {"type": "linear", "A": matrix.numpy(), "b": None if still else start.numpy(), "axes": len(shape)}


def _wide(value: Tensor) -> np.ndarray:
    return value.detach().cpu().to(torch.float64).numpy()
