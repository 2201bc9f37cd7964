"""Spherical harmonics on processors: generated vector code for the value, its derivative and the derivative of that.

Three functions per set of degrees, each over vectors ``first..last-1``, V of them at a time, one per lane:

    value      v        -> Y(v)                                 (n, 3)                -> (n, K)
    gradient   v, g     -> sum_j g_j dY_j/dv                    (n, 3), (n, K)         -> (n, 3)
    second     v, g, h  -> d/dv and d/dg of <h, gradient>       (n, 3), (n, K), (n, 3) -> (n, 3), (n, K)

The formula is the recursion of :mod:`coset.ops.solid_harmonics`, read with symbols; the other two come from it by reverse
sweeps (:mod:`coset.ops.backends.llvm.sweep`). Harmonics are computed anew in the backward pass: nothing but ``v`` need be kept.
Rows of harmonics turn into lanes and back in registers. The last V vectors of a range overlap those before instead of being
masked, so a range holds at least V vectors; shorter input is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from coset.ops.backends.llvm import buffers, compiler, sweep, threads
from coset.ops.backends.llvm.builder import INT, READ, WRITE, Builder, Integer, Pointer, Vector, select, sqrt
from coset.ops.backends.llvm.sweep import Step, Tape
from coset.ops.backends.llvm.targets import Target, choose
from coset.ops.solid_harmonics import SHORTEST, Kind, solid_harmonics, width

_SOURCES = (__file__, sweep.__file__, solid_harmonics.__code__.co_filename)


def value(kind: Kind, v: Tensor) -> Tensor:
    """``(n, K)`` harmonics of vectors ``(n, 3)``, float32 or float64, on the processor."""
    return _run("value", kind, [v], [width(kind)])[0]


def gradient(kind: Kind, v: Tensor, g: Tensor) -> Tensor:
    """``(n, 3)``: the cotangent of the vectors from that of the harmonics ``(n, K)``."""
    return _run("gradient", kind, [v, g], [3])[0]


def second(kind: Kind, v: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The cotangents ``(n, 3)`` of ``v`` and ``(n, K)`` of ``g`` from that of the gradient, ``h`` ``(n, 3)``."""
    dv, dg = _run("second", kind, [v, g, h], [3, width(kind)])
    return dv, dg


