"""Fields: what a tensor is, declared once, so that every group knows how it acts on it.

A field is ``[index x ...] kind``, or ``[index x ...] -> index`` for integers that point into an index set:

>>> Fields({"pos": "N x position", "z": "N x 4 x scalar", "batch": "N -> B"})
Fields({'pos': 'N x position', 'z': 'N x 4 x scalar', 'batch': 'N -> B'})

An index is a name (its size comes from the sample; equal names have equal sizes), a number, or a leading ``...`` for any
further dimensions in front. A bare kind, ``"image"``, means ``"... x image"``. One string instead of a mapping declares
a single unnamed tensor. Strings are parsed, never evaluated.

Samples stand side by side along the first named index, ``S`` (draws, steps of noise) and ``T`` (times) excepted: all
samples of one batch share these, as they share numbers and what has no index. So a sampler's noise is an input like others,

>>> fields = Fields({"noise": "S x N x vector", "pos": "N x position", "time": "T x scalar"})
>>> fields.of("noise").axis(), fields.of("pos").axis(), fields.of("time").axis()
(1, 0, None)

and parts, ragged graphs and chains of pointers are index sets that point into others, ``"N -> K"``, ``"K -> B"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coset.errors import ContractError, InputError, unknown
from coset.reps.action import Kind, Scalar
from coset.reps.words import WORDS, parse_kind

ANY = "..."
SHARED = ("S", "T")  #: draws and times: the samples of a batch have them in common
_INDEX = re.compile(r"^([A-Za-z][A-Za-z0-9_]*|[0-9]+)$")


@dataclass(frozen=True)
class Field:
    """One tensor: its leading index sets, the kind of its trailing axes, and what it points into, if it points."""

    index: tuple[str, ...]  #: names of index sets or numbers, outermost first; may start with ``...``
    kind: Kind = WORDS["scalar"]
    target: str | None = None  #: a pointer: integer entries that point into this index set

    @staticmethod
    def of(spec: str | Field | Kind) -> Field:
        """Parse ``"N x vector"``, ``"2 x E -> N"``, ``"image"``; a Kind or Action stands for itself with ``...``."""
        if isinstance(spec, Field):
            return spec
        if isinstance(spec, Kind):
            return Field((ANY,), spec)
        if not isinstance(spec, str):
            raise InputError(f"a field is a string such as 'N x vector', a Field, or an Action; got {spec!r}")
        left, arrow, target = spec.partition("->")
        parts = [part.strip() for part in re.split(r"\s+x\s+", left.strip())]
        if arrow:
            if not _INDEX.match(target.strip()):
                raise InputError(f"field {spec!r}: after '->' comes one index name, as in '2 x E -> N'")
            return Field(_index(parts, spec), Scalar(), target.strip())
        index = _index(parts[:-1], spec) if len(parts) > 1 else (ANY,)
        return Field(index, parse_kind(parts[-1], spec), None)

    @property
    def still(self) -> bool:
        """Whether only index permutations can touch this tensor."""
        return self.kind.still

    @property
    def ragged(self) -> bool:
        """Whether any number of dimensions may stand in front."""
        return self.index[:1] == (ANY,)

    def axis(self) -> int | None:
        """The axis along which samples are joined: the first named index but ``S`` and ``T`` (or the first of ``...``)."""
        return next((i for i, name in enumerate(self.index) if not name.isdigit() and name not in SHARED), None)

    def __str__(self) -> str:
        words = [*self.index, str(self.kind)] if self.target is None else list(self.index)
        if self.ragged and self.target is None and len(self.index) == 1:
            words = [str(self.kind)]
        return " x ".join(words) + (f" -> {self.target}" if self.target else "")


def _index(parts: Sequence[str], spec: str) -> tuple[str, ...]:
    for i, part in enumerate(parts):
        if not (_INDEX.match(part) or (part == ANY and i == 0)):
            raise InputError(f"field {spec!r}: {part!r} is no index; write names or numbers joined by ' x '")
    return tuple(parts)


class Fields(tuple[tuple[str, Field], ...]):
    """An immutable, hashable mapping from names to fields; it also measures, joins and splits samples."""

    def __new__(cls, spec: str | Kind | Field | Mapping[str, Any] | Fields) -> Fields:
        if isinstance(spec, Fields):
            return spec
        pairs = spec.items() if isinstance(spec, Mapping) else [("", spec)]
        return super().__new__(cls, tuple((name, Field.of(value)) for name, value in pairs))

    def __getnewargs__(self) -> tuple[dict[str, Field]]:  # copies and pickles are made from a mapping
        return (dict(self),)

    def __repr__(self) -> str:
        return f"Fields({str(self[0][1])!r})" if self.unnamed else f"Fields({ {n: str(f) for n, f in self.items()} })"

    def __str__(self) -> str:
        return str(self[0][1]) if self.unnamed else ", ".join(f"{n}: {f}" for n, f in self.items())

    @property
    def unnamed(self) -> bool:
        """Whether this declares a single tensor without a name."""
        return len(self) == 1 and self.names()[0] == ""

    def items(self) -> Iterator[tuple[str, Field]]:
        """Pairs of name and field."""
        return iter(self)

    def names(self) -> tuple[str, ...]:
        """Names in order; ``("",)`` for a single unnamed tensor."""
        return tuple(name for name, _ in self)

    def of(self, name: str) -> Field:
        """The field called ``name``; InputError with the nearest name otherwise."""
        for known, declared in self:
            if known == name:
                return declared
        raise unknown("field", name, self.names())

    def pack(self, x: Any) -> dict[str, Tensor]:
        """A sample by name: a mapping as it is, a lone tensor under ``""``."""
        if isinstance(x, Mapping):
            return dict(x)
        if not self.unnamed:
            raise InputError(f"expected a mapping with {list(self.names())}, got {type(x).__name__}")
        return {"": x}

    def unpack(self, x: Mapping[str, Tensor]) -> Any:
        """The inverse of :meth:`pack`."""
        return x[""] if self.unnamed else dict(x)

    def sizes(self, x: Mapping[str, Tensor]) -> dict[str, int]:
        """The size of every named index in this sample.

        Raises InputError for a missing or undeclared tensor, a number that does not match, one name with two sizes.
        """
        out: dict[str, int] = {}
        for name, declared in self:
            if name not in x:
                raise InputError(f"input {name!r} is declared ({declared}) but missing; got {sorted(x)}")
            lead, shape = self._lead(name, declared, x[name])
            for label, size in zip(lead, shape, strict=False):
                if label.isdigit():
                    if int(label) != size:
                        raise InputError(
                            f"{name or 'input'} ({declared}): expected {label} here, got shape {tuple(x[name].shape)}"
                        )
                elif out.setdefault(label, size) != size:
                    raise InputError(f"index {label}: size {out[label]} elsewhere, {size} in {name or 'input'!r} ({declared})")
        if extra := sorted(set(x) - set(self.names())):
            raise InputError(
                f"input {extra[0]!r} has no declared field; a group that moves the others would leave it behind. "
                f"Declare it (or 'fixed', if leaving it behind is meant)"
            )
        reach: dict[str, int] = {}
        for name, declared in self:
            if declared.target is not None and declared.target not in out:
                top = int(x[name].max()) + 1 if x[name].numel() else 0
                reach[declared.target] = max(top, reach.get(declared.target, 0))
        return {**out, **reach}

    @staticmethod
    def _lead(name: str, declared: Field, value: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Names and sizes of the leading axes, the open ``...`` taken off."""
        if not isinstance(value, Tensor):
            raise InputError(f"{name or 'input'!r} ({declared}): expected a tensor, got {type(value).__name__}")
        index = declared.index[1:] if declared.ragged else declared.index
        need = len(index) + declared.kind.axes
        if value.ndim < need or (value.ndim > need and not declared.ragged):
            raise InputError(
                f"{name or 'input'!r} is declared {declared} ({need} axes{' or more' if declared.ragged else ''}), "
                f"got shape {tuple(value.shape)}"
            )
        stop = value.ndim - declared.kind.axes
        return index, tuple(value.shape[stop - len(index) : stop])

    def check(self, x: Mapping[str, Tensor]) -> dict[str, int]:
        """``sizes`` and, beside them, that floating tensors are finite and pointers point inside."""
        sizes = self.sizes(x)
        for name, declared in self:
            value = x[name]
            if declared.target is not None:
                if value.is_floating_point():
                    raise InputError(f"{name!r} ({declared}): pointers are integers, got {value.dtype}")
                if value.numel() and not 0 <= int(value.min()) <= int(value.max()) < sizes[declared.target]:
                    raise InputError(f"{name!r} ({declared}): points outside 0..{sizes[declared.target] - 1}")
            elif value.is_floating_point() and not bool(torch.isfinite(value).all()):
                bad = int((~torch.isfinite(value)).sum())
                raise InputError(f"{name or 'input'!r} ({declared}): {bad} of {value.numel()} values are NaN or infinite")
        return sizes

    def join(self, samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """One sample out of many: concatenated along :meth:`Field.axis`, pointers shifted; the collate function.

        Tensors without such an index (a shared cell) must be equal in all samples and are kept once.
        """
        if not samples:
            raise InputError(f"join: no samples to join for {self}")
        sizes = [self.sizes(x) for x in samples]
        out: dict[str, Tensor] = {}
        for name, declared in self:
            axis, shift, parts = declared.axis(), 0, []
            for x, size in zip(samples, sizes, strict=True):
                parts.append(x[name] + shift if declared.target else x[name])
                shift += size[declared.target] if declared.target else 0
            if axis is None or (declared.ragged and parts[0].ndim == declared.kind.axes + len(declared.index) - 1):
                if any(not torch.equal(part, parts[0]) for part in parts):
                    raise ContractError(
                        f"{name or 'input'!r} ({declared}) differs between samples and has no index to join along"
                    )
                out[name] = parts[0]
            else:
                out[name] = torch.cat(parts, axis)
        return out

    def fold(self, x: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """The join of K copies given with a leading axis K, without a loop: ``sizes`` are those of one copy.

        Raises ContractError where a tensor has no index along which copies could stand side by side, and they differ.
        """
        out: dict[str, Tensor] = {}
        for name, declared in self:
            value, axis = x[name], declared.axis()
            if axis is None and declared.target is None and bool((value == value[:1]).all()):
                out[name] = value[0]
                continue
            if declared.target is not None:
                shift = torch.arange(len(value), device=value.device) * sizes[declared.target]
                value = value + shift.view(-1, *[1] * (value.ndim - 1))
            if axis is None or (declared.ragged and value.ndim - 1 < declared.kind.axes + len(declared.index)):
                raise ContractError(f"{name or 'input'!r} ({declared}) has no index along which an orbit can be folded")
            out[name] = value.movedim(0, axis).flatten(axis, axis + 1)
        return out

    def unfold(self, y: Mapping[str, Tensor], copies: int) -> dict[str, Tensor]:
        """Undo :meth:`fold` on outputs: a leading axis of ``copies`` in every tensor."""
        out: dict[str, Tensor] = {}
        for name, declared in self:
            value, axis = y[name], declared.axis()
            if axis is None or value.shape[axis] % copies:
                raise ContractError(f"output {name!r} ({declared}) of shape {tuple(value.shape)} does not hold {copies} copies")
            out[name] = value.unflatten(axis, (copies, value.shape[axis] // copies)).movedim(axis, 0)
        return out

    def split(self, x: Mapping[str, Tensor], sizes: Sequence[Mapping[str, int]]) -> list[dict[str, Tensor]]:
        """Undo :meth:`join`: the members whose index sizes (``self.sizes(member)``) are given."""
        out: list[dict[str, Tensor]] = [{} for _ in sizes]
        for name, declared in self:
            axis, start, shift = declared.axis(), 0, 0
            for member, size in zip(out, sizes, strict=True):
                if axis is None:
                    member[name] = x[name]
                    continue
                if declared.ragged:
                    raise ContractError(
                        f"{name or 'input'!r} ({declared}): name the index to split along, as in 'B x {declared.kind}'"
                    )
                length = size[declared.index[axis]]
                member[name] = (
                    x[name].narrow(axis, start, length) - shift if declared.target else x[name].narrow(axis, start, length)
                )
                start += length
                shift += size[declared.target] if declared.target else 0
        return out

    def example(
        self,
        sizes: Mapping[str, int] | None = None,
        *,
        space: int = 3,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> dict[str, Tensor]:
        """Random input for a test without data: normal values, pointers sorted as batches are, edges inside one fibre.

        An index that is not given has 3 members, or twice as many as the index its members point into. The ends of an
        edge, ``"2 x E -> N"``, differ where they can and lie in one graph where N points into one (the last such pointer
        declared), so that members may be moved apart.
        """
        known = dict(sizes or {})
        points = [(d.index[0], d.target) for _, d in self if d.target and len(d.index) == 1]

        def size(label: str, above: tuple[str, ...] = ()) -> int:
            if label.isdigit():
                return int(label)
            if label not in known:
                inner = [target for source, target in points if source == label and target not in (label, *above)]
                known[label] = max((2 * size(target, (label, *above)) for target in inner), default=3)
            return known[label]

        out: dict[str, Tensor] = {}
        for name, declared in sorted(self, key=lambda item: len(item[1].index) > 1):  # fibres before the edges inside them
            lead = tuple(map(size, declared.index))
            if declared.target is None:
                out[name] = declared.kind.draw(lead, space, generator=generator, dtype=dtype)
                continue
            top = size(declared.target)
            drawn = torch.randint(top, lead, generator=generator)
            # every member is pointed at where there is room, and a one-axis pointer is sorted as batches are
            flat = drawn.flatten()
            flat[: min(top, flat.numel())] = torch.arange(min(top, flat.numel()))
            drawn = flat.view(lead)
            if len(lead) == 1:
                out[name] = drawn.sort().values
            elif len(lead) == 2 and declared.index[0].isdigit():
                fibres = [
                    out[other] for other, d in self if d.target not in (None, declared.target) and d.index == (declared.target,)
                ]
                out[name] = _inside(drawn, fibres[-1] if fibres else torch.zeros(top, dtype=torch.int64), generator)
            else:
                out[name] = drawn
        return {name: out[name] for name in self.names()}


def _inside(ends: Tensor, fibre: Tensor, generator: torch.Generator | None) -> Tensor:
    """Edges ``(2, E)`` whose further ends are drawn anew in the fibre of the first; no loops where a fibre has two members."""
    company = torch.nonzero(fibre.bincount()[fibre] > 1).flatten()
    for edge, first in enumerate(ends[0].tolist() if len(company) else ()):
        if first not in company:
            first = ends[0, edge] = company[torch.randint(len(company), (), generator=generator)]
        mates = torch.nonzero(fibre == fibre[first]).flatten()
        mates = mates[mates != first]
        ends[1:, edge] = mates[torch.randint(len(mates), (len(ends) - 1,), generator=generator)]
    return ends if len(company) else ends[:1].expand_as(ends).clone()
