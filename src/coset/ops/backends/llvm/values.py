"""The values of a kernel under construction: numbers, vectors, integers, conditions and addresses, with operators.

The tutorial is the docstring of :mod:`coset.ops.backends.llvm.builder`, from which all names are imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coset.errors import InputError

if TYPE_CHECKING:
    from coset.ops.backends.llvm.builder import Builder

SUFFIX = {"float": "f32", "double": "f64"}


@dataclass(frozen=True, eq=False)
class Value:
    """A typed name of the module under construction."""

    builder: Builder
    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


class Condition(Value):
    """One truth value, or one per lane."""

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.builder, self.builder.emit(f"and {self}, {other.name}"), self.type)

    def __invert__(self) -> Condition:
        every = "true" if self.type == "i1" else "splat (i1 true)"
        return Condition(self.builder, self.builder.emit(f"xor {self}, {every}"), self.type)


class Integer(Value):
    """A 64-bit signed integer: loop variables, sizes, indices."""

    def _with(self, instruction: str, other: Integer | int, *, swapped: bool = False) -> Integer:
        pair = (integer(other), self.name) if swapped else (self.name, integer(other))
        return Integer(self.builder, self.builder.emit(f"{instruction} i64 {pair[0]}, {pair[1]}"), "i64")

    def __add__(self, other: Integer | int) -> Integer:
        return self if isinstance(other, int) and other == 0 else self._with("add nsw", other)

    def __sub__(self, other: Integer | int) -> Integer:
        return self._with("sub nsw", other)

    def __rsub__(self, other: int) -> Integer:
        return self._with("sub nsw", other, swapped=True)

    def __mul__(self, other: Integer | int) -> Integer:
        return self if isinstance(other, int) and other == 1 else self._with("mul nsw", other)

    def __floordiv__(self, other: Integer | int) -> Integer:
        return self._with("sdiv", other)

    def __mod__(self, other: Integer | int) -> Integer:
        return self._with("srem", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def _compare(self, relation: str, other: Integer | int) -> Condition:
        return Condition(self.builder, self.builder.emit(f"icmp {relation} i64 {self.name}, {integer(other)}"), "i1")

    def __lt__(self, other: Integer | int) -> Condition:
        return self._compare("slt", other)

    def __gt__(self, other: Integer | int) -> Condition:
        return self._compare("sgt", other)

    def equals(self, other: Integer | int) -> Condition:
        """Whether both are the same number."""
        return self._compare("eq", other)

    def at_most(self, other: Integer | int) -> Integer:
        """The smaller of the two."""
        text = f"select {self < other}, i64 {self.name}, i64 {integer(other)}"
        return Integer(self.builder, self.builder.emit(text), "i64")

    def at_least(self, other: Integer | int) -> Integer:
        """The larger of the two."""
        text = f"select {self > other}, i64 {self.name}, i64 {integer(other)}"
        return Integer(self.builder, self.builder.emit(text), "i64")


class Real(Value):
    """Common to :class:`Vector` and :class:`Scalar`: arithmetic in the builder's floating type."""

    def _with(self, instruction: str, other: Real | float, *, swapped: bool = False) -> Any:
        pair = (self._text(other), self.name) if swapped else (self.name, self._text(other))
        return type(self)(
            self.builder, self.builder.emit(f"{instruction} contract {self.type} {pair[0]}, {pair[1]}"), self.type
        )

    def _text(self, other: Real | float) -> str:
        """``other`` as the second operand of an instruction on values of this type."""
        if isinstance(other, Real):
            if other.type != self.type:
                raise TypeError(f"{self.type} and {other.type} do not mix; use broadcast")
            return other.name
        return self.builder.literal(float(other), self.type)

    def __add__(self, other: Real | float) -> Any:
        return self._with("fadd", other)

    def __sub__(self, other: Real | float) -> Any:
        return self._with("fsub", other)

    def __rsub__(self, other: float) -> Any:
        return self._with("fsub", other, swapped=True)

    def __mul__(self, other: Real | float) -> Any:
        return self._with("fmul", other)

    def __truediv__(self, other: Real | float) -> Any:
        return self._with("fdiv", other)

    def __rtruediv__(self, other: float) -> Any:
        return self._with("fdiv", other, swapped=True)

    def __neg__(self) -> Any:
        return type(self)(self.builder, self.builder.emit(f"fneg {self}"), self.type)

    __radd__ = __add__
    __rmul__ = __mul__

    def _compare(self, relation: str, other: Real | float) -> Condition:
        kind = self.type.replace("float", "i1").replace("double", "i1")
        return Condition(self.builder, self.builder.emit(f"fcmp {relation} {self}, {self._text(other)}"), kind)

    def __lt__(self, other: Real | float) -> Condition:
        return self._compare("olt", other)

    def __gt__(self, other: Real | float) -> Condition:
        return self._compare("ogt", other)


