"""Derivatives of straight-line formulas by the reverse sweep, before any code is written.

A formula is written once with symbols. Its derivative is another formula, found by walking its steps backwards with the chain
rule, and the derivative of that is found in the same way; common steps are shared and useless ones never written.

>>> tape = Tape()
>>> x, y = tape.symbol("x"), tape.symbol("y")
>>> f = x * x * y
>>> dx, dy = tape.gradient([(f, 1.0)], [x, y])
>>> (dxx,) = tape.gradient([(dx, 1.0)], [x])
>>> evaluate([f, dx, dy, dxx], {x: 3.0, y: 2.0})
[18.0, 12.0, 9.0, 4.0]

Cost: a gradient takes at most a small multiple of the steps of its formula (Baur & Strassen, Theor. Comput. Sci. 22, 1983).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SYMBOL, CONSTANT, SUM, PRODUCT, INVERSE_LENGTH = "symbol", "constant", "sum", "product", "inverse length"


@dataclass(frozen=True, eq=False)
class Step:
    """One intermediate result: an operation on earlier steps of the same tape."""

    tape: Tape
    place: int
    operation: str
    args: tuple[Step, ...] = ()
    value: float = 0.0

    def __add__(self, other: Step | float) -> Step:
        return self.tape.add(self, self.tape.step(other))

    def __sub__(self, other: Step | float) -> Step:
        return self + self.tape.step(other) * -1.0

    def __rsub__(self, other: float) -> Step:
        return self * -1.0 + other

    def __mul__(self, other: Step | float) -> Step:
        return self.tape.multiply(self, self.tape.step(other))

    __radd__ = __add__
    __rmul__ = __mul__

    def is_number(self, value: float) -> bool:
        """Whether it is this constant."""
        return self.operation == CONSTANT and self.value == value


@dataclass(eq=False)
class Tape:
    """All steps in the order in which they were written; equal steps are one step."""

    steps: list[Step] = field(default_factory=list)
    _known: dict[tuple, Step] = field(default_factory=dict)

    def symbol(self, name: str) -> Step:
        """A new quantity."""
        return self._step((SYMBOL, name), SYMBOL)

    def step(self, value: Step | float) -> Step:
        """The value itself, or a constant."""
        if isinstance(value, Step):
            return value
        return self._step((CONSTANT, float(value)), CONSTANT, value=float(value))

    def add(self, a: Step, b: Step) -> Step:
        """``a + b``."""
        if a.is_number(0.0) or b.is_number(0.0):
            return b if a.is_number(0.0) else a
        if a.operation == b.operation == CONSTANT:
            return self.step(a.value + b.value)
        return self._binary(SUM, a, b)

    def multiply(self, a: Step, b: Step) -> Step:
        """``a * b``; constants gather in front."""
        if b.operation == CONSTANT:
            a, b = b, a
        if a.operation != CONSTANT:
            for one, other in ((a, b), (b, a)):
                if one.operation == PRODUCT and one.args[0].operation == CONSTANT:
                    return one.args[0] * (one.args[1] * other)
            return self._binary(PRODUCT, a, b)
        if b.operation == CONSTANT:
            return self.step(a.value * b.value)
        if a.is_number(0.0):
            return a
        if b.operation == PRODUCT and b.args[0].operation == CONSTANT:
            a, b = self.step(a.value * b.args[0].value), b.args[1]
        return b if a.is_number(1.0) else self._step((PRODUCT, a.place, b.place), PRODUCT, (a, b))

    def inverse_length(self, *coordinates: Step) -> Step:
        """One over the Euclidean length, 0 for vectors too short to have one."""
        places = tuple(c.place for c in coordinates)
        return self._step((INVERSE_LENGTH, *places), INVERSE_LENGTH, coordinates)

    def gradient(self, seeds: Sequence[tuple[Step | float, Step | float]], wrt: Sequence[Step]) -> list[Step]:
        """The derivatives of ``sum of value * cotangent`` over the ``seeds`` with respect to the steps ``wrt``."""
        cotangents: dict[int, Step] = {}
        for value, cotangent in seeds:
            if isinstance(value, Step):
                self._accumulate(cotangents, value, self.step(cotangent))
        for place in range(len(self.steps) - 1, -1, -1):  # multiplying below adds steps, none of them on the way
            if place not in cotangents:
                continue
            step, cotangent = self.steps[place], cotangents[place]
            for argument, slope in zip(step.args, self._slopes(step), strict=True):
                self._accumulate(cotangents, argument, cotangent * slope)
        return [cotangents.get(step.place, self.step(0.0)) for step in wrt]

    def _slopes(self, step: Step) -> list[Step]:
        """The derivative of a step with respect to each of its arguments."""
        if step.operation == SUM:
            return [self.step(1.0)] * 2
        if step.operation == PRODUCT:
            return [step.args[1], step.args[0]]
        return [step * step * (step * argument) * -1.0 for argument in step.args]  # d (1/r) / dx = -x / r^3

    def _accumulate(self, cotangents: dict[int, Step], step: Step, value: Step) -> None:
        cotangents[step.place] = cotangents[step.place] + value if step.place in cotangents else value

    def _binary(self, operation: str, a: Step, b: Step) -> Step:
        a, b = (a, b) if a.place <= b.place else (b, a)
        return self._step((operation, a.place, b.place), operation, (a, b))

    def _step(self, key: tuple, operation: str, args: tuple[Step, ...] = (), value: float = 0.0) -> Step:
        if key not in self._known:
            self._known[key] = Step(self, len(self.steps), operation, args, value)
            self.steps.append(self._known[key])
        return self._known[key]


def evaluate(
    wanted: Sequence[Step | float], symbols: Mapping[Step, Any], inverse_length: Callable[..., Any] | None = None
) -> list[Any]:
    """The values of ``wanted``, each step they need once, as late as possible; constants are Python numbers.

    ``symbols`` gives the values of symbols: numbers, tensors, or vectors of a kernel under construction.
    """
    values: dict[int, Any] = {step.place: value for step, value in symbols.items()}

    def value(step: Step) -> Any:
        if step.operation == CONSTANT:
            return step.value
        if step.place not in values:
            args = [value(argument) for argument in step.args]
            if step.operation == INVERSE_LENGTH:
                values[step.place] = inverse_length(*args) if inverse_length else sum(a * a for a in args) ** -0.5
            else:
                values[step.place] = args[0] + args[1] if step.operation == SUM else args[0] * args[1]
        return values[step.place]

    return [value(step) if isinstance(step, Step) else step for step in wanted]
