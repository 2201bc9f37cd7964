"""Products of irreps, channel by channel, as plans.

For a path ``(l1, l2) -> l3`` with the real 3j symbol ``w`` of unit norm (:mod:`coset.reps.clebsch_gordan`),

    (x * s)[k, c] = a sum_ij w[i, j, k] x[i, c] s[j],        a = sqrt(2 l3 + 1)   ("component"),

so that independent inputs of unit variance give an output of unit variance ("norm": ``sqrt((2 l1 + 1)(2 l2 + 1))``, unit norms
give a unit norm on average; "none": 1). With a weight per path and channel, between a gather and a sum over edges, this is the
convolution of equivariant message passing (Thomas et al., arXiv:1802.08219; Batzner et al., arXiv:2101.03164).

>>> tp = channelwise("128x0e+128x1o", "0e+1o", keep="0e+1o")
>>> tp.irreps_out, [str(path) for path in tp.paths]
(256x0e+256x1o, ['0e x 0e -> 0e', '1o x 1o -> 0e', '0e x 1o -> 1o', '1o x 0e -> 1o'])

and ``tp(x, harmonics, weights, Edges(edge_index, nodes))`` is ``(nodes, rows, 128)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset.errors import ContractError, InputError, unknown
from coset.ops.backends.select import AUTO
from coset.ops.index import Index
from coset.ops.instructed import InstructedProduct, full, fully_connected, tensor_product
from coset.ops.plan import ITEM, SHARED, Operand, Plan, make_plan
from coset.ops.product import product
from coset.ops.rows import Rows
from coset.reps.clebsch_gordan import coupling
from coset.reps.irreps import Irreps

__all__ = [
    "InstructedProduct",
    "Path",
    "TensorProduct",
    "channelwise",
    "elementwise",
    "full",
    "fully_connected",
    "tensor_product",
]

NORMALIZATIONS = ("component", "norm", "none")
ABSENT = "absent"


@dataclass(frozen=True)
class Path:
    """One product of two irreps into a third: block and copy of each operand, and the copy among the outputs of that irrep."""

    first: tuple[int, int]
    second: tuple[int, int]
    irreps: tuple[Any, Any, Any]
    copy: int = 0

    def __str__(self) -> str:
        return "{} x {} -> {}".format(*self.irreps)


@dataclass(frozen=True)
class TensorProduct:
    """A product of irreps: its plan, its paths (one row of weights each, in this order) and its irreps.

    ``irreps_out`` is sorted; the paths into one irrep are its copies, so that the output ``(..., rows, C)`` flattened is a
    feature of ``irreps_out`` and a linear layer after it is one matrix product per irrep.
    """

    plan: Plan
    paths: tuple[Path, ...]
    irreps_in: Irreps
    irreps_filter: Irreps
    irreps_out: Irreps
    channels: int

    @property
    def rows_in(self) -> Rows:
        """The rows of ``x``."""
        return Rows(self.irreps_in, self.channels)

    def __call__(
        self,
        x: Tensor,
        s: Tensor,
        w: Tensor | None = None,
        indices: Mapping[str, Index] | None = None,
        *,
        backend: str = AUTO,
    ) -> Tensor:
        """``x`` ``(..., rows, C)``, ``s`` ``(..., rows)`` and ``w`` ``(..., paths, C)`` or None to ``(..., rows_out, C)``.

        Operands that go through an index, and the operands beside them, have one leading axis: nodes or items. Without
        indices the leading axes are those of ``x`` and ``s``, broadcast. InputError names the operand that does not fit.
        """
        given = [x, s] if w is None else [x, s, w]
        if self.plan.index_names or len(given) != len(self.plan.inputs):
            return product(self.plan, given, indices, backend=backend)
        leads = [t.shape[: t.ndim - 1 - o.channels] for o, t in zip(self.plan.inputs, given, strict=True) if o.index == ITEM]
        if all(lead == leads[0] for lead in leads) and len(leads[0]) == 1:
            return product(self.plan, given, backend=backend)
        try:
            lead = torch.broadcast_shapes(*leads) or (1,)
        except RuntimeError:
            raise InputError(f"operands of {self.plan.label} have leading axes {list(map(tuple, leads))}, not equal") from None
        flat = [
            t if o.index == SHARED else t.expand(*lead, *t.shape[-1 - o.channels :]).flatten(0, len(lead) - 1)
            for o, t in zip(self.plan.inputs, given, strict=True)
        ]
        out = product(self.plan, flat, items=math.prod(lead), backend=backend)
        return out.reshape(*torch.broadcast_shapes(*leads), *out.shape[1:])

    def __str__(self) -> str:
        return (
            f"{self.irreps_in} x {self.irreps_filter} -> {self.irreps_out}, {len(self.paths)} paths, {self.channels} channels"
        )


def channelwise(
    irreps_in: Any,
    irreps_filter: Any,
    keep: Any = None,
    *,
    weights: str = ITEM,
    source: str = "source",
    target: str = "target",
    normalization: str = "component",
) -> TensorProduct:
    """Every channel of ``x`` with the filter ``s``, which has none: the convolution of message passing.

    ``x`` has the irreps ``irreps_in``, read through the index ``source``, with as many channels as divide all multiplicities;
    ``s`` has ``irreps_filter`` and one value per item (edge); the output is summed through the index ``target``. ``"item"`` in
    place of either name reads or writes item by item, without an index. ``weights``: one row per path and a value per channel,
    ``"item"`` (per edge), ``"shared"`` (the same for all) or ``"absent"``. ``keep`` lists the irreps wanted in the output.
    """
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
    if weights not in (ITEM, SHARED, ABSENT):
        raise unknown("weights", weights, (ITEM, SHARED, ABSENT))
    first, second = _irreps(irreps_in), _irreps(irreps_filter)
    channels = first.channels()
    paths = _paths(Rows(first, channels), Rows(second, 0), None if keep is None else _irreps(keep, first))
    rows_in, rows_filter = Rows(first, channels), Rows(second, 0)
    out = _outputs(paths, channels, first)
    inputs = [Operand("x", rows_in.count, True, source), Operand("s", rows_filter.count, False)]
    if weights != ABSENT:
        inputs.append(Operand("w", len(paths), True, weights))
    table, values = _terms(paths, rows_in, rows_filter, Rows(out, channels), normalization, weighted=weights != ABSENT)
    label = f"channelwise({first}, {second} -> {out})"
    plan = make_plan(inputs, Operand("out", Rows(out, channels).count, True, target), table, values, label)
    return TensorProduct(plan, paths, first, second, out, channels)


def elementwise(
    irreps_1: Any, irreps_2: Any, keep: Any = None, *, weights: str = ABSENT, normalization: str = "component"
) -> TensorProduct:
    """Channel ``c`` of ``x`` with channel ``c`` of ``y``, all paths ("uuu"): both operands ``(..., rows, C)``, item by item."""
    first, second = _irreps(irreps_1), _irreps(irreps_2)
    channels = math.gcd(first.channels(), second.channels())
    rows_1, rows_2 = Rows(first, channels), Rows(second, channels)
    paths = _paths(rows_1, rows_2, None if keep is None else _irreps(keep, first))
    out = _outputs(paths, channels, first)
    inputs = [Operand("x", rows_1.count), Operand("y", rows_2.count)]
    if weights != ABSENT:
        inputs.append(Operand("w", len(paths), True, weights))
    table, values = _terms(paths, rows_1, rows_2, Rows(out, channels), normalization, weighted=weights != ABSENT)
    label = f"elementwise({first}, {second} -> {out})"
    plan = make_plan(inputs, Operand("out", Rows(out, channels).count), table, values, label)
    return TensorProduct(plan, paths, first, second, out, channels)


def scale(normalization: str, l1: int, l2: int, l3: int) -> float:
    """The factor of a path that :func:`channelwise` describes."""
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
    return {"component": 2 * l3 + 1, "norm": (2 * l1 + 1) * (2 * l2 + 1), "none": 1}[normalization] ** 0.5


def _irreps(given: Any, like: Irreps | None = None) -> Irreps:
    irreps = given if isinstance(given, Irreps) or like is None else Irreps(given, like.group)
    irreps = irreps if isinstance(irreps, Irreps) else Irreps(irreps)
    for _, ir in irreps:
        if not hasattr(ir, "l"):
            raise ContractError(f"products are made for irreps of O(3) and SO(3); {irreps!r} are irreps of {irreps.group}")
    return irreps.remove_zero_multiplicities()


def _paths(first: Rows, second: Rows, keep: Irreps | None) -> tuple[Path, ...]:
    """All paths, sorted by output irrep, then by the operands' blocks and copies."""
    if first.irreps.group != second.irreps.group:
        raise ContractError(f"{first.irreps!r} and {second.irreps!r} are irreps of different groups")
    kept = None if keep is None else {ir for _, ir in keep}
    found = [
        Path((a, p), (b, q), (ir_1, ir_2, ir))
        for a, (_, ir_1) in enumerate(first.irreps)
        for p in range(first.copies[a])
        for b, (_, ir_2) in enumerate(second.irreps)
        for q in range(second.copies[b])
        for ir in ir_1 * ir_2
        if kept is None or ir in kept
    ]
    if not found:
        raise InputError(f"no path: {first.irreps} x {second.irreps} contains none of {keep}")
    counts: dict[Any, int] = {}
    paths = []
    for path in sorted(found, key=lambda path: path.irreps[2]):
        copy = counts.get(path.irreps[2], 0)
        counts[path.irreps[2]] = copy + 1
        paths.append(Path(path.first, path.second, path.irreps, copy))
    return tuple(paths)


def _outputs(paths: Sequence[Path], channels: int, like: Irreps) -> Irreps:
    counts: dict[Any, int] = {}
    for path in paths:
        counts[path.irreps[2]] = counts.get(path.irreps[2], 0) + 1
    return Irreps([(count * channels, ir) for ir, count in counts.items()], like.group)


def _terms(
    paths: Sequence[Path], first: Rows, second: Rows, out: Rows, normalization: str, *, weighted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both operands, of the weights if there are any, and of the output, with their coefficients."""
    place = {ir: block for block, (_, ir) in enumerate(out.irreps)}
    tables, values = [], []
    for number, path in enumerate(paths):
        degrees = [ir.l for ir in path.irreps]
        entries, coefficients = (t.numpy() for t in coupling(*degrees))
        columns = [first.of(*path.first)[entries[:, 0]], second.of(*path.second)[entries[:, 1]]]
        columns += [np.full(len(entries), number)] if weighted else []
        columns += [out.of(place[path.irreps[2]], path.copy)[entries[:, 2]]]
        tables.append(np.stack(columns, 1))
        values.append(coefficients * scale(normalization, *degrees))
    return np.concatenate(tables), np.concatenate(values)
