"""Groups from text, as the command line and stored descriptions name them; ``parse_group(str(group))`` is ``group``.

    group  := power { "*" power }
    power  := atom { "**" STRING }
    atom   := NAME "(" [ value { "," value } ] ")" | "(" group ")"
    value  := [ NAME "=" ] ( NUMBER | STRING | True | False | None | LIST | DICT | group )

Nothing is evaluated: names are looked up in :data:`GROUPS`, and what they may be given is what their constructors take.
``GL+(2)``, ``SO+(1, 3)`` and ``O(1, 3)`` are written as on paper.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from coset.errors import InputError, unknown
from coset.groups.euclidean import SE, Affine, E, OneParameter, Scale, T
from coset.groups.finite import C, Cayley, D, Icosahedral, Octahedral, Tetrahedral
from coset.groups.flows import Flow
from coset.groups.group import Group
from coset.groups.matrix import GL, SL, SO, SU, Lorentz, O, Sp, Stabilizer, U
from coset.groups.permutation import S
from coset.groups.subgroups import Subgroup
from coset.groups.torus import Torus

#: what a name stands for: the class of that name, or a function where paper and code write differently
GROUPS: dict[str, Callable[..., Group]] = {
    cls.__name__: cls
    for cls in (
        *(C, D, Tetrahedral, Octahedral, Icosahedral, Cayley, Subgroup, Torus),
        *(GL, SL, SO, U, SU, Sp, Lorentz, Stabilizer),
        *(T, E, SE, Affine, Scale, OneParameter, Flow),
    )
}


def _positive_gl(n: int, *, spread: float = 0.3) -> GL:
    return GL(n, positive=True, spread=spread)


def _orthogonal(p: int, q: int = 0) -> O | Lorentz:
    return Lorentz(p, q) if q else O(p)


def _restricted(p: int, q: int) -> Lorentz:
    return Lorentz(p, q, restricted=True)


def _symmetric(index: str | int, within: str | None = None) -> S:
    return S(index, within)


GROUPS |= {"GL+": _positive_gl, "O": _orthogonal, "SO+": _restricted, "S": _symmetric}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\+(?=\s*\())?)
      | (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<string>"[^"\\]*"|'[^'\\]*')
      | (?P<sign>\*\*|[*()\[\]{},:=])
    )""",
    re.VERBOSE,
)
_CONSTANTS = {"True": True, "False": False, "None": None}
_DEPTH = 50  #: of brackets


def parse_group(text: str) -> Group:
    """The group that ``text`` names: ``"C(8)"``, ``'E(3) * S("N")'``, ``'E(3) ** "B"'``, ``"GL+(2)"``.

    Raises InputError with the place of the mistake, or the nearest name where one is unknown.
    """
    if not isinstance(text, str):
        raise InputError(f"a group is named by text such as 'SO(3)', got {text!r}")
    reader = _Reader(text)
    group = reader.product()
    if reader.peek() != ("end", ""):
        raise reader.error("expected '*', '**' or the end")
    return group


class _Reader:
    """The tokens of one text and a place among them; one method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.depth = text, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if not match:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                raise InputError(f"group {_short(text)}: {text[start]!r} at position {start} is no part of a group's name")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind], match.start(kind)))
            position = match.end()
        self.tokens.append(("end", "", len(text)))

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        return self.tokens[min(self.place + ahead, len(self.tokens) - 1)][:2]

    def error(self, expected: str) -> InputError:
        kind, found, position = self.tokens[self.place]
        what = "it ends" if kind == "end" else f"found {found!r}"
        return InputError(
            f"group {_short(self.text)}: {expected} at position {position}, but {what}; write for example 'SO(3)'"
        )

    def take(self, sign: str) -> None:
        if self.peek() != ("sign", sign):
            raise self.error(f"expected {sign!r}")
        self.place += 1

    def skip(self, sign: str) -> bool:
        if self.peek() != ("sign", sign):
            return False
        self.place += 1
        return True

    def word(self, kind: str, expected: str) -> str:
        if self.peek()[0] != kind:
            raise self.error(f"expected {expected}")
        self.place += 1
        return self.tokens[self.place - 1][1]

    def product(self) -> Group:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.error(f"more than {_DEPTH} brackets inside each other")
        group = self.power()
        while self.skip("*"):
            group = group * self.power()
        self.depth -= 1
        return group

    def power(self) -> Group:
        group = self.atom()
        while self.skip("**"):
            group = group ** self.word("string", 'the name of an index in quotes, as in E(3) ** "B",')[1:-1]
        return group

    def atom(self) -> Group:
        if self.skip("("):
            group = self.product()
            self.take(")")
            return group
        name = self.word("name", "the name of a group")
        if name not in GROUPS:
            raise _unknown_group(name)
        self.take("(")
        positional, named = [], {}
        while not self.skip(")"):
            if self.peek()[0] == "name" and self.peek(1) == ("sign", "="):
                key = self.word("name", "a name")
                self.take("=")
                named[key] = self.value()
            else:
                positional.append(self.value())
            if self.peek() != ("sign", ")"):
                self.take(",")
        return _build(name, positional, named)

    def value(self) -> Any:
        kind, token = self.peek()
        if kind == "number":
            self.place += 1
            return int(token) if re.fullmatch(r"[+-]?[0-9]{1,18}", token) else float(token)
        if kind == "string":
            self.place += 1
            return token[1:-1]
        if kind == "name" and token in _CONSTANTS:
            self.place += 1
            return _CONSTANTS[token]
        if kind == "sign" and token in "[{":
            self.depth += 1
            if self.depth > _DEPTH:
                raise self.error(f"more than {_DEPTH} brackets inside each other")
            self.place += 1
            out = self.list() if token == "[" else self.mapping()
            self.depth -= 1
            return out
        if kind == "name" and self.peek(1) != ("sign", "("):
            raise self.error("expected a number, a list, a group or a name in quotes")
        return self.product()

    def list(self) -> list[Any]:
        out = []
        while not self.skip("]"):
            out.append(self.value())
            if self.peek() != ("sign", "]"):
                self.take(",")
        return out

    def mapping(self) -> dict[str, Any]:
        out = {}
        while not self.skip("}"):
            key = self.word("string", "a name in quotes")[1:-1]
            self.take(":")
            out[key] = self.value()
            if self.peek() != ("sign", "}"):
                self.take(",")
        return out


def _build(name: str, positional: list[Any], named: dict[str, Any]) -> Group:
    build = GROUPS[name]
    try:
        inspect.signature(build).bind(*positional, **named)
    except TypeError as error:
        takes = ", ".join(inspect.signature(build).parameters)
        raise InputError(f"group {name}({takes}): {error}") from error
    return build(*positional, **named)


def _unknown_group(name: str) -> InputError:
    """The nearest name, also where only capitals or brackets are amiss: ``so3`` for ``SO(3)``."""
    stem = name.rstrip("0123456789")
    for known in GROUPS:
        if known.lower() == stem.lower():
            return InputError(f"unknown group {name!r}; did you mean '{known}({name[len(stem) :] or '...'})'?")
    return unknown("group", name, GROUPS)


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
