"""What a page shows of one model: its error at every sample and element, and the outputs behind these numbers.

``errors[s, k]`` is the relative error of :mod:`coset.audits.equivariance` at sample ``s`` and element ``g_k`` of a grid. Beside
it stand, per sample, the input ``x``, the output ``f(e . x)`` and the residual ``f(g_k . x) - g_k . f(e . x)``: from these and
the action everything else follows, so ``g_k . x`` and ``g_k . f(x)`` are not stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coset.audits import precision
from coset.audits.dataset import LEAST, LabelLaw, can_have_law, input_law
from coset.audits.elements import choose, on_device, take
from coset.audits.equivariance import floors, relative_by_member
from coset.audits.grids import Axis, Grid, grid_of, translations
from coset.audits.members import Members
from coset.audits.memory import peak_bytes
from coset.audits.metrics import probabilities
from coset.audits.passes import BATCH, Plan
from coset.contract import Contract
from coset.errors import CosetError, InputError
from coset.groups.euclidean import T
from coset.groups.group import FiniteGroup
from coset.groups.haar import fibonacci_sphere
from coset.groups.rotations import rotation_from_vector
from coset.reps.action import Tensorial
from coset.reps.fields import Field, Fields
from coset.reps.image import Image
from coset.reps.irreps import Irreps

POINTS = 72  #: elements of the grid
MEMORY = 512 * 2**20  #: bytes of residuals that are kept
Sample = dict[str, Tensor]


@dataclass
class Recording:
    """One model on the orbits of some samples, for a contract over one factor."""

    name: str
    contract: Contract  #: bound to the samples
    grid: Grid
    x: Sample  #: all samples together, as the model takes them
    errors: np.ndarray  #: (samples, elements), relative
    floors: np.ndarray  #: (elements,), of the action itself
    inputs: list[Sample]  #: per sample
    outputs: list[Sample]  #: f(e . x), per sample
    residuals: list[Sample]  #: (elements, ...), of the first samples only where memory is short
    starts: list[dict[str, int]] = field(default_factory=list)  #: where a sample starts in every index set
    labels: np.ndarray | None = None
    classes: np.ndarray | None = None  #: (samples, elements) predicted, where the output is a row of logits
    chance: np.ndarray | None = None  #: (samples, elements) probability of the true class
    by_output: list[dict[str, Any]] = field(default_factory=list)  #: name, error: which part of the output breaks
    seconds: float = float("nan")  #: one plain call, per sample
    parameters: int = 0
    memory_bytes: int = 0  #: that one plain call adds at its peak


def record(
    f: Callable[..., Any], x: Any, contract: Contract, *, name: str = "model", elements: Any = None, labels: Any = None,
    samples: int = 500, points: int = POINTS, dtype: str = "float64", batch: int = BATCH, seed: int = 0,
    memory: int = MEMORY,
) -> Recording:  # fmt: skip
    """Run ``f`` over the orbits of at most ``samples`` members of ``x``; the contract is over one factor.

    ``elements`` is a :class:`~coset.audits.grids.Grid` or a batch of elements; by default the grid that fits the group, of
    about ``points`` elements. ``labels`` is one class per member. Raises InputError for a product group, an empty orbit and
    labels that do not fit, ContractError where the output is not the declared one.
    """
    if len(contract.factors()) > 1:
        raise InputError(f"record: {contract} is over a product; record its factors one by one (contract.factors())")
    kind = precision.dtype_of(dtype)
    model = precision.at_dtype(f, kind)
    packed = precision.cast(contract.inputs, contract.inputs.pack(x), kind)
    grid = page_grid(contract.bind(packed), packed, elements, points, seed)
    plan = Plan.make(model, contract, packed, grid.elements, batch=batch, seed=seed)
    truth = _labels(labels, plan.members.count)
    if plan.members.count > samples and plan.members.dense:
        drawn = torch.randperm(plan.members.count, generator=torch.Generator().manual_seed(seed))[:samples]
        rows = drawn.sort().values
        truth = None if truth is None else truth[rows.numpy()]
        plan = Plan.make(
            model, contract, plan.members.take(contract.inputs, packed, rows), grid.elements, batch=batch, seed=seed
        )
    grid = Grid(on_device(grid.elements, next(iter(plan.x.values())).device), grid.axes, grid.identity, grid.vectors)
    return _run(plan, grid, name, truth, memory, f)


def page_grid(bound: Contract, x: Mapping[str, Tensor], elements: Any, points: int, seed: int) -> Grid:
    """The grid of a page: as of an orbit plot, but rotations of space in about ``points`` elements and shifts by pixels."""
    group = bound.group
    if elements is not None:
        return grid_of(group, elements)
    if isinstance(group, T):
        widths = [x[n].shape[-1] for n, d in bound.inputs if isinstance(d.kind, Image)]
        if widths and group.element_shape == (3, 3):
            return translations(group, range(-4, 5), widths[0])
    if str(group) == "SO(3)":
        return turns_of_space(max(4, points // 5), 5)
    if not isinstance(group, FiniteGroup) and group.element_shape == (3, 3):  # O(3) has mirrors, which that grid leaves out
        return grid_of(group, choose(group, points, seed))
    return grid_of(group, samples=points, seed=seed)


def turns_of_space(directions: int = 15, angles: int = 5) -> Grid:
    """Rotations about ``directions`` axes all over the sphere, by ``angles`` angles from 0 to 180 degrees."""
    about = fibonacci_sphere(directions)
    turns = torch.linspace(0, math.pi, angles, dtype=torch.float64)
    vectors = (about[:, None] * turns[:, None]).flatten(0, 1)
    names = tuple(f"({', '.join(f'{v:.2f}' for v in axis)})" for axis in about.tolist())
    degrees = tuple(math.degrees(v) for v in turns.tolist())
    axes = (
        Axis("element", "axis", tuple(map(float, range(directions))), names),
        Axis("rotation", "angle", degrees, tuple(f"{v:.3g}°" for v in degrees)),
    )
    return Grid(rotation_from_vector(vectors), axes, 0, vectors)


def _labels(labels: Any, count: int) -> np.ndarray | None:
    if labels is None:
        return None
    found = np.asarray(labels)
    if found.dtype.kind not in "iu" or found.shape != (count,):
        raise InputError(f"labels: expected one integer for each of {count} samples, got {found.dtype} of shape {found.shape}")
    return found.astype(np.int64)


def _run(plan: Plan, grid: Grid, name: str, labels: np.ndarray | None, memory: int, f: Any) -> Recording:
    outputs, count = plan.contract.outputs, plan.members.count
    gaps = {o: torch.empty(len(grid), count, dtype=torch.float64) for o in outputs.names()}
    sizes = {o: torch.empty_like(gaps[o]) for o in gaps}
    parts = _Parts(outputs, grid)
    kept: list[Sample] = []
    plain: list[Sample] = []
    classes: list[np.ndarray] = []
    chance: list[np.ndarray] = []
    seconds = 0.0
    for rows, part in plan.chunks():
        started = time.perf_counter()
        y = part.plain()
        seconds += time.perf_counter() - started
        whole: dict[str, list[Tensor]] = {o: [] for o in outputs.names()}
        answers = []
        room = memory > 0
        for start, stop, gy in part.orbit(grid.elements):
            want = part.want(y, take(grid.elements, start, stop))
            gap, want = part.contract.against(_wide(gy), _wide(want))
            for o, declared in outputs:
                at = (slice(start, stop), slice(int(rows[0]), int(rows[-1]) + 1))
                gaps[o][at] = part.members.squares(declared, gap[o]).sqrt().cpu()
                sizes[o][at] = part.members.squares(declared, want[o]).sqrt().cpu()
                parts.add(o, declared, gap[o], want[o], start)
                whole[o] += [gap[o]] if room else []
            answers.append(gy)
        if room:
            joined = {o: torch.cat(found) for o, found in whole.items()}
            memory -= sum(8 * value.numel() for value in joined.values())
            kept += members_of(part.members, outputs, joined, part.x, part.contract.inputs, lead=1)
        plain += members_of(part.members, outputs, y, part.x, part.contract.inputs)
        _classify(outputs, answers, None if labels is None else labels[rows.numpy()], classes, chance)
    errors = torch.stack([relative_by_member(gaps[o], sizes[o]) for o in gaps]).amax(0).T.numpy()
    inputs = plan.contract.inputs
    return Recording(
        name, plan.contract, grid, plan.x, errors, floors(plan, grid.elements),
        members_of(plan.members, inputs, plan.x, plan.x, inputs), plain, kept,
        starts=[] if plan.members.dense or plan.members.index is None else _starts(plan.members),
        labels=labels, classes=np.concatenate(classes) if classes else None,
        chance=np.concatenate(chance) if chance else None, by_output=parts.told(), seconds=seconds / max(count, 1),
        parameters=sum(p.numel() for p in f.parameters()) if isinstance(f, nn.Module) else 0,
        memory_bytes=peak_bytes(next(plan.chunks())[1].plain, next(iter(plan.x.values())).device),
    )  # fmt: skip


def _wide(y: Mapping[str, Tensor]) -> Sample:
    return {name: value if value.is_complex() else value.double() for name, value in y.items()}


def _classify(outputs: Fields, answers: list[Sample], labels: Any, classes: list[np.ndarray], chance: list[np.ndarray]) -> None:
    """The class at every element and the probability of the true one, where the only output is a row of numbers."""
    if len(outputs) != 1 or not outputs[0][1].still or not answers:
        return
    rows = torch.cat([answer[outputs.names()[0]] for answer in answers])
    if rows.ndim != 3 or rows.shape[-1] < 2 or not rows.is_floating_point():
        return
    classes.append(rows.argmax(-1).T.cpu().numpy())
    if labels is not None:
        if labels.min() < 0 or labels.max() >= rows.shape[-1]:
            raise InputError(f"labels: classes run from 0 to {rows.shape[-1] - 1}, got {labels.min()} to {labels.max()}")
        truth = torch.as_tensor(labels).view(1, -1, 1).expand(len(rows), -1, 1)
        chance.append(probabilities(rows.cpu()).gather(-1, truth).squeeze(-1).T.numpy())


# ---------------------------------------------------------------------------------------------------- members


def members_of(
    members: Members, fields: Fields, y: Mapping[str, Tensor], given: Mapping[str, Tensor], inputs: Fields, *, lead: int = 0
) -> list[Sample]:
    """What belongs to each member: slices where members are dense, the entries that point to it elsewhere.

    ``lead`` axes (of elements) stand in front of those declared; pointers count from the member's own first entry.
    """
    if members.index is None:
        return [dict(y)]
    out: list[Sample] = [{} for _ in range(members.count)]
    for name, declared in fields:
        value, label = y[name], declared.index[0] if declared.index else ""
        ends = members.owners.get(declared.target or "")
        owner = ends[value[0]] if ends is not None and label == "2" else members.owners.get(label)
        axis = lead + (label == "2" and ends is not None)
        for s, sample in enumerate(out):
            if owner is not None:
                mine = value.index_select(axis, torch.nonzero(owner.to(value.device) == s).flatten())
                sample[name] = mine - int(torch.nonzero(ends == s)[0]) if ends is not None and mine.numel() else mine
            elif members._axis(declared, value, lead) is not None:
                sample[name] = value.select(lead, s)
            else:
                sample[name] = value
    return out


def _starts(members: Members) -> list[dict[str, int]]:
    return [{index: int((owner < s).sum()) for index, owner in members.owners.items()} for s in range(members.count)]


# ---------------------------------------------------------------------------------------------------- parts of the output


class _Parts:
    """Squared residual and size of the parts of every output: irreps, trace and the rest of a matrix, entries of a row."""

    def __init__(self, outputs: Fields, grid: Grid) -> None:
        self.sums: dict[str, list[float]] = {}
        self.many, self.identity = len(outputs) > 1, grid.identity

    def add(self, name: str, declared: Field, gap: Tensor, want: Tensor, start: int) -> None:
        """Elements ``start ...`` of one output; the identity counts for nothing."""
        if gap.is_complex():
            return
        keep = torch.arange(start, start + len(gap)) != self.identity
        want = want.expand_as(gap)
        for part, cut in pieces(name if self.many else "", declared, gap):
            sums = self.sums.setdefault(part, [0.0, 0.0])
            sums[0] += float(cut(gap[keep]).square().sum())
            sums[1] += float(cut(want[keep]).square().sum())

    def told(self) -> list[dict[str, Any]]:
        """``name`` and ``error``, the root of the ratio of sums; in the outputs' order."""
        return [
            {"name": n, "error": 0.0 if not a else (a / b) ** 0.5 if b else float("inf")} for n, (a, b) in self.sums.items()
        ]


