"""What an audit page holds: findings and recordings of up to six models, as compact JSON.

Arrays travel as base64 of little-endian numbers, ``{"t": "f4", "s": shape, "d": data}``, half precision with one scale where
only a picture depends on it. A page of 500 samples and 72 elements stays below 10 MB: the action is sent once and the
page moves the samples itself; inputs, outputs and residuals of so many samples are sent as fit in :data:`BUDGET`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.audits.elements import element_names
from coset.audits.embed import embed
from coset.audits.recording import Recording
from coset.audits.verdict import Audit
from coset.errors import InputError
from coset.groups.group import Elements, Group
from coset.groups.permutation import S
from coset.groups.rotations import vector_from_rotation
from coset.records import SCHEMA, to_json
from coset.report.audit_moves import Steps, steps_of
from coset.reps.action import Position, Tensorial
from coset.reps.fields import Field, Fields
from coset.reps.frames import Frames
from coset.reps.image import Image
from coset.reps.sequence import Sequence as SequenceKind
from coset.reps.torus import PeriodicImage

NODES = 60  #: elements of a group whose Cayley graph is drawn
MODELS = 6  #: that a page compares
BUDGET = 4_500_000  #: bytes of inputs, outputs and residuals together, before base64


@dataclass
class Exhibit:
    """One model on the page: the finding that judges it, and what was recorded of it."""

    audit: Audit
    recording: Recording
    command: str = ""  #: what measured it
    following: str = ""  #: what to run next
    metrics: dict[str, float] = field(default_factory=dict)  #: further figures by name


def payload(
    exhibits: Sequence[Exhibit], *, title: str = "", command: str = "", data: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None, budget: int = BUDGET,
) -> dict[str, Any]:  # fmt: skip
    """The page's content, plain JSON values. All models were recorded on the same samples and elements (else InputError)."""
    if not 1 <= len(exhibits) <= MODELS:
        raise InputError(f"an audit page shows 1 to {MODELS} models, got {len(exhibits)}")
    first = exhibits[0].recording
    names = [one.recording.name for one in exhibits]
    if len(set(names)) < len(names):
        raise InputError(f"models on a page have different names, got {', '.join(names)}")
    for one in exhibits[1:]:
        if one.recording.grid.axes != first.grid.axes or one.recording.errors.shape != first.errors.shape:
            raise InputError(f"{one.recording.name!r} was recorded on other samples or elements than {first.name!r}")
    kept = _kept(exhibits, budget)
    return to_json({
        "schema": SCHEMA, "title": title, "command": command, "versions": versions or {}, "data": data,
        "contract": {
            "name": str(first.contract), "group": str(first.contract.group), "claim": first.contract.claim,
            "inputs": str(first.contract.inputs), "outputs": str(first.contract.outputs),
        },
        "grid": _grid(first),
        "count": len(first.errors),
        "kept": kept, "starts": first.starts,
        "labels": first.labels,
        "inputs": _fields(first, first.contract.inputs, first.inputs, kept, "f4"),
        "outputs": _fields(first, first.contract.outputs, first.outputs, [], "f4"),
        "embedding": {
            one.recording.name: pack(embed(_finite(one.recording.errors)), "f4")
            for one in exhibits if len(first.errors) >= 3
        },
        "models": [_model(one, kept) for one in exhibits],
    })  # fmt: skip


# ---------------------------------------------------------------------------------------------------- numbers


def pack(value: Any, kind: str = "f4", *, scaled: bool = False) -> dict[str, Any]:
    """An array as base64; ``scaled`` divides by its largest entry, so that half precision holds small numbers too."""
    array = np.asarray(value)
    told: dict[str, Any] = {"t": kind, "s": list(array.shape)}
    if scaled:
        array = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
        told["k"] = float(np.abs(array).max()) if array.size else 1.0
        array = array / (told["k"] or 1.0)
    told["d"] = base64.b64encode(np.ascontiguousarray(array, dtype=np.dtype(kind).newbyteorder("<")).tobytes()).decode()
    return told


def unpack(told: Mapping[str, Any]) -> np.ndarray:
    """The inverse of :func:`pack`."""
    flat = np.frombuffer(base64.b64decode(told["d"]), dtype=np.dtype(told["t"]).newbyteorder("<"))
    return (flat.astype(np.float64) * told["k"] if "k" in told else flat).reshape(told["s"])


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)


def _bytes(samples: Sequence[Mapping[str, Tensor]], width: int) -> int:
    return sum(width * value.numel() for sample in samples[:1] for value in sample.values())