class Vector(Real):
    """V numbers."""


class Scalar(Real):
    """One number."""


class Variable:
    """A value that changes: read and assign ``value``. LLVM keeps it in a register."""

    def __init__(self, builder: Builder, kind: type[Real], type_: str) -> None:
        self._builder, self._kind, self._type = builder, kind, type_
        self._place = builder.room(type_)

    @property
    def value(self) -> Any:
        """What was assigned last."""
        return self._kind(self._builder, self._builder.emit(f"load {self._type}, ptr {self._place}"), self._type)

    @value.setter
    def value(self, value: Real | float) -> None:
        text = value.name if isinstance(value, Real) else self._builder.literal(float(value), self._type)
        self._builder.line(f"store {self._type} {text}, ptr {self._place}")


class Pointer(Value):
    """An address of numbers (``type`` is the element type); ``i`` counts elements from it."""

    def __add__(self, i: Integer | int) -> Pointer:
        if isinstance(i, int) and i == 0:
            return self
        text = f"getelementptr inbounds {self.type}, ptr {self.name}, i64 {integer(i)}"
        return Pointer(self.builder, self.builder.emit(text), self.type)

    def __getitem__(self, i: Integer | int) -> Any:
        """The vector that begins at element ``i`` (only its existing lanes in a tail); an Integer if it points to integers."""
        place, k = self + i, self.builder
        if self.type == "i64":
            return Integer(k, k.emit(f"load i64, ptr {place.name}, align 8"), "i64")
        if k.mask is None:
            return Vector(k, k.emit(f"load {k.vector_type}, ptr {place.name}, align {k.size}"), k.vector_type)
        zero = f"{k.vector_type} zeroinitializer"
        args = f"ptr {place.name}, i32 {k.size}, {k.mask}, {zero}"
        return Vector(k, k.call(f"llvm.masked.load.{k.suffix}.p0", k.vector_type, args), k.vector_type)

    def __setitem__(self, i: Integer | int, value: Value) -> None:
        place, k = self + i, self.builder
        if k.mask is None or not isinstance(value, Vector):
            align = 8 if isinstance(value, Integer) else k.size
            k.line(f"store {value}, ptr {place.name}, align {align}")
        else:
            k.call(f"llvm.masked.store.{k.suffix}.p0", "void", f"{value}, ptr {place.name}, i32 {k.size}, {k.mask}")

    def scalar(self, i: Integer | int = 0) -> Scalar:
        """The number at element ``i``."""
        k = self.builder
        return Scalar(k, k.emit(f"load {k.real}, ptr {(self + i).name}, align {k.size}"), k.real)

    def broadcast(self, i: Integer | int = 0) -> Vector:
        """The number at element ``i`` in all lanes."""
        return self.builder.broadcast(self.scalar(i))

    def _lanes(self, i: Integer | int, step: int) -> str:
        """The addresses of V elements, ``step`` apart."""
        k, place = self.builder, self + i
        offsets = ", ".join(f"i64 {lane * step}" for lane in range(k.lanes))
        return k.emit(f"getelementptr {k.real}, ptr {place.name}, <{k.lanes} x i64> <{offsets}>")

    def strided(self, i: Integer | int, step: int) -> Vector:
        """The V numbers at ``i``, ``i + step``, ..., lane by lane (missing lanes of a tail read zero)."""
        k = self.builder
        pointers, every = f"<{k.lanes} x ptr>", f"<{k.lanes} x i1> splat (i1 true)"
        args = f"{pointers} {self._lanes(i, step)}, i32 {k.size}, {k.mask or every}, {k.vector_type} zeroinitializer"
        return Vector(k, k.call(f"llvm.masked.gather.{k.suffix}.v{k.lanes}p0", k.vector_type, args), k.vector_type)

    def store_strided(self, i: Integer | int, step: int, value: Vector) -> None:
        """The transpose of :meth:`strided`: lane by lane to ``i``, ``i + step``, ..."""
        k = self.builder
        pointers, every = f"<{k.lanes} x ptr>", f"<{k.lanes} x i1> splat (i1 true)"
        args = f"{value}, {pointers} {self._lanes(i, step)}, i32 {k.size}, {k.mask or every}"
        k.call(f"llvm.masked.scatter.{k.suffix}.v{k.lanes}p0", "void", args)

    def prefetch(self, i: Integer | int = 0) -> None:
        """Ask for the cache line of element ``i``; any address is allowed."""
        self.builder.call("llvm.prefetch.p0", "void", f"ptr {(self + i).name}, i32 0, i32 3, i32 1")


