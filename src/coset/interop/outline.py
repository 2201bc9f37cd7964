"""A module's outline: its syntax tree without imports, bodies of functions and most methods, several times faster to read.

Bodies that mention one of the words in ``keep`` stay, and so do the signatures of the methods in :data:`METHODS`. Line
numbers are those of the source. What the short cut cannot read (a string that reaches to the left of the function it stands
in) is parsed whole.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

METHODS = ("__init__", "__call__", "forward")  #: of the others nothing is left

_DEF = re.compile(r"( *)(?:async )?def (\w+)")
_IMPORT = re.compile(r"from [\w.]+ import |import [\w.]+(?: as \w+)?$")
_END = re.compile(r":\s*(?:#.*)?$")


@cache
def outline(path: Path, keep: tuple[str, ...] = ()) -> ast.Module:
    """The tree of the module at ``path``: classes, fields, signatures and docstrings of top-level definitions.

    A process reads every file once; trees are shared, so nobody may change them.
    """
    text = path.read_text()
    try:
        return ast.parse(_without_bodies(text, keep))
    except SyntaxError:
        return ast.parse(text)


def _without_bodies(text: str, keep: tuple[str, ...]) -> str:
    lines = text.splitlines()
    out: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        match = _DEF.match(line)
        if match is None:
            stop = _after_import(lines, place)
            out += [""] * (stop - place) or [line]
            place = max(stop, place + 1)
            continue
        indent = len(match.group(1))
        start = _after_signature(lines, place)
        stop = _after_body(lines, start, indent)
        body = lines[start:stop]
        wanted = any(word in line for line in body for word in keep)
        if indent and not wanted and match.group(2) not in METHODS:
            _forget_decorators(out, indent)
            out += [" " * indent + "pass"] + [""] * (stop - place - 1)
            place = stop
            continue
        out += lines[place:start]
        if wanted:
            out += body
        else:
            shown = _docstring(body) if not indent else 0
            filler = "" if shown else " " * (indent + 4) + "pass"
            out += body[:shown] + [filler] * (shown < len(body)) + [""] * (len(body) - shown - 1)
        place = stop
    return "\n".join(out)


def _after_import(lines: list[str], place: int) -> int:
    """The line after a top-level import; ``place`` itself where there is none."""
    if _IMPORT.match(lines[place]) is None:
        return place
    if "(" in lines[place] and ")" not in lines[place]:
        while ")" not in lines[place]:
            place += 1
    return place + 1


def _forget_decorators(out: list[str], indent: int) -> None:
    """Blank the decorators right above, each on a line of its own."""
    place = len(out) - 1
    while place >= 0 and out[place][: indent + 1] == " " * indent + "@":
        out[place] = ""
        place -= 1


def _after_signature(lines: list[str], place: int) -> int:
    while place < len(lines) and not _END.search(lines[place]):
        place += 1
    return place + 1


def _after_body(lines: list[str], place: int, indent: int) -> int:
    while place < len(lines) and (not lines[place].strip() or lines[place][: indent + 1].isspace()):
        place += 1
    return place


def _docstring(body: list[str]) -> int:
    """How many lines the docstring that a body begins with takes; 0 without one."""
    if not body or not body[0].lstrip().startswith(('"""', 'r"""')):
        return 0
    if body[0].count('"""') > 1:
        return 1
    return next((i + 1 for i, line in enumerate(body[1:], start=1) if '"""' in line), 0)