def _kept(exhibits: Sequence[Exhibit], budget: int) -> list[int]:
    """Samples whose tensors travel: all that fit, else the ones with the largest errors and an even choice of the rest."""
    first = exhibits[0].recording
    has = min(len(one.recording.residuals) for one in exhibits)
    each = _bytes(first.inputs, 4) * (1 if _movable(first) else 1 + len(first.grid))
    each += sum(_bytes(one.recording.residuals, 2) + _bytes(one.recording.outputs, 4) for one in exhibits)
    room = max(1, min(has, budget // max(each, 1)))
    if room >= has:
        return list(range(has))
    worst = np.argsort(-_finite(first.errors[:has].mean(1)), kind="stable")
    chosen = list(worst[: (room + 1) // 2]) + list(worst[np.linspace(room // 2, has - 1, room - (room + 1) // 2).astype(int)])
    return sorted({int(i) for i in chosen})


def _movable(one: Recording) -> bool:
    group, inputs = one.contract.group, one.contract.inputs
    return all(steps_of(group, d, one.x[n], one.grid.elements[:1], one.x) is not None for n, d in inputs)


# ---------------------------------------------------------------------------------------------------- the group


def _grid(one: Recording) -> dict[str, Any]:
    grid, group = one.grid, one.contract.group
    names = [""]
    for axis in grid.axes:
        names = [f"{before} · {label}" if before else label for before in names for label in _told(axis)]
    if isinstance(group, S):
        found: dict[str, Any] = {"cycles": [cycle_type(p) for p in grid.elements.tolist()]}
    else:
        found = {}
    if (vectors := _vectors(one)) is not None:
        found["vectors"] = pack(vectors[0])
        found["mirrored"] = pack(vectors[1], "u1")
    if (graph := _cayley(one)) is not None:
        found["cayley"] = graph
    return {
        "axes": [{"kind": a.kind, "name": a.name, "coordinates": a.coordinates, "labels": a.labels} for a in grid.axes],
        "names": names, "identity": grid.identity, "cyclic": grid.cyclic, "floors": pack(one.floors), **found,
    }  # fmt: skip


def _cayley(one: Recording) -> dict[str, Any] | None:
    """The Cayley graph of a finite group that the grid holds whole: its generators, and the place of ``g s`` for each."""
    grid, group = one.grid, one.contract.group
    if not isinstance(group, Group) or isinstance(grid.elements, Elements) or group.order != len(grid) or len(grid) > NODES:
        return None
    if grid.identity != 0 or any(axis.kind in ("angle", "shift", "scale") for axis in grid.axes):
        return None  # a circle or a map says more
    generators = group.generators(dtype=torch.float64)
    if not len(generators):
        return None
    leads = []
    for s in generators.to(grid.elements.device):
        product = group.compose(grid.elements, s.expand(grid.elements.shape))
        leads.append(group.equal(product.unsqueeze(1), grid.elements.unsqueeze(0)).to(torch.int64).argmax(1))
    return {"generators": element_names(group, generators), "leads": pack(torch.stack(leads).cpu().numpy(), "i4")}


def _told(axis: Any) -> list[str]:
    """Names along an axis of a grid; a shift says where to."""
    way = axis.name.partition(",")[0]
    return [f"{label} {way}" if axis.kind == "shift" else label for label in axis.labels]


def _vectors(one: Recording) -> tuple[np.ndarray, np.ndarray] | None:
    """Rotation vectors ``(k, 3)`` of the elements' linear parts, and which of them mirror; None off space."""
    try:
        matrix = one.contract.group.linear(one.grid.elements).to(torch.float64)
    except Exception:  # a group without geometry has no picture in space
        return None
    if matrix.shape[-2:] != (3, 3) or not torch.allclose(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64), atol=1e-6):
        return None
    sign = torch.linalg.det(matrix).sign()
    if len(matrix) > 1 and not bool((matrix[1:] != matrix[:1]).any()):
        return None
    return vector_from_rotation(matrix * sign.view(-1, 1, 1)).cpu().numpy(), (sign < 0).cpu().numpy()


def cycle_type(p: Sequence[int]) -> str:
    """Lengths of the cycles of a permutation, the longest first, fixed points left out: ``3+2``; ``e`` for the identity."""
    rest, lengths = set(range(len(p))), []
    while rest:
        at, length = rest.pop(), 1
        while p[at] in rest:
            at = p[at]
            rest.remove(at)
            length += 1
        lengths.append(length)
    return "+".join(str(n) for n in sorted(lengths, reverse=True) if n > 1) or "e"


# ---------------------------------------------------------------------------------------------------- samples


def _fields(
    one: Recording, fields: Fields, samples: Sequence[Mapping[str, Tensor]], kept: Sequence[int], kind: str
) -> list[dict[str, Any]]:
    """What each tensor is, how the group moves it, how it is drawn, and its values at the kept samples."""
    group, told = one.contract.group, []
    whole = one.x if fields == one.contract.inputs else {}
    for name, declared in fields:
        example = samples[0][name]
        steps = steps_of(group, declared, whole.get(name, example), one.grid.elements, one.x)
        about = {
            "name": name, "spec": str(declared), "draw": drawing(declared, example), "target": declared.target or "",
            "index": list(declared.index), "steps": None if steps is None else _packed(steps),
        }  # fmt: skip
        if kept:
            about["values"] = [_values(samples[s][name], kind) for s in kept]
            if steps is None:
                about["moved"] = _moved(one, name, kept)
        told.append(about)
    return told


def _values(value: Tensor, kind: str) -> dict[str, Any]:
    if value.is_complex():
        value = value.abs()
    whole = not value.is_floating_point()
    return pack(value.detach().cpu().numpy(), "i4" if whole else kind)


def _packed(steps: Steps) -> Steps:
    kinds = {"A": "f8", "b": "f8", "steps": "f8", "back": "u1", "p": "i4"}
    return [{k: pack(v, kinds[k]) if isinstance(v, np.ndarray) else v for k, v in step.items()} for step in steps]


def _moved(one: Recording, name: str, kept: Sequence[int]) -> list[dict[str, Any]] | None:
    """``g . x`` of the kept samples, moved here because the page cannot; only for samples that are slices."""
    if one.starts:
        return None
    dense = one.inputs[0][name].ndim < one.x[name].ndim
    found = []
    for g in one.grid.elements:
        x = one.contract.inputs.pack(one.contract.act(g, one.x))[name]
        found.append((x[list(kept)] if dense else x.unsqueeze(0)).detach().cpu())
    return [pack(torch.stack([x[i] for x in found]).numpy(), "f2", scaled=True) for i in range(len(kept))]


def drawing(declared: Field, value: Tensor) -> str:
    """How the page draws one sample of a field: image, points, vectors, edges, labels, sequence, matrix or numbers."""
    kind = declared.kind
    base = kind.base if hasattr(kind, "base") else kind
    if declared.target is not None:
        return "edges" if declared.index[:1] == ("2",) else "labels"
    if isinstance(base, (Image, PeriodicImage)):
        return "flow" if base is not kind and value.ndim >= 3 and value.shape[-3] == 2 else "image"
    if isinstance(kind, Frames):
        return "image"
    if isinstance(kind, SequenceKind):
        return "sequence"
    if isinstance(kind, Position) and value.shape[-1] in (2, 3):
        return "points"
    if isinstance(kind, Tensorial) and kind.rank == 1 and value.shape[-1] in (2, 3):
        return "vectors"
    if not value.is_floating_point() and value.ndim <= 1:
        return "labels"
    return "matrix" if value.ndim >= 2 and min(value.shape[-2:]) > 1 else "numbers"


# ---------------------------------------------------------------------------------------------------- models


def _model(one: Exhibit, kept: Sequence[int]) -> dict[str, Any]:
    audit, seen = one.audit, one.recording
    quantities: list[dict[str, Any]] = [
        {"name": "error", "label": "relative equivariance error", "better": "lower", "values": pack(seen.errors)}
    ]
    if seen.chance is not None:
        quantities.append(
            {"name": "chance", "label": "probability of the true class", "better": "higher", "limit": [0, 1],
             "values": pack(seen.chance, "f2")}
        )  # fmt: skip
    metrics = dict(one.metrics)
    if seen.classes is not None and seen.labels is not None:
        right = seen.classes == seen.labels[:, None]
        metrics["orbit error, %"] = 100 * (1 - float(right.mean()))
        if seen.grid.identity >= 0:
            metrics["upright error, %"] = 100 * (1 - float(right[:, seen.grid.identity].mean()))
    return {
        "name": seen.name, "quantities": quantities,
        "classes": None if seen.classes is None else pack(seen.classes, "u2"),
        "outputs": {
            name: {
                "plain": [_values(seen.outputs[s][name], "f4") for s in kept],
                "residual": [_residual(seen.residuals[s][name]) for s in kept],
            }
            for name in seen.contract.outputs.names()
        },
        "metrics": metrics, "seconds": seen.seconds, "parameters": seen.parameters, "memory": seen.memory_bytes,
        "command": one.command, "next": one.following, "by_output": seen.by_output, "audit": _audit(audit),
    }  # fmt: skip


def _residual(value: Tensor) -> dict[str, Any]:
    value = value.abs() if value.is_complex() else value
    return pack(value.detach().cpu().numpy(), "f2", scaled=True)


def _audit(audit: Audit) -> dict[str, Any]:
    return {
        "verdict": audit.verdict, "error": audit.error, "interval": audit.interval, "tolerance": audit.tolerance,
        "floor": audit.floor, "bound": audit.bound, "dtype": audit.dtype, "samples": audit.samples, "seed": audit.seed,
        "worst": audit.worst, "worst_error": audit.worst_error, "layers": audit.layers, "offender": audit.offender,
        "generators": audit.generators, "notes": audit.notes, "by_dtype": audit.by_dtype, "trivial": audit.trivial,
        "stochastic": audit.stochastic, "causes": audit.causes,
    }  # fmt: skip