def fma(a: Real | float, b: Real | float, c: Real | float) -> Any:
    """``a * b + c``, fused where the machine can."""
    return _intrinsic("fmuladd", a, b, c)


def sqrt(a: Real) -> Any:
    """The square root."""
    return _intrinsic("sqrt", a)


def maximum(a: Real | float, b: Real | float) -> Any:
    """The larger, lane by lane."""
    return _intrinsic("maxnum", a, b)


def minimum(a: Real | float, b: Real | float) -> Any:
    """The smaller, lane by lane."""
    return _intrinsic("minnum", a, b)


def select(condition: Condition, a: Real | float, b: Real | float) -> Any:
    """``a`` where the condition holds, ``b`` elsewhere."""
    model = a if isinstance(a, Real) else b
    if not isinstance(model, Real):
        raise TypeError("one of the two values must be of the kernel")
    k = model.builder
    text = f"select {condition}, {model.type} {model._text(a)}, {model.type} {model._text(b)}"
    return type(model)(k, k.emit(text), model.type)


def total(v: Vector) -> Scalar:
    """The sum over the lanes, in an order that the machine chooses."""
    k = v.builder
    name = f"llvm.vector.reduce.fadd.{k.suffix}"
    return Scalar(k, k.call(name, k.real, f"{k.real} {k.literal(-0.0, k.real)}, {v}", "reassoc "), k.real)


def transpose(vectors: Sequence[Vector]) -> list[Vector]:
    """V vectors of V lanes, rows and columns exchanged, in ``log2 V`` rounds of pairwise shuffles."""
    k, out = vectors[0].builder, list(vectors)
    if len(out) != k.lanes:
        raise InputError(f"a transpose takes {k.lanes} vectors, got {len(out)}")
    half = 1
    while half < k.lanes:
        # in each pair (a, b) of rows at distance `half`, exchange the off-diagonal blocks of size `half`
        low = [lane if not lane & half else lane - half + k.lanes for lane in range(k.lanes)]
        high = [lane + half if not lane & half else lane + k.lanes for lane in range(k.lanes)]
        for row in range(k.lanes):
            if not row & half:
                a, b = out[row], out[row + half]
                out[row], out[row + half] = _shuffle(a, b, low), _shuffle(a, b, high)
        half *= 2
    return out


def _shuffle(a: Vector, b: Vector, lanes: Sequence[int]) -> Vector:
    k = a.builder
    places = ", ".join(f"i32 {lane}" for lane in lanes)
    return Vector(k, k.emit(f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{places}>"), a.type)


def _intrinsic(name: str, *args: Real | float) -> Any:
    """An LLVM intrinsic of one floating type; Python numbers become constants of the type of the others."""
    model = next((a for a in args if isinstance(a, Real)), None)
    if model is None:
        raise TypeError("one of the arguments must be a value of the kernel")
    k = model.builder
    suffix = k.suffix if isinstance(model, Vector) else SUFFIX[k.real]
    text = ", ".join(f"{model.type} {model._text(a)}" for a in args)
    return type(model)(k, k.call(f"llvm.{name}.{suffix}", model.type, text), model.type)


def integer(i: Integer | int) -> str:
    """The operand text of an Integer or a Python int."""
    return i.name if isinstance(i, Integer) else str(i)
