"""A small vocabulary of vector operations, from which the text of an LLVM module is written.

A kernel is written in Python that *looks like* the loop it becomes. The builder knows the element type and the number of
lanes V of a vector; everything else is values with operators. Complete example, ``y[n, c] += a[n] * x[n, c]``:

>>> k = Builder("float32", lanes=8)
>>> for rows, a, x, y in k.function("scale_add", rows=INT, a=READ, x=READ, y=WRITE):
...     for n in k.range(0, rows):                     # a loop of the kernel; n is an Integer
...         factor = a.broadcast(n)                    # one number, in all lanes
...         for c in k.vectors(100):                   # 0, 8, ..., 88, then the last 4 channels under a mask
...             here = n * 100 + c
...             y[here] = fma(factor, x[here], y[here])    # p[i]: the V numbers that begin at p + i
>>> "define void @scale_add(" in k.text
True

and to run it (:mod:`coset.ops.backends.llvm.compiler`; ``write(target)`` makes a builder with ``target.lanes(dtype)`` lanes,
writes the functions as above and returns ``k.text``)::

    library = load(("scale_add", "float32", 100), write, sources=(__file__,))
    library.function("scale_add", 4)(rows, a.data_ptr(), x.data_ptr(), y.data_ptr())

**Values.** :class:`Vector` (V lanes), :class:`Scalar` (one number), :class:`Integer` (64 bits), :class:`Condition`,
:class:`Pointer`. Python numbers mix with all of them (``2.0 * v``, ``i * 3 + 1``). Products followed by sums may be fused;
:func:`fma` says it outright. Also ``-v``, ``a / b``, :func:`sqrt`, :func:`maximum`, :func:`minimum`, :func:`select`,
``a < b``, :func:`total` (sum over lanes), :func:`transpose` (V vectors).

**Memory.** ``p[i]`` loads a vector, ``p[i] = v`` stores a vector or a scalar; ``p.scalar(i)``, ``p.broadcast(i)``,
``p.strided(i, step)``, ``p.store_strided(i, step, v)``; ``p + i`` is a pointer. On pointers to integers ``p[i]`` is an Integer.
``k.array(n)`` and ``k.integers(n)`` are room on the stack; ``v = k.variable()`` is a value that changes inside a loop, read and
assigned as ``v.value`` (it ends in a register).

**Loops** are Python ``for`` loops, run once by Python to write the body: never leave one by ``break`` or ``return``.
:meth:`Builder.vectors` writes the body twice when V does not divide the count: in the second copy every ``p[i]`` touches only
the lanes that exist, missing lanes read zero. ``for _ in k.when(condition)`` is an if without else.

V need not be the width of the machine: with twice as many lanes LLVM uses pairs of registers, which shares broadcasts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from coset.errors import InputError
from coset.ops.backends.llvm.values import (
    SUFFIX,
    Condition,
    Integer,
    Pointer,
    Real,
    Scalar,
    Value,
    Variable,
    Vector,
    fma,
    integer,
    maximum,
    minimum,
    select,
    sqrt,
    total,
    transpose,
)

__all__ = [
    "INT",
    "INTS",
    "READ",
    "WRITE",
    "Builder",
    "Condition",
    "Integer",
    "Pointer",
    "Real",
    "Scalar",
    "Value",
    "Variable",
    "Vector",
    "fma",
    "maximum",
    "minimum",
    "select",
    "sqrt",
    "total",
    "transpose",
]

INT, INTS, READ, WRITE = "i64", "const i64*", "const real*", "real*"
_PARAMETER = {
    INT: "i64",
    INTS: "ptr noalias nocapture readonly",
    READ: "ptr noalias nocapture readonly",
    WRITE: "ptr noalias nocapture",
}


class Builder:
    """One LLVM module: ``dtype`` ("float32" or "float64") and the number of ``lanes`` of its vectors, a power of two."""

    def __init__(self, dtype: str = "float32", lanes: int = 8) -> None:
        if lanes < 1 or lanes & (lanes - 1):
            raise InputError(f"the number of lanes is a power of two, got {lanes}")
        self.real, self.size = {"float32": ("float", 4), "float64": ("double", 8)}[dtype]
        self.dtype, self.lanes = dtype, lanes
        self.vector_type = f"<{lanes} x {self.real}>"
        self.suffix = f"v{lanes}{SUFFIX[self.real]}"
        self.mask: Condition | None = None
        self._functions: list[str] = []
        self._declared: dict[str, str] = {}
        self._lines: list[str] = []
        self._rooms: list[str] = []
        self._count = 0

    # Text

    @property
    def text(self) -> str:
        """The module."""
        return "\n".join(
            [
                *self._declared.values(),
                *self._functions,
                'attributes #0 = { nounwind "no-trapping-math"="true" "prefer-vector-width"="512" }',
                "",
            ]
        )

    def line(self, text: str) -> None:
        """An instruction without a result."""
        self._lines.append(f"  {text}")

    def emit(self, text: str) -> str:
        """An instruction; gives the name of its result."""
        self._count += 1
        self._lines.append(f"  %v{self._count} = {text}")
        return f"%v{self._count}"

    def call(self, name: str, result: str, args: str, flags: str = "") -> str:
        """A call of an LLVM intrinsic, declared on first use. ``args`` are typed values, separated by commas."""
        if name not in self._declared:
            kinds = ", ".join(_split_types(args))
            self._declared[name] = f"declare {result} @{name}({kinds})"
        if result == "void":
            self.line(f"call void @{name}({args})")
            return ""
        return self.emit(f"call {flags}{result} @{name}({args})")

    def literal(self, value: float, type_: str) -> str:
        """A constant of a scalar or vector type, exact in hexadecimal."""
        if self.size == 4:
            value = struct.unpack("f", struct.pack("f", value))[0]
        bits = "0x" + struct.pack(">d", value).hex().upper()
        return f"splat ({self.real} {bits})" if type_.startswith("<") else bits

    def room(self, type_: str, count: int | None = None) -> str:
        """Aligned room on the stack, made at the entry of the function."""
        self._count += 1
        kind = type_ if count is None else f"[{count} x {type_}]"
        self._rooms.append(f"  %r{self._count} = alloca {kind}, align 64")
        return f"%r{self._count}"

    # Values

    def constant(self, value: float) -> Vector:
        """A number in all lanes."""
        return Vector(self, self.literal(value, self.vector_type), self.vector_type)

    def scalar(self, value: Integer | float) -> Scalar:
        """A Python number, or an Integer of the kernel converted, as one number."""
        if isinstance(value, Integer):
            return Scalar(self, self.emit(f"sitofp {value} to {self.real}"), self.real)
        return Scalar(self, self.literal(float(value), self.real), self.real)

    def broadcast(self, value: Scalar) -> Vector:
        """A scalar in all lanes."""
        kind = self.vector_type
        first = self.emit(f"insertelement {kind} poison, {value}, i64 0")
        name = self.emit(f"shufflevector {kind} {first}, {kind} poison, <{self.lanes} x i32> zeroinitializer")
        return Vector(self, name, kind)

    def variable(self, start: Real | float | None = None, *, scalar: bool = False) -> Variable:
        """A vector (or scalar) that changes, set to ``start`` here if given."""
        made = Variable(self, Scalar if scalar else Vector, self.real if scalar else self.vector_type)
        if start is not None:
            made.value = start
        return made

    def array(self, count: int) -> Pointer:
        """Room for ``count`` numbers on the stack, aligned to 64 bytes."""
        return Pointer(self, self.room(self.real, count), self.real)

    def integers(self, count: int) -> Pointer:
        """Room for ``count`` integers on the stack."""
        return Pointer(self, self.room("i64", count), "i64")

    # Control

    def function(self, name: str, **parameters: str) -> Iterator[tuple[Any, ...]]:
        """``for a, b in k.function("f", a=INT, b=READ):`` writes ``void f(a, b)``; kinds are INT, INTS, READ, WRITE."""
        self._lines, self._rooms = [], []
        values: list[Value] = []
        for key, kind in parameters.items():
            if kind == INT:
                values.append(Integer(self, f"%{key}", "i64"))
            else:
                values.append(Pointer(self, f"%{key}", "i64" if kind == INTS else self.real))
        yield tuple(values)
        listed = ", ".join(f"{_PARAMETER[kind]} %{key}" for key, kind in parameters.items())
        body = [f"define void @{name}({listed}) #0 {{", "entry:", *self._rooms, *self._lines, "  ret void", "}"]
        self._functions.append("\n".join(body))

    def range(self, start: Integer | int, stop: Integer | int, step: int = 1) -> Iterator[Integer]:
        """A loop over ``start, start + step, ... < stop``."""
        place = self.room("i64")
        test, body, done = self._labels("test", "body", "done")
        self.line(f"store i64 {integer(start)}, ptr {place}")
        self._go(test, test)
        now = Integer(self, self.emit(f"load i64, ptr {place}"), "i64")
        self._go(f"{now < stop}", body, body, done)
        yield now
        self.line(f"store i64 {(now + step).name}, ptr {place}")
        self._go(test, done)

    def vectors(self, count: Integer | int) -> Iterator[Integer | int]:
        """Blocks of V consecutive numbers that cover ``0..count-1``, the rest under a mask (see the module's docstring)."""
        if self.mask is not None:
            raise InputError("inside the tail of another loop over vectors")
        if isinstance(count, int):
            full = count // self.lanes * self.lanes
            if full == self.lanes:
                yield 0
            elif full:
                yield from self.range(0, full, self.lanes)
            if count > full:
                bits = ", ".join(f"i1 {str(full + lane < count).lower()}" for lane in range(self.lanes))
                yield from self._masked(f"<{bits}>", full)
            return
        whole = count - count % self.lanes
        yield from self.range(0, whole, self.lanes)
        for _ in self.when(whole < count):
            steps = ", ".join(f"i64 {lane}" for lane in range(self.lanes))
            rest = self.emit(f"insertelement <{self.lanes} x i64> poison, {count - whole}, i64 0")
            kind = f"<{self.lanes} x i64>"
            rest = self.emit(f"shufflevector {kind} {rest}, {kind} poison, <{self.lanes} x i32> zeroinitializer")
            yield from self._masked(self.emit(f"icmp slt {kind} <{steps}>, {rest}"), whole)

    def _masked(self, mask: str, start: Integer | int) -> Iterator[Integer | int]:
        self.mask = Condition(self, mask, f"<{self.lanes} x i1>")
        yield start
        self.mask = None

    def when(self, condition: Condition) -> Iterator[None]:
        """The body only if ``condition`` (an ``if`` without ``else``)."""
        body, done = self._labels("then", "join")
        self._go(str(condition), body, body, done)
        yield
        self._go(done, done)

    def _labels(self, *names: str) -> list[str]:
        self._count += 1
        return [f"{name}{self._count}" for name in names]

    def _go(self, target: str, begin: str, then: str = "", otherwise: str = "") -> None:
        """Branch to ``target``, or on a condition to one of two labels; then begin the block ``begin``."""
        self.line(f"br {target}, label %{then}, label %{otherwise}" if then else f"br label %{target}")
        self._lines.append(f"{begin}:")


def _split_types(args: str) -> list[str]:
    """The types in ``"<8 x float> %a, i32 4"``: the text before the last value of each argument."""
    kinds, depth, start = [], 0, 0
    for place, sign in enumerate(args + ","):
        depth += (sign in "<(") - (sign in ">)")
        if sign == "," and depth == 0:
            kinds.append(_leading_type(args[start:place].strip()))
            start = place + 1
    return kinds


def _leading_type(arg: str) -> str:
    return arg[: arg.index(">") + 1] if arg.startswith("<") else arg.split(" ")[0]