def pieces(name: str, declared: Field, value: Tensor) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
    """The parts in which an output is judged: names, and what takes them out of it."""
    kind, front = declared.kind, f"{name}: " if name else ""
    if isinstance(kind, Irreps):
        return [
            (f"{front}{block}", lambda v, cut=cut: v[..., cut])  # type: ignore[misc]
            for block, cut in zip(kind.blocks, kind.slices(), strict=True)
        ]
    if isinstance(kind, Tensorial) and kind.rank == 2:
        return [
            (f"{front}trace (l = 0)", lambda v: v.diagonal(dim1=-2, dim2=-1).mean(-1)),
            (f"{front}antisymmetric (l = 1)", lambda v: (v - v.mT) / 2),
            (f"{front}symmetric, no trace (l = 2)", _traceless),
        ]
    if declared.still and value.ndim == 3 and 1 < value.shape[-1] <= 32:
        return [(f"{front}entry {i}", lambda v, i=i: v[..., i]) for i in range(value.shape[-1])]  # type: ignore[misc]
    return [(f"{front}{kind}", lambda v: v)]


def _traceless(v: Tensor) -> Tensor:
    eye = torch.eye(v.shape[-1], dtype=v.dtype, device=v.device)
    return (v + v.mT) / 2 - v.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * eye


# ---------------------------------------------------------------------------------------------------- the data


def data_symmetry(contract: Contract, x: Mapping[str, Tensor], labels: Any = None, *, seed: int = 0) -> dict[str, Any]:
    """Whether the data themselves have the symmetry: ``inputs`` and ``labels`` tested where they can be, ``notes`` where not.

    ``x`` are named tensors with samples along their first axis. See :mod:`coset.audits.dataset`.
    """
    found: dict[str, Any] = {"notes": []}
    bound = contract.bind(x)
    members = Members.of(bound, x)
    if not members.dense or members.count < LEAST:
        found["notes"].append(f"A test of the data needs at least {LEAST} samples along one axis, there are {members.count}.")
        return found
    try:
        if can_have_law(bound.group):
            found["inputs"] = asdict(input_law(bound, x, seed=seed, permutations=1999))
        if labels is not None:
            rows = torch.as_tensor(labels)
            law = LabelLaw(contract.inputs, Fields("B x scalar"), x, {"": rows}, seed=seed)
            told = law.test(replace(bound, outputs=Fields("B x scalar")))
            found["labels"] = {**asdict(told), "decisive": told.decisive}
    except (CosetError, RuntimeError) as error:
        found["notes"].append(f"The data were not tested: {error}")
    return found