def _run(name: str, kind: Kind, inputs: Sequence[Tensor], widths: Sequence[int]) -> list[Tensor]:
    """The function ``name`` over all rows of the inputs."""
    target, dtype = choose(), inputs[0].dtype
    call, lanes, work = _kernel(name, kind, str(dtype)[6:], target)
    count = len(inputs[0])
    if count < lanes:
        padded = [torch.cat([x, x.new_zeros(lanes - count, x.shape[1])]) for x in inputs]
        return [x[:count] for x in _run(name, kind, padded, widths)] if count else [inputs[0].new_empty(0, w) for w in widths]
    inputs = [x.contiguous() for x in inputs]
    outputs = [buffers.pool.empty((count, w), dtype) for w in widths]
    addresses = [x.data_ptr() for x in (*inputs, *outputs)]
    parts = min(threads.parts(count * work), count // lanes)
    if parts <= 1:
        call(0, count, *addresses)
    else:
        ranges = [count * part // parts for part in range(parts + 1)]
        threads.run(lambda _, first, last: call(first, last, *addresses), ranges)
    return outputs


@lru_cache(maxsize=512)
def _kernel(name: str, kind: Kind, dtype: str, target: Target) -> tuple[Any, int, int]:
    """The compiled function, its lanes, and about how many operations it takes per vector."""
    inputs, outputs = {"value": (1, 1), "gradient": (2, 1), "second": (3, 2)}[name]
    library = compiler.load(("harmonics", name, kind, dtype), lambda chosen: write(name, kind, dtype, chosen), sources=_SOURCES)
    work = width(kind) * {"value": 6, "gradient": 15, "second": 40}[name]
    return library.function(name, 2 + inputs + outputs), target.lanes(dtype), work


# ---------------------------------------------------------------------- the kernels


class Formulas:
    """The harmonics of a kind and their first two derivatives, in symbols."""

    def __init__(self, kind: Kind) -> None:
        degrees, normalize, normalization = kind
        tape = Tape()
        self.v = [tape.symbol(name) for name in "xyz"]
        unit = [component * tape.inverse_length(*self.v) for component in self.v] if normalize else self.v
        x, y, z = unit
        self.value = solid_harmonics(degrees, x, y, z, normalization)
        self.g = [tape.symbol(f"g{j}") for j in range(len(self.value))]
        self.gradient = tape.gradient(list(zip(self.value, self.g, strict=True)), self.v)
        self.h = [tape.symbol(f"h{name}") for name in "xyz"]
        self.second = tape.gradient(list(zip(self.gradient, self.h, strict=True)), [*self.v, *self.g])


def write(name: str, kind: Kind, dtype: str, target: Target) -> str:
    """The module with the function ``name``."""
    k, f, size = Builder(dtype, target.lanes(dtype)), Formulas(kind), width(kind)
    read, written, wanted = {
        "value": ([(f.v, 3)], [size], f.value),
        "gradient": ([(f.v, 3), (f.g, size)], [3], f.gradient),
        "second": ([(f.v, 3), (f.g, size), (f.h, 3)], [3, size], f.second),
    }[name]
    pointers = {f"in{n}": READ for n in range(len(read))} | {f"out{n}": WRITE for n in range(len(written))}
    for first, last, *places in k.function(name, first=INT, last=INT, **pointers):
        for block in k.range(first, last, k.lanes):
            start = block.at_most(last - k.lanes)
            symbols: dict[Step, Vector] = {}
            for (steps, columns), place in zip(read, places, strict=False):
                symbols |= dict(zip(steps, _load_rows(place + start * columns, columns), strict=True))
            results = sweep.evaluate(wanted, symbols, _inverse_length)
            for columns, place in zip(written, places[len(read) :], strict=True):
                _store_rows(place + start * columns, columns, [_vector(k, r) for r in results[:columns]])
                results = results[columns:]
    return k.text


def _inverse_length(x: Vector, y: Vector, z: Vector) -> Vector:
    square = x * x + y * y + z * z
    return select(square > SHORTEST[x.builder.dtype] ** 2, 1.0 / sqrt(square), 0.0)


def _vector(k: Builder, value: Vector | float) -> Vector:
    return value if isinstance(value, Vector) else k.constant(value)


# ---------------------------------------------------------------------- rows to lanes and back


def _blocks(columns: int, lanes: int) -> list[tuple[int, int]]:
    """``columns`` in pieces (start, width) of powers of two: the odd ones first, then whole vectors."""
    widths = [w for w in (1, 2, 4, 8) if w < lanes and columns % lanes & w] + [lanes] * (columns // lanes)
    return [(sum(widths[:n]), w) for n, w in enumerate(widths)]


def _load_rows(place: Pointer, columns: int) -> list[Vector]:
    """The columns of V rows, one vector each."""
    k = place.builder
    if columns == 3:
        parts = [place[n * k.lanes] for n in range(3)]
        return [_pick(parts, [3 * lane + n for lane in range(k.lanes)]) for n in range(3)]
    found: list[Vector] = []
    for start, w in _blocks(columns, k.lanes):
        # register j holds rows j, j + w, j + 2 w, ... side by side
        rows = [[_load(place, row * columns + start, w) for row in range(j, k.lanes, w)] for j in range(w)]
        found += _exchange([_join(pieces) for pieces in rows])
    return found


def _store_rows(place: Pointer, columns: int, vectors: list[Vector]) -> None:
    """The opposite of :func:`_load_rows`."""
    k = place.builder
    if columns == 3:
        for n in range(3):
            flat = range(n * k.lanes, (n + 1) * k.lanes)
            place[n * k.lanes] = _pick(vectors, [lane % 3 * k.lanes + lane // 3 for lane in flat])
        return
    for start, w in _blocks(columns, k.lanes):
        for j, register in enumerate(_exchange(vectors[start : start + w])):
            for group, row in enumerate(range(j, k.lanes, w)):
                piece = _shuffle(register, register, range(group * w, (group + 1) * w))
                k.line(f"store {piece}, ptr {(place + (row * columns + start)).name}, align {k.size}")


def _exchange(vectors: list[Vector]) -> list[Vector]:
    """``w`` vectors: in every group of ``w`` lanes rows and columns change places, in ``log2 w`` rounds."""
    out, half = list(vectors), 1
    lanes = vectors[0].builder.lanes
    while half < len(out):
        low = [lane if not lane & half else lane - half + lanes for lane in range(lanes)]
        high = [lane + half if not lane & half else lane + lanes for lane in range(lanes)]
        for row in range(len(out)):
            if not row & half:
                a, b = out[row], out[row + half]
                out[row], out[row + half] = _shuffle(a, b, low), _shuffle(a, b, high)
        half *= 2
    return out


def _pick(parts: Sequence[Vector], lanes: Sequence[int]) -> Vector:
    """The numbers ``lanes`` of three vectors laid side by side."""
    a, b, c = parts
    every = range(2 * a.builder.lanes)
    return _shuffle(_shuffle(a, b, every), _shuffle(c, c, every), lanes)


def _join(pieces: list[Vector]) -> Vector:
    """Short vectors side by side."""
    while len(pieces) > 1:
        lanes = range(2 * _length(pieces[0]))
        pieces = [_shuffle(a, b, lanes) for a, b in zip(pieces[::2], pieces[1::2], strict=True)]
    return pieces[0]


def _load(place: Pointer, i: Integer | int, count: int) -> Vector:
    """``count`` numbers from element ``i`` on."""
    k, kind = place.builder, f"<{count} x {place.type}>"
    return Vector(k, k.emit(f"load {kind}, ptr {(place + i).name}, align {k.size}"), kind)


def _shuffle(a: Vector, b: Vector, lanes: Sequence[int]) -> Vector:
    """The numbers ``lanes`` of ``a`` and ``b`` laid side by side."""
    places = ", ".join(f"i32 {lane}" for lane in lanes)
    kind = f"<{len(lanes)} x {a.builder.real}>"
    return Vector(a.builder, a.builder.emit(f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{places}>"), kind)


def _length(v: Vector) -> int:
    return int(v.type[1 : v.type.index(" ")])
